"""By how much do explanations lie better on the truth than what is to be beaten? Pure.

A method that does not beat pictures that know nothing of the model, by more than its
interval, has not been shown to find anything.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rgcam.evaluation.tables import Row, cell, column, grid
from rgcam.metrics.statistics import Interval, mean_interval

OF_ONE = ("energy", "pointing", "moments")
MEASURES = (*OF_ONE, *(f"{name}, all" for name in OF_ONE))


class Margin(NamedTuple):
    """A method's lead over a rival.

    Attributes:
        against: the rival.
        lead: the mean difference clip by clip, its interval over groups.
    """

    against: str
    lead: Interval


Margins = dict[str, dict[str, Margin]]  # by method and measure


def margins(
    rows: Sequence[Row], names: Sequence[str], rivals: Sequence[str]
) -> Margins:
    """Return every method's paired lead over the best rival, measure by measure.

    The best is the one with the highest mean over all clips, chosen with the truth in
    hand: what beats it beats them all. An interval above 0 is a lead beyond chance.

    Args:
        rows: of the record.
        names: methods.
        rivals: among which the best is taken; where none was measured, none is beaten.
    """
    groups, found = [row["group"] for row in rows], {name: {} for name in names}
    for measure in MEASURES:
        values = {rival: column(rows, rival, measure) for rival in rivals}
        means = {r: v[np.isfinite(v)].mean() for r, v in values.items() if _any(v)}
        if not means:
            continue
        best = max(means, key=lambda rival: means[rival])
        for name in names:
            lead = column(rows, name, measure) - values[best]
            found[name][measure] = Margin(best, mean_interval(lead, groups))
    return found


def markdown(found: Margins, heading: str) -> str:
    """Lay leads out: a method a row, each measure's rival named on top; "" of none."""
    first = next(iter(found.values()), {})
    if not first:
        return ""
    top = [f"{measure}, over {margin.against}" for measure, margin in first.items()]
    rows = {
        name: [cell(margin.lead, "+") for margin in row.values()]
        for name, row in found.items()
    }
    return grid(heading, ["method", *top], rows)


def plain(found: Margins) -> dict[str, dict[str, dict]]:
    """Return leads as table.json has them."""
    return {
        name: {
            measure: {"against": margin.against, **margin.lead._asdict()}
            for measure, margin in row.items()
        }
        for name, row in found.items()
    }


def _any(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())
