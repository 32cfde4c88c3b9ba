"""Clips of any length by a few compiled programs: chunks of frames, padded feature maps.

XLA compiles a program for each shape, and clips differ in length. The frames of a clip go
through the backbone in chunks of one size, and what lies above the feature map is computed
for the clip padded to one of a few lengths. Padding comes after every real frame, and no
output step of a causal model depends on later frames; ``length`` masks it in what averages
over frames. A single clip and a corpus call the same programs with the same shapes, so that
their numbers are equal to the last bit.

A model that is not causal is computed at its own length.

Where the device's memory does not hold what is computed at once, smaller blocks are tried
once (``with_smaller_blocks``).
"""

import logging
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from rgcam import programs
from rgcam.attribution import explain
from rgcam.attribution.explain import Explanation, StaticOptions
from rgcam.attribution.targets import ClassIndex, Index
from rgcam.errors import InputError
from rgcam.models import cut
from rgcam.models.cut import CausalModel, CutModel, FramewiseModel
from rgcam.types import Tensor, Variables

SHORTEST = 16  # frames to which the shortest clips are padded
PER_DOUBLING = 4  # padded lengths from one power of two to the next: 16, 20, 24, 28, 32
SMALLER_BLOCKS = 4  # by this factor blocks are smaller at the second attempt

Result = TypeVar("Result")


class ClassExplanation(NamedTuple):
    """What is computed for one class of one clip, without padding: NumPy arrays.

    Attributes:
        scores: y (out C), logits.
        beta: (out in K) of Eq. 1; None if not requested or the method has none.
        maps: L (out in h w), in logits.
        matrix: (out in), sum of each map.
    """

    scores: Float[np.ndarray, "out C"]
    beta: Float[np.ndarray, "out in K"] | None
    maps: Float[np.ndarray, "out in h w"]
    matrix: Float[np.ndarray, "out in"]


