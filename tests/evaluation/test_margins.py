"""Paired leads over the best rival, by hand."""

import pytest

from rgcam.evaluation import margins


def row(group, fade, motion, centre):
    measures = {"fade": fade, "motion": motion, "centre": centre}
    measures = {name: {"energy": value} for name, value in measures.items()}
    return {"group": group, "measures": measures}


ROWS = [row("a", 0.5, 0.3, 0.4), row("b", 0.9, 0.6, 0.1), row("c", 0.2, None, 0.1)]


def test_lead_over_the_best_is_paired():
    found = margins.margins(ROWS, ["fade"], ["motion", "centre"])["fade"]
    assert set(found) == {"energy"}  # the others were not measured
    margin = found["energy"]  # means: motion 0.45, centre 0.2
    assert margin.against == "motion" and margin.lead.clips == 2
    assert margin.lead.mean == pytest.approx((0.2 + 0.3) / 2)
    assert margin.lead.low == pytest.approx(0.2)
    assert margin.lead.high == pytest.approx(0.3)


def test_text_and_numbers():
    found = margins.margins(ROWS, ["fade"], ["centre"])
    text = margins.markdown(found, "Margins over centre")
    assert "| method | energy, over centre |" in text
    assert "| fade | +0.33 (+0.10 to +0.80) |" in text
    assert margins.plain(found)["fade"]["energy"]["against"] == "centre"
    nothing = margins.margins(ROWS, ["fade"], ["frame CNN"])
    assert margins.markdown(nothing, "Margins over the frame CNN") == ""
