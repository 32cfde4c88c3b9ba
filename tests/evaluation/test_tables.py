"""Means, paired margins, intervals over groups, and their text, by hand."""

import math

import numpy as np
import pytest

from rgcam.evaluation import tables
from rgcam.evaluation.measure import CheckOutcomes, FaithfulnessMeasures, MethodMeasures
from rgcam.evaluation.tables import Column, Row
from rgcam.metrics.localization import LocalizationMeasures
from rgcam.metrics.statistics import Interval, mean_interval

NAN = math.nan
ENERGY = Column("localization", "energy")
SUBSET = Column("faithfulness", "subset")
SCORE = Column("check_score", "genuine")


def energy(value):
    return MethodMeasures(localization=LocalizationMeasures(energy=value))


def row(group, **measures):
    return Row(model="m", clip="c", group=group, measures=measures)


def checked(group, check, value, subset=0.5):
    fade = energy(value)._replace(
        check_score=CheckOutcomes(genuine=check),
        faithfulness=FaithfulnessMeasures(subset=subset),
    )
    return row(group, fade=fade, uniform=energy(0.1))


ROWS = [
    checked("a", 0.1, 0.2),
    checked("a", 0.2, 0.4),
    checked("b", 0.9, 0.5),
    checked("c", 0.7, NAN),
]
MANY = [
    row(
        str(number),
        fade=MethodMeasures(
            localization=LocalizationMeasures(energy=number / 10, pointing=1.0)
        ),
    )
    for number in range(10)
]
PAIRED = [
    row(group, fade=energy(fade), motion=energy(motion), centre=energy(centre))
    for group, fade, motion, centre in (
        ("a", 0.5, 0.3, 0.4),
        ("b", 0.9, 0.6, 0.1),
        ("c", 0.2, NAN, 0.1),
    )
]


def test_mean_and_interval_over_groups():
    means = tables.table(ROWS)["fade"]
    assert means[ENERGY].mean == pytest.approx(1.1 / 3) and means[ENERGY].clips == 3
    assert means[ENERGY].bounds is None  # of two groups
    fields = tables.fields(tables.table(ROWS))
    subset = fields["fade"]["faithfulness"]["subset"]
    assert subset["clips"] == 4 and subset["low"] is None
    groups = [str(n) for n in range(10)]
    expected = mean_interval(np.arange(10.0) / 10, groups, limits=(0.0, 1.0))
    assert tables.table(MANY)["fade"][ENERGY] == expected


def test_measures_with_a_range_have_intervals_within_it():
    assert ENERGY.limits == (0, 1) and SUBSET.limits == SCORE.limits == (-1, 1)
    assert Column("faithfulness", "infidelity_last").limits == (-math.inf, math.inf)
    rows = [row(str(n), fade=energy(0.0 if n else 1.0)) for n in range(10)]
    assert tables.table(rows)["fade"][ENERGY].low == 0


def test_outcomes_have_the_interval_of_a_share():
    """Ten of ten point at the truth: that is not 100 % to 100 %."""
    pointing = tables.table(MANY)["fade"][Column("localization", "pointing")]
    assert pointing.bounds == pytest.approx((0.025 ** (1 / 10), 1))
    assert Column("check_passed", "genuine").is_share
    assert not SCORE.is_share and not ENERGY.is_share


def test_a_method_that_some_rows_lack():
    means = tables.table([*ROWS, row("d", cnn=energy(0.3))])
    assert means["cnn"][ENERGY].clips == 1 and means["fade"][SCORE].clips == 4


def test_tables_show_the_measures_that_there_are():
    text = tables.markdown(tables.table(ROWS))
    assert text.startswith("## Faithfulness\n\n| method | subset |\n|")
    assert "| fade (signed) | 0.37 |" in text and "| *uniform* | 0.10 |" in text
    assert "Similarity" not in text
    assert "too few groups for an interval (fewer than 10)" in text
    text = tables.markdown(tables.table(MANY))
    assert "| fade (signed) | 0.45 (0.23 to 0.67) | 1.00 (0.69 to 1.00) |" in text
    assert "too few groups" not in text
    assert tables.cell(Interval(1.0, 0.5, 1.5, 12, 12), "+") == "+1.00 (+0.50 to +1.50)"
    assert tables.cell(Interval(1.0, None, None, 2, 2), "+") == "+1.00"
    assert tables.cell(None) == tables.cell(Interval(None, None, None, 0, 0)) == ""


def test_rows_say_whether_maps_are_signed_or_rectified():
    assert tables.label("fade") == "fade (signed)"
    assert tables.label("gradcam") == "gradcam (rectified)"
    assert tables.label("gradcam:zero:signed") == "gradcam:zero (signed)"
    assert tables.label("frame CNN") == "*frame CNN*"


def test_references_have_a_row_each_and_their_baselines_a_column():
    subset = lambda value, raw: MethodMeasures(
        faithfulness=FaithfulnessMeasures(subset=value, subset_raw=raw)
    )
    measures = {
        "fade": subset(0.9, 0.95),
        "uniform:zero": subset(0.0, 0.7),
        "uniform:mean": subset(0.05, 0.6),
        "frame CNN:zero": subset(0.1, 0.2),
        "frame CNN:mean": subset(0.3, 0.4),
    }
    clips = [Row("m", f"c{n}", f"g{n}", measures) for n in range(3)]
    text = tables.markdown(tables.table(clips))
    assert "| method | subset | subset raw |\n|" in text
    assert "| fade (signed) | 0.90 | 0.95 |\n\n" in text
    assert "| maps | zero | mean |" in text
    assert "| *uniform* | 0.00, raw 0.70 | 0.05, raw 0.60 |" in text
    assert "| *frame CNN* | 0.10, raw 0.20 | 0.30, raw 0.40 |" in text


def test_every_group_of_measures_has_a_heading():
    assert set(tables.HEADINGS) == set(MethodMeasures._fields)


def test_the_lead_over_the_best_reference_is_paired():
    leads = tables.margins(PAIRED, ["fade"], ["motion", "centre"])["fade"]
    assert set(leads) == {ENERGY}  # the others were not measured
    margin = leads[ENERGY]  # means: motion 0.45, centre 0.2
    assert margin.reference == "motion" and margin.lead.clips == 2
    assert margin.lead.mean == pytest.approx((0.2 + 0.3) / 2)
    assert margin.lead.bounds is None and margin.lead.groups == 2


def test_margins_name_their_reference():
    leads = tables.margins(PAIRED, ["fade"], ["centre"])
    text = tables.margins_markdown(leads, "Margins over centre")
    assert (
        "| method | energy (localization, last step or own aggregation), over centre |"
        in text
    )
    assert "| fade (signed) | +0.33 |" in text and "too few groups" in text
    fields = tables.margins_fields(leads)
    assert fields["fade"]["localization"]["energy"]["reference"] == "centre"
    nothing = tables.margins(PAIRED, ["fade"], ["frame CNN"])
    assert tables.margins_markdown(nothing, "Margins over the frame CNN") == ""
