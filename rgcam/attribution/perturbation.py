"""What becomes of the scores when frames, or cells of them, are replaced.

A baseline feature map takes their place. Above a module's first linear map (see
``rgcam.models.classifiers``) that costs passes of the recurrent part alone: u is affine in A, so
that u of a clip with frames replaced is made of rows of u(A) and u(baseline), and the
straight line from one to the other is a straight line of u. Of a module that is not
cut there, the same is done with A itself and ``classify``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.attribution import causal as blocks
from rgcam.attribution import targets
from rgcam.errors import InputError
from rgcam.types import Tensor

BASELINES = ("zero", "mean", "first", "previous", "blur")
BLUR = 2.0  # frames, standard deviation
AT_ONCE = 64  # clips with other frames removed that go through together


class Upper(NamedTuple):
    """What lies above the feature map of one clip, and what its frames are replaced by.

    Attributes:
        outputs: inputs (T ...) -> what is explained (out,); pure.
        inputs: x (T ...): the drive u (T D) or, of a module that is not cut, A.
        baseline: b (T ...), the inputs that the baseline gives.
        maps: weights (T ...) -> (T h w), each cell's part of the sum over a frame of
            ``weights * (x - b)``.
        mixed: mask (T h w) -> inputs with cells where it is 0 replaced.
        grid: (T, h, w).
        causal: whether an output step is known not to depend on later frames.
    """

    outputs: Callable[[Array], Array]
    inputs: Float[Array, "T ..."]
    baseline: Float[Array, "T ..."]
    maps: Callable[[Array], Array]
    mixed: Callable[[Array], Array]
    grid: tuple[int, int, int]
    causal: bool


def upper(
    module: Any,
    variables: Any,
    features: Float[Array, "T h w K"],
    baseline: Float[Array, "T h w K"],
    target: Any,
) -> Upper:
    """Take apart what lies above A.

    Args:
        module: one with ``classify``; with ``shares`` and the other methods of
            ``rgcam.models.classifiers`` it is cut at its drive.
        variables: its variables.
        features: A.
        baseline: what takes a frame's place, from ``replacement``.
        target: class index or function of the scores.
    """
    call: Any = functools.partial(module.apply, variables)
    change: Any = features - baseline
    grid: Any = features.shape[:3]
    if not (blocks.splits(module) and hasattr(module, "shares")):
        outputs = lambda x: targets.select(call(x, method="classify"), target)
        maps = lambda weights: (weights * change).sum(-1)
        mixed = lambda mask: baseline + mask[..., None] * change
        return Upper(outputs, features, baseline, maps, mixed, grid, False)
    cut = blocks.cut(module, variables, features)
    shares = call(change, method="shares")
    outputs = lambda u: targets.select(cut.advance(cut.begin, u)[1], target)
    maps = lambda weights: jnp.einsum("td,thwd->thw", weights, shares)
    begin = cut.drive - shares.sum((1, 2))
    mixed = lambda mask: begin + jnp.einsum("thw,thwd->td", mask, shares)
    causal = not callable(target)  # a function may mix the steps
    return Upper(outputs, cut.drive, begin, maps, mixed, grid, causal)


def ended(upper: Upper, length: Any) -> Upper:
    """Return the same with nothing explained of steps from ``length`` on, padding."""
    outputs = lambda x: jnp.where(jnp.arange(len(x)) < length, upper.outputs(x), 0)
    return upper._replace(outputs=outputs)


def replacement(
    features: Float[Array, "T h w K"],
    baseline: str | Float[Tensor, "..."],
    length: Any = None,
) -> Float[Array, "T h w K"]:
    """Return what takes every frame's place.

    Args:
        features: A.
        baseline: ``zero``; ``mean``: the clip's mean feature map, cell by cell;
            ``first``: the first frame, as if nothing had happened since;
            ``previous``: the frame before (the first: itself), as if the video had
            stood still for one step; ``blur``: the clip smoothed over time by a
            Gaussian of BLUR frames, as if its motion were smeared; or feature maps
            (h w K) or (T h w K), such as the mean of a reference set.
        length: number of valid frames, which the mean is taken of.
    """
    if not isinstance(baseline, str):
        return jnp.broadcast_to(jnp.asarray(baseline, features.dtype), features.shape)
    if baseline == "zero":
        return jnp.zeros_like(features)
    if baseline == "first":
        return jnp.broadcast_to(features[:1], features.shape)
    if baseline == "previous":
        return jnp.concatenate([features[:1], features[:-1]])
    steps = jnp.arange(len(features), dtype=features.dtype)
    width = jnp.inf if baseline == "mean" else BLUR
    weights = jnp.exp(-(((steps[:, None] - steps) / width) ** 2) / 2)
    weights = weights * (True if length is None else steps < length)
    weights = weights / weights.sum(1, keepdims=True)
    return jnp.einsum("st,thwk->shwk", weights, features)


def check_baseline(baseline: Any, shape: tuple[int, ...]) -> None:
    """Refuse a baseline that is neither a known name nor of A's shape (T, h, w, K).

    Raises:
        InputError: it is not.
    """
    if isinstance(baseline, str):
        if baseline not in BASELINES:
            raise InputError(
                f"there is no baseline {baseline!r}: choose one of "
                f"{', '.join(BASELINES)}, or give feature maps"
            )
    elif jnp.shape(baseline) not in (shape, shape[1:]):
        raise InputError(
            f"the baseline's shape is {jnp.shape(baseline)}: give feature maps of "
            f"shape {shape[1:]} or {shape}"
        )


def kept(upper: Upper, masks: Float[Tensor, "N T"]) -> Float[Array, "N out"]:
    """Return what is explained of clips in which some frames are replaced.

    Args:
        upper: from ``upper``.
        masks: 1 where a frame is kept, 0 where the baseline takes its place; between
            them, a point on the straight line.
    """
    masks = jnp.asarray(masks, upper.inputs.dtype)
    one = lambda mask: upper.outputs(between(upper, mask))
    return jax.lax.map(one, masks, batch_size=min(AT_ONCE, len(masks)))


def between(upper: Upper, mask: Float[Array, " T"]) -> Float[Array, "T ..."]:
    """Return ``b + mask * (x - b)``, a number for each frame."""
    mask = mask.reshape(-1, *[1] * (upper.inputs.ndim - 1))
    return upper.baseline + mask * (upper.inputs - upper.baseline)


def cells_kept(upper: Upper, masks: Float[Tensor, "N T h w"]) -> Float[Array, "N out"]:
    """Return what is explained of clips in which cells of frames are replaced."""
    masks = jnp.asarray(masks, upper.inputs.dtype)
    one = lambda mask: upper.outputs(upper.mixed(mask))
    return jax.lax.map(one, masks, batch_size=min(AT_ONCE, len(masks)))


def occlusion(upper: Upper) -> Float[Array, "out T"]:
    """Replace one frame at a time: ``y[t'](A) - y[t'](A without frame t)``.

    T passes above A. Zeiler and Fergus, arXiv:1311.2901, in time instead of space.
    """
    found = kept(upper, 1 - jnp.eye(upper.grid[0]))
    return structured(upper, (upper.outputs(upper.inputs) - found).T)


def cell_occlusion(upper: Upper) -> Float[Array, "out T h w"]:
    """Replace one cell of one frame at a time, as ``occlusion`` does frames.

    T h w passes above A.
    """
    numbers = jnp.arange(math.prod(upper.grid))
    mask = lambda number: (numbers != number).reshape(upper.grid)
    one = lambda number: upper.outputs(upper.mixed(mask(number)))
    found = jax.lax.map(one, numbers, batch_size=min(AT_ONCE, len(numbers)))
    lost = upper.outputs(upper.inputs) - found
    return structured(upper, lost.T.reshape(-1, *upper.grid))


def structured(upper: Upper, found: Float[Array, "out T ..."]) -> Array:
    """Put exact zeros where a causal model's later frames cannot matter.

    Differences of scores are there of rounding's size.
    """
    if not upper.causal:
        return found
    steps = jnp.arange(found.shape[1])
    seen = steps[:, None] >= steps
    return jnp.where(seen.reshape(*seen.shape, *[1] * (found.ndim - 2)), found, 0)
