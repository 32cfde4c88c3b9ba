"""One process's part of a corpus: the numbers of single clips, all devices, failures."""

import jax
import numpy as np
import pytest

from rgcam.commands import explain as command
from rgcam.corpus import jobs, worker
from rgcam.data import video
from rgcam.models import zoo
from rgcam.report import explain
from tests.corpus.test_run import write


def make_job(out, **changes):
    model = zoo.load_model("stickman-lrcn")
    fields = {
        "model": jobs.on_host(model),
        "cnn": None,
        "target": None,
        "method": "gradcam",
        "baseline": None,
        "relu": None,
        "aggregate": "last",
        "question": "",
        "check": True,
        "fps": 7.5,
        "start": 0.0,
        "end": None,
        "stream": None,
        "out": str(out),
        "figures": False,
        "beta": False,
        "max_bytes": 2**30,
        "threads": 1,
        "options": command.recorded(command.ExplainOptions()),
    }
    return jobs.Job(**(fields | changes))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    lengths = (9, 16, 18, 5)
    for n, length in enumerate(lengths):
        write(root / f"v{n}.mp4", n, length)
    return [
        jobs.Task(video=f"v{n}.mp4", path=str(root / f"v{n}.mp4"), folder=f"v{n}")
        for n in range(len(lengths))
    ]


@pytest.mark.parametrize(
    ("method", "baseline", "relu", "aggregate"),
    [
        ("fade", None, None, "last"),
        ("path", "mean", True, "settled"),
        ("occlusion", None, None, "max"),
        ("gradcam", None, False, "rise"),
    ],
)
def test_every_method_gives_exactly_the_numbers_of_a_single_clip(
    tasks, tmp_path, method, baseline, relu, aggregate
):
    choices = {
        "method": method,
        "baseline": baseline,
        "relu": relu,
        "aggregate": aggregate,
    }
    job = make_job(tmp_path, **choices)
    (row,) = worker.explain_videos(worker.start(job), tasks[2:3])
    clip = video.read_clip(tasks[2].path, 7.5)
    single = explain.explain_clip(zoo.load_model("stickman-lrcn"), clip, **choices)
    with np.load(tmp_path / row["files"][0]) as arrays:
        np.testing.assert_array_equal(arrays["maps"], single.shown.shown_maps)
        np.testing.assert_array_equal(arrays["matrix"], single.shown.matrix)
        np.testing.assert_array_equal(arrays["scores"], single.scores)
    assert row["shown"] == method
    assert row["verdict"] == single.shown.verdict
    assert row["passed"] == single.shown.passed
    check = single.shown.faithfulness
    assert row["methods"][method]["score"] == (check and check.score)
    assert row["methods"][method]["baseline"] == single.shown.baseline
    assert row["half_life"] == single.half_life
    assert row["recurrent_share"] == single.recurrent_share
    assert row["probability"] == single.probability
    assert row["files"] == ["v2/explanation.npz", "v2/thumbnails.jpg"]


def test_without_checks_a_row_has_no_verdict(tasks, tmp_path):
    job = make_job(tmp_path, check=False)
    (row,) = worker.explain_videos(worker.start(job), tasks[:1])
    assert row["status"] == "ok" and row["passed"] is None
    assert row["methods"]["gradcam"] == {
        "baseline": "zero",
        "rectified": True,
        "score": None,
        "passed": None,
    }


def test_all_devices_explain_and_give_the_same_numbers(tasks, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    rows = {}
    for out, devices in ((one, jax.devices()[:1]), (two, jax.devices()[1:3])):
        started = worker.start(make_job(out), devices)
        for place in started.places:
            leaf = jax.tree.leaves(place.model.variables)[0]
            assert leaf.devices() == {place.device}
        found = worker.explain_videos(started, tasks)
        rows[out] = {row["video"]: row for row in found}
    assert rows[one] == rows[two] and len(rows[one]) == 4


def test_a_clip_that_cannot_be_explained_is_that_clips_failure(
    tasks, tmp_path, monkeypatch
):
    real = explain.explain_clip

    def fails(model, clip, **options):
        if len(clip.times) == 16:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore")
        return real(model, clip, **options)

    monkeypatch.setattr(explain, "explain_clip", fails)
    rows = {
        row["video"]: row
        for row in worker.explain_videos(worker.start(make_job(tmp_path)), tasks)
    }
    assert [rows[f"v{n}.mp4"]["status"] for n in range(4)] == ["ok", "failed"] + [
        "ok"
    ] * 2
    assert "16 frames could not be explained" in rows["v1.mp4"]["error"]
    assert "\n" not in rows["v1.mp4"]["error"]
