"""Rows of ``rgcam.commands.evaluate`` -> tables of means with intervals over groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rgcam.metrics import deletion
from rgcam.metrics.randomization import CASCADE
from rgcam.metrics.statistics import Interval, mean_interval

Row = dict[str, Any]  # of the record
Table = dict[str, dict[str, Interval]]  # by method and measure
FAITHFUL = (
    "subset",
    "subset, last",
    "best of any matrix",
    "space",
    "matrix",
    "matrix, ranks",
    "infidelity, last",
    "deletion",
)
TRUE = ("energy", "pointing", "IoU", "moments", "inside")
SANE = tuple(f"like {name}" for name in (*CASCADE, "random labels", "shuffled frames"))
BROKEN = ("clip", "shuffled", "model")
CHECKED = (
    *("check", *(f"check {kind}" for kind in BROKEN)),
    *("trusted", *(f"trusts {kind}" for kind in BROKEN)),
)


def _under(removal: str) -> tuple[str, ...]:
    return tuple(f"{name}, {removal}" for name in deletion.NAMES)


TABLES = {
    "Faithfulness": FAITHFUL,
    "Curves, the method's own baseline": _under("own"),
    "Curves, frozen frames": _under("frozen"),
    "Curves, blurred pixels": _under("blurred"),
    "Truth, last step": TRUE,
    "Truth, all steps": tuple(f"{name}, all" for name in TRUE),
    "Likeness to maps that should be others": SANE,
    "Through time": ("recurrent share", "half-life"),
    "Self-check": CHECKED,
}


def table(rows: Sequence[Row]) -> Table:
    """Return, for every method and measure, the mean, its interval and the clips.

    Args:
        rows: of the record: ``group`` and ``measures`` by method.
    """
    groups = [row["group"] for row in rows]
    found: Table = {}
    for method in dict.fromkeys(m for row in rows for m in row["measures"]):
        known = [row["measures"].get(method, {}) for row in rows]
        found[method] = {
            name: mean_interval(column(rows, method, name), groups)
            for name in dict.fromkeys(n for measures in known for n in measures)
        }
    return found


def column(rows: Sequence[Row], method: str, name: str) -> Float[np.ndarray, " N"]:
    """Return a method's measure of every clip, NaN where there is none."""
    values = (row["measures"].get(method, {}).get(name) for row in rows)
    return np.array([np.nan if v is None else v for v in values], float)


def plain(found: Table) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the means as table.json has them."""
    return {
        method: {name: value._asdict() for name, value in row.items()}
        for method, row in found.items()
    }


def markdown(found: Table) -> str:
    """Lay the tables out: a method a row, mean and interval in each cell."""
    parts = []
    for heading, measures in TABLES.items():
        shown = [m for m in measures if any(m in row for row in found.values())]
        rows = {
            name: [cell(row.get(measure)) for measure in shown]
            for name, row in found.items()
            if any(m in row for m in shown)
        }
        parts += [grid(heading, ["method", *shown], rows)] if rows else []
    return "\n".join(parts)


def grid(heading: str, top: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Lay out one table under its heading."""
    lines = [list(top), ["---"] * len(top), *([n, *row] for n, row in rows.items())]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {heading}\n\n{text}\n"


def cell(value: Interval | None, sign: str = "") -> str:
    """Write a mean and its interval; ``sign="+"`` of a difference."""
    if value is None or value.mean is None:
        return ""
    mean, low, high = (f"{x:{sign}.2f}" for x in value[:3])
    return f"{mean} ({low} to {high})"
