"""One picture of a whole matrix: aggregation over t', and credit by lag."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam.errors import InputError

STEPS = ("last", "decided", "rise")  # aggregations that choose an output step
AGGREGATIONS = (*STEPS, "mean", "max")


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


def choose_step(scores: Float[np.ndarray, "out C"], target: int, how: str) -> int:
    """Return an output step t' that is worth a look.

    Args:
        scores: y.
        target: class.
        how: ``last``: the paper's; ``decided``: the first step from which the class
            with the highest score is the last step's; ``rise``: where the target's
            score rises most.

    Raises:
        InputError: another name.
    """
    if how not in STEPS:
        raise InputError(f"there is no step {how!r}: choose one of {', '.join(STEPS)}")
    if how == "last":
        return len(scores) - 1
    if how == "decided":
        winners = scores.argmax(1)
        return int(np.flatnonzero(winners != winners[-1]).max(initial=-1)) + 1
    rises = np.diff(scores[:, target], prepend=0)
    return int(rises.argmax())


def aggregate(
    values: Float[np.ndarray, "T T ..."],
    scores: Float[np.ndarray, "T C"],
    target: int,
    how: str = "last",
) -> Float[np.ndarray, "T ..."]:
    """Make one row of all rows t' of a matrix, or one map a frame of all maps.

    Args:
        values: matrix or maps of a causal model.
        scores: y.
        target: class.
        how: one of ``choose_step``'s; ``mean`` over the steps t' >= t that see frame
            t (or late frames would count for less); ``max`` over t'.

    Raises:
        InputError: another name.
    """
    if how == "mean":
        steps = np.arange(len(values), 0, -1).reshape(-1, *[1] * (values.ndim - 2))
        return values.sum(0) / steps
    if how == "max":
        return values.max(0)
    if how not in STEPS:
        raise InputError(
            f"there is no aggregation {how!r}: choose one of {', '.join(AGGREGATIONS)}"
        )
    return values[choose_step(scores, target, how)]


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
    return Lags(profile, math.log(2) / rate if rate > 0 else math.inf, share)
