"""From maps to what is shown: the matrix, one row for all t', attribution by lag, sizes."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.attribution.perturbation import own_name
from rgcam.attribution.targets import StepClasses, predicted_class
from rgcam.errors import InputError
from rgcam.types import Tensor

# Aggregations that choose one output step, and all of them.
STEPS = ("last", "settled", "rise")
AGGREGATIONS = (*STEPS, "mean", "max")
FORMER_NAMES = {"decided": "settled"}  # still accepted
DESCRIPTIONS = {
    "last": "last step ({})",
    "settled": "step from which the prediction is unchanged ({})",
    "rise": "step at which the score rises most ({})",
    "mean": "mean over all steps",
    "max": "maximum over all steps",
}
# A fit whose decay over the whole clip is smaller than this is a rounding error.
SMALLEST_DECAY = 1e-6


class LagProfile(NamedTuple):
    """How far back attribution reaches.

    Attributes:
        profile: (T,), mean ``|M[t', t' - lag]|`` over the steps that have that lag; empty
            of a matrix that is not causal, where t' - t is no lag.
        half_life: frames in which attribution halves, by an exponential fitted to the
            profile; inf where it does not fall, NaN where there is nothing to fit.
        recurrent_share: part of ``sum |M|`` that is off the diagonal, which reached the
            prediction through the recurrent state.
    """

    profile: Float[np.ndarray, " lags"]
    half_life: float
    recurrent_share: float


NO_LAGS = LagProfile(np.zeros(0), math.nan, math.nan)
"""Of a matrix that is not causal."""


StepTarget: TypeAlias = int | Int[Tensor, " out"] | StepClasses | None
"""A class index, or one for each output step; None: the predicted class."""

Aggregation: TypeAlias = (
    str
    | Callable[
        [Float[np.ndarray, "out in ..."], Float[np.ndarray, "out C"], StepTarget],
        Float[np.ndarray, "in ..."],
    ]
)
"""A name of ``AGGREGATIONS``, or a function (values, scores, target) -> one row of values,
of a matrix as of maps."""


def importance_matrix(maps: Float[Tensor, "out in h w"]) -> Float[Array, "out in"]:
    """Sum each heat map over its cells: the importance of frame t for output step t'.

    Take raw maps: normalising them per frame would make all frames equal.
    """
    return maps.sum((-2, -1))


def aggregation_name(how: Aggregation) -> str:
    """Return the current name of an aggregation: a function's is its ``__name__``.

    Raises:
        InputError: an unknown name.
    """
    if not isinstance(how, str):
        return own_name(how)
    name = FORMER_NAMES.get(how, how)
    if name not in AGGREGATIONS:
        raise InputError(
            f"unknown aggregation {how!r}: choose one of {', '.join(AGGREGATIONS)}, or "
            "give a function (values, scores, target) -> one row of values"
        )
    return name


def choose_step(scores: Float[Tensor, "out C"], target: StepTarget, how: str) -> int:
    """Return the output step t' that an aggregation shows.

    Args:
        scores: y.
        target: class index, or one for each output step; None: the predicted class.
        how: ``last``: the paper's; ``settled``: the first step from which the class
            with the highest score is the last step's; ``rise``: where the target's
            score rises most.

    Raises:
        InputError: another name.
    """
    how = FORMER_NAMES.get(how, how)
    if how not in STEPS:
        raise InputError(f"unknown step {how!r}: choose one of {', '.join(STEPS)}")
    scores = np.asarray(scores)
    if how == "last":
        return len(scores) - 1
    if how == "settled":
        # The step after the last one at which another class than the final one leads.
        classes = scores.argmax(1)
        return int(np.flatnonzero(classes != classes[-1]).max(initial=-1)) + 1
    target = int(predicted_class(scores)) if target is None else target
    # The first score has nothing before it to rise from.
    classes = target.classes if isinstance(target, StepClasses) else target
    target_scores = scores[np.arange(len(scores)), np.asarray(classes)]
    return int(np.diff(target_scores, prepend=target_scores[0]).argmax())


def is_causal(values: Float[Tensor, "out in ..."]) -> bool:
    """Tell whether nothing looks ahead: T_out = T_in, and exactly 0 where t > t'."""
    out, steps = values.shape[:2]
    return out == steps and not np.asarray(values)[np.triu_indices(steps, 1)].any()


def aggregate(
    values: Float[Tensor, "out in ..."],
    scores: Float[Tensor, "out C"],
    target: StepTarget = None,
    how: Aggregation = "last",
) -> Float[np.ndarray, "in ..."]:
    """Reduce all rows t' of a matrix to one, or all maps to one map for each frame.

    Such as ``aggregate(e.maps, e.scores, how="max")`` of an ``Explanation`` e.

    Args:
        values: matrix or maps, rectified or signed.
        scores: y.
        target: class index, or one for each output step; None: the predicted class.
        how: one of ``choose_step``'s; ``mean`` or ``max`` over all steps, and of a causal
            model over the steps t' >= t that see frame t (over all steps, late frames
            would get less); or a function of values, scores and target.

    Raises:
        InputError: another name, or a function that returned another shape.
    """
    values = np.asarray(values)
    if not isinstance(how, str):
        row = np.asarray(how(values, np.asarray(scores), target))
        if row.shape != values.shape[1:]:
            raise InputError(
                f"the aggregation {own_name(how)} returned {row.shape} for values "
                f"{values.shape}: expected {values.shape[1:]}"
            )
        return row
    how = aggregation_name(how)
    if how in STEPS:
        return values[choose_step(scores, target, how)]
    reduce = np.mean if how == "mean" else np.max
    if not is_causal(values):
        return reduce(values, axis=0)
    return np.stack([reduce(values[t:, t], axis=0) for t in range(len(values))])


