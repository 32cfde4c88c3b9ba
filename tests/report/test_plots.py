"""Figures: what they must say, and what is drawn from what."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.metrics.faithfulness import FaithfulnessCheck
from rgcam.models import zoo
from rgcam.report import overlay, plots
from rgcam.report.explain import explain_clip
from rgcam.report.record import NO_EVIDENCE, CheckedView
from tests.report.test_overlay import BOX, clip
from tests.report.test_record import by_aggregation, sentence_clip

CLASSES = ["walk", "run", "jump", "dive", "swing"]


def causal(length=6, steps=None):
    """Return matrix's arguments for a causal model that answers at the last steps."""
    times = np.arange(length) / 7.5
    out = times[-(steps or length) :]
    lag = np.round((out[:, None] - times) * 7.5)
    values = np.where(lag >= 0, 0.8 ** np.abs(lag) + 0.1, 0).astype(np.float32)
    return values, times, out, np.random.default_rng(0).normal(size=(len(out), 5))


def texts(figure):
    """Return every visible text of a figure, with those of the ticks."""
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible()]


def mesh_of(figure):
    (axis,) = (a for a in figure.axes if a.get_ylabel().startswith("output time"))
    return axis.collections[0]


@pytest.fixture(scope="module")
def explained():
    drawn = stickman.clip(4)
    clip = Clip(drawn.frames, drawn.times)
    return explain_clip(zoo.load_model("stickman-lrcn"), clip, target=1, source="c.mp4")


def test_a_matrix_that_is_not_finite_is_an_error():
    values, *rest = causal(2)
    with pytest.raises(InputError, match="NaN"):
        plots.matrix(values + np.nan, *rest, CLASSES, 0)


@pytest.mark.parametrize("length, columns, count", [(45, 8, 8), (3, 8, 3), (9, 1, 1)])
def test_strip_shows_even_times_and_the_last(length, columns, count):
    frames, times = clip(length)
    maps = np.ones((length, 3, 3))
    figure = plots.strip(frames, [("Grad-CAM", maps)], times, columns=columns)
    shown = [t for t in texts(figure) if t.endswith(" s")]
    assert len(shown) == count and shown[-1] == f"{times[-1]:.2f} s"
    assert [len(axis.images) for axis in figure.axes[:2]] == [count, count]
    steps = np.diff([float(t[:-2]) for t in shown])
    assert count == 1 or np.ptp(steps) < 1.5 / 7.5


def test_strip_says_rows_title_note_and_units():
    frames, times = clip()
    maps = np.linspace(0, 0.0123, 6)[:, None, None] * np.ones((6, 3, 3))
    rows = [("Grad-CAM (frame CNN)", maps), ("recurrent Grad-CAM", -maps)]
    figure = plots.strip(frames, rows, times, box=BOX, title="why $jump$?", note="ab")
    said = " ".join(texts(figure))
    labels = "(a) original", "(b) Grad-CAM", "(c) recurrent", "logits"
    assert all(text in said for text in (*labels, "why $jump$?", "ab"))
    assert "0.0123" in said and "-0.0123" in said and NO_EVIDENCE not in said


def test_strip_scale_is_that_of_the_whole_clip():
    frames, times = clip(9)
    maps = np.full((9, 2, 2), 0.5)
    maps[1] = 4.0  # not among the three frames shown
    figure = plots.strip(frames, [("x", maps)], times, columns=3)
    assert "4" in texts(figure)
    peak = overlay.overlay(frames, maps)[[0, 4, 8]]
    shown = np.stack([image.get_array() for image in figure.axes[1].images])
    np.testing.assert_array_equal(shown, peak)


def test_strip_says_that_a_row_has_no_evidence():
    frames, times = clip()
    rows = [("none", np.zeros((6, 3, 3))), ("some", np.ones((6, 3, 3)))]
    figure = plots.strip(frames, rows, times)
    assert texts(figure).count(NO_EVIDENCE) == 1
    assert figure.axes[1].get_title() == NO_EVIDENCE


