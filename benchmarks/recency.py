r"""How far back do trained LRCNs look, and what changes it?

    python benchmarks/recency.py
    python benchmarks/recency.py --ucf101=FOLDER --cache=FOLDER

On drawn stickman clips of 16 frames, LRCNs are trained above the frozen backbone and frame
head of ``stickman-cnn``: on the loss of every step, of the last half of the steps or of the
last one, with several initial forget-gate biases, three seeds each. With --ucf101 and --cache
(see benchmarks/accuracy.py), LRCNs are trained on UCF101's groups 8-25 in the same way and
measured on the first 32 frames (7.5 a second) of the test clips that are as long.

What the score of the predicted class at the last step loses where one frame is replaced by
the clip's mean is the effect of that frame, an intervention. The table says how the absolute
effects divide among lags (0 is the last frame), their mean lag, the accuracy, and the
accuracy where the model sees only the last frames. For drawn clips it says the same of the
rectified Grad-CAM matrix. Intervals are over clips (drawn) or recordings (UCF101); a clip
that several seeds are measured on is one observation.
"""

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import accuracy
from rgcam.attribution import explain
from rgcam.data.synthetic import draw
from rgcam.metrics import statistics
from rgcam.models import backbones, classifiers, zoo
from rgcam.types import Params

SEEDS = (0, 1, 2)
LAGS = ((0, 1), (1, 4), (4, 8), (8, None))  # first lag, and the first one after
SHORT = (1, 4, 8)  # last frames that the model sees alone
RATE, BATCH, EPOCHS = 2e-3, 32, 12
TRAINING_SEED, TEST_SEED = 1, 2  # of drawn clips, as in training
REAL_STEPS = 32
GRADCAM_CLIPS = 60  # of the drawn ones


class Setting(NamedTuple):
    """How an LRCN is trained.

    Attributes:
        loss: steps whose loss is trained: every_step, last_half or last_step.
        bias: of the forget gate, before training.
    """

    loss: str
    bias: float


SETTINGS = (
    Setting("every_step", 0.0),
    Setting("every_step", 1.0),
    Setting("every_step", 3.0),
    Setting("last_half", 1.0),
    Setting("last_step", 0.0),
    Setting("last_step", 1.0),
    Setting("last_step", 3.0),
)
REAL_SETTINGS = tuple(setting for setting in SETTINGS if setting.bias == 1.0)


class Test(NamedTuple):
    """The clips that LRCNs are measured on.

    Attributes:
        inputs: frame vectors (M, T, D) as ``scores_of`` takes them.
        labels: their classes.
        groups: their recordings.
    """

    inputs: Float[np.ndarray, "M T D"]
    labels: Int[np.ndarray, " M"]
    groups: list[str]


class Measured(NamedTuple):
    """What was measured of one LRCN on the test clips.

    Attributes:
        correct: whether the predicted class is the right one.
        short: the same where only the last frames are seen, by their number.
        effects: of each frame on the last score, absolute.
        gradcam: the same by the rectified matrix of Grad-CAM, or None.
    """

    correct: Float[np.ndarray, " M"]
    short: dict[int, Float[np.ndarray, " M"]]
    effects: Float[np.ndarray, "M T"]
    gradcam: Float[np.ndarray, "M2 T"] | None


