"""What the page says: the decision, what is seen, how far to trust it."""

import pytest

from rgcam import explorer, views

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
