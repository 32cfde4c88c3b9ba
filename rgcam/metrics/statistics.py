"""Accuracy, confusion, and shares and means with intervals over groups; pure.

Clips of one recording are not independent. Every interval here is over groups
(recordings), and there is none where the groups are too few to tell: it is None, and the
text is ``TOO_FEW_GROUPS``.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

RESIDUE = 1e-10  # of a mean: an error below this is rounding
MIN_GROUPS = 10  # below, an interval over groups says more than is known
TOO_FEW_GROUPS = "too few groups for an interval"


class Interval(NamedTuple):
    """A mean over clips with its 95 % interval over groups.

    Attributes:
        mean: of the finite values; None where there is no clip.
        low: lower bound; None where there is no interval.
        high: upper bound; None where there is no interval.
        clips: number of finite values.
        groups: number of groups that they come from.
    """

    mean: float | None
    low: float | None
    high: float | None
    clips: int
    groups: int

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return both bounds, or None where there is no interval."""
        if self.low is None or self.high is None:
            return None
        return self.low, self.high


def confusion(
    labels: Int[np.ndarray, " N"], predictions: Int[np.ndarray, " N"], classes: int
) -> Int[np.ndarray, "C C"]:
    """Count clips: row = true class, column = predicted class."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, predictions), 1)
    return table


def class_accuracy(
    table: Int[np.ndarray, "C C"], classes: Sequence[str]
) -> dict[str, float | None]:
    """Return the accuracy within each class; None for a class without clips."""
    totals = table.sum(1)
    return {
        name: float(table[i, i] / totals[i]) if totals[i] else None
        for i, name in enumerate(classes)
    }


def confusion_text(table: Int[np.ndarray, "C C"], classes: Sequence[str]) -> str:
    """Format the confusion table as text: rows true, columns predicted."""
    width = max(map(len, classes))
    cell = max(4, len(str(table.max())) + 1)
    head = " " * width + "".join(f"{i:>{cell}}" for i in range(len(classes)))
    rows = [
        f"{name:>{width}}" + "".join(f"{n or '.':>{cell}}" for n in row)
        for name, row in zip(classes, table.tolist(), strict=True)
    ]
    return "\n".join([head, *rows])


def share_interval(
    values: Bool[np.ndarray, " N"] | Float[np.ndarray, " N"], groups: Sequence[str]
) -> Interval:
    """Return the share of clips of which something is true, and its 95 % interval.

    Where every clip is a group of its own, the interval is the exact binomial one
    (Clopper and Pearson 1934), whatever the number of clips: 46 of 46 is 92.3 % to
    100 %. Where groups hold several clips, it is Korn and Graubard's (Survey Methodology
    24, 1998): the exact interval of as many independent clips as would give the share
    the standard error that it has over groups. A share of 0 or 1 shows no such error:
    each group then counts as one clip.

    Coverage of a nominal 95 %, simulated (``python benchmarks/coverage.py``: 10 to 55
    groups of 1 to 6 clips, correlation within groups 0.1 to 0.9, shares 0.5 to 0.98):
    93 to 100 %; of the percentile bootstrap over groups 21 to 95 %, the lowest where few
    clips are wrong.

    Args:
        values: one for each clip, 1 or True where it is true; NaN is left out.
        groups: the recording of each clip.

    Returns:
        Without bounds below MIN_GROUPS groups, unless each holds one clip.
    """
    sums, sizes = _group_sums(np.asarray(values, float), groups)
    if not len(sizes):
        return _without_bounds(None, sizes)
    share = float(sums.sum() / sizes.sum())
    clips = float(sizes.sum())
    if sizes.max() > 1:
        if len(sizes) < MIN_GROUPS:
            return _without_bounds(share, sizes)
        clips = _independent_clips(share, sums, sizes)
    low, high = _exact_interval(share * clips, clips)
    return Interval(
        mean=share, low=low, high=high, clips=int(sizes.sum()), groups=len(sizes)
    )


def mean_interval(
    values: Float[np.ndarray, " N"],
    groups: Sequence[str],
    *,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return the mean of the finite values, and its 95 % interval over groups.

    Student's t-interval, with the standard error of a ratio of sums over groups (Cochran,
    Sampling Techniques 1977, section 6.4) and one degree of freedom less than there are
    groups. Several values of one clip (of several models) belong to one group, and so
    are one observation. For a share use ``share_interval``.

    Coverage of a nominal 95 %, simulated (``python benchmarks/coverage.py``: 10 to 55
    groups of 1 to 6 clips, correlation within groups 0.1 to 0.9, normal values, and
    skewed ones in [0, 1] with mean 0.9): 92 to 95 % of normal values; of skewed ones 78 to
    89 % with 10 groups, 83 to 92 % with 23 and 90 to 93 % with 55, so that intervals of a
    share-like measure close to 1 are somewhat too narrow where groups are few.

    Args:
        values: one for each clip; NaN is left out.
        groups: the recording of each clip.
        limits: between which all values lie; the bounds are cut off there.

    Returns:
        Without bounds below MIN_GROUPS groups, and where all groups are equal: what
        does not vary in the sample says nothing of how much it may vary.
    """
    sums, sizes = _group_sums(values, groups)
    if not len(sizes):
        return _without_bounds(None, sizes)
    mean = float(sums.sum() / sizes.sum())
    error = _standard_error(mean, sums, sizes) if len(sizes) >= MIN_GROUPS else 0.0
    if error <= RESIDUE * abs(mean):
        return _without_bounds(mean, sizes)
    half = _t_quantile(len(sizes) - 1.0) * error
    return Interval(
        mean=mean,
        low=max(mean - half, limits[0]),
        high=min(mean + half, limits[1]),
        clips=int(sizes.sum()),
        groups=len(sizes),
    )