def main() -> None:
    """Train, measure, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train_clips", type=int, default=2000, help="drawn")
    parser.add_argument("--clips", type=int, default=300, help="drawn, to measure on")
    parser.add_argument("--ucf101", help="folder of the classes")
    parser.add_argument("--cache", type=Path, help="of benchmarks/accuracy.py")
    options = parser.parse_args()
    if options.ucf101:
        print_heading("UCF101")
        for line in real_rows(options.ucf101, options.cache):
            print(line, flush=True)
        return
    print_heading("stickman")
    for line in drawn_rows(options.train_clips, options.clips):
        print(line, flush=True)


# The models.


def drawn_rows(train_clips: int, clips: int) -> Iterator[str]:
    """Yield the lines of the table of drawn clips."""
    source = zoo.load_model("stickman-cnn")
    below = {
        name: source.variables["params"][name] for name in ("backbone", "frame_head")
    }
    module = classifiers.build(
        {**source.description.arch, "kind": "lrcn"}, len(source.classes)
    )
    assert isinstance(module, classifiers.Classifier)
    spec = source.description.preprocess
    train = draw.draw_clips("stickman", TRAINING_SEED, train_clips)
    drawn = draw.draw_clips("stickman", TEST_SEED, clips)
    drive = jax.jit(functools.partial(frame_drive, module, below))
    inputs = np.stack(
        [drive(backbones.preprocess(spec, train.inputs[i])) for i in range(train_clips)]
    )
    frames = [backbones.preprocess(spec, drawn.inputs[i]) for i in range(clips)]
    test = Test(
        inputs=np.stack([drive(one) for one in frames]),
        labels=drawn.labels,
        groups=list(drawn.groups),
    )
    for setting in SETTINGS:
        runs = []
        for seed in SEEDS:
            params = train_above(module, inputs, train.labels, setting, seed)
            gradcam = gradcam_rows(module, {**below, **params}, frames[:GRADCAM_CLIPS])
            runs.append(measure(module, params, test)._replace(gradcam=gradcam))
        yield row(setting, runs, test)
    bundled = zoo.load_model("stickman-lrcn")
    assert isinstance(bundled.module, classifiers.Classifier)
    params = bundled.variables["params"]
    own_drive = jax.jit(functools.partial(frame_drive, bundled.module, params))
    own_test = test._replace(inputs=np.stack([own_drive(one) for one in frames]))
    measured = measure(bundled.module, params, own_test)._replace(
        gradcam=gradcam_rows(bundled.module, params, frames[:GRADCAM_CLIPS])
    )
    yield row(Setting("every_step, end to end (bundled)", 1.0), [measured], own_test)


def frame_drive(
    module: classifiers.Classifier, params: Params, frames: Float[Array, "T S S 3"]
) -> Float[Array, "T D"]:
    """Return the frame head's vectors, which are affine in A."""
    features = module.apply({"params": params}, frames, method="features")
    drive = module.apply({"params": params}, features, method="drive")
    assert isinstance(drive, Array)
    return drive


def real_rows(root: str, of_cache: Path) -> Iterator[str]:
    """Yield the lines of the table of UCF101."""
    parts, classes = accuracy.divide(root)
    train = accuracy.load([*parts.train, *parts.validation], of_cache, classes)
    tested = accuracy.load(parts.test, of_cache, classes)
    recipe = accuracy.LRCN
    projection_of = accuracy.projections(recipe, train)
    inputs = [accuracy.inputs_of(clip, recipe, projection_of) for clip in train]
    labels = np.array([clip.label for clip in train])
    steps = [
        accuracy.sampled(accuracy.inputs_of(clip, recipe, projection_of), recipe)
        for clip in tested
    ]
    long = [number for number, one in enumerate(steps) if len(one) >= REAL_STEPS]
    test = Test(
        inputs=np.stack([steps[number][:REAL_STEPS] for number in long]),
        labels=np.array([tested[number].label for number in long]),
        groups=[tested[number].group for number in long],
    )
    module = accuracy.build(recipe, len(classes))
    for setting in REAL_SETTINGS:
        of_setting = recipe._replace(loss=setting.loss)
        runs = [
            measure(
                module,
                accuracy.optimise(module, of_setting, inputs, labels, seed),
                test,
            )
            for seed in SEEDS
        ]
        yield row(setting, runs, test)


