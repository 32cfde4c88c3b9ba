"""Deletion and insertion: what scores become as parts of a clip are removed.

Frames, or cells of frames, are removed in the order of their importance, and the score
is followed as they disappear (Petsiuk et al., arXiv:1806.07421). Something must take the
place of what is removed: the feature map of a baseline, that of blurred frames, or, where
the video freezes, the last frame shown. All of it happens above the feature map, so that
a removal costs no pass of the backbone.

Areas under the curves are compared with those of random orders, and their unit is the
range of scores that the random orders of frames and cells pass through. The drop from the
whole clip to a clip whose frames are all replaced is no unit: with the frame before each
as the baseline, say, the latter is the same clip one step late, with nearly the same score.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgcam.attribution import perturbation, targets
from rgcam.attribution.targets import ClassIndex, Index, ScoreFunction
from rgcam.metrics.faithfulness import area_gain, deletion_masks
from rgcam.models.cut import PRECISION, CutModel, classify
from rgcam.types import Tensor, Variables

STEPS = 16  # in which the cells are removed
ORDERS = 8  # random orders
BLUR = 1 / 20  # standard deviation, of the side: 11 of 224 pixels, 3 of 64
MIN_RANGE = 1e-4  # of the largest score: a smaller range is rounding
CHUNK = 16  # clips whose feature maps are in memory together

Masks = Float[Tensor, "N T"] | Float[Tensor, "N T h w"]
ScoresOfMasks = Callable[[Masks], Float[Array, "N out"]]


class RemovalScores(NamedTuple):
    """One output step's scores of clips of which something is removed.

    Attributes:
        frames: the target's score for each mask of frames.
        cells: the target's score for each mask of cells.
        probability: the target's probability of the whole clip, and of the clip of
            which only what the map shows is kept.
    """

    frames: Float[Tensor, " N"]
    cells: Float[Tensor, " M"]
    probability: Float[Tensor, "2"]


Remove = Callable[
    [
        Float[np.ndarray, "N T"],
        Float[np.ndarray, "M T h w"],
        Float[np.ndarray, "T h w"],
    ],
    RemovalScores,
]
"""Masks of frames, masks of cells, what the map shows -> scores: see ``removal_scores``."""


class Curves(NamedTuple):
    """The target's score at one output step, along one order of importance.

    Attributes:
        deletion: the most important frames removed first, from none to all.
        insertion: the most important frames kept first, from none to all.
        space_time: the most important cells removed first, in STEPS steps.
        probability: the target's probability of the whole clip, and of the clip of
            which only what the map shows is kept.
    """

    deletion: Float[np.ndarray, " frames"]
    insertion: Float[np.ndarray, " frames"]
    space_time: Float[np.ndarray, " steps"]
    probability: Float[np.ndarray, "2"]


class CurveMeasures(NamedTuple):
    """What the curves of one clip amount to; NaN where it is not measured.

    Attributes:
        deletion: how far the area under the score, as the most important frames are
            removed first, is below that of random orders; higher is better, 0 is
            chance.
        insertion: how far the area is above random orders' as they are kept first.
        space_time: as ``deletion``, of cells instead of frames.
        drop: relative fall of the probability where each cell is kept in proportion to
            the map (``average_drop``); lower is better.
        increase: 1 where the probability rises instead; higher is better.
    """

    deletion: float = math.nan
    insertion: float = math.nan
    space_time: float = math.nan
    drop: float = math.nan
    increase: float = math.nan


@functools.partial(jax.jit, static_argnames="module")
def removal_scores(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    replacement: Float[Tensor, "T h w K"] | None,
    target: ClassIndex,
    frames: Float[Tensor, "N T"],
    cells: Float[Tensor, "M T h w"],
    shown: Float[Tensor, "T h w"],
    step: Index = -1,
) -> RemovalScores:
    """Score clips of which frames or cells are removed, above the feature map.

    Args:
        module: the explained model, of which ``classify`` is used.
        variables: its variables.
        features: A of one clip.
        replacement: feature maps that take the place of what is removed; None: the
            video freezes there (``freeze``).
        target: class index, or one for each output step.
        frames: masks, 1 where a frame is kept, 0 where it is removed.
        cells: masks of cells, likewise.
        shown: from 0 to 1, how far the map shows a cell.
        step: output step whose scores are returned.
    """
    # The probability of one class is a function of all scores: a target of its own.
    probability = lambda scores: jax.nn.softmax(scores)[:, target]
    everything_and_shown = jnp.stack([jnp.ones_like(shown), shown])
    with jax.default_matmul_precision(PRECISION):
        of_frames, of_cells = _masked_scores(
            module, variables, features, replacement, target
        )
        _, probability_of_cells = _masked_scores(
            module, variables, features, replacement, probability
        )
        return RemovalScores(
            frames=of_frames(frames)[:, step],
            cells=of_cells(cells)[:, step],
            probability=probability_of_cells(everything_and_shown)[:, step],
        )


def _masked_scores(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    replacement: Float[Tensor, "T h w K"] | None,
    target: ClassIndex | ScoreFunction,
) -> tuple[ScoresOfMasks, ScoresOfMasks]:
    """Return what scores a clip by masks of frames, and by masks of cells."""
    features = jnp.asarray(features)
    baseline = features if replacement is None else jnp.asarray(replacement)
    model = perturbation.upper_model(module, variables, features, baseline, target)
    if replacement is not None:
        return (
            functools.partial(perturbation.outputs_with_frames, model),
            functools.partial(perturbation.outputs_with_cells, model),
        )

    # A frozen frame is no mixture of a clip and a baseline, so that there is no affine
    # shortcut for cells: they are frozen in A itself.
    def score_frames(mask: Float[Array, " T"]) -> Float[Array, " out"]:
        return model.outputs(freeze(model.inputs, mask))

    def score_cells(mask: Float[Array, "T h w"]) -> Float[Array, " out"]:
        frozen = freeze(features, mask)
        scores = classify(module, variables, frozen)
        return targets.select_target(scores, target)

    return _over_masks(score_frames), _over_masks(score_cells)


def _over_masks(score: Callable[[Array], Array]) -> ScoresOfMasks:
    """Map over masks, CHUNK at a time: each makes feature maps of a whole clip."""
    return lambda masks: jax.lax.map(
        score, jnp.asarray(masks), batch_size=min(CHUNK, len(masks))
    )


def freeze(
    values: Float[Tensor, "T *any"], mask: Float[Tensor, "T *some"]
) -> Float[Array, "T *any"]:
    """Freeze values where they are removed: ``z_t = m_t x_t + (1 - m_t) z_(t-1)``.

    A removed frame shows the last one that was kept; the first is always kept, so that
    a clip of which all is removed is a still image (the freeze perturbation of Mänttäri
    et al., arXiv:2002.00367). With masks between 0 and 1 frames fade into each other.

    Args:
        values: a row for each frame.
        mask: 1 where a value is kept; if it has fewer axes than the values, the last
            axes share it.
    """
    values = jnp.asarray(values)
    mask = jnp.asarray(mask).astype(values.dtype)
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))

    # Started from the first value, so that this one is kept under any mask.
    def step(previous: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        value, keep = now
        frozen = keep * value + (1 - keep) * previous
        return frozen, frozen

    return jax.lax.scan(step, values[0], (values, mask))[1]


def blur_frames(frames: Float[np.ndarray, "T S S 3"]) -> Float[np.ndarray, "T S S 3"]:
    """Blur every frame by a Gaussian whose standard deviation is BLUR of the side.

    Fong and Vedaldi, arXiv:1704.03296: 10 of 224 pixels. At the border the weights of
    the pixels inside the frame sum to 1.
    """
    side = frames.shape[1]
    steps = np.arange(side)
    weights = np.exp(-(((steps[:, None] - steps) / (BLUR * side)) ** 2) / 2)
    weights = (weights / weights.sum(1, keepdims=True)).astype(frames.dtype)
    # A Gaussian is separable: rows, then columns.
    return np.einsum("ia,jb,tabc->tijc", weights, weights, frames, optimize=True)


def curves(
    remove: Remove, maps: Float[np.ndarray, "T h w"], rng: np.random.Generator
) -> Curves:
    """Remove frames and cells in the order of a clip's maps.

    Args:
        remove: ``removal_scores`` of a model, a clip and what takes a removed part's
            place.
        maps: signed or rectified, of one output step or aggregated over several.
        rng: orders equal values at random.
    """
    frames = deletion_masks(maps.sum((1, 2)), len(maps), rng)
    cells = deletion_masks(maps, STEPS, rng)
    # Insertion keeps what deletion has removed: the complementary masks.
    scores = remove(np.concatenate([frames, 1 - frames]), cells, shown_part(maps))
    deletion, insertion = np.split(np.asarray(scores.frames, float), 2)
    return Curves(
        deletion=deletion,
        insertion=insertion,
        space_time=np.asarray(scores.cells, float),
        probability=np.asarray(scores.probability, float),
    )


def random_curves(
    remove: Remove, grid: tuple[int, ...], rng: np.random.Generator
) -> list[Curves]:
    """Remove frames and cells in ORDERS random orders."""
    return [curves(remove, rng.random(grid), rng) for _ in range(ORDERS)]


def measures(curve: Curves, random: Sequence[Curves]) -> CurveMeasures:
    """Compare a clip's curves with those of random orders.

    Petsiuk et al., arXiv:1806.07421, report the areas under the probability by
    themselves; here they are areas under the score, as differences from chance.
    """
    frames = np.stack([row for c in random for row in (c.deletion, c.insertion)])
    cells = np.stack([c.space_time for c in random])
    unit = score_range([*frames, *cells])
    before, after = np.split(curve.probability, 2)
    return CurveMeasures(
        deletion=-area_gain(curve.deletion, frames) / unit,
        insertion=area_gain(curve.insertion, frames) / unit,
        space_time=-area_gain(curve.space_time, cells) / unit,
        drop=average_drop(before, after),
        increase=increase(before, after),
    )


def score_range(curves: Sequence[Float[np.ndarray, " _"]]) -> float:
    """Return the range of the scores of several curves; NaN where it is rounding."""
    scores = np.concatenate(curves)
    unit = float(np.ptp(scores))
    return unit if unit > MIN_RANGE * np.abs(scores).max() else float("nan")


def shown_part(maps: Float[np.ndarray, "T h w"]) -> Float[np.ndarray, "T h w"]:
    """Return positive maps relative to the clip's maximum; zeros if none is positive."""
    heat = np.maximum(maps, 0)
    maximum = heat.max()
    return (heat / (maximum if maximum > 0 else 1)).astype(np.float32)


def average_drop(
    complete: Float[np.ndarray, " N"], shown: Float[np.ndarray, " N"]
) -> float:
    """Return the relative fall of the probability where only what the map shows is kept.

    ``mean(relu(p - p_shown) / p)``, Chattopadhay et al., arXiv:1710.11063; lower is
    better. A map that covers everything has none: read it with ``increase``.

    Args:
        complete: probability of each clip.
        shown: probability of the part of it that the map shows.
    """
    return float((np.maximum(complete - shown, 0) / complete).mean())


def increase(
    complete: Float[np.ndarray, " N"], shown: Float[np.ndarray, " N"]
) -> float:
    """Return the share of clips whose probability rises there (the same source)."""
    return float((shown > complete).mean())
