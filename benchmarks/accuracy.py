r"""Accuracy on new recordings: what can be trained above a frozen backbone?

    python benchmarks/accuracy.py --ucf101=FOLDER --cache=FOLDER --stage=features
    python benchmarks/accuracy.py --ucf101=FOLDER --cache=FOLDER --stage=validation
    python benchmarks/accuracy.py --ucf101=FOLDER --cache=FOLDER --stage=test
    python benchmarks/accuracy.py --ucf101=FOLDER --cache=FOLDER --stage=errors

FOLDER holds <Class>/v_<Class>_gGG_cCC.mp4 of 11 classes of UCF101. Groups 3-7 are the test
set. Of groups 8-25, 21-25 are the validation set, by which every choice is made.

``features`` runs EfficientNet-Lite0 once over every clip and keeps the means of the four
quarters of its last map (2 x 2 x 1280, float16, 15 frames a second); a call that ends early
is continued by the next one. ``validation`` trains every recipe of RECIPES on groups 8-20
with one seed. ``test`` trains those of CHOICE on groups 8-25 with seeds 0 to 2, and
compares them with the bundled models. ``errors`` lists the test clips that are misclassified.
Predictions are kept in the cache, so that nothing is trained twice.

The features are projected on their first principal components, a linear map that the
recurrent layer's kernel can absorb: the classifiers stay those of the library.
"""

import argparse
import functools
import hashlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.data import cache, folder, sources, splits
from rgcam.data.folder import Item
from rgcam.data.video import read_clip
from rgcam.metrics import statistics
from rgcam.models import backbones, classifiers, zoo
from rgcam.types import Params

STAGES = ("features", "validation", "test", "errors")
FPS = 15.0  # of the frames that are decoded
GROUP = r"_g(\d+)_"
TEST_GROUPS, VALIDATION_GROUPS = "3-7", "21-25"
GRID = 2  # the map is averaged over GRID x GRID regions
WEIGHTS = np.array([16, 12, 12, 9]) / 49  # cells of the regions of a map of 7 x 7
COMPONENTS = 256  # of each view
SAMPLE = 3000  # training frames by which the components are found
SECONDS = 4.25  # of a training window: 32 frames at 7.5 a second
BATCH, EPOCHS, RATE, DECAY = 32, 30, 1e-3, 1e-2  # those of configs/ucf101_lrcn.py
SEEDS = (0, 1, 2)


class View(NamedTuple):
    """What the backbone is given of a clip.

    Attributes:
        input: ``view`` of the classifier: rgb, or difference.
        stride: every how many frames of FPS.
        mirrored: whether the frames are flipped left to right.
    """

    input: str
    stride: int
    mirrored: bool


KINDS = {
    "rgb": View(input="rgb", stride=1, mirrored=False),
    "difference": View(input="difference", stride=2, mirrored=False),
    "rgb-mirrored": View(input="rgb", stride=1, mirrored=True),
    "difference-mirrored": View(input="difference", stride=2, mirrored=True),
}


class Recipe(NamedTuple):
    """How a classifier is trained and what it is given.

    Attributes:
        name: in the tables.
        kind: lrcn or cnn.
        stride: 2: 7.5 frames a second; 1: 15.
        grid: keep the quarters of the map apart instead of pooling it.
        lags: frame vectors also come as their change over so many steps.
        difference: also give the features of the frames' differences.
        offsets: begin at a random one of the ``stride`` first frames in training, and
            average the predictions of all of them in testing.
        mirrored: average the predictions of the clip and its mirror image.
        smoothing: of the labels.
        mixup: parameter of the Beta distribution by which two clips are mixed; 0: none.
        averaging: keep the rate at half of its peak from the middle on, and take the mean
            of the parameters over the last third of the steps.
        loss: steps that are trained: every_step, last_half or last_step.
    """

    name: str
    kind: str = "lrcn"
    stride: int = 2
    grid: bool = False
    lags: tuple[int, ...] = ()
    difference: bool = False
    offsets: bool = False
    mirrored: bool = False
    smoothing: float = 0.1
    mixup: float = 0.0
    averaging: bool = False
    loss: str = "last_step"


