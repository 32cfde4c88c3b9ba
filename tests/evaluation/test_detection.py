"""The check's score of genuine and corrupted explanations, and the truth, by hand."""

import json
import math

import numpy as np
import pytest

from rgcam.evaluation import detection
from rgcam.evaluation.measure import CheckOutcomes, FaithfulnessMeasures, MethodMeasures
from rgcam.evaluation.tables import Column, Row
from rgcam.metrics.localization import LocalizationMeasures
from rgcam.metrics.statistics import share_interval

NAN = math.nan
ENERGY = Column("localization", "energy")
SCORE, ORACLE = detection.SCORE, detection.ORACLE


def row(check, energy, clip=NAN, shuffled=NAN, subset=0.5):
    measures = MethodMeasures(
        check_score=CheckOutcomes(
            genuine=check, other_clip=clip, shuffled_frames=shuffled
        ),
        # All were checked; one without a score has no effect, and fails.
        check_passed=CheckOutcomes(genuine=1, other_clip=0, shuffled_frames=0),
        localization=LocalizationMeasures(energy=energy),
        faithfulness=FaithfulnessMeasures(subset_last=subset),
    )
    return Row(
        model="m",
        clip="c",
        group="a",
        measures={"fade": measures, "uniform": MethodMeasures()},
    )


ROWS = [
    row(0.9, 0.2, 0.1, 0.3, 0.8),
    row(0.6, 0.1, 0.7, NAN, 0.9),
    row(0.95, 0.6, 0.2, 0.2, 0.7),
    row(0.7, NAN, 0.0, 0.55, 0.6),
]


def test_area_false_alarms_and_missed_ones_by_hand():
    result = detection.detection(np.array([0.9, 0.6, 0.6]), np.array([0.6, 0.1]))
    assert result.area == pytest.approx((2 + 1.5 + 1.5) / 6)
    at = dict(zip(detection.THRESHOLDS, result.false_alarms, strict=True))
    assert at[0.6] == 0 and at[0.65] == pytest.approx(2 / 3) and at[0.95] == 1
    at = dict(zip(detection.THRESHOLDS, result.missed, strict=True))
    assert at[0.5] == at[0.6] == 0.5 and at[0.65] == 0
    assert detection.THRESHOLDS[0] == 0.5 and detection.THRESHOLDS[-1] == 0.95


def test_genuine_and_corrupted_explanations_of_several_clips():
    detections = detection.detect_corrupted(ROWS, ["fade"])
    fade = detections["fade"]
    assert fade == detections["all methods"]
    assert (fade.genuine, fade.corrupted) == (4, 8)
    # Of 32 pairs only 0.7 beats 0.6, and ties with 0.7; no score is below all.
    assert fade.area == pytest.approx((32 - 1 - 0.5) / 32)
    assert detection.detect_corrupted(ROWS, ["uniform"]) == {}


def test_the_shares_that_pass_have_intervals_over_recordings():
    rows = [
        row(check, 0, clip, shuffled)._replace(group=str(n))
        for n, (check, clip, shuffled) in enumerate(
            [(0.9, 0.1, 0.7), (0.8, 0.2, 0.3), (NAN, 0.3, NAN), (0.6, 0.4, 0.2)]
        )
    ]
    rates = detection.pass_rates(rows, ["fade"], 0.6)
    # Four clips of four recordings: the one without a score fails.
    assert rates.genuine == share_interval(np.array([1.0, 1, 0, 1]), list("0123"))
    assert rates.corrupted.mean == 1 / 8 and rates.corrupted.clips == 8
    assert rates.corrupted.bounds is None  # two of each of four recordings
    # Of 32 pairs 0.7 beats 0.6; no score beats seven and ties with one.
    assert rates.area == pytest.approx((32 - 1 - 7.5) / 32)
    unchecked = detection.pass_rates(rows, ["uniform"], 0.6)
    assert unchecked.genuine.clips == 0 and math.isnan(unchecked.area)


def test_the_threshold_is_the_lowest_at_which_few_corrupted_explanations_pass():
    corrupted = np.linspace(0.4, 0.79, 50)  # two of 100 are at 0.75 or above, say
    rows = [row(0.9, 0, clip, 0.1) for clip in corrupted]
    above = lambda level: (corrupted >= level).sum() / 100
    chosen = detection.choose_threshold(rows, ["fade"], allowed=0.1)
    assert above(chosen) <= 0.1 < above(chosen - 0.05)
    with pytest.raises(ValueError, match="always pass"):
        detection.choose_threshold([row(0.9, 0, 1.0, 1.0)], ["fade"])


def test_no_recording_is_in_both_halves():
    rows = [row(0.9, 0)._replace(group=group) for group in "aabbccdd"]
    first, second = detection.halves(rows)
    assert "".join(r.group for r in first) == "aacc"
    assert "".join(r.group for r in second) == "bbdd"


def test_rank_correlation_with_the_truth_by_hand():
    correlations = detection.truth_correlations(ROWS, ["fade"])
    # Of the three clips with energy: ranks 1 0 2 and 1 0 2; of the oracle 1 2 0.
    assert correlations[ENERGY][SCORE].within == pytest.approx(1)
    assert correlations[ENERGY][ORACLE].across == pytest.approx(-1)
    # check: ranks 2 0 3 1; subset: 2 3 1 0.
    within = correlations[ORACLE][SCORE].within
    assert within == pytest.approx(1 - 6 * 14 / (4 * 15))
    assert ORACLE not in correlations[ORACLE]
    assert Column("localization", "moments") not in correlations


def test_text_and_plain_fields_hold_both():
    correlations = detection.truth_correlations(ROWS, ["fade"])
    detections = detection.detect_corrupted(ROWS, ["fade"])
    text = detection.markdown(correlations, detections)
    assert "| fade | 0.953 | 0.00 / 0.25 |" in text
    energy = "energy (localization, last step or own aggregation)"
    assert f"| {energy} | 1.00 | 1.00 | -1.00 | -1.00 |" in text
    assert "| subset last (faithfulness) | -0.40 | -0.40 |  |  |" in text
    fields = json.loads(json.dumps(detection.fields(correlations, detections)))
    by_score = fields["truth"]["localization.energy"]
    assert by_score["check_score.genuine"]["within"] == pytest.approx(1)
    fade = fields["detection"]["fade"]
    assert len(fade["false_alarms"]) == len(fields["thresholds"])
    assert detection.markdown({}, {}) == ""