def padded_length(steps: int, module: CutModel | None = None) -> int:
    """Return the frames to which a clip of ``steps`` frames is padded.

    Args:
        steps: T.
        module: one that is not causal is not padded; None: a causal one.
    """
    if module is not None and not isinstance(module, CausalModel):
        return steps
    if steps <= SHORTEST:
        return SHORTEST
    octave = SHORTEST * 2 ** int(math.log2((steps - 1) / SHORTEST))
    part = octave // PER_DOUBLING
    return -(-steps // part) * part


def clip_features(
    module: CutModel, variables: Variables, frames: Float[np.ndarray, "T S S 3"]
) -> Float[Array, "padded h w K"]:
    """Compute A of one clip by chunks of frames, padded with zeros to ``padded_length``.

    Args:
        module: the model.
        variables: its variables.
        frames: preprocessed frames.

    Raises:
        InputError: the device's memory does not hold the backbone's activations.
    """
    steps = len(frames)
    length = padded_length(steps, module)
    if not isinstance(module, FramewiseModel):
        maps = _features(module, variables, frames, None)
        if not isinstance(module, CausalModel):  # may have fewer steps than frames
            return maps
        return jnp.asarray(_pad(np.asarray(maps), length))
    size = min(cut.at_once(math.prod(frames.shape[1:3])), length)

    def by_chunks(smaller: int) -> np.ndarray:
        # Every chunk has a frame before it, so that one program serves all: before the
        # first frame of the clip comes that frame itself, from which nothing changes.
        count = max(1, size // smaller)
        chunks = [
            _features(
                module,
                variables,
                _pad(frames[start : start + count], count),
                frames[max(start - 1, 0)],
            )
            for start in range(0, steps, count)
        ]
        return np.concatenate([np.asarray(chunk) for chunk in chunks])[:steps]

    maps = with_smaller_blocks(by_chunks, f"the features of {steps} frames")
    return jnp.asarray(_pad(maps, length))


def clip_scores(
    module: CutModel,
    variables: Variables,
    features: Float[Array, "padded h w K"],
    length: int,
) -> Float[np.ndarray, "out C"]:
    """Compute y of the first ``length`` frames of a padded feature map.

    Of a model that is not causal, and so not padded: of all output steps.
    """
    valid = slice(length) if isinstance(module, CausalModel) else slice(None)
    return np.asarray(_scores(module, variables, features))[valid]


def explain_class(
    module: CutModel,
    variables: Variables,
    features: Float[Array, "padded h w K"],
    length: int,
    index: int | Int[Tensor, " out"],
    *,
    options: StaticOptions,
    baseline_maps: Float[Tensor, "..."] | None = None,
) -> ClassExplanation:
    """Explain a class by the first ``length`` frames of a padded feature map.

    The features of a model that is not causal are not padded: all of them explain it.

    Args:
        module: the model.
        variables: its variables.
        features: from ``clip_features``.
        length: T.
        index: of the class, or one for each output step.
        options: static options of ``explain``.
        baseline_maps: the baseline's feature maps where ``options`` names none.

    Raises:
        InputError: the device's memory does not hold the explanation.
    """
    valid = slice(length) if isinstance(module, CausalModel) else slice(None)
    if baseline_maps is not None:
        baseline_maps = pad_baseline(baseline_maps, len(features))

    def by_blocks(smaller: int) -> ClassExplanation:
        padded = _explain_class(
            module,
            variables,
            features,
            pad_index(index, module, len(features)),
            # Always given, so that a clip that needs no padding shares the program.
            jnp.asarray(length) if isinstance(module, CausalModel) else None,
            baseline_maps,
            options=options._replace(smaller_blocks=smaller),
        )
        beta = padded.beta
        return ClassExplanation(
            scores=np.asarray(padded.scores)[valid],
            beta=None if beta is None else np.asarray(beta)[valid, valid],
            maps=np.asarray(padded.maps)[valid, valid],
            matrix=np.asarray(padded.matrix)[valid, valid],
        )

    return with_smaller_blocks(by_blocks, f"all pairs of {length} frames")


def pad_baseline(
    baseline_maps: Float[Tensor, "..."], length: int
) -> Float[np.ndarray, "..."]:
    """Pad feature maps of a baseline that has one for every frame, as A is padded."""
    maps = np.asarray(baseline_maps)
    return _pad(maps, length) if maps.ndim == 4 else maps


def pad_index(
    index: ClassIndex, module: CutModel, length: int
) -> Int[Array, "*padded"]:
    """Pad the classes of output steps, as A of a causal model is; a class is left as it is.

    Args:
        index: class, or one for each output step.
        module: the model.
        length: of its padded features.
    """
    if jnp.ndim(index) == 0 or not isinstance(module, CausalModel):
        return jnp.asarray(index)
    return jnp.asarray(_pad(np.asarray(index), length))


def is_exhausted(error: BaseException) -> bool:
    """Tell whether the device's memory did not suffice."""
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in str(error)
    )


def with_smaller_blocks(run: Callable[[int], Result], what: str) -> Result:
    """Compute by blocks of the usual size and, where memory ends, once by smaller ones.

    Args:
        run: the number by which the size of blocks is divided -> the result, complete:
            an array that is not waited for would fail later.
        what: is computed, for the message: "the maps of 40 frames".

    Raises:
        InputError: the smaller blocks do not fit either.
    """
    try:
        return run(1)
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
    # Outside of the handler, whose error holds on to the arrays of the first attempt.
    logging.getLogger(__name__).warning(
        "%s did not fit in the device's memory: smaller blocks are tried", what
    )
    try:
        return run(SMALLER_BLOCKS)
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
        raise InputError(
            f"the memory of {jax.local_devices()[0]} does not hold {what}, even in small "
            "blocks: explain a part of the video, fewer frames a second, or a window of "
            "frames (--window, explain_long)"
        ) from error


def _pad(values: Shaped[np.ndarray, "T ..."], length: int) -> Shaped[np.ndarray, "..."]:
    """Add rows of zeros up to ``length`` rows."""
    if len(values) == length:
        return values
    padded = np.zeros((length, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


@programs.kept("module")
def _features(
    module: CutModel,
    variables: Variables,
    frames: Float[Tensor, "L S S 3"],
    previous: Float[Tensor, "S S 3"] | None,
) -> Float[Array, "in h w K"]:
    with jax.default_matmul_precision(cut.PRECISION):
        return cut.features(module, variables, frames, previous)


@programs.kept("module")
def _scores(
    module: CutModel, variables: Variables, features: Float[Tensor, "T h w K"]
) -> Float[Array, "out C"]:
    with jax.default_matmul_precision(cut.PRECISION):
        return cut.classify(module, variables, features)


@programs.kept("module", "options")
def _explain_class(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    index: Int[Array, "*out"],
    length: Index | None,
    baseline_maps: Float[Tensor, "..."] | None,
    *,
    options: StaticOptions,
) -> Explanation:
    features = jnp.asarray(features)
    explanation = explain.explain_features(
        module,
        variables,
        features,
        index,
        options=options,
        length=length,
        baseline_maps=baseline_maps,
    )
    # A is an argument of this call: returned by it, it would be copied.
    return explanation._replace(features=features[:0])