def interval_text(bounds: Sequence[float] | None, spec: str = ".1%") -> str:
    """Write the bounds of an interval, or that there are too few groups for one."""
    if bounds is None:
        return TOO_FEW_GROUPS
    low, high = bounds
    return f"95 % interval over groups {low:{spec}} to {high:{spec}}"


def _without_bounds(
    mean: float | None, sizes: Float[np.ndarray, " groups"]
) -> Interval:
    clips = int(sizes.sum())
    return Interval(mean=mean, low=None, high=None, clips=clips, groups=len(sizes))


def _group_sums(
    values: Float[np.ndarray, " N"], groups: Sequence[str]
) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
    """Return the sum of the finite values of each group, and their number."""
    finite = np.isfinite(values)
    _, number = np.unique(np.asarray(groups, str)[finite], return_inverse=True)
    sums = np.bincount(number, weights=values[finite]).astype(float)
    return sums, np.bincount(number).astype(float)


def _standard_error(
    mean: float,
    sums: Float[np.ndarray, " groups"],
    sizes: Float[np.ndarray, " groups"],
) -> float:
    """Return the standard error of a mean over clips, with whole groups drawn."""
    residuals = sums - mean * sizes
    count = len(sizes)
    squares = float((residuals**2).sum())
    return math.sqrt(count / (count - 1) * squares) / float(sizes.sum())


def _independent_clips(
    share: float,
    sums: Float[np.ndarray, " groups"],
    sizes: Float[np.ndarray, " groups"],
) -> float:
    """Return how many independent clips would tell as much as these clips of groups."""
    clips = float(sizes.sum())
    if share in (0, 1):
        return float(len(sizes))
    error = _standard_error(share, sums, sizes)
    # Chance can make groups more alike than independent clips: never more than there are.
    if error**2 * clips <= share * (1 - share):
        equivalent = clips
    else:
        equivalent = share * (1 - share) / error**2
    # The standard error itself is an estimate from few groups (Korn and Graubard).
    ratio = _t_quantile(clips - 1) / _t_quantile(len(sizes) - 1.0)
    return min(clips, equivalent * ratio**2)


def _exact_interval(successes: float, trials: float) -> tuple[float, float]:
    """Return Clopper and Pearson's 95 % interval; the numbers may be fractions."""
    # Imported where it is used: every explanation loads this module, and needs none.
    from scipy import special

    failures = trials - successes
    low = special.betaincinv(successes, failures + 1, 0.025) if successes > 0 else 0
    high = special.betaincinv(successes + 1, failures, 0.975) if failures > 0 else 1
    return float(low), float(high)


def _t_quantile(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy import special

    return float(special.stdtrit(freedom, 0.975))