CNN = Recipe("frame CNN: the bundled recipe", kind="cnn", loss="every_step")
LRCN = Recipe("LRCN: the bundled recipe")
RECIPES = (
    CNN,
    CNN._replace(name="frame CNN: 15 frames a second", stride=1),
    CNN._replace(name="frame CNN: grid", grid=True),
    CNN._replace(name="frame CNN: differences", difference=True),
    CNN._replace(name="frame CNN: grid, differences", grid=True, difference=True),
    CNN._replace(name="frame CNN: grid, no label smoothing", grid=True, smoothing=0.0),
    CNN._replace(name="frame CNN: grid, mixup", grid=True, mixup=0.4),
    CNN._replace(name="frame CNN: grid, averaging", grid=True, averaging=True),
    LRCN,
    LRCN._replace(name="LRCN: no label smoothing", smoothing=0.0),
    LRCN._replace(name="LRCN: loss of the last half", loss="last_half"),
    LRCN._replace(name="LRCN: 15 frames a second", stride=1),
    LRCN._replace(name="LRCN: random offsets", offsets=True),
    LRCN._replace(name="LRCN: grid", grid=True),
    LRCN._replace(name="LRCN: changes over 1 step", lags=(1,)),
    LRCN._replace(name="LRCN: changes over 1 and 4 steps", lags=(1, 4)),
    LRCN._replace(name="LRCN: differences", difference=True),
    LRCN._replace(name="LRCN: mixup", mixup=0.4),
    LRCN._replace(name="LRCN: averaging", averaging=True),
)
# The bundled recipes, and the best of each kind on the validation groups.
CHOICE = (
    CNN.name,
    "frame CNN: grid, averaging",
    LRCN.name,
    "LRCN: random offsets",
)


class Clip(NamedTuple):
    """The features of one clip.

    Attributes:
        views: (T, 4, 1280) of each view, the quarters of the map one after the other.
        label: number of its class.
        group: its recording, with the class, since every class counts its own.
        name: of its file.
    """

    views: dict[str, Float[np.ndarray, "T 4 K"]]
    label: int
    group: str
    name: str


class Projection(NamedTuple):
    """A linear map to a few components of about unit variance: (x - mean) @ kernel."""

    mean: Float[np.ndarray, " D"]
    kernel: Float[np.ndarray, "D components"]


class Batch(NamedTuple):
    """Windows of clips, padded to one length, and the weights of the classes."""

    inputs: Float[np.ndarray, "B T D"]
    lengths: Int[np.ndarray, " B"]
    targets: Float[np.ndarray, "B C"]


