"""What the page says: the decision, what is seen, how far to trust it."""

import numpy as np
import pytest

from rgcam import explorer, gradcam, library, report, stickman, views
from rgcam.video import Clip

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


def test_what_was_not_made_by_eq_1_keeps_its_own_maps():
    model = library.load_model("stickman-lrcn")
    clip = stickman.clip(1)
    found = gradcam.explain(
        model.module, model.variables, model.preprocess(clip.frames), 1
    )
    e = gradcam.Explanation(*map(np.asarray, found))
    story = report.Story(
        *(Clip(clip.frames, clip.times), "", model, e, 1, None, None, {})
    )
    assert views.with_rivals(story).shown.targets[0] == 1
    other = e._replace(maps=2 * e.maps, matrix=2 * e.matrix)
    kept = views.with_rivals(story._replace(explanation=other))
    assert kept.shown is None
    page = views.view(kept, report.summarize(kept))
    np.testing.assert_array_equal(page.shown.maps[0], other.maps)
    assert page.shown.targets == (1,) and not page.is_signed


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
    check = {"verdict": "Removing frames agrees.", "trusted": trusted, "r": 0.91234567}
    assert views.trust(SUMMARY | {"self_check": check}) == (check["verdict"], trusted)
    assert "r 0.9123" in views.about(SUMMARY | {"self_check": check})["Self-check"]


def test_about_holds_what_is_known_and_nothing_else():
    about = views.about(SUMMARY)
    assert about["Command"] == "python explain.py '--video=a b.mp4' --verify"
    assert about["Model"] == "m: head fc, hidden 8"
    assert not {"Notes", "Frame CNN", "Self-check", "Its results"} & set(about)
