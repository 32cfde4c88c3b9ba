"""Controls: explanations that should differ from the genuine one, or that it must beat.

* Explanations of other models or inputs, which a good method shows to be different: of
  models randomised from the scores down (Adebayo et al., arXiv:1810.03292), of a model
  trained on random labels, of the clip with its frames shuffled.
* Corrupted maps, which cannot be faithful and which the faithfulness check should fail.
* Model-free maps (uniform, random, centre, motion, activation, recency) and those of a
  frame CNN. A method that does not beat them has not been shown to find anything.
"""

import functools
import zlib
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from rgcam.attribution import explain, targets
from rgcam.attribution import maps as attribution_maps
from rgcam.attribution.explain import Method
from rgcam.attribution.perturbation import Baseline
from rgcam.errors import InputError
from rgcam.evaluation.clips import EvaluationClip
from rgcam.metrics import faithfulness, randomization
from rgcam.models import cut
from rgcam.models.cut import CutModel
from rgcam.models.zoo import Model
from rgcam.types import Tensor, Variables

MODEL_FREE = ("uniform", "random", "centre", "motion", "activation", "recency")
CNN = "frame CNN"
CENTRE = 0.25  # standard deviation of the central Gaussian, of the side
Maps = Float[np.ndarray, "out in h w"]


class Models(NamedTuple):
    """The model to explain, and the models it is compared with.

    Attributes:
        model: to explain.
        cnn: frame-CNN baseline, or None.
        random_labels: a model of the same architecture trained on random labels, or
            None.
        randomised: variables of the model, by the last part of ``CASCADE`` that was
            randomised. Of a model that does not consist of these parts, such as one of
            another framework, all variables are shuffled at once: ``recurrent`` is for
            use above the feature map of the model itself, ``backbone`` from the frames on.
    """

    model: Model
    cnn: Model | None
    random_labels: Model | None
    randomised: dict[str, Variables]


class Case(NamedTuple):
    """One clip as one model sees it.

    Attributes:
        model: to explain.
        clip: with its ground truth.
        features: A.
        scores: y.
        target: index of the class to explain.
        visible: 1 where an output step can see a step of A.
        frames_of_steps: first and last frame of each step of A; None: one step for each
            frame.
    """

    model: Model
    clip: EvaluationClip
    features: Float[np.ndarray, "in h w K"]
    scores: Float[np.ndarray, "out C"]
    target: int
    visible: Float[np.ndarray, "out in"]
    frames_of_steps: Int[np.ndarray, "in 2"] | None = None

    def of_frames(
        self, maps: Float[np.ndarray, "in h w"]
    ) -> Float[np.ndarray, "T h w"]:
        """Return the map that is shown with each frame: that of its step of A."""
        if self.frames_of_steps is None:
            return maps
        frames = len(self.clip.frames)
        positions = attribution_maps.step_positions(self.frames_of_steps, frames)
        return maps[attribution_maps.steps_of_frames(positions, frames)]

    def of_steps(
        self, values: Float[np.ndarray, "T *any"]
    ) -> Float[np.ndarray, "in *any"]:
        """Return the mean over the frames that each step of A covers."""
        if self.frames_of_steps is None:
            return values
        return np.stack([values[a : b + 1].mean(0) for a, b in self.frames_of_steps])


class Control(NamedTuple):
    """Another model or input, whose explanation should differ from the genuine one.

    Attributes:
        variables: of the model.
        features: A.
        position: where among these frames each frame of the clip is.
    """

    variables: Variables
    features: Float[np.ndarray, "in h w K"]
    position: Int[np.ndarray, " T"]


def prepare_models(
    model: Model, cnn: Model | None, random_labels: Model | None
) -> Models:
    """Randomise a model, once for all clips, and collect those it is compared with.

    Raises:
        InputError: the model trained on random labels has another architecture.
    """
    kind = lambda m: (m.description.arch, m.classes, m.description.preprocess)
    if random_labels is not None and kind(random_labels) != kind(model):
        raise InputError(
            f"{random_labels.name} is not of the same kind as {model.name}: give a "
            "model of the same architecture and classes, trained on random labels"
        )
    randomised = {}
    if not randomization.has_cascade(model.variables):
        everything = randomization.randomise(model.variables, None, jax.random.key(1))
        randomised = {"recurrent": everything, "backbone": everything}
        return Models(
            model=model, cnn=cnn, random_labels=random_labels, randomised=randomised
        )
    # Cascading randomisation: the scores, then the recurrent part too, and so on down.
    for count, part in enumerate(randomization.CASCADE, 1):
        parts, key = randomization.CASCADE[:count], jax.random.key(count)
        randomised[part] = randomization.randomise(model.variables, parts, key)
    return Models(
        model=model, cnn=cnn, random_labels=random_labels, randomised=randomised
    )


