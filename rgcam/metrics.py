"""Measures of a model's predictions: accuracy, per class and confusion; pure."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


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