def describe(
    scores: Float[Tensor, "out C"],
    target: StepTarget,
    how: Aggregation,
    times: Float[np.ndarray, " out"],
    labels: Sequence[str] = (),
) -> str:
    """Describe the steps that ``aggregate`` shows.

    Args:
        scores: y.
        target: class index, or one for each output step; None: the predicted class.
        how: the aggregation.
        times: of the output steps, in seconds.
        labels: what the output steps are, where they are no times.
    """
    name = aggregation_name(how)
    if name not in AGGREGATIONS:
        return name.replace("_", " ")
    step = choose_step(scores, target, name) if name in STEPS else -1
    return DESCRIPTIONS[name].format(step_name(times, labels, step))


def step_name(
    times: Float[np.ndarray, " out"], labels: Sequence[str], step: int
) -> str:
    """Name an output step by its time, or by its label where it has one."""
    return f"“{labels[step]}”" if labels else f"t' = {times[step]:.2f} s"


def lag_profile(matrix: Float[np.ndarray, "out in"]) -> LagProfile:
    """Measure how attribution falls with the lag t' - t, and its recurrent share.

    With its state detached (no gradient through time), a recurrent model's explanation
    by any gradient method is the diagonal of the full one: what is off the diagonal
    came through the state. A matrix that is not causal (``is_causal``) has no profile.
    """
    if not is_causal(matrix):
        return NO_LAGS
    # Lag t' - t is constant along a diagonal of the matrix, below the main one.
    magnitude, steps = np.abs(matrix), np.arange(len(matrix))
    profile = np.array([magnitude.diagonal(-lag).mean() for lag in steps])
    total = np.tril(magnitude).sum()
    share = float(1 - magnitude.trace() / total) if total > 0 else math.nan
    positive = profile > 0
    if positive.sum() < 2:
        return LagProfile(profile, math.nan, share)
    # Least squares through the logarithm; each lag weighs as many steps as have it.
    weights = np.sqrt((len(matrix) - steps)[positive])
    slope, _ = np.polyfit(steps[positive], np.log(profile[positive]), 1, w=weights)
    # profile = exp(slope lag) halves after log 2 / -slope frames.
    falls = -slope * len(matrix) > SMALLEST_DECAY
    return LagProfile(profile, math.log(2) / -slope if falls else math.inf, share)


def step_positions(
    frames_of_steps: Int[Tensor, "in 2"], frames: int
) -> Float[np.ndarray, " in"]:
    """Return where each step of A lies in time: the middle of its frames, as a number.

    Where steps share a middle, such as those of a model whose steps all see the whole clip,
    the steps are spread evenly over the frames.

    Args:
        frames_of_steps: first and last frame of each step.
        frames: T.
    """
    middles = np.asarray(frames_of_steps, np.float64).mean(1)
    if (np.diff(middles) > 0).all():
        return middles
    part = frames / len(middles)
    even = (np.arange(len(middles)) + 0.5) * part - 0.5
    return even if part >= 1 else np.linspace(0, frames - 1, len(middles))


def steps_of_frames(
    positions: Float[np.ndarray, " in"], frames: int
) -> Int[np.ndarray, " frames"]:
    """Return the step of A that is shown with each frame: the nearest, or the earlier."""
    return np.abs(np.arange(frames)[:, None] - positions).argmin(1)


def normalize(maps: Float[np.ndarray, "*any h w"]) -> Float[np.ndarray, "*any h w"]:
    """Divide raw maps by the largest absolute value of all, to float32.

    Give the whole clip: a scale per frame invents evidence. All zeros stay zeros.

    Raises:
        InputError: a value is NaN or infinite.
    """
    if not np.isfinite(maps).all():
        raise InputError("importances hold NaN or infinite values: nothing to draw")
    return (maps / (np.abs(maps).max(initial=0) or 1)).astype(np.float32)


def upsample(
    maps: Float[np.ndarray, "*any h w"], size: tuple[int, int]
) -> Float[np.ndarray, "*any H W"]:
    """Resize maps bilinearly to size (H, W), to float32.

    Half-pixel centres, clamped edges: output i lies at ``(i + 0.5) * h / H - 0.5``
    cells. It interpolates and never averages: meant for H >= h and W >= w.
    """
    rows, columns = map(_interpolation, size, maps.shape[-2:])
    # By einsum: BLAS gives so thin a product to threads, which costs far more.
    wide = np.einsum("...hw,Ww->...hW", maps.astype(np.float32), columns)
    return np.einsum("Hh,...hW->...HW", rows, wide)


def _interpolation(size: int, cells: int) -> Float[np.ndarray, "size cells"]:
    """Return the weights of bilinear interpolation along one axis."""
    centres = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    # A hat function of each cell: neighbours share 1, all others get 0.
    distances = np.abs(centres[:, None] - np.arange(cells))
    return np.maximum(1 - distances, 0).astype(np.float32)
