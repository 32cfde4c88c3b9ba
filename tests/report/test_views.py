"""What the page says: the decision, what is seen, how far to trust it."""

import numpy as np
import pytest

from rgcam.attribution import gradcam, methods
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.metrics import selfcheck
from rgcam.models import zoo
from rgcam.report import explorer, views
from rgcam.report import story as report

SUMMARY = {
    "prediction": "wave",
    "probability": 0.98,
    "target": "wave",
    "video": {"source": "a b.mp4", "frames": 16, "seconds": 2.0, "notes": []},
    "model": {"name": "m", "arch": {"head": "fc", "hidden": 8}, "results": {}},
    "cnn": None,
    "arguments": {"video": "a b.mp4", "verify": True, "window": None, "beta": False},
    "versions": {"jax": "1"},
}


@pytest.mark.parametrize("method", ["gradcam", "path"])
def test_rivals_are_shown_by_the_method_of_the_explanation(method):
    model = zoo.load_model("stickman-lrcn")
    clip = stickman.clip(1)
    run = model.module, model.variables
    found = gradcam.explain(*run, model.preprocess(clip.frames), 1, method=method)
    e = gradcam.Explanation(*(x if x is None else np.asarray(x) for x in found))
    check = selfcheck.check(*run, e.features, e.maps, 1, method=method)
    told = Clip(clip.frames, clip.times), "", model, e, 1, None, None, {}, check
    story = views.with_rivals(report.Story(*told))
    assert len(story.shown.targets) == 4 and story.shown.targets[0] == 1
    maps = story.shown.maps[0]
    maps = np.maximum(maps, 0) if method == "gradcam" else maps
    np.testing.assert_allclose(maps, e.maps, rtol=1e-4, atol=1e-7)
    page = views.view(story, report.summarize(story))
    positive = np.maximum(e.maps, 0).sum((2, 3))
    np.testing.assert_allclose(page.matrix, positive, rtol=1e-4, atol=1e-6)
    assert page.about["Method"] == page.method == methods.TITLES[method]
    assert str(round(check.score, 2)) in page.trust


def test_found_says_what_was_decided_and_what_is_explained():
    said = "After 2.0 s (16 frames) the model decided “wave” (98%)"
    assert views.found(SUMMARY) == f"{said}."
    other = SUMMARY | {"target": "kick"}
    assert views.found(other) == f"{said}; explained is what spoke for “kick”."


def test_seen_is_one_sentence():
    said = explorer.seen("wave")
    assert said.count(".") == 1 and said.endswith(".") and "“wave”" in said


@pytest.mark.parametrize("head, word", [("fc", "caution"), ("gap", "first guess")])
def test_trust_without_a_check_claims_none(head, word):
    summary = SUMMARY | {"model": {"name": "m", "arch": {"head": head}}}
    said, trusted = views.trust(summary)
    assert trusted is None and word in said and "not checked" in said


@pytest.mark.parametrize("trusted", [True, False])
def test_trust_is_the_self_check_where_there_is_one(trusted):
    check = {"verdict": "removing frames agrees", "trusted": trusted, "r": 0.91234567}
    assert views.trust(SUMMARY | {"self_check": check}) == (
        "Removing frames agrees.",
        trusted,
    )
    assert "r 0.9123" in views.about(SUMMARY | {"self_check": check})["Self-check"]


def test_about_holds_what_is_known_and_nothing_else():
    about = views.about(SUMMARY)
    assert about["Command"] == "python explain.py '--video=a b.mp4' --verify"
    assert about["Model"] == "m: head fc, hidden 8"
    assert not {"Notes", "Frame CNN", "Self-check", "Its results"} & set(about)
