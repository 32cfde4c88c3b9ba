"""The record of one clip: numbers and sentences that everything shown reads."""

import dataclasses
import json
import math

import numpy as np
import pytest

from rgcam.attribution import maps as attribution_maps
from rgcam.attribution.explain import ClassMaps
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.metrics.faithfulness import FaithfulnessCheck
from rgcam.models import zoo
from rgcam.report import record
from rgcam.report.explain import explain_clip
from rgcam.report.record import CheckedView

TIMES = np.arange(10) / 7.5


@pytest.fixture(scope="module")
def explained():
    drawn = stickman.clip(4)
    clip = Clip(drawn.frames, drawn.times, ("a note",))
    model = zoo.load_model("stickman-lrcn")._replace(name="runs/my-run")
    return explain_clip(
        model, clip, target=1, source="some/clip.mp4", options={"out": "x"}
    )


def by_aggregation(explained, how):
    """Return the clip with other output steps shown."""
    shown = explained.shown
    other = record.attribution(
        explained.scores,
        explained.target,
        method=shown.method,
        baseline=shown.baseline,
        rectified=shown.rectified,
        aggregate=how,
        matrix=shown.matrix,
        maps=shown.maps,
        checks=shown.checks,
        class_maps=shown.class_maps,
    )
    return dataclasses.replace(explained, attributions=(other,))


def test_top_moments_by_hand():
    row = np.array([0, 1, 5, 4, 0, 0, 2, 0, 0, 0.0])
    moments = record.top_moments(row, TIMES)
    # frame 3 is within 0.4 s of frame 2; frame 1 too; frame 6 is not
    assert [m.frame for m in moments] == [2, 6]
    assert moments[0].time == pytest.approx(2 / 7.5, abs=1e-3)
    assert [m.share for m in moments] == pytest.approx([5 / 12, 2 / 12])
    assert [m.importance for m in moments] == [5, 2]
    assert record.moments_text(moments) == "0.27 s (42 %), 0.80 s (17 %)"


def test_top_moments_count_and_signs():
    row = np.array([3.0, -9, -9, 2, -9, -9, 1, -9, -9, 0.5])
    moments = record.top_moments(row, TIMES, count=3)
    assert [m.frame for m in moments] == [0, 3, 6]
    assert sum(m.share for m in moments) == pytest.approx(6 / 6.5)
    assert record.top_moments(-np.abs(row), TIMES) == ()
    assert record.top_moments(np.zeros(10), TIMES) == ()


def test_summary_agrees_with_the_arrays(explained):
    summary = record.summarize(explained)
    scores = explained.scores
    predicted = scores[-1].argmax()
    assert summary["prediction"] == stickman.CLASSES[predicted]
    probability = np.exp(scores[-1, predicted]) / np.exp(scores[-1]).sum()
    assert summary["probability"] == pytest.approx(probability, rel=1e-4)
    assert summary["target"] == "kick"
    assert summary["target_score"] == pytest.approx(scores[-1, 1])
    assert summary["video"]["notes"] == ["a note"] and summary["frame_cnn"] is None
    assert set(summary["versions"]) >= {"rgcam", "jax", "flax", "numpy", "python"}
    reach = attribution_maps.lag_profile(explained.shown.matrix)
    assert summary["half_life_frames"] == round(reach.half_life, 2)
    assert summary["half_life"] == round(reach.half_life * 2 / 15, 3)
    assert summary["recurrent_share"] == round(reach.recurrent_share, 4)
    step = attribution_maps.choose_step(scores, None, "settled")
    assert summary["unchanged_since"] == round(explained.clip.times[step], 3)
    (method,) = summary["attributions"]
    assert method["method"] == "gradcam" and method["rectified"]
    assert method["faithfulness"]["verdict"] == explained.shown.verdict
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("how", attribution_maps.AGGREGATIONS)
def test_the_shown_maps_are_those_of_the_aggregation(explained, how):
    other = by_aggregation(explained, how)
    maps = explained.shown.maps
    expected = attribution_maps.aggregate(maps, explained.scores, 1, how)
    np.testing.assert_array_equal(other.shown.shown_maps, expected)
    np.testing.assert_allclose(
        other.shown.shown_row, expected.sum((1, 2)), rtol=1e-5, atol=1e-7
    )
    moments = record.top_moments(other.shown.shown_row, explained.clip.times)
    assert other.top_moments == moments
    shown = record.summarize(other)["shown"]
    assert shown["aggregation"] == how and shown["description"] in record.text(other)
    if how in attribution_maps.STEPS:
        step = attribution_maps.choose_step(explained.scores, 1, how)
        assert shown["step"] == step == other.shown.step
        assert shown["time"] == pytest.approx(explained.clip.times[step], abs=1e-3)
    else:
        assert shown["step"] is shown["time"] is None


