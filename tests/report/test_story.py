"""Top moments, the summary and the writer that never leaves half a folder."""

import json

import numpy as np
import pytest

from rgcam.attribution import gradcam, lags
from rgcam.data import video
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.models import zoo
from rgcam.report import figures
from rgcam.report import story as report

TIMES = np.arange(10) / 7.5


def test_top_moments_by_hand():
    row = np.array([0, 1, 5, 4, 0, 0, 2, 0, 0, 0.0])
    found = report.top_moments(row, TIMES)
    # frame 3 is within 0.4 s of frame 2; frame 1 too; frame 6 is not
    assert [m["frame"] for m in found] == [2, 6]
    assert found[0]["time"] == pytest.approx(2 / 7.5, abs=1e-3)
    assert [m["share"] for m in found] == pytest.approx([5 / 12, 2 / 12])
    assert [m["importance"] for m in found] == [5, 2]


def test_top_moments_count_and_signs():
    row = np.array([3.0, -9, -9, 2, -9, -9, 1, -9, -9, 0.5])
    found = report.top_moments(row, TIMES, count=3)
    assert [m["frame"] for m in found] == [0, 3, 6]
    assert sum(m["share"] for m in found) == pytest.approx(6 / 6.5)
    assert report.top_moments(-np.abs(row), TIMES) == []
    assert report.top_moments(np.zeros(10), TIMES) == []


@pytest.fixture(scope="module")
def story():
    model = zoo.load_model("stickman-lrcn")
    made = stickman.clip(4)
    clip = video.Clip(made.frames, made.times, ("a note",))
    result = gradcam.explain(
        model.module, model.variables, model.preprocess(made.frames), 1
    )
    e = gradcam.Explanation(*map(np.asarray, result))
    return report.Story(clip, "some/clip.mp4", model, e, 1, None, None, {"out": "x"})


def test_summary_agrees_with_the_arrays(story):
    summary = report.summarize(story)
    scores = story.explanation.scores
    decided = scores[-1].argmax()
    assert summary["prediction"] == stickman.CLASSES[decided]
    chance = np.exp(scores[-1, decided]) / np.exp(scores[-1]).sum()
    assert summary["probability"] == pytest.approx(chance, rel=1e-4)
    assert summary["target"] == "kick"
    assert summary["target_score"] == pytest.approx(scores[-1, 1])
    assert summary["video"]["notes"] == ["a note"] and summary["cnn"] is None
    assert set(summary["versions"]) >= {"rgcam", "jax", "flax", "numpy", "python"}
    e, times = story.explanation, story.clip.times
    assert summary["time"] == lags.summary(e.matrix, e.scores, times)
    json.dumps(summary, allow_nan=False)


def test_an_aggregation_is_what_the_files_hold(story, tmp_path):
    e = story.explanation
    step = lags.choose_step(e.scores, 1, "rise")
    for how, expected in (("rise", e.maps[step]), ("max", e.maps.max(0))):
        summary = report.write(tmp_path, story._replace(aggregate=how), pictures=False)
        with np.load(tmp_path / "explanation.npz") as arrays:
            np.testing.assert_array_equal(arrays["maps"], expected)
            assert arrays["aggregate"] == how and arrays["matrix"].shape == (16, 16)
        row = expected.sum((1, 2))
        moments = report.top_moments(row, story.clip.times)
        assert [m["frame"] for m in summary["top_moments"]] == [
            m["frame"] for m in moments
        ]
        assert summary["aggregate"]["how"] == how
        assert summary["aggregate"]["words"] in report.text(summary, tmp_path)
    assert summary["aggregate"]["step"] is summary["aggregate"]["time"] is None
    said = report.summarize(story._replace(aggregate="rise"))["aggregate"]
    assert said["step"] == step
    assert said["time"] == pytest.approx(story.clip.times[step], abs=1e-3)


def test_text_says_it_all(story, tmp_path):
    summary = report.summarize(story)
    said = report.text(summary, tmp_path)
    assert f"memory    {lags.sentence(summary['time'], 2.0)}" in said
    assert f"({summary['probability']:.0%}), from " in said
    for part in ("some/clip.mp4", "a note", summary["prediction"], "kick", "strip.png"):
        assert part in said


def test_write_is_all_or_nothing(story, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "out"
    report.write(folder, story)
    assert sorted(p.name for p in folder.iterdir()) == sorted(report.FILES)
    before = {p: p.read_bytes() for p in folder.iterdir()}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "write_video", fail)
    with pytest.raises(InputError, match="No space left on device"):
        report.write(folder, story)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_a_failed_first_write_leaves_no_folder(story, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "strip", lambda story: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(tmp_path / "out", story)
    assert not (tmp_path / "out").exists()