@pytest.mark.parametrize("length", [2, 64])
def test_matrix_masks_structural_zeros_only(length):
    values, *rest = causal(length)
    figure = plots.matrix(values, *rest, CLASSES, "run", title="why run?")
    shown = mesh_of(figure).get_array()
    np.testing.assert_array_equal(shown.mask, np.triu(np.ones_like(values), 1) > 0)
    np.testing.assert_array_equal(shown.data, values)
    said = " ".join(texts(figure))
    axes = "input time t (s)", "output time t' (s)", f"t' = {rest[1][-1]:.2f} s"
    words = (
        "importance (heat-map mass, logits; square-root scale)",
        "t > t': not seen yet",
        "why run?",
    )
    assert all(text in said for text in (*axes, *words))
    assert NO_EVIDENCE not in said


def test_matrix_draws_the_given_row_below():
    values, *rest = causal(6)
    row = np.arange(6.0)
    said = "step from which the prediction is unchanged (t' = 0.40 s)"
    figure = plots.matrix(values, *rest, CLASSES, 0, beneath=(said, row))
    (axis,) = (a for a in figure.axes if a.get_xlabel().startswith("input time"))
    np.testing.assert_array_equal(axis.patches[0].get_data().values, row)
    words = " ".join(axis.get_ylabel().split())
    assert words == "step from which the prediction is unchanged t' = 0.40 s"


@pytest.mark.parametrize("length, drawn", [(16, True), (8, True), (7, False)])
def test_lags_are_drawn_where_nothing_was_seen_yet(length, drawn):
    values, *rest = causal(length)
    profile = np.linspace(1, 0, length)
    figure = plots.matrix(values, *rest, CLASSES, 0, profile=profile)
    assert ("mean size by lag t' - t (s)" in texts(figure)) == drawn
    if drawn:
        main = mesh_of(figure).axes
        (patch,) = main.patches
        left, bottom = main.transData.inverted().transform(
            main.transAxes.transform(patch.get_xy())
        )
        row, column = round(bottom * 7.5), round(left * 7.5)  # of the cell there
        assert column > row and mesh_of(figure).get_array().mask[row, column]
        (inset,) = main.child_axes
        assert inset.get_xlim() == (0, rest[1][-1])
    values[0, length - 1] = 1e-6  # of a model that sees the future
    figure = plots.matrix(values, *rest, CLASSES, 0, profile=profile)
    assert "mean size by lag t' - t (s)" not in texts(figure)


def test_matrix_of_a_bidirectional_model_is_not_masked():
    values, *rest = causal()
    values[0, 5] = 1e-6
    figure = plots.matrix(values, *rest, CLASSES, 0)
    assert not np.ma.is_masked(mesh_of(figure).get_array())
    assert "not seen yet" not in " ".join(texts(figure))


def test_matrix_cells_lie_at_their_seconds():
    values, times, out, scores = causal(6, 3)
    corners = mesh_of(plots.matrix(values, times, out, scores, CLASSES, 0))
    corners = corners.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], (np.arange(7) - 0.5) / 7.5)
    np.testing.assert_allclose(corners[:, 0, 1], (np.arange(4) + 2.5) / 7.5)


@pytest.mark.parametrize("t_in", [1, 6])
def test_matrix_of_one_output_step_and_one_class(t_in):
    values, times, out, scores = causal(t_in, 1)
    figure = plots.matrix(values, times, out, scores[:, :1], ["only"], 0)
    assert mesh_of(figure).get_array().shape == (1, t_in)
    assert {"only", f"{out[0]:.2f}"} <= set(texts(figure))


def test_matrix_scale_is_symmetric_when_signed():
    values, *rest = causal()
    assert mesh_of(plots.matrix(values, *rest, CLASSES, 0)).norm.vmin == 0
    values[3, 1] = -0.5
    norm = mesh_of(plots.matrix(values, *rest, CLASSES, 0)).norm
    assert norm.vmin == -norm.vmax == -np.abs(values).max()


def test_signed_maps_without_a_negative_value_are_still_shown_as_signed():
    values, *rest = causal()
    norm = mesh_of(plots.matrix(values, *rest, CLASSES, 0, signed=True)).norm
    assert norm.vmin == -norm.vmax == -values.max()
    frames, times = clip()
    rows = [plots.Row("fade", np.ones((6, 3, 3)), signed=True)]
    assert "-1" in texts(plots.strip(frames, rows, times))


