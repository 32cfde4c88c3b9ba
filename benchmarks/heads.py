r"""When is Grad-CAM's pooling harmless? Heads gap and fc, three training seeds each.

    python benchmarks/heads.py --clips=40
    python benchmarks/heads.py --clips=24 --ucf101=FOLDER --cache=FOLDER

Drawn clips: LRCNs are trained above the frozen backbone of ``stickman-cnn``, on the loss of
every step, with a pooled head (``gap``), and with its frame head (``fc``). With --ucf101 and
--cache (see benchmarks/accuracy.py), LRCNs are trained above EfficientNet-Lite0 on UCF101's
groups 8-25, on the loss of the last step: ``gap`` on pooled features, ``fc`` on the quarters
of the map. What they are explained on was not trained on: drawn clips, whose truth is known,
or the first 16 frames of one clip of each of some recordings of groups 3-7.

The measures are those of docs/which-method.md: *subset* (the partial correlation of the
matrix with what the scores lose when random sets of frames are replaced), *space* (the same
for quarters of frames), whether the faithfulness check is passed, and for drawn clips
*energy*, *pointing* and *moments* over all output steps. A second table has differences, clip
by clip. A clip that three seeds are measured on is one observation of the intervals.
"""

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import accuracy, recency
from rgcam.data.folder import Item
from rgcam.data.synthetic import draw
from rgcam.data.video import read_clip
from rgcam.evaluation import clips as evaluation_clips
from rgcam.evaluation import tables
from rgcam.evaluation.clips import EvaluationClip
from rgcam.evaluation.tables import Column, Row
from rgcam.metrics import statistics
from rgcam.models import classifiers, description, layers, zoo
from rgcam.models.zoo import Model
from rgcam.types import Params

HEADS = ("gap", "fc")
SETTING = recency.Setting(loss="every_step", bias=1.0)  # of drawn clips
METHODS = (
    "gradcam",
    "gradcam:zero:signed",
    "hirescam",
    "hirescam:zero:signed",
    "fade:zero",
    "fade",
    "occlusion",
)
KINDS = ("faithfulness", "check", "localization")
SUBSET = Column("faithfulness", "subset")
COLUMNS = (
    SUBSET,
    Column("faithfulness", "space"),
    Column("check_passed", "genuine"),
    Column("localization_max", "energy"),
    Column("localization_max", "pointing"),
    Column("localization_max", "moments"),
)
REFERENCES = ("recency", "motion", "frame CNN")
BASELINE = "zero"  # by which *subset* of the references is measured
DIFFERENCES = (
    ("hirescam", "gradcam"),
    ("hirescam:zero:signed", "gradcam:zero:signed"),
    ("gradcam", "recency:zero"),
    ("gradcam:zero:signed", "recency:zero"),
    ("gradcam", "frame CNN:zero"),
    ("fade:zero", "gradcam:zero:signed"),
)
LENGTH = 16  # frames of a clip that is explained
FRESH = 300  # drawn clips that the accuracy is of


class Trained(NamedTuple):
    """An LRCN and its accuracy on clips that it was not trained on."""

    model: Model
    accuracy: float


