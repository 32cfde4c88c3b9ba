"""Accuracy, per class, confusion; means and their intervals over groups; pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Interval(NamedTuple):
    """A mean over clips and its 95 % interval; None where there is no clip.

    Attributes:
        mean: of the finite values.
        low: 2.5 % of the samples of the bootstrap are below.
        high: 2.5 % are above.
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
    """Return each class's share of right clips; None for a class without clips."""
    totals = table.sum(1)
    return {
        name: float(table[i, i] / totals[i]) if totals[i] else None
        for i, name in enumerate(classes)
    }


def confusion_text(table: Int[np.ndarray, "C C"], classes: Sequence[str]) -> str:
    """Lay the confusion table out as text: rows true, columns predicted."""
    width = max(map(len, classes))
    cell = max(4, len(str(table.max())) + 1)
    head = " " * width + "".join(f"{i:>{cell}}" for i in range(len(classes)))
    rows = [
        f"{name:>{width}}" + "".join(f"{n or '.':>{cell}}" for n in row)
        for name, row in zip(classes, table.tolist(), strict=True)
    ]
    return "\n".join([head, *rows])


def bootstrap_interval(
    right: Bool[np.ndarray, " N"],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile confidence interval of the accuracy over groups.

    Clips of one recording are not independent, so whole groups are drawn with
    replacement (the cluster bootstrap: Davison and Hinkley 1997, section 3.8) and each
    sample's accuracy is the share of its clips that are right.

    Args:
        right: whether each clip was decided rightly.
        groups: the recording of each clip.
        level: of confidence.
        samples: number of draws.
        seed: of the draws.
    """
    means = _resampled(right, groups, samples, seed)
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
    values of one clip (by several models) are one group's, and so one observation.

    Args:
        values: one for each clip; NaN is left out.
        groups: the recording of each clip.
        samples: number of draws.
        seed: of the draws.
    """
    there = np.isfinite(values)
    if not there.any():
        return Interval(None, None, None, 0)
    means = _resampled(values[there], np.asarray(groups, str)[there], samples, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(values[there].mean())
    return Interval(mean, float(low), float(high), int(there.sum()))


def _resampled(
    values, groups, samples: int, seed: int
) -> Float[np.ndarray, " samples"]:
    """Draw whole groups with replacement; return the mean over clips of each draw."""
    _, number = np.unique(np.asarray(groups, str), return_inverse=True)
    clips, sums = np.bincount(number), np.bincount(number, weights=values)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), samples)
    return (drawn @ sums) / (drawn @ clips)
