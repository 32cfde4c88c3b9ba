"""The check's score against broken pictures and the truth, by hand."""

import json

import numpy as np
import pytest

from rgcam.evaluation import detection


def row(check, energy, clip=None, shuffled=None, subset=0.5):
    fade = {"check": check, "energy": energy, "subset": subset}
    broken = {"check clip": clip, "check shuffled": shuffled}
    return {"group": "a", "measures": {"fade": fade | broken, "uniform": {}}}


ROWS = [
    row(0.9, 0.2, 0.1, 0.3, 0.8),
    row(0.6, 0.1, 0.7, None, 0.9),
    row(0.95, 0.6, 0.2, 0.2, 0.7),
    row(0.7, None, 0.0, 0.55, 0.6),
]


def test_area_and_thresholds():
    found = detection.detection(np.array([0.9, 0.6, 0.6]), np.array([0.6, 0.1]))
    assert found.area == pytest.approx((2 + 1.5 + 1.5) / 6)
    at = dict(zip(detection.THRESHOLDS, found.right_below, strict=True))
    assert at[0.6] == 0 and at[0.65] == pytest.approx(2 / 3) and at[0.95] == 1
    at = dict(zip(detection.THRESHOLDS, found.broken_from, strict=True))
    assert at[0.5] == at[0.6] == 0.5 and at[0.65] == 0
    assert detection.THRESHOLDS[0] == 0.5 and detection.THRESHOLDS[-1] == 0.95


def test_right_and_broken_pictures_of_a_record():
    found = detection.with_broken(ROWS, ["fade"])
    fade = found["fade"]
    assert fade == found["all methods"] and (fade.right, fade.broken) == (4, 8)
    # Of 32 pairs only 0.7 beats 0.6, and ties with 0.7; no score is below all.
    assert fade.area == pytest.approx((32 - 1 - 0.5) / 32)
    assert detection.with_broken(ROWS, ["uniform"]) == {}


def test_agreement_with_the_truth():
    found = detection.with_truth(ROWS, ["fade"])
    # Of the three clips with energy: ranks 1 0 2 and 1 0 2; of the oracle 1 2 0.
    assert found["energy"]["check"].within == pytest.approx(1)
    assert found["energy"]["subset"].across == pytest.approx(-1)
    # check: ranks 2 0 3 1; subset: 2 3 1 0.
    assert found["subset"]["check"].within == pytest.approx(1 - 6 * 14 / (4 * 15))
    assert "subset" not in found["subset"] and "moments" not in found


def test_text_and_numbers():
    found = detection.with_truth(ROWS, ["fade"]), detection.with_broken(ROWS, ["fade"])
    text = detection.markdown(*found)
    assert "| fade | 0.953 | 0.00 / 0.25 |" in text
    assert "| energy | 1.00 | 1.00 | -1.00 | -1.00 |" in text
    assert "| subset | -0.40 | -0.40 |  |  |" in text
    numbers = json.loads(json.dumps(detection.plain(*found)))
    assert numbers["truth"]["energy"]["check"]["within"] == pytest.approx(1)
    assert len(numbers["broken"]["fade"]["right_below"]) == len(numbers["thresholds"])
    assert detection.markdown({}, {}) == ""
