"""Measures of a model's predictions: accuracy, per class, confusion, interval; pure."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int


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
    _, number = np.unique(np.asarray(groups, str), return_inverse=True)
    clips = np.bincount(number)
    hits = np.bincount(number, weights=right)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), samples)
    low, high = np.quantile(
        (drawn @ hits) / (drawn @ clips), [(1 - level) / 2, (1 + level) / 2]
    )
    return float(low), float(high)
