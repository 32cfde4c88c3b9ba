"""The figures of an explained clip: what is drawn from what, and how large."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.metrics.selfcheck import Check
from rgcam.models import zoo
from rgcam.report import figures, render
from rgcam.report.explain import explain_clip
from rgcam.report.record import CheckedView
from tests.report.test_record import by_aggregation


@pytest.fixture(scope="module")
def explained():
    drawn = stickman.clip(4)
    clip = Clip(drawn.frames, drawn.times)
    return explain_clip(zoo.load_model("stickman-lrcn"), clip, target=1, source="c.mp4")


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
def test_every_figure_shows_the_aggregation(explained, how, monkeypatch):
    other = by_aggregation(explained, how)
    drawn = []
    draw = lambda *a, **k: drawn.append((a, k)) or Figure()
    monkeypatch.setattr(render, "strip", draw)
    monkeypatch.setattr(render, "matrix", draw)
    figures.strip(other)
    figures.matrix(other)
    (strip, strip_options), (_, matrix_options) = drawn
    assert matrix_options["note"].startswith("Recurrent Grad-CAM; faithfulness check")
    assert strip[1][-1][1] is other.shown.shown_maps
    assert strip_options["note"].lower().startswith(other.shown_text)
    label, row = matrix_options["beneath"]
    assert label == other.shown_text and row is other.shown.shown_row


def test_the_overlay_shows_the_aggregation(explained):
    last, most = (
        figures.overlay(by_aggregation(explained, a)) for a in ("last", "max")
    )
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


def test_vector_figures_hold_words_not_outlines(explained):
    drawn = figures.vector(explained, "svg")
    assert b"original video" in drawn["strip.svg"]
    assert b"input time t" in drawn["matrix.svg"]


def test_captions_name_the_method_and_the_verdict(explained):
    check = Check("fade", "previous", 0.9, 0.9, 0.1, None)
    step = explained.shown.step
    shown = dataclasses.replace(
        explained.shown,
        method="fade",
        rectified=False,
        checks=(CheckedView(step=step, rectified=False, check=check),),
    )
    other = dataclasses.replace(explained, attributions=(shown,))
    drawn = figures.vector(other, "svg")
    verdict = "faithfulness check: PASSED (0.90, threshold 0.65)"
    assert f">Fade; {verdict}<" in drawn["matrix.svg"].decode()
    assert f">Last step (t' = 2.00 s); {verdict}<" in drawn["strip.svg"].decode()
    unchecked = dataclasses.replace(
        explained, attributions=(dataclasses.replace(shown, checks=()),)
    )
    words = b"faithfulness check: not checked for this view"
    assert words in figures.vector(unchecked, "svg")["matrix.svg"]