def prepare_case(model: Model, clip: EvaluationClip) -> Case:
    """Run a model on a clip, and choose the class to explain."""
    features = features_of(model, clip.frames)
    scores = _scores(model.module, model.variables, features)
    target = targets.predicted_class(scores) if clip.target is None else clip.target
    frames_of_steps = None
    if len(features) < len(clip.frames):  # a model that strides over time
        frames_of_steps = cut.frames_of_steps(
            model.module, model.variables, clip.frames
        )
    return Case(
        model=model,
        clip=clip,
        features=features,
        scores=np.asarray(scores),
        target=int(target),
        visible=faithfulness.visible_frames(model.module, model.variables, features),
        frames_of_steps=frames_of_steps,
    )


def features_of(
    model: Model,
    frames: Float[np.ndarray, "T S S 3"],
    variables: Variables | None = None,
) -> Float[np.ndarray, "in h w K"]:
    """Return A of a clip, with the model's variables or with others."""
    variables = model.variables if variables is None else variables
    return np.asarray(_features(model.module, variables, frames))


def maps_of(
    model: Model,
    variables: Variables,
    features: Float[np.ndarray, "in h w K"],
    target: int,
    *,
    method: Method,
    baseline: Baseline,
    rectified: bool,
) -> Maps:
    """Return a method's maps, signed or rectified."""
    static, baseline_maps = explain.static_baseline(baseline)
    maps = np.asarray(
        explain.class_maps(
            model.module,
            variables,
            features,
            target,
            None,
            baseline_maps,
            method=method,
            baseline=static,
        )
    )
    return np.maximum(maps, 0) if rectified else maps


def controls(models: Models, case: Case) -> dict[str, Control]:
    """Return the models and inputs whose explanations should be different.

    Returns:
        By name: the parts of ``CASCADE`` that were randomised, ``random_labels`` if there
        is such a model, and ``shuffled_frames``.
    """
    # Random labels and shuffled frames: what a model learnt, and the order it reads.
    model, frames = case.model, case.clip.frames
    in_place = np.arange(len(frames))
    named = {}
    for part, variables in models.randomised.items():
        # Only a randomised backbone has features of its own.
        deep = part == "backbone"
        features = features_of(model, frames, variables) if deep else case.features
        named[part] = Control(variables, features, in_place)
    if models.random_labels is not None:
        variables = models.random_labels.variables
        features = features_of(model, frames, variables)
        named["random_labels"] = Control(variables, features, in_place)
    order = np.random.default_rng(3).permutation(len(frames))
    features = features_of(model, frames[order])
    named["shuffled_frames"] = Control(model.variables, features, np.argsort(order))
    return named


def seed_of(clip: EvaluationClip) -> int:
    """Return the seed of all that is random about a clip; clips differ in theirs."""
    return zlib.crc32(clip.name.encode())


def shuffle_visible(
    maps: Maps, seed: int, visible: Float[np.ndarray, "out in"]
) -> Maps:
    """Return maps in which no visible frame of a row has its own map.

    A random cyclic order (Sattolo 1986). Any random order would leave the one frame that
    matters in its place now and then, and such maps are faithful.

    Args:
        maps: of a clip.
        seed: of the orders.
        visible: 1 where an output step can see a frame.
    """
    # Each row by itself, so that what t' cannot see stays 0.
    rng, shuffled = np.random.default_rng(seed), np.zeros_like(maps)
    for step, row in enumerate(visible):
        cycle = rng.permutation(np.flatnonzero(row))
        shuffled[step, cycle] = maps[step, np.roll(cycle, 1)]
    return shuffled