def main() -> None:
    """Train, measure, print two tables for each head."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train_clips", type=int, default=2000, help="drawn")
    parser.add_argument("--clips", type=int, default=24, help="to measure on")
    parser.add_argument("--ucf101", help="folder of the classes")
    parser.add_argument("--cache", type=Path, help="of benchmarks/accuracy.py")
    options = parser.parse_args()
    if options.ucf101:
        cnn = zoo.load_model("ucf101-cnn")
        clips = list(real_clips(cnn, options.ucf101, options.clips))
        train = functools.partial(train_real, cnn, options.ucf101, options.cache)
    else:
        cnn = zoo.load_model("stickman-cnn")
        clips = list(evaluation_clips.load(cnn, data="stickman", clips=options.clips))
        train = functools.partial(train_drawn, cnn, options.train_clips)
    for head in HEADS:
        rows, shares = [], []
        for trained in train(head):
            began = time.perf_counter()
            rows += tables.measure_clips(
                trained.model, clips, METHODS, cnn=cnn, kinds=KINDS
            )
            shares.append(trained.accuracy)
            seconds = time.perf_counter() - began
            print(f"{trained.model.name}: {seconds:.0f} s", file=sys.stderr)
        text = ", ".join(f"{100 * share:.1f}" for share in shares)
        print(f"\nHead {head}, {len(clips)} clips, accuracy by seed {text} %\n")
        print(methods_table(rows))
        print(differences_table(rows), flush=True)


# Drawn clips.


def train_drawn(cnn: Model, train_clips: int, head: str) -> Iterator[Trained]:
    """Train the recurrent layer and the scores above the backbone of a frame CNN."""
    arch = description.check_architecture(
        {**cnn.description.arch, "kind": "lrcn", "head": head}, ""
    )
    module = classifiers.build(arch, len(cnn.classes))
    assert isinstance(module, classifiers.Classifier)
    names = ["backbone", *(["frame_head"] if head == "fc" else [])]
    below = {name: cnn.variables["params"][name] for name in names}

    @jax.jit
    def vectors(frames: Array) -> Array:
        features = module.apply({"params": below}, frames, method="features")
        assert isinstance(features, jax.Array)
        if head == "gap":
            return features.mean((1, 2))
        return jnp.asarray(module.apply({"params": below}, features, method="drive"))

    train = draw.draw_clips("stickman", recency.TRAINING_SEED, train_clips)
    test = draw.draw_clips("stickman", recency.TEST_SEED, FRESH)
    inputs, tested = (
        np.stack([vectors(cnn.preprocess(drawn.inputs[i])) for i in range(count)])
        for drawn, count in ((train, train_clips), (test, FRESH))
    )
    for seed in recency.SEEDS:
        above = recency.train_above(module, inputs, train.labels, SETTING, seed)
        score = functools.partial(recency.scores_of, module, above)
        scores = jax.jit(jax.vmap(lambda x, score=score: score(x)[-1]))(tested)
        yield Trained(
            model=cnn._replace(
                module=module,
                variables={"params": {**below, **above}},
                name=f"{head}, seed {seed}",
                description=dataclasses.replace(cnn.description, arch=arch),
                statistics=None,
            ),
            accuracy=float((np.asarray(scores).argmax(1) == test.labels).mean()),
        )


# Real clips.


def real_clips(cnn: Model, root: str, count: int) -> Iterator[EvaluationClip]:
    """Yield the first clip by name that is long enough of each of some recordings."""
    parts, classes = accuracy.divide(root)
    recordings: dict[str, list[Item]] = {}
    for item in sorted(parts.test, key=lambda item: item.name):
        recordings.setdefault(f"{classes[item.label]} {item.group}", []).append(item)
    names = sorted(recordings)
    order = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    clips = (real_clip(cnn, name, recordings[name]) for name in order)
    long_enough = (clip for clip in clips if clip is not None)
    return (clip for clip, _ in zip(long_enough, range(count), strict=False))


def real_clip(
    cnn: Model, recording: str, items: Sequence[Item]
) -> EvaluationClip | None:
    """Return the first clip of a recording that is long enough, or None."""
    for item in items:
        assert isinstance(item.clip, Path)
        pixels = read_clip(item.clip, cnn.description.fps).frames[:LENGTH]
        if len(pixels) == LENGTH:
            return EvaluationClip(
                name=item.name,
                group=recording,
                frames=cnn.preprocess(pixels),
                pixels=pixels,
                target=item.label,
                mask=None,
                true_frames=None,
            )
    return None


def train_real(cnn: Model, root: str, of_cache: Path, head: str) -> Iterator[Trained]:
    """Train LRCNs above cached features, as benchmarks/accuracy.py does."""
    parts, classes = accuracy.divide(root)
    assert tuple(classes) == cnn.classes
    train = accuracy.load([*parts.train, *parts.validation], of_cache, classes)
    tested = accuracy.load(parts.test, of_cache, classes)
    recipe = accuracy.LRCN._replace(grid=head == "fc")
    projection_of = accuracy.projections(recipe, train)
    inputs = [accuracy.inputs_of(clip, recipe, projection_of) for clip in train]
    labels = np.array([clip.label for clip in train])
    steps = [
        accuracy.sampled(accuracy.inputs_of(clip, recipe, projection_of), recipe)
        for clip in tested
    ]
    small = accuracy.build(recipe, len(classes)).clone(head=head)
    arch = description.check_architecture(
        {**cnn.description.arch, "kind": "lrcn", "head": head}, ""
    )
    assert cnn.feature_map is not None
    for seed in recency.SEEDS:
        above = accuracy.optimise(small, recipe, inputs, labels, seed)
        scores = accuracy.predict(small, recipe, above, steps)
        full = above_maps(above, projection_of["rgb"], cnn.feature_map)
        backbone = cnn.variables["params"]["backbone"]
        yield Trained(
            model=cnn._replace(
                module=classifiers.build(arch, len(classes)),
                variables={"params": {**full, "backbone": backbone}},
                name=f"{head}, seed {seed}",
                description=dataclasses.replace(cnn.description, arch=arch),
                statistics=None,
            ),
            accuracy=float(accuracy.is_correct(scores, tested).mean()),
        )


def above_maps(
    params: Params,
    projection: accuracy.Projection,
    feature_map: tuple[int, int, int],
) -> Params:
    """Return parameters that read feature maps instead of projected features.

    Args:
        params: of an LRCN whose input is ``(pooled - mean) @ kernel``: of the head fc,
            pooled over quarters, or of the head gap, over the whole map.
        projection: mean and kernel.
        feature_map: (h, w, K) of A.
    """
    kernel, offset = projection.kernel, -(projection.mean @ projection.kernel)
    if "frame_head" in params:
        layer = params["frame_head"]["fc6"]
        whole = kernel_of_cells(kernel, feature_map)
        dense = {
            "kernel": whole @ layer["kernel"],
            "bias": layer["bias"] + offset @ layer["kernel"],
        }
        return {**params, "frame_head": {"fc6": dense}}
    cell = dict(params["recurrent"]["cell"])
    for gate in layers.LSTM.GATES:
        of_inputs, of_state = cell[f"i{gate}"], cell[f"h{gate}"]
        cell[f"i{gate}"] = {**of_inputs, "kernel": kernel @ of_inputs["kernel"]}
        bias = of_state["bias"] + offset @ of_inputs["kernel"]
        cell[f"h{gate}"] = {**of_state, "bias": bias}
    return {**params, "recurrent": {"cell": cell}}


def kernel_of_cells(
    kernel: Float[np.ndarray, "4K D"], feature_map: tuple[int, int, int]
) -> Float[np.ndarray, "hwK D"]:
    """Return the kernel by which a flattened map has the product that its quarters have."""
    height, width, channels = feature_map
    of_regions = kernel.T.reshape(-1, accuracy.GRID, accuracy.GRID, channels)
    pool = functools.partial(layers.pool, cells=accuracy.GRID)
    maps = jax.ShapeDtypeStruct((len(of_regions), *feature_map), jnp.float32)
    (of_cells,) = jax.linear_transpose(pool, maps)(jnp.asarray(of_regions))
    return np.asarray(of_cells).reshape(-1, height * width * channels).T


# Tables.


def methods_table(rows: Sequence[Row]) -> str:
    """Format one line for each method, and for the maps that it is compared with."""
    means = tables.table(rows)
    for name in REFERENCES:
        # *Subset* of a reference is of a baseline, all else is not.
        means[name] = {**means[f"{name}:{BASELINE}"], **means[name]}
    keys = [key for key in COLUMNS if any(key in means[name] for name in METHODS)]
    lines = {
        tables.label(name): [
            *(tables.cell(means[name].get(key)) for key in keys),
            by_seed(rows, f"{name}:{BASELINE}" if name in REFERENCES else name),
        ]
        for name in (*METHODS, *REFERENCES)
    }
    titles = ["passed" if key.group == "check_passed" else key.title for key in keys]
    grid = tables.grid("", ["method", *titles, "subset by seed"], lines)
    return grid.partition("\n\n")[2]


def by_seed(rows: Sequence[Row], name: str) -> str:
    """Write the mean *subset* of each seed."""
    values, models = tables.column(rows, name, SUBSET), [row.model for row in rows]
    of_model: dict[str, list[float]] = {model: [] for model in models}
    for model, value in zip(models, values, strict=True):
        of_model[model].append(float(value))
    return ", ".join(f"{np.nanmean(one):.2f}" for one in of_model.values())


def differences_table(rows: Sequence[Row]) -> str:
    """Format how much more *subset* one method has than another, clip by clip."""
    groups, lines = [row.group for row in rows], {}
    for first, second in DIFFERENCES:
        values = [tables.column(rows, name, SUBSET) for name in (first, second)]
        gain = statistics.mean_interval(values[0] - values[1], groups)
        lines[f"{first} minus {second}"] = [tables.cell(gain, "+")]
    return tables.grid("", ["difference", "subset"], lines).partition("\n\n")[2]


if __name__ == "__main__":
    main()