def test_matrix_without_evidence_says_so():
    values, *rest = causal()
    figure = plots.matrix(values * 0, *rest, CLASSES, 0)
    assert texts(figure).count(NO_EVIDENCE) == 2  # matrix and last row
    assert "not seen yet" not in " ".join(texts(figure))
    values[-1] = 0
    assert texts(plots.matrix(values, *rest, CLASSES, 0)).count(NO_EVIDENCE) == 1


def test_matrix_shows_the_target_and_the_three_best_others():
    values, times, out, scores = causal()
    scores[-1] = [5, 1, 4, 3, 2]
    said = texts(plots.matrix(values, times, out, scores, CLASSES, "run"))
    assert [t for t in said if t in CLASSES] == ["run", "walk", "jump", "dive"]
    side = plots.matrix(values, times, out, scores, CLASSES, 1).axes[2]
    np.testing.assert_array_equal(side.lines[0].get_xdata(), scores[:, 1])


def test_names_are_shown_as_they_stand():
    values, times, out, scores = causal()
    names = ["$a_b$", "_under", r"$\frac{$", "走る 走", "long " * 30]
    scores[-1] = [5, 4, 3, 2, 1]
    for target in (names[3], names[4]):  # with the three others
        figure = plots.matrix(values, times, out, scores, names, target, title=target)
        said = texts(figure)
        assert set(names[:3]) <= set(said)
        assert all(len(line) <= 99 for text in said for line in text.split("\n"))
    frames, times = clip(2)
    rows = [(name, np.ones((2, 2, 2))) for name in names]
    said = texts(plots.strip(frames, rows, times, title=names[0], note=names[3]))
    assert names[0] in said and "(c) _under" in said


@pytest.mark.parametrize("target", ["fly", -1, 5])
def test_an_unknown_class_is_an_error(target):
    values, *rest = causal()
    with pytest.raises(InputError, match="walk, run, jump"):
        plots.matrix(values, *rest, CLASSES, target)


def test_no_text_is_small_and_none_leaves_the_figure():
    values, *rest = causal(16)
    frames, times = clip(16)
    rows = [("Grad-CAM (frame CNN)", np.full((16, 4, 4), 1.234e-6))] * 2
    for figure in (
        plots.matrix(values * 1e-6, *rest, CLASSES, 0, title="word " * 40),
        plots.matrix(values, *rest, CLASSES, 0, profile=values[-1], note="word " * 40),
        plots.strip(frames, rows, times, note="word " * 99),
    ):
        height, width, _ = plots.figure_to_array(figure).shape
        shown = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
        assert all(text.get_size() >= 8 for text in shown)
        for axis in figure.axes:
            box = axis.get_tightbbox()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        for text in figure.texts:
            assert text.get_window_extent().width <= width


@pytest.mark.parametrize("count", [1, 19, 20, 45])
def test_a_long_title_is_divided_into_lines_of_about_one_length(count):
    frames, maps = np.zeros((4, 8, 8, 3), np.uint8), np.ones((4, 2, 2), np.float32)
    title = " ".join(["word"] * count)
    figure = plots.strip(frames, [("x", maps)], np.arange(4) / 2, title=title)
    lines = figure.get_suptitle().split("\n")
    assert " ".join(lines) == title
    assert np.ptp([len(line) for line in lines]) <= len("words")


def test_figure_to_array_is_the_figure_in_pixels():
    values, *rest = causal()
    figure = plots.matrix(values, *rest, CLASSES, 0)
    pixels = plots.figure_to_array(figure)
    width, height = figure.get_size_inches() * figure.dpi
    assert pixels.shape == (round(height), round(width), 3) and pixels.dtype == np.uint8
    assert (pixels[0, 0] == 255).all() and pixels.std() > 10


