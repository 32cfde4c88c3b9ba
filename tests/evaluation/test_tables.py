"""Means, intervals over groups, and the tables' text."""

import numpy as np
import pytest

from rgcam.evaluation import tables as tables


def row(group, check, energy, subset=0.5):
    fade = {"check": check, "energy": energy, "subset": subset}
    return {"group": group, "measures": {"fade": fade, "uniform": {"energy": 0.1}}}


ROWS = [row("a", 0.1, 0.2), row("a", 0.2, 0.4), row("b", 0.9, 0.5), row("c", 0.7, None)]


def test_mean_and_interval_over_groups():
    found = tables.table(ROWS)["fade"]["energy"]
    assert found.mean == pytest.approx(1.1 / 3) and found.clips == 3
    assert found.low == pytest.approx(0.3) and found.high == pytest.approx(0.5)
    same = tables.table(ROWS)["fade"]["subset"]
    assert same.low == same.mean == same.high == 0.5
    assert tables.plain(tables.table(ROWS))["fade"]["subset"]["clips"] == 4


def test_a_method_that_some_rows_lack():
    other = {"group": "d", "measures": {"frame CNN": {"energy": 0.3}}}
    found = tables.table([*ROWS, other])
    assert found["frame CNN"]["energy"].clips == 1 and found["fade"]["check"].clips == 4


def test_markdown():
    text = tables.markdown(tables.table(ROWS))
    assert text.startswith("## Faithfulness\n\n| method | subset |\n|")
    assert "| fade | 0.37 (0.30 to 0.50) |" in text
    assert "| uniform | 0.10 (0.10 to 0.10) |" in text
    assert "Likeness" not in text
    assert tables.cell(tables.mean_interval(np.ones(2), ["a", "b"]), "+") == (
        "+1.00 (+1.00 to +1.00)"
    )
