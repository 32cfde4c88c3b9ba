"""One picture of a whole matrix: aggregation over t', and credit by lag."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam.errors import InputError
from rgcam.types import Tensor

STEPS = ("last", "decided", "rise")  # aggregations that choose an output step
AGGREGATIONS = (*STEPS, "mean", "max")
WORDS = {
    "last": "last step (t' = {:.2f} s)",
    "decided": "step from which the prediction is unchanged (t' = {:.2f} s)",
    "rise": "step at which the score rises most (t' = {:.2f} s)",
    "mean": "mean over all steps",
    "max": "maximum over all steps",
}


class Lags(NamedTuple):
    """How far back credit reaches.

    Attributes:
        profile: (T,), mean ``|M[t', t' - lag]|`` over the steps that have that lag.
        half_life: frames in which it halves, by an exponential fitted to it; inf where
            it does not fall, NaN where there is nothing to fit.
        recurrent_share: part of ``sum |M|`` that is off the diagonal.
    """

    profile: Float[np.ndarray, " T"]
    half_life: float
    recurrent_share: float


def choose_step(scores: Float[Tensor, "out C"], target: int | None, how: str) -> int:
    """Return an output step t' that is worth a look.

    Args:
        scores: y.
        target: class; None: the one decided for.
        how: ``last``: the paper's; ``decided``: the first step from which the class
            with the highest score is the last step's; ``rise``: where the target's
            score rises most.

    Raises:
        InputError: another name.
    """
    if how not in STEPS:
        raise InputError(f"there is no step {how!r}: choose one of {', '.join(STEPS)}")
    scores = np.asarray(scores)
    if how == "last":
        return len(scores) - 1
    if how == "decided":
        winners = scores.argmax(1)
        return int(np.flatnonzero(winners != winners[-1]).max(initial=-1)) + 1
    target = scores[-1].argmax() if target is None else target
    rises = np.diff(scores[:, target], prepend=scores[0, target])
    return int(rises.argmax())


def aggregate(
    values: Float[Tensor, "T T ..."],
    scores: Float[Tensor, "T C"],
    target: int | None = None,
    how: str = "last",
) -> Float[np.ndarray, "T ..."]:
    """Make one row of all rows t' of a matrix, or one map a frame of all maps.

    Such as ``aggregate(e.maps, e.scores, how="max")`` of an ``Explanation`` e.

    Args:
        values: matrix or maps of a causal model, rectified or signed.
        scores: y.
        target: class; None: the one decided for.
        how: one of ``choose_step``'s; ``mean`` or ``max`` over the steps t' >= t that
            see frame t (or late frames would count for less).

    Raises:
        InputError: another name.
    """
    if how not in AGGREGATIONS:
        raise InputError(
            f"there is no aggregation {how!r}: choose one of {', '.join(AGGREGATIONS)}"
        )
    values = np.asarray(values)
    if how in STEPS:
        return values[choose_step(scores, target, how)]
    steps = range(len(values))
    over = {"mean": np.mean, "max": np.max}[how]
    return np.stack([over(values[t:, t], axis=0) for t in steps])


def words(
    scores: Float[Tensor, "out C"],
    target: int | None,
    how: str,
    times: Float[np.ndarray, " out"],
) -> str:
    """Say which steps ``aggregate`` shows; their times are in seconds."""
    step = choose_step(scores, target, how) if how in STEPS else -1
    return WORDS[how].format(times[step])


def lags(matrix: Float[np.ndarray, "T T"]) -> Lags:
    """Tell how credit falls with the lag t' - t, and how much of it travels at all.

    With its state detached (no gradient through time), a recurrent model's explanation
    by any gradient method is the diagonal of the whole one: what is off the diagonal
    came through the state.
    The exponential is a line of least squares through the logarithm, each lag with the
    number of steps that have it as weight.
    """
    size, steps = np.abs(matrix), np.arange(len(matrix))
    profile = np.array([size.diagonal(-lag).mean() for lag in steps])
    total = np.tril(size).sum()
    share = float(1 - size.trace() / total) if total > 0 else math.nan
    there = profile > 0
    if there.sum() < 2:
        return Lags(profile, math.nan, share)
    weights = np.sqrt((len(matrix) - steps)[there])
    rate = -np.polyfit(steps[there], np.log(profile[there]), 1, w=weights)[0]
    falls = rate * len(matrix) > 1e-6  # less is rounding's
    return Lags(profile, math.log(2) / rate if falls else math.inf, share)


def summary(
    matrix: Float[np.ndarray, "T T"],
    scores: Float[np.ndarray, "T C"],
    times: Float[np.ndarray, " T"],
) -> dict[str, Any]:
    """Say in plain data how far back credit reaches, and since when it is decided.

    Args:
        matrix: of one class.
        scores: y.
        times: of the steps, in seconds.

    Returns:
        ``half_life`` in seconds and ``half_life_frames``, None where credit does not
        fall; ``recurrent_share``, None where there is no credit; ``decided_at``,
        seconds.
    """
    found, steps = lags(matrix), max(len(times) - 1, 1)
    half = found.half_life if math.isfinite(found.half_life) else None
    share = found.recurrent_share
    gap = float(times[-1] - times[0]) / steps
    decided = times[choose_step(scores, None, "decided")]
    return {
        "half_life": None if half is None else round(half * gap, 3),
        "half_life_frames": None if half is None else round(half, 2),
        "recurrent_share": None if math.isnan(share) else round(share, 4),
        "decided_at": round(float(decided), 3),
    }


def sentence(summary: Mapping[str, Any], seconds: float) -> str:
    """Say ``summary`` of a clip of so many seconds in a line; "" without credit."""
    half, share = summary["half_life"], summary["recurrent_share"]
    if share is None:
        return ""
    travelled = f"{share:.0%} travelled through time"
    if share == 0:
        return travelled
    if half is None or half > seconds:
        return f"credit does not halve within the clip; {travelled}"
    return f"a frame's credit halves every {half:.2f} s; {travelled}"
