"""What the page says: the prediction, what is shown, how faithful it is."""

import dataclasses

import numpy as np
import pytest

from rgcam.attribution import methods
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models import zoo
from rgcam.report import explorer, views
from rgcam.report.explain import explain_clip


@pytest.fixture(scope="module")
def explained():
    drawn = stickman.clip(1)
    return explain_clip(
        zoo.load_model("stickman-lrcn"),
        Clip(drawn.frames, drawn.times),
        source="/home/me/a b.mp4",
        options={"video": "a b.mp4", "verify": True, "window": None, "beta": False},
    )


@pytest.mark.parametrize("method", ["gradcam", "path"])
def test_the_view_holds_the_record(explained, method):
    record = explain_clip(
        zoo.load_model("stickman-lrcn"), explained.clip, target=1, method=method
    )
    page = views.view(record)
    assert page.shown is record.shown.class_maps
    positive = np.maximum(record.shown.maps, 0).sum((2, 3))
    np.testing.assert_allclose(page.matrix, positive, rtol=1e-4, atol=1e-6)
    assert page.about["Method"] == page.method == methods.TITLES[method]
    assert record.shown.verdict in page.trust
    assert page.trusted == record.shown.passed


def test_found_says_what_was_predicted_and_what_is_explained(explained):
    text = views.found(explained)
    assert text == f"Prediction after 2.0 s (16 frames): {explained.prediction_text}."
    other = dataclasses.replace(explained, target=(explained.predicted + 1) % 11)
    assert views.found(other) == f"{text} Explained: “{other.target_name}”."


def test_seen_is_one_sentence():
    said = explorer.seen("wave")
    assert said.count(".") == 1 and said.endswith(".") and "“wave”" in said


def test_a_view_that_was_not_checked_says_so(explained):
    shown = dataclasses.replace(explained.shown, checks=())
    page = views.view(dataclasses.replace(explained, attributions=(shown,)))
    assert page.trusted is None and "not checked for this view" in page.trust


def test_about_holds_what_is_known_and_nothing_else(explained):
    about = views.about(explained)
    assert about["Command"] == "python explain.py '--video=a b.mp4' --verify"
    assert about["Model"].startswith("stickman-lrcn: ")
    assert about["Video"] == "a b.mp4, 16 frames"
    assert not {"Notes", "Frame-CNN baseline"} & set(about)