def main() -> None:
    """Do one stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ucf101", required=True, help="folder of the classes")
    parser.add_argument("--cache", required=True, type=Path, help="of the features")
    parser.add_argument("--stage", choices=STAGES, default="validation")
    parser.add_argument("--views", default="rgb,difference", help="of the features")
    parser.add_argument("--parts", default="train,validation,test", help="likewise")
    options = parser.parse_args()
    parts, classes = divide(options.ucf101)
    if options.stage == "features":
        for view in options.views.split(","):
            for part in options.parts.split(","):
                extract(getattr(parts, part), view, options.cache)
    elif options.stage == "validation":
        train = load(parts.train, options.cache, classes)
        validation = load(parts.validation, options.cache, classes)
        print_heading("validation")
        for recipe in RECIPES:
            if available(recipe, validation):
                scores = run(recipe, train, validation, options.cache, 0)
                print_row(recipe.name, validation, [scores])
    else:
        training = [*parts.train, *parts.validation]
        train = load(training, options.cache, classes)
        test = load(parts.test, options.cache, classes)
        runs = {name: [bundled(name, test)] for name in ("ucf101-cnn", "ucf101-lrcn")}
        for recipe in RECIPES:
            if recipe.name in CHOICE:
                runs[recipe.name] = [
                    run(recipe, train, test, options.cache, seed) for seed in SEEDS
                ]
        if options.stage == "test":
            print_test(runs, test)
        else:
            print_errors(runs, test, classes)


# Features.


def divide(root: str) -> tuple[splits.Parts, tuple[str, ...]]:
    """Return the clips to train, validate and test on, and the classes."""
    listing = folder.scan(root, GROUP)
    parts = splits.split(
        listing.items, test_groups=TEST_GROUPS, validation_groups=VALIDATION_GROUPS
    )
    return parts, listing.classes


def feature_file(of_cache: Path, view: str, item: Item) -> Path:
    """Return the file that holds the features of a clip."""
    return of_cache / view / f"{Path(item.place).stem}.npz"


def extract(items: Sequence[Item], view: str, of_cache: Path) -> None:
    """Compute the features of clips that are not in the cache."""
    chosen, model = KINDS[view], zoo.load_model("ucf101-cnn")
    arch = {**model.description.arch, "view": chosen.input}
    features = sources.frozen_features(
        classifiers.build(arch, 1), model.variables["params"]["backbone"], cells=GRID
    )
    began, done = time.perf_counter(), 0
    for item in items:
        file = feature_file(of_cache, view, item)
        if file.exists():
            continue
        assert isinstance(item.clip, Path)
        frames = read_clip(item.clip, FPS).frames[:: chosen.stride]
        frames = frames[:, :, ::-1] if chosen.mirrored else frames
        inputs = backbones.preprocess(model.description.preprocess, frames)
        cache.save(file, {"features": features(inputs).astype(np.float16)})
        done += len(frames)
    seconds = time.perf_counter() - began
    print(
        f"{view}: {len(items)} clips, {done} new frames in {seconds:.0f} s", flush=True
    )


def load(items: Sequence[Item], of_cache: Path, classes: Sequence[str]) -> list[Clip]:
    """Read the features of clips: of every view that all of them have."""
    complete = [
        view
        for view in KINDS
        if all(feature_file(of_cache, view, item).exists() for item in items)
    ]
    clips = []
    for item in items:
        views = {}
        for view in complete:
            with np.load(feature_file(of_cache, view, item)) as arrays:
                maps = arrays["features"]
            views[view] = maps.reshape(len(maps), GRID**2, -1)
        group = f"{classes[item.label]} {item.group}"
        clips.append(Clip(views=views, label=item.label, group=group, name=item.name))
    return clips


def available(recipe: Recipe, clips: Sequence[Clip]) -> bool:
    """Tell whether the cache holds what a recipe reads."""
    return {view for view in views_of(recipe)} <= clips[0].views.keys()


def views_of(recipe: Recipe) -> list[str]:
    """Return the views that a recipe is tested on."""
    views = ["rgb", *(["difference"] if recipe.difference else [])]
    return views + [f"{view}-mirrored" for view in views if recipe.mirrored]


def vectors(clip: Clip, view: str, grid: bool) -> Float[np.ndarray, "T D"]:
    """Return a vector per frame: the mean of the map, or of each of its quarters."""
    maps = clip.views[view].astype(np.float32)
    if grid:
        return maps.reshape(len(maps), -1)
    return np.einsum("tqk,q->tk", maps, WEIGHTS.astype(np.float32))


def components(samples: Float[np.ndarray, "N D"], count: int) -> Projection:
    """Find the directions in which samples vary most, scaled to a variance of 1 in the mean."""
    mean = samples.mean(0)
    # By the N x N products: there are fewer samples than numbers in each.
    centred = (samples - mean).astype(np.float64)
    values, left = np.linalg.eigh(centred @ centred.T)
    values, left = values[::-1][:count], left[:, ::-1][:, :count]
    kernel = centred.T @ (left / np.sqrt(values))
    scale = np.sqrt(values.sum() / len(samples) / len(values))
    return Projection(mean=mean, kernel=(kernel / scale).astype(np.float32))


def projections(recipe: Recipe, train: Sequence[Clip]) -> dict[str, Projection]:
    """Return the projection of each view that a recipe reads, from training frames."""
    rng = np.random.default_rng(0)
    share = -(-SAMPLE // len(train))  # frames of each clip
    projection_of = {}
    for view in views_of(recipe._replace(mirrored=False)):
        sampled = [
            rng.permutation(vectors(clip, view, recipe.grid))[:share] for clip in train
        ]
        projection_of[view] = components(np.concatenate(sampled)[:SAMPLE], COMPONENTS)
    return projection_of


def inputs_of(
    clip: Clip,
    recipe: Recipe,
    projection_of: dict[str, Projection],
    mirrored: bool = False,
) -> Float[np.ndarray, "T D"]:
    """Return the projected vectors of all decoded frames, or of those of the differences."""
    every = recipe.stride if recipe.difference else 1
    parts = []
    for view, projection in projection_of.items():
        name = f"{view}-mirrored" if mirrored else view
        projected = (
            vectors(clip, name, recipe.grid) - projection.mean
        ) @ projection.kernel
        parts.append(projected[:: every // KINDS[view].stride])
    return np.concatenate(parts, 1)


def sampled(
    inputs: Float[np.ndarray, "T D"], recipe: Recipe, offset: int = 0
) -> Float[np.ndarray, "T2 D2"]:
    """Return the steps of a clip: every ``stride``-th frame, with its changes."""
    steps = inputs if recipe.difference else inputs[offset :: recipe.stride]
    before = [np.maximum(np.arange(len(steps)) - lag, 0) for lag in recipe.lags]
    return np.concatenate([steps, *(steps - steps[index] for index in before)], 1)


# Training.


def fit(
    recipe: Recipe, train: Sequence[Clip], tested: Sequence[Clip], *, seed: int
) -> Float[np.ndarray, "N C"]:
    """Train a recipe and return the log probabilities of the classes of other clips."""
    projection_of = projections(recipe, train)
    inputs = [inputs_of(clip, recipe, projection_of) for clip in train]
    labels = np.array([clip.label for clip in train])
    module = build(recipe, classes=int(labels.max()) + 1)
    params = optimise(module, recipe, inputs, labels, seed)
    log_probabilities = []
    for mirrored in (False, True) if recipe.mirrored else (False,):
        views = [inputs_of(clip, recipe, projection_of, mirrored) for clip in tested]
        for offset in range(recipe.stride if recipe.offsets else 1):
            steps = [sampled(view, recipe, offset) for view in views]
            log_probabilities.append(predict(module, recipe, params, steps))
    return np.mean(log_probabilities, 0)


def build(recipe: Recipe, classes: int) -> classifiers.Classifier:
    """Return the classifier; its backbone is not used."""
    arch = {
        "kind": recipe.kind,
        "backbone": "small",
        "head": "gap",
        "width": 512,
        "cell": "lstm",
        "hidden": 256,
        "dropout": 0.5,
    }
    module = classifiers.build(arch, classes)
    assert isinstance(module, classifiers.Classifier)
    return module


def optimise(
    module: classifiers.Classifier,
    recipe: Recipe,
    inputs: Sequence[Float[np.ndarray, "T D"]],
    labels: Int[np.ndarray, " N"],
    seed: int,
) -> Params:
    """Train a classifier by AdamW under a warm-up cosine schedule; return its parameters."""
    rng = np.random.default_rng(seed)
    width = sampled(inputs[0], recipe).shape[1]
    variables = classifiers.init(
        module, jax.random.key(seed), jnp.zeros((2, 1, 1, width)), "classify"
    )
    params = variables["params"]
    per_epoch = -(-len(inputs) // BATCH)
    total = EPOCHS * per_epoch
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.adamw(
            rate(recipe, total),
            weight_decay=DECAY,
            mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree),
        ),
    )
    state, key = optimizer.init(params), jax.random.key(seed + 1000)
    order = np.array([], int)
    mean, averaged = params, 0
    step = functools.partial(update, module, recipe, optimizer)
    step = jax.jit(step)
    for number in range(total):
        if number % per_epoch == 0:
            order = np.resize(rng.permutation(len(inputs)), per_epoch * BATCH)
        chosen = order[number % per_epoch * BATCH :][:BATCH]
        batch = draw(inputs, labels, chosen, recipe, module.classes, rng)
        params, state = step(params, state, batch, jax.random.fold_in(key, number))
        if recipe.averaging and number >= 2 * total // 3:
            averaged += 1
            mean = optax.incremental_update(params, mean, 1 / averaged)
    # The type of ``incremental_update`` knows no dicts.
    return mean if recipe.averaging else params  # pyrefly: ignore[bad-return]


def rate(recipe: Recipe, total: int) -> optax.Schedule:
    """Return the schedule of the learning rate."""
    warmup = max(1, total // 20)
    end = RATE / 2 if recipe.averaging else 0.0
    steps = total // 2 if recipe.averaging else total
    return optax.warmup_cosine_decay_schedule(0.0, RATE, warmup, steps, end)


def draw(
    inputs: Sequence[Float[np.ndarray, "T D"]],
    labels: Int[np.ndarray, " N"],
    chosen: Int[np.ndarray, " B"],
    recipe: Recipe,
    classes: int,
    rng: np.random.Generator,
) -> Batch:
    """Draw a random window of each chosen clip, mixed with another where asked for."""
    windows = [window(inputs[i], recipe, rng) for i in chosen]
    steps = window_steps(recipe)
    targets = np.eye(classes, dtype=np.float32)[labels[chosen]]
    batch = pad(windows, targets, steps)
    if not recipe.mixup:
        return batch
    partner = rng.permutation(len(chosen))
    weight = rng.beta(recipe.mixup, recipe.mixup, len(chosen)).astype(np.float32)
    other = batch.inputs[partner]
    return Batch(
        inputs=weight[:, None, None] * batch.inputs
        + (1 - weight)[:, None, None] * other,
        lengths=np.minimum(batch.lengths, batch.lengths[partner]),
        targets=weight[:, None] * targets + (1 - weight)[:, None] * targets[partner],
    )


def window(
    inputs: Float[np.ndarray, "T D"], recipe: Recipe, rng: np.random.Generator
) -> Float[np.ndarray, "T2 D2"]:
    """Return a random window of a clip."""
    offset = int(rng.integers(recipe.stride)) if recipe.offsets else 0
    steps = sampled(inputs, recipe, offset)
    start = int(rng.integers(max(1, len(steps) - window_steps(recipe) + 1)))
    return steps[start : start + window_steps(recipe)]


def window_steps(recipe: Recipe) -> int:
    """Return the steps of a training window."""
    return round(SECONDS * FPS / recipe.stride)


def pad(
    windows: Sequence[Float[np.ndarray, "T D"]],
    targets: Float[np.ndarray, "B C"],
    steps: int,
) -> Batch:
    """Pad windows to one length."""
    inputs = np.zeros((len(windows), steps, windows[0].shape[1]), np.float32)
    for row, one in zip(inputs, windows, strict=True):
        row[: len(one)] = one
    lengths = np.array([len(one) for one in windows])
    return Batch(inputs=inputs, lengths=lengths, targets=targets)


def update(
    module: classifiers.Classifier,
    recipe: Recipe,
    optimizer: optax.GradientTransformation,
    params: Params,
    state: optax.OptState,
    batch: Batch,
    key: Array,
) -> tuple[Params, optax.OptState]:
    """Take one step on the mean cross-entropy of the trained steps."""
    keys = jax.random.split(key, len(batch.targets))
    targets = optax.smooth_labels(jnp.asarray(batch.targets), recipe.smoothing)

    def loss(params: Params) -> Float[Array, ""]:
        def score(inputs: Array, key: Array) -> Array:
            return module.apply(  # pyrefly: ignore[bad-return]  (scores alone)
                {"params": params},
                inputs[:, None, None],
                train=True,
                rngs={"dropout": key},
                method="classify",
            )

        scores = jax.vmap(score)(jnp.asarray(batch.inputs), keys)
        losses = optax.softmax_cross_entropy(scores, targets[:, None])
        trained = trained_steps(batch, recipe.loss)
        return jnp.where(trained, losses, 0).sum() / trained.sum()

    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    # The type of ``apply_updates`` knows no dicts.
    return optax.apply_updates(params, updates), state  # pyrefly: ignore[bad-return]


def trained_steps(batch: Batch, loss: str) -> Array:
    """Mark the steps of which the loss is taken, (B, T)."""
    steps, lengths = jnp.arange(batch.inputs.shape[1]), batch.lengths[:, None]
    first = {"every_step": 0, "last_half": lengths // 2, "last_step": lengths - 1}
    return (steps < lengths) & (steps >= first[loss])


def predict(
    module: classifiers.Classifier,
    recipe: Recipe,
    params: Params,
    clips: Sequence[Float[np.ndarray, "T D"]],
) -> Float[np.ndarray, "N C"]:
    """Return log probabilities: an LRCN's at the last step, a CNN's mean over frames."""
    longest = max(map(len, clips))
    batch = pad(clips, np.zeros((len(clips), 0), np.float32), longest)
    score = lambda x: module.apply(
        {"params": params}, x[:, None, None], method="classify"
    )
    scores = jax.nn.log_softmax(jax.jit(jax.vmap(score))(batch.inputs))
    trained = "last_step" if recipe.kind == "lrcn" else "every_step"
    marks = np.asarray(trained_steps(batch, trained))[..., None]
    return (np.asarray(scores) * marks).sum(1) / marks.sum(1)


def run(
    recipe: Recipe,
    train: Sequence[Clip],
    tested: Sequence[Clip],
    of_cache: Path,
    seed: int,
) -> Float[np.ndarray, "N C"]:
    """Return what ``fit`` returns, which is computed once and kept."""
    state = (recipe, [clip.name for clip in (*train, *tested)], seed)
    key = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    file = of_cache / "predictions" / f"{key}.npz"
    if not file.exists():
        cache.save(file, {"scores": fit(recipe, train, tested, seed=seed)})
    with np.load(file) as arrays:
        return arrays["scores"]


def bundled(name: str, clips: Sequence[Clip]) -> Float[np.ndarray, "N C"]:
    """Return the log probabilities of a bundled model, which sees 7.5 frames a second."""
    model = zoo.load_model(name)
    recipe = CNN if model.description.arch["kind"] == "cnn" else LRCN
    steps = [vectors(clip, "rgb", grid=False)[:: recipe.stride] for clip in clips]
    assert isinstance(model.module, classifiers.Classifier)
    return predict(model.module, recipe, model.variables["params"], steps)


# Tables.


def print_heading(part: str) -> None:
    """Print the top of a table of accuracies."""
    print(f"| recipe | {part}, %, by seed | interval | wrong, of recordings |")
    print("|---|---|---|---|")


def print_row(
    name: str, clips: Sequence[Clip], runs: Sequence[Float[np.ndarray, "N C"]]
) -> None:
    """Print the accuracy of a recipe by its runs, one for each seed."""
    correct = np.array([is_correct(scores, clips) for scores in runs], float)
    groups = [clip.group for clip in clips]
    interval = statistics.share_interval(correct.mean(0), groups)
    by_seed = ", ".join(f"{100 * share:.1f}" for share in correct.mean(1))
    wrong = {
        clip.group
        for clip, share in zip(clips, correct.mean(0), strict=True)
        if share < 1
    }
    bounds = interval.bounds
    text = f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}" if bounds else ""
    print(
        f"| {name} | {by_seed} | {text} | {len(wrong)} of {len(set(groups))} |",
        flush=True,
    )


def is_correct(scores: Float[np.ndarray, "N C"], clips: Sequence[Clip]) -> np.ndarray:
    """Tell of which clips the class with the highest score is the right one."""
    return scores.argmax(1) == np.array([clip.label for clip in clips])


def print_test(
    runs: dict[str, list[Float[np.ndarray, "N C"]]], clips: Sequence[Clip]
) -> None:
    """Print the accuracy of every model, and differences clip by clip."""
    print_heading("test")
    for name, scores in runs.items():
        print_row(name, clips, scores)
    print("\n| first | second | first minus second, points | interval |")
    print("|---|---|---|---|")
    for first, second in itertools.combinations(reversed(runs), 2):
        gain = difference(runs[first], runs[second], clips)
        bounds = gain.bounds
        text = f"{100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}" if bounds else ""
        print(f"| {first} | {second} | {100 * (gain.mean or 0):+.1f} | {text} |")


def difference(
    first: Sequence[Float[np.ndarray, "N C"]],
    second: Sequence[Float[np.ndarray, "N C"]],
    clips: Sequence[Clip],
) -> statistics.Interval:
    """Return by how much the first is more accurate, clip by clip, seeds averaged."""
    shares = [
        np.mean([is_correct(scores, clips) for scores in runs], 0)
        for runs in (first, second)
    ]
    groups = [clip.group for clip in clips]
    return statistics.mean_interval(shares[0] - shares[1], groups)


def print_errors(
    runs: dict[str, list[Float[np.ndarray, "N C"]]],
    clips: Sequence[Clip],
    classes: Sequence[str],
) -> None:
    """Print what is confused by every model, by class pair and by clip."""
    names = list(runs)
    pairs = {name: Counter(confused(runs[name], clips)) for name in names}
    print(f"| true class | predicted | {' | '.join(names)} |")
    print("|---" * (2 + len(names)) + "|")
    for true, predicted in sorted(set().union(*pairs.values())):
        counts = [
            f"{pairs[name][true, predicted] / len(runs[name]):.1f}" for name in names
        ]
        print(f"| {classes[true]} | {classes[predicted]} | {' | '.join(counts)} |")
    print(f"\n| clip | {' | '.join(names)} |")
    print("|---" * (1 + len(names)) + "|")
    for number, clip in enumerate(clips):
        cells = []
        for name in names:
            answers = [int(scores[number].argmax()) for scores in runs[name]]
            cells.append(", ".join(classes[a] for a in answers if a != clip.label))
        if any(cells):
            print(f"| {clip.name} | {' | '.join(cells)} |")


def confused(
    runs: Sequence[Float[np.ndarray, "N C"]], clips: Sequence[Clip]
) -> list[tuple[int, int]]:
    """Return (class, predicted class) of every misclassified clip of every run."""
    return [
        (clip.label, int(row.argmax()))
        for scores in runs
        for clip, row in zip(clips, scores, strict=True)
        if row.argmax() != clip.label
    ]


if __name__ == "__main__":
    main()