def test_only_the_maps_that_were_checked_have_a_verdict(explained):
    shown = explained.shown
    view = next(v for v in shown.checks if (v.step, v.rectified) == (15, True))
    assert shown.faithfulness is view.check and shown.passed is not None
    only = dataclasses.replace(shown, checks=(view,))
    assert only.faithfulness is view.check
    for changes in ({"step": 9}, {"step": None}, {"rectified": False}):
        other = dataclasses.replace(only, **changes)
        assert other.faithfulness is None and other.passed is None
        assert other.verdict == "not checked for this view"


def test_verdicts_give_score_and_threshold():
    check = FaithfulnessCheck(
        method="fade",
        baseline="previous",
        time=0.9,
        space=0.94,
        deletion=0.1,
        completeness=None,
    )
    assert record.verdict(check) == "PASSED (0.92, threshold 0.65)"
    assert record.verdict(check._replace(time=0.1, space=0.02)) == (
        "FAILED (0.06, threshold 0.65)"
    )
    assert "no effect" in record.verdict(check._replace(time=float("nan")))
    assert record.verdict(None) == "not checked for this view"


def test_text_says_it_all(explained):
    text = record.text(explained, "out/: strip.png")
    assert (
        f"prediction: {explained.prediction} (p = {explained.probability:.2f}), "
        in text
    )
    assert f"faithfulness check: {explained.shown.verdict}" in text
    assert explained.reach_text in text and "reaches the prediction" in text
    for part in ("some/clip.mp4", "a note", "model: my-run", "kick", "strip.png"):
        assert part in text


def test_names_of_runs_and_files_are_shown_without_their_folders(explained):
    assert explained.model.name == "my-run" and explained.source_name == "clip.mp4"
    assert explained.prediction != "kick"
    assert explained.title == (
        f"What supports “kick” in clip.mp4 (my-run predicts “{explained.prediction}”)"
    )
    predicted = dataclasses.replace(explained, target=explained.predicted)
    assert (
        predicted.title == f"Why my-run predicts “{explained.prediction}” in clip.mp4"
    )


def test_reach_is_said_for_every_shape_of_matrix(explained):
    def reach(matrix):
        shown = dataclasses.replace(explained.shown, matrix=np.tril(matrix))
        return dataclasses.replace(explained, attributions=(shown,)).reach_text

    share = " reaches the prediction through the recurrent state"
    assert reach(np.zeros((16, 16))) == ""
    assert reach(np.eye(16)) == f"0 %{share}"
    assert reach(np.ones((16, 16))) == (
        f"attribution does not halve within the clip; 88 %{share}"
    )
    lag = np.arange(16)[:, None] - np.arange(16)
    assert reach(0.5 ** np.maximum(lag, 0)).startswith("attribution half-life 0.13 s; ")


def checked(method, score, step=2):
    """Return an attribution of three steps whose shown maps have this check."""
    scores = np.eye(3)
    shown = record.attribution(
        scores,
        0,
        method=method,
        baseline="zero",
        rectified=False,
        aggregate="last",
        matrix=np.tril(np.ones((3, 3))),
        maps=np.tril(np.ones((3, 3)))[..., None, None],
    )
    check = FaithfulnessCheck(
        method=method,
        baseline="zero",
        time=score,
        space=score,
        deletion=0.0,
        completeness=None,
    )
    view = CheckedView(step=step, rectified=False, check=check)
    return dataclasses.replace(shown, checks=(view,))


def test_the_preferred_method_is_shown_where_it_passes():
    gradcam, fade = checked("gradcam", 0.8), checked("fade", 0.99)
    ordered, selection = record.select([gradcam, fade], np.eye(3), "gap")
    assert ordered == (gradcam, fade) and selection == ""


def test_another_method_is_shown_where_the_preferred_one_fails():
    gradcam, fade = checked("gradcam", 0.09), checked("fade", 0.99)
    ordered, selection = record.select([gradcam, fade], np.eye(3), "fc")
    assert ordered == (fade, gradcam)
    assert selection.startswith(
        "averaged gradients (fade) is shown instead of recurrent"
    )
    assert "failed its faithfulness check (0.09, threshold" in selection
    assert "this model's head weighs each position by itself" in selection
    assert "each position" not in record.select([gradcam, fade], np.eye(3), "gap")[1]