def train_above(
    module: classifiers.Classifier,
    inputs: Float[np.ndarray, "N T D"],
    labels: Int[np.ndarray, " N"],
    setting: Setting,
    seed: int,
) -> Params:
    """Train the recurrent layer and the scores above the frame vectors."""
    rng = np.random.default_rng(seed)
    example = jnp.zeros((2, 8, 8, 64))  # A of the small CNN
    variables = classifiers.init(module, jax.random.key(seed), example, "classify")
    params = dict(variables["params"])
    params.pop("frame_head", None)  # frozen, where there is one
    params["recurrent"] = jax.tree.map_with_path(
        lambda path, leaf: (
            jnp.full_like(leaf, setting.bias) if is_forget_bias(path) else leaf
        ),
        params["recurrent"],
    )
    per_epoch = len(inputs) // BATCH
    total = EPOCHS * per_epoch
    schedule = optax.warmup_cosine_decay_schedule(0.0, RATE, total // 20, total)
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), optax.adamw(schedule, weight_decay=1e-4)
    )
    state, key = optimizer.init(params), jax.random.key(seed + 1000)
    first = {
        "every_step": 0,
        "last_half": inputs.shape[1] // 2,
        "last_step": inputs.shape[1] - 1,
    }[setting.loss]

    def loss(params: Params, batch: Array, targets: Array, key: Array) -> Array:
        keys = jax.random.split(key, len(batch))
        score = functools.partial(scores_of, module, params, train=True)
        scores = jax.vmap(lambda x, key: score(x, rngs={"dropout": key}))(batch, keys)
        targets = jnp.broadcast_to(targets[:, None], scores.shape[:2])
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, targets)
        return losses[:, first:].mean()

    @jax.jit
    def update(
        params: Params, state: optax.OptState, batch: Array, targets: Array, key: Array
    ) -> tuple[Params, optax.OptState]:
        gradient = jax.grad(loss)(params, batch, targets, key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state  # pyrefly: ignore[bad-return]

    for epoch in range(EPOCHS):
        order = rng.permutation(len(inputs))
        for number in range(per_epoch):
            chosen = order[number * BATCH :][:BATCH]
            step_key = jax.random.fold_in(key, epoch * per_epoch + number)
            params, state = update(
                params, state, inputs[chosen], jnp.asarray(labels[chosen]), step_key
            )
    return params


def is_forget_bias(path: tuple[object, ...]) -> bool:
    """Tell whether a leaf of the parameters is the bias of the forget gate."""
    return [getattr(entry, "key", None) for entry in path][-2:] == ["hf", "bias"]


def scores_of(
    module: classifiers.Classifier,
    params: Params,
    inputs: Float[Array, "T D"],
    *,
    train: bool = False,
    rngs: dict[str, Array] | None = None,
) -> Float[Array, "T C"]:
    """Return the scores of frame vectors: above the head fc, or pooled feature maps."""
    variables = {"params": params}
    if module.head == "fc":
        carry = module.apply(variables, method="begin")
        result = module.apply(
            variables, carry, inputs, train=train, rngs=rngs, method="advance"
        )
        return result[1]  # pyrefly: ignore[bad-return]  (of carry and scores)
    return module.apply(  # pyrefly: ignore[bad-return]  (scores alone)
        variables, inputs[:, None, None], train=train, rngs=rngs, method="classify"
    )


# What is measured.


def measure(module: classifiers.Classifier, params: Params, test: Test) -> Measured:
    """Measure one LRCN on the test clips."""
    score = functools.partial(scores_of, module)
    classify = jax.jit(jax.vmap(lambda params, x: score(params, x)[-1], (None, 0)))
    scores = np.asarray(classify(params, test.inputs))
    short = {
        count: np.asarray(classify(params, test.inputs[:, -count:])).argmax(1)
        == test.labels
        for count in SHORT
    }

    def effects(params: Params, inputs: Array) -> Float[Array, " T"]:
        """Return what the last score loses where one frame is the clip's mean."""
        whole = score(params, inputs)[-1]
        target = whole.argmax()
        replaced = jnp.eye(len(inputs), dtype=bool)[:, :, None]
        others = jnp.where(replaced, inputs.mean(0), inputs)
        lost = whole[target] - jax.vmap(lambda x: score(params, x)[-1, target])(others)
        return jnp.abs(lost)

    compute = jax.jit(
        lambda params, inputs: jax.lax.map(functools.partial(effects, params), inputs)
    )
    return Measured(
        correct=(scores.argmax(1) == test.labels).astype(float),
        short={count: values.astype(float) for count, values in short.items()},
        effects=np.asarray(compute(params, jnp.asarray(test.inputs))),
        gradcam=None,
    )


def gradcam_rows(
    module: classifiers.Classifier,
    params: Params,
    frames: Sequence[Float[np.ndarray, "T S S 3"]],
) -> Float[np.ndarray, "M T"]:
    """Return the last row of Grad-CAM's rectified matrix of each clip."""
    rows = [
        explain.explain(module, {"params": params}, one, beta=False).matrix[-1]
        for one in frames
    ]
    return np.asarray(rows)


# The table.


def print_heading(data: str) -> None:
    """Print the top of the table."""
    columns = [
        data,
        "forget bias",
        "accuracy, %",
        *(f"of the last {count}" for count in SHORT),
        *(f"effect at lag {lag_text(lags)}, %" for lags in LAGS),
        "mean lag",
        "by Grad-CAM: last frame, %",
        "mean lag",
    ]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")


def lag_text(lags: tuple[int, int | None]) -> str:
    """Write a range of lags."""
    first, end = lags
    if end is None:
        return f"{first} and more"
    return str(first) if end == first + 1 else f"{first} to {end - 1}"


def row(setting: Setting, runs: Sequence[Measured], test: Test) -> str:
    """Return a line of the table: several seeds of one setting."""
    effects = [by_lag(run.effects) for run in runs]
    cells = [setting.loss, f"{setting.bias:g}"]
    cells.append(share_text([run.correct for run in runs], test.groups))
    cells += [
        share_text([run.short[count] for run in runs], test.groups) for count in SHORT
    ]
    for first, end in LAGS:
        values = [100 * shares[:, first:end].sum(1) for shares in effects]
        cells.append(mean_text(values, test.groups, ".0f"))
    cells.append(
        mean_text([mean_lag(shares) for shares in effects], test.groups, ".1f")
    )
    gradcam = [by_lag(run.gradcam) for run in runs if run.gradcam is not None]
    if gradcam:
        groups = test.groups[: len(gradcam[0])]
        cells.append(
            mean_text([100 * shares[:, 0] for shares in gradcam], groups, ".0f")
        )
        cells.append(mean_text([mean_lag(shares) for shares in gradcam], groups, ".1f"))
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def by_lag(values: Float[np.ndarray, "M T"]) -> Float[np.ndarray, "M T"]:
    """Return the shares of a row in its sum, the last frame first; NaN of a row of 0."""
    total = values.sum(1, keepdims=True)
    return np.divide(values, total, where=total > 0, out=np.full_like(values, np.nan))[
        :, ::-1
    ]


def mean_lag(shares: Float[np.ndarray, "M T"]) -> Float[np.ndarray, " M"]:
    """Return the mean lag of each clip, in frames."""
    return shares @ np.arange(shares.shape[1])


def share_text(runs: Sequence[Float[np.ndarray, " M"]], groups: Sequence[str]) -> str:
    """Write a share in percent, the mean over seeds, with its interval."""
    interval = statistics.share_interval(np.mean(runs, 0), groups)
    return interval_text(interval, 100, ".1f")


def mean_text(
    runs: Sequence[Float[np.ndarray, " M"]], groups: Sequence[str], spec: str
) -> str:
    """Write a mean over clips and seeds with its interval."""
    interval = statistics.mean_interval(np.mean(runs, 0), groups)
    return interval_text(interval, 1, spec)


def interval_text(interval: statistics.Interval, factor: float, spec: str) -> str:
    """Write a mean and its bounds, where it has any."""
    if interval.mean is None:
        return ""
    text = f"{factor * interval.mean:{spec}}"
    if interval.bounds is None:
        return text
    low, high = interval.bounds
    return f"{text} ({factor * low:{spec}} to {factor * high:{spec}})"


if __name__ == "__main__":
    main()
