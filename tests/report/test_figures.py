"""The pictures of a story: what is drawn from what, and how large."""

import numpy as np
import pytest

from rgcam.attribution import gradcam, lags
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.metrics import selfcheck
from rgcam.models import zoo
from rgcam.report import figures, render
from rgcam.report import story as report


@pytest.fixture(scope="module")
def story():
    model = zoo.load_model("stickman-lrcn")
    made = stickman.clip(4)
    found = gradcam.explain(
        model.module, model.variables, model.preprocess(made.frames), 1
    )
    e = gradcam.Explanation(*map(np.asarray, found))
    clip = Clip(made.frames, made.times, ())
    return report.Story(clip, "c.mp4", model, e, 1, None, None, {"vector": "pdf"})


def test_diagonal_of_the_frame_cnn():
    maps = np.arange(18.0).reshape(2, 3, 3, 1, 1)
    np.testing.assert_array_equal(
        figures.diagonal(maps)[..., 0, 0], [[0, 4, 8], [9, 13, 17]]
    )


def test_rate_is_the_times_own():
    assert figures.rate(np.array([0.0, 0.5, 1.0]), 9.0) == 2
    assert figures.rate(np.array([0.0]), 9.0) == 9


def test_the_timeline_shows_every_frames_importance():
    frames = np.full((4, 30, 40, 3), 90, np.uint8)
    row, times = np.array([0, 1, 2, 0.5]), np.arange(4) / 7.5
    out = figures.timeline(frames, row, times, "last step")
    assert out.shape == (4, 30 + figures.BAND, 40, 3)
    np.testing.assert_array_equal(out[:, :30], frames)
    tall = (out[0, 30:53, :, 0] > 24).sum(0)[5::10]
    np.testing.assert_array_equal(tall, [0, 11, 23, 5])
    assert [picture[52, 10 * t + 5, 0] for t, picture in enumerate(out)][1:3] == [
        255
    ] * 2
    assert out[1, 52, 25, 0] == 120 and out[0, 53, 5, 0] == 255
    assert out[0, 55:71, :, 0].max() > 200 and out[0, 74:, :, 0].max() > 200  # words
    bare = figures.timeline(frames, row, times)
    assert (bare[:, 74:] == 24).all() and (bare[:, :70] == out[:, :70]).all()
    none = figures.timeline(frames, 0 * row, times)
    assert (none[0, 30:53] == 24).all()


@pytest.mark.parametrize("how", ["last", "decided", "rise", "mean", "max"])
def test_every_picture_shows_the_aggregation(story, how, monkeypatch):
    shown, e = story._replace(aggregate=how), story.explanation
    maps, row = figures.maps(shown), figures.row(shown)
    np.testing.assert_array_equal(maps, lags.aggregate(e.maps, e.scores, 1, how))
    np.testing.assert_allclose(row, maps.sum((1, 2)), rtol=1e-5)
    drawn = []
    monkeypatch.setattr(render, "strip", lambda *a, **k: drawn.append((a, k)))
    monkeypatch.setattr(render, "matrix", lambda *a, **k: drawn.append((a, k)))
    figures.strip(shown)
    figures.matrix(shown)
    (strip, said), (_, beneath) = drawn
    assert beneath["note"] == "Recurrent Grad-CAM"
    assert strip[1][-1][1] is not None and (strip[1][-1][1] == maps).all()
    assert said["note"].lower().startswith(figures.moment(shown))
    assert beneath["beneath"][0] == figures.moment(shown)
    np.testing.assert_array_equal(beneath["beneath"][1], row)


def test_the_overlay_shows_the_aggregation(story):
    last, most = (figures.overlay(story._replace(aggregate=a)) for a in ("last", "max"))
    assert last.shape == most.shape and (last != most)[:, : -figures.BAND].any()
    words = np.s_[:, 24 + 20 - figures.BAND :]
    assert (last != most)[words].any()


def test_a_line_that_is_too_long_is_written_smaller():
    long = figures._lines(("x" * 34,), 240, 20)
    assert (long[:, 237:] == 24).all() and long.max() > 200


def test_a_gif_can_be_mailed():
    frames = np.zeros((150, 480, 640, 3), np.uint8)
    small, fps = figures.gif(frames, 7.5)
    assert small.shape == (50, 240, 320, 3) and fps == 2.5
    same, fps = figures.gif(frames[:9, :64, :64], 7.5)
    assert same.shape == (9, 64, 64, 3) and fps == 7.5


def test_vector_pictures_are_written_where_asked_for(story, tmp_path):
    report.write(tmp_path, story)
    assert {p.name for p in tmp_path.iterdir()} == set(report.files("pdf"))
    for name in ("strip.pdf", "matrix.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")
    drawn = figures.vector(story, "svg")
    assert b"original video" in drawn["strip.svg"]  # words, not outlines
    assert b"input time t" in drawn["matrix.svg"]


def test_captions_name_the_method_and_the_verdict(story):
    check = selfcheck.Check("fade", "previous", 0.9, 0.9, 0.1, None)
    drawn = figures.vector(story._replace(check=check), "svg")
    verdict = "the picture follows the model closely (0.90)"
    assert f">Fade; {verdict}<" in drawn["matrix.svg"].decode()
    assert f">Last step (t' = 2.00 s); {verdict}<" in drawn["strip.svg"].decode()
    assert b">Recurrent Grad-CAM<" in figures.vector(story, "svg")["matrix.svg"]
