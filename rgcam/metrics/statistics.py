"""Accuracy and confusion, correlations, and means with intervals over groups; pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Numbers = Float[np.ndarray, "..."]
RESIDUE = 1e-10  # of a variable's variance: what is left below this is rounding


class Interval(NamedTuple):
    """A mean over clips with its 95 % interval; None where there is no clip.

    Attributes:
        mean: of the finite values.
        low: 2.5 % of the bootstrap samples are below.
        high: 2.5 % of the bootstrap samples are above.
        clips: number of finite values.
    """

    mean: float | None
    low: float | None
    high: float | None
    clips: int


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


def correlation(a: Numbers, b: Numbers, axis: int = 0) -> Numbers:
    """Return Pearson's correlation along an axis; NaN where a variable is constant."""
    a, b = (x - x.mean(axis, keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (a * b).sum(axis) / norm, np.nan)


def partial_correlation(a: Numbers, b: Numbers, covariate: Numbers) -> Numbers:
    """Correlate a and b along the first axis, controlling for a covariate.

    The correlation of what the least-squares lines through ``covariate`` leave of a and
    of b (Fisher 1924).

    Returns:
        One correlation per remaining index; NaN where a or b is a linear function of
        the covariate.
    """
    centred = covariate - covariate.mean(0)
    square = (centred**2).sum(0)
    # A covariate that is constant explains nothing: its slope is 0.
    inverse = np.where(square > 0, 1 / np.where(square > 0, square, 1), 0)
    residual = lambda x: x - x.mean(0) - centred * (centred * x).sum(0) * inverse
    # A linear function of the covariate leaves rounding errors, which would correlate.
    explained = lambda residue, x: (
        (residue**2).sum(0) <= RESIDUE * ((x - x.mean(0)) ** 2).sum(0)
    )
    residual_a, residual_b = residual(a), residual(b)
    undefined = explained(residual_a, a) | explained(residual_b, b)
    return np.where(undefined, np.nan, correlation(residual_a, residual_b))


def ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks from 1; equal values share the mean of theirs."""
    # Imported here: SciPy's statistics take 0.7 s, and every explanation loads this
    # module without needing ranks.
    from scipy import stats

    return stats.rankdata(values)


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's rank correlation; NaN where a variable is constant."""
    return float(correlation(ranks(a), ranks(b)))


def bootstrap_interval(
    correct: Bool[np.ndarray, " N"],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile confidence interval of the accuracy over groups.

    Clips of one recording are not independent, so whole groups are drawn with
    replacement (the cluster bootstrap: Davison and Hinkley 1997, section 3.8) and each
    sample's accuracy is the share of its clips that are classified correctly.

    Args:
        correct: whether each clip was classified correctly.
        groups: the recording of each clip.
        level: of confidence.
        samples: number of draws.
        seed: of the draws.
    """
    means = _resampled_means(correct, groups, samples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    values: Float[np.ndarray, " N"],
    groups: Sequence[str],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean of the finite values, and its 95 % interval over groups.

    Whole groups are drawn with replacement, as in ``bootstrap_interval``; several
    values of one clip (of several models) belong to one group, and so are one
    observation.

    Args:
        values: one for each clip; NaN is left out.
        groups: the recording of each clip.
        samples: number of draws.
        seed: of the draws.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return Interval(mean=None, low=None, high=None, clips=0)
    finite_groups = np.asarray(groups, str)[finite]
    means = _resampled_means(values[finite], finite_groups, samples, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(
        mean=float(values[finite].mean()),
        low=float(low),
        high=float(high),
        clips=int(finite.sum()),
    )


def _resampled_means(
    values: Float[np.ndarray, " N"] | Bool[np.ndarray, " N"],
    groups: Sequence[str] | np.ndarray,
    samples: int,
    seed: int,
) -> Float[np.ndarray, " samples"]:
    """Draw whole groups with replacement; return the mean over clips of each draw."""
    _, number = np.unique(np.asarray(groups, str), return_inverse=True)
    clips, sums = np.bincount(number), np.bincount(number, weights=values)
    rng = np.random.default_rng(seed)
    # How often each group is drawn, in each sample.
    draws = rng.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), samples)
    return (draws @ sums) / (draws @ clips)