def reference_maps(cnn: Model | None, case: Case) -> dict[str, Maps]:
    """Return the maps that a method must beat: model-free ones, the frame CNN's."""
    # Noise of its own for each clip: one noise for all would agree with some by chance,
    # and no number of clips would show it.
    seed = seed_of(case.clip)
    named = {name: model_free_maps(name, case, seed) for name in MODEL_FREE}
    if cnn is not None:
        maps = maps_of(
            cnn,
            cnn.variables,
            features_of(cnn, case.clip.frames),
            case.target,
            method="gradcam",
            baseline="zero",
            rectified=True,
        )
        steps, grid = np.arange(len(case.clip.frames)), case.features.shape[1:3]
        if maps.shape != (len(steps), len(steps), *grid):
            raise InputError(
                f"the frame CNN {cnn.name} has maps of shape {maps.shape} (out, in, h, w) "
                f"for a clip of {len(steps)} frames and a model with a feature map of "
                f"{grid[0]} x {grid[1]}: give one that scores every frame, with the same "
                "feature map"
            )
        # Without a state, y[t'] depends on frame t' alone: its maps are the diagonal.
        maps_of_steps = case.of_steps(maps[steps, steps])
        named[CNN] = same_for_all_steps(maps_of_steps, case.visible)
    return named


def model_free_maps(name: str, case: Case, seed: int) -> Maps:
    """Return maps that know nothing of the scores, in the form of the model's.

    Each frame has the same map at every output step that sees it.

    Args:
        name: one of MODEL_FREE. ``uniform``: 1 everywhere; ``random``: uniform noise;
            ``centre``: a Gaussian around the centre; ``motion``: the absolute change of
            the pixels since the previous frame; ``activation``: the mean of the feature
            map over its channels; ``recency``: uniform in space, falling with the
            distance in time of frame and output step.
        case: the clip; of the model, only which frames its output steps can see.
        seed: of the noise.
    """
    features = case.features
    steps, height, width, _ = features.shape
    grid = steps, height, width
    # The only ones that differ from one output step to another.
    if name == "recency":
        weights = faithfulness.recency(len(case.scores), steps) * case.visible
        return weights[..., None, None] * np.ones(grid)
    if name == "random":
        maps = np.random.default_rng(seed).random(grid)
    elif name == "centre":
        maps = np.broadcast_to(_centre(height, width), grid)
    elif name == "motion":
        maps = case.of_steps(_motion(case.clip.pixels, height, width))
    elif name == "activation":
        maps = features.mean(-1)
    else:
        maps = np.ones(grid)
    return same_for_all_steps(maps, case.visible)


def same_for_all_steps(
    maps: Float[np.ndarray, "in h w"], visible: Float[np.ndarray, "out in"]
) -> Maps:
    """Give every output step the maps of the frames that it sees."""
    return visible[..., None, None] * maps


@functools.partial(jax.jit, static_argnames="module")
def _features(
    module: CutModel, variables: Variables, frames: Float[Tensor, "T S S 3"]
) -> Float[Array, "in h w K"]:
    with jax.default_matmul_precision(cut.PRECISION):
        return cut.features(module, variables, frames)


@functools.partial(jax.jit, static_argnames="module")
def _scores(
    module: CutModel, variables: Variables, features: Float[Tensor, "in h w K"]
) -> Float[Array, "out C"]:
    with jax.default_matmul_precision(cut.PRECISION):
        return cut.classify(module, variables, features)


def _centre(height: int, width: int) -> Float[np.ndarray, "h w"]:
    """Return a Gaussian around the centre of the grid."""
    rows, columns = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    return np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * CENTRE**2))


def _motion(
    frames: UInt8[np.ndarray, "T H W 3"], height: int, width: int
) -> Float[np.ndarray, "T h w"]:
    """Sum the absolute change of the pixels within each cell; the first frame has none."""
    grey = frames.astype(np.float32).mean(-1)
    change = np.abs(np.diff(grey, axis=0, prepend=grey[:1]))
    # The cell in which each row and each column of pixels lies.
    rows = np.arange(grey.shape[1]) * height // grey.shape[1]
    columns = np.arange(grey.shape[2]) * width // grey.shape[2]
    total = np.zeros((len(frames), height, width))
    cells = slice(None), rows[:, None], columns
    # pyrefly: ignore[bad-argument-type]  NumPy's stub lacks tuples of indices.
    np.add.at(total, cells, change)
    return total
