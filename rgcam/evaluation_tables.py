"""Rows of ``rgcam.evaluate`` -> tables of means with intervals over groups."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rgcam.faithfulness import correlation, rank

SAMPLES = 2000
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
SANE = ("like scores", "like recurrent", "like frame_head", "like backbone")
CHECKED = ("check", "trusted", "trusts clip", "trusts shuffled", "trusts model")
TABLES = {
    "Faithfulness": FAITHFUL,
    "Truth, last step": TRUE,
    "Truth, all steps": tuple(f"{name}, all" for name in TRUE),
    "Likeness to the maps of a randomised model": SANE,
    "Self-check": CHECKED,
}


def table(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, for every method and measure, the mean, its interval and the clips.

    Args:
        rows: of the record: ``group`` and ``measures`` by method.
    """
    groups = [row["group"] for row in rows]
    found: dict[str, dict[str, Any]] = {}
    for method in rows[0]["measures"]:
        names = dict.fromkeys(n for row in rows for n in row["measures"][method])
        found[method] = {}
        for name in names:
            values = [row["measures"][method].get(name) for row in rows]
            numbers = np.array([np.nan if v is None else v for v in values], float)
            found[method][name] = summary(numbers, groups)
    return found


def summary(
    values: Float[np.ndarray, " N"], groups: Sequence[str], *, seed: int = 0
) -> dict[str, Any]:
    """Return the mean of the finite values, and its 95 % interval over groups.

    Whole groups are drawn with replacement, as in ``metrics.bootstrap_interval``.
    """
    there = np.isfinite(values)
    if not there.any():
        return {"mean": None, "low": None, "high": None, "clips": 0}
    _, number = np.unique(np.asarray(groups, str)[there], return_inverse=True)
    counts = np.bincount(number)
    sums = np.bincount(number, weights=values[there])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), SAMPLES)
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), [0.025, 0.975])
    mean = values[there].mean()
    return dict(mean=float(mean), low=low, high=high, clips=int(there.sum()))


def agreement(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Correlate the check's score with the truth, by ranks (Spearman).

    ``across``: over all methods and clips, ``within``: the mean over methods of the
    correlation over clips.
    """
    found: dict[str, Any] = {}
    for truth in ("energy", "moments"):
        pairs, within = [], []
        for name in names:
            both = [
                (m["check"], m[truth])
                for m in (row["measures"][name] for row in rows)
                if m.get(truth) is not None and m.get("check") is not None
            ]
            if len(both) > 2:
                a, b = np.array(both, float).T
                within.append(float(correlation(rank(a), rank(b))))
                pairs += both
        if pairs:
            a, b = np.array(pairs, float).T
            across = float(correlation(rank(a), rank(b)))
            found[truth] = {"across": across, "within": float(np.nanmean(within))}
    return found


def markdown(found: dict[str, dict[str, Any]], title: str) -> str:
    """Lay the tables out: a method a row, mean and interval in each cell."""
    parts = [f"# {title}", ""]
    for heading, measures in TABLES.items():
        shown = [m for m in measures if any(m in row for row in found.values())]
        rows = {n: row for n, row in found.items() if any(m in row for m in shown)}
        if not rows:
            continue
        parts += [f"## {heading}", "", "| method | " + " | ".join(shown) + " |"]
        parts.append("|---" * (len(shown) + 1) + "|")
        for name, row in rows.items():
            cells = " | ".join(_cell(row.get(measure)) for measure in shown)
            parts.append(f"| {name} | {cells} |")
        parts.append("")
    return "\n".join(parts)


def _cell(value: dict[str, Any] | None) -> str:
    if value is None or value["mean"] is None:
        return ""
    return f"{value['mean']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