def test_the_reason_against_grad_cam_is_said_of_grad_cam_alone():
    ordered, selection = record.select(
        [checked("fade", 0.4), checked("gradcam", 0.8)], np.eye(3), "fc"
    )
    assert [a.method for a in ordered] == ["gradcam", "fade"]
    assert "averaged gradients (fade), which failed its" in selection
    assert "zeros" not in selection and "head" not in selection


def test_where_no_method_passes_that_is_said():
    gradcam, fade = checked("gradcam", 0.1), checked("fade", 0.4)
    ordered, selection = record.select([gradcam, fade], np.eye(3), "fc")
    assert ordered == (fade, gradcam)  # the higher score first
    assert selection == record.NONE_PASSED
    nothing = checked("gradcam", math.nan), checked("fade", math.nan)
    assert record.select(nothing, np.eye(3), "fc")[1] == record.NONE_PASSED


def test_recent_support_is_said(explained):
    steps = len(explained.scores)
    row = np.zeros(steps)
    row[-1], row[3] = 0.7, 0.3
    shown = dataclasses.replace(explained.shown, shown_row=row, step=steps - 1)
    recent = dataclasses.replace(explained, attributions=(shown,))
    assert recent.recency_text.startswith("70 % of the support lies in the last ")
    row[3] = 0.8
    assert recent.recency_text == ""


def sentence_clip(question="", words=("a", "person", "kicks")):
    """Return the record of a sentence about six frames, without any model."""
    classes = ("<start>", "<end>", "a", "person", "kicks", "who", "?")
    numbers = np.array([classes.index(word) for word in words])
    scores = np.zeros((len(words), len(classes)))
    scores[np.arange(len(words)), numbers] = np.log(6 * np.arange(1, len(words) + 1))
    maps = np.zeros((len(words), 6, 2, 2))
    maps[0, 1, 0, 0] = 0.25
    maps[-1, 4] = 0.5
    maps[-1, 0] = -0.25
    shown = record.attribution(
        scores,
        numbers,
        method="fade",
        baseline="first",
        rectified=False,
        aggregate="last",
        matrix=maps.sum((2, 3)),
        maps=maps,
        class_maps=ClassMaps((len(classes),), maps[None]),
        step=len(words) - 1,
    )
    times = np.arange(6) / 5
    return record.ExplainedClip(
        clip=Clip(np.zeros((6, 16, 16, 3), np.uint8), times, ()),
        source="clips/c.mp4",
        model=record.ModelInfo(name="captioner", classes=classes),
        box=(0, 0, 16, 16),
        scores=scores,
        times_out=record.output_times(times, len(words)),
        target=int(numbers[-1]),
        attributions=(shown,),
        labels=words,
        step_classes=numbers,
        sentence=record.Sentence(words=words, question=question),
    )


def test_a_sentence_by_hand():
    clip = sentence_clip()
    probabilities = [0.5, 12 / 18, 18 / 24]
    assert [word.probability for word in clip.words] == pytest.approx(probabilities)
    assert [word.support for word in clip.words] == [0.25, 0, 2]
    assert [word.time for word in clip.words] == [0.2, None, 0.8]
    assert [word.word for word in clip.top_words] == ["a", "kicks"]
    assert clip.prediction == "a person kicks"
    assert clip.probability == pytest.approx(0.25)
    assert clip.title == "Why captioner writes “a person kicks” about c.mp4"
    assert clip.lead == (
        "Caption of the whole clip, 1.0 s (6 frames): “a person kicks” (p = 0.25)."
    )
    assert clip.view_text == (
        "Shown: averaged gradients (fade) for “each word” (supporting and opposing), "
        "word “kicks”."
    )
    lines = record.text(clip).splitlines()
    assert "caption: a person kicks (p = 0.25)" in lines
    assert "moments of words: “a” 0.20 s, “kicks” 0.80 s" in lines
    assert (
        "explained: each word, shown: word “kicks”, by averaged gradients (fade)"
        in lines
    )
    summary = json.loads(json.dumps(record.summarize(clip)))
    assert summary["sentence"]["text"] == summary["prediction"] == "a person kicks"
    assert summary["sentence"]["words"][2]["time"] == 0.8
    assert summary["output_steps"] == ["a", "person", "kicks"]
    assert summary["target_of_steps"] == ["a", "person", "kicks"]


def test_an_answer_by_hand():
    clip = sentence_clip(question="who {model} ?", words=("person",))
    # A brace in a question is no name to be filled in.
    assert clip.title == "Why captioner answers “person” to “who (model) ?” about c.mp4"
    assert clip.lead.startswith("Answer of the whole clip to “who {model} ?”, 1.0 s")
    lines = record.text(clip).splitlines()
    assert "question: who {model} ?" in lines and "answer: person (p = 0.50)" in lines