@pytest.mark.parametrize("kind, magic", [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figure_to_vector_keeps_words(kind, magic):
    values, *rest = causal()
    figure = plots.matrix(values, *rest, CLASSES, 0, title="why $walk$?")
    data = plots.figure_to_vector(figure, kind)
    assert data.startswith(magic)
    assert kind == "pdf" or b"why $walk$?" in data
    with pytest.raises(InputError, match="choose pdf or svg"):
        plots.figure_to_vector(figure, "png")


@pytest.mark.parametrize("how", ["last", "settled", "rise", "mean", "max"])
def test_every_figure_shows_the_aggregation(explained, how, monkeypatch):
    other = by_aggregation(explained, how)
    drawn = []
    draw = lambda *a, **k: drawn.append((a, k)) or Figure()
    monkeypatch.setattr(plots, "strip", draw)
    monkeypatch.setattr(plots, "matrix", draw)
    plots.clip_strip(other)
    plots.clip_matrix(other)
    (strip, strip_options), (_, matrix_options) = drawn
    assert matrix_options["note"].startswith("Recurrent Grad-CAM; faithfulness check")
    assert strip[1][-1][1] is other.shown.shown_maps
    assert strip_options["note"].lower().startswith(other.shown_text)
    label, row = matrix_options["beneath"]
    assert label == other.shown_text and row is other.shown.shown_row


def vector(explained):
    drawn = plots.clip_figures(explained)
    return {f"{n}.svg": plots.figure_to_vector(f, "svg") for n, f in drawn.items()}


def test_vector_figures_hold_words_not_outlines(explained):
    drawn = vector(explained)
    assert b"original video" in drawn["strip.svg"]
    assert b"input time t" in drawn["matrix.svg"]


def test_captions_name_the_method_and_the_verdict(explained):
    check = FaithfulnessCheck(
        method="fade",
        baseline="previous",
        time=0.9,
        space=0.9,
        deletion=0.1,
        completeness=None,
    )
    step = explained.shown.step
    shown = dataclasses.replace(
        explained.shown,
        method="fade",
        rectified=False,
        checks=(CheckedView(step=step, rectified=False, check=check),),
    )
    other = dataclasses.replace(explained, attributions=(shown,))
    drawn = vector(other)
    verdict = "faithfulness check: PASSED (0.90, threshold 0.65)"
    assert f">Averaged gradients (fade); {verdict}<" in drawn["matrix.svg"].decode()
    moments = "times of the top moments in bold"
    words = f">Last step (t' = 2.00 s); {verdict}; {moments}<"
    assert words in drawn["strip.svg"].decode()
    unchecked = dataclasses.replace(
        explained, attributions=(dataclasses.replace(shown, checks=()),)
    )
    sentence = b"faithfulness check: not checked for this view"
    assert sentence in vector(unchecked)["matrix.svg"]


def test_the_strip_shows_and_marks_the_moments():
    assert plots.choose_frames(16, 8).tolist() == [0, 2, 4, 6, 9, 11, 13, 15]
    assert plots.choose_frames(16, 4, [5, 9]).tolist() == [0, 5, 9, 15]
    assert plots.choose_frames(16, 3, [5, 9, 2]).tolist() == [5, 9, 15]
    assert plots.choose_frames(3, 8, [1]).tolist() == [0, 1, 2]
    frames, times = np.zeros((16, 8, 8, 3), np.uint8), np.arange(16) / 8
    rows = [("a", np.ones((16, 2, 2)))]
    figure = plots.strip(frames, rows, times, columns=4, moments=[5, 9])
    labels = figure.axes[0].get_xticklabels()
    bold = [label.get_text() for label in labels if label.get_weight() == "bold"]
    assert bold == ["0.62 s", "1.12 s"]


def test_small_rows_of_a_matrix_can_be_told_apart():
    """A row of a hundredth of the peak has a tenth of the colours, not a hundredth."""
    values, *rest = causal(8)
    norm = mesh_of(plots.matrix(values, *rest, CLASSES, "run", title="")).norm
    peak = np.abs(values).max()
    assert norm(0.01 * peak) == pytest.approx(0.1)
    np.testing.assert_allclose(norm.inverse(norm(np.array([0.3 * peak]))), 0.3 * peak)


def test_a_sentence_has_a_row_of_maps_for_each_word_with_support():
    clip = sentence_clip()
    drawn = texts(plots.clip_strip(clip))
    assert "(b) “a”" in drawn and "(c) “kicks”" in drawn
    assert not any("person" in text and text.startswith("(") for text in drawn)
    said = " ".join(" ".join(drawn).split())
    assert "faithfulness check of word “kicks”: not checked" in said
    figure = plots.clip_matrix(clip)
    drawn = texts(figure)
    assert {"a", "person", "kicks", "each word", "word “kicks”"} <= set(drawn)
    # Scores of other words at the same places are no rivals.
    lines = [line for axes in figure.axes for line in axes.lines]
    assert sum(len(line.get_xdata()) == 3 for line in lines) == 1
