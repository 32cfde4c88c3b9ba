"""Pictures: hand-computed pixels, and what the figures must say."""

import jax
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.text import Text

from rgcam.errors import InputError
from rgcam.report import render

BOX = (2, 5, 10, 13)  # top, left, bottom, right in a 12 x 20 frame
CLASSES = ["walk", "run", "jump", "dive", "swing"]


def clip(length=6, height=12, width=20):
    """Return a grey clip whose brightness differs by pixel, and its times at 7.5 fps."""
    shape = (length, height, width, 3)
    frames = np.random.default_rng(0).integers(60, 180, shape).astype(np.uint8)
    return frames, np.arange(length) / 7.5


def causal(length=6, steps=None):
    """Return matrix's arguments for a causal model that answers at the last steps."""
    times = np.arange(length) / 7.5
    out = times[-(steps or length) :]
    lag = np.round((out[:, None] - times) * 7.5)
    values = np.where(lag >= 0, 0.8 ** np.abs(lag) + 0.1, 0).astype(np.float32)
    return values, times, out, np.random.default_rng(0).normal(size=(len(out), 5))


def texts(figure):
    """Draw the figure, for ticks, and return every visible text in it."""
    render.figure_to_array(figure)
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible()]


def mesh_of(figure):
    (axis,) = (a for a in figure.axes if a.get_ylabel().startswith("output time"))
    return axis.collections[0]


def test_normalize_by_hand_on_one_scale_for_the_clip():
    maps = np.array([[[0.0, 1.0], [2.0, -4.0]], [[0.5, 0.0], [0.0, 0.0]]])
    expected = [[[0, 0.25], [0.5, -1]], [[0.125, 0], [0, 0]]]
    np.testing.assert_array_equal(render.normalize(maps), np.float32(expected))


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-300])
def test_normalize_is_safe_near_zero(value):
    maps = np.full((2, 3, 3), value)
    np.testing.assert_array_equal(render.normalize(maps), float(value > 0))
    assert render.normalize(maps).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_refused_everywhere(bad):
    maps = np.full((2, 3, 3), bad)
    with pytest.raises(InputError, match="NaN"):
        render.normalize(maps)
    with pytest.raises(InputError, match="NaN"):
        render.overlay(clip(2)[0], maps)
    values, *rest = causal(2)
    with pytest.raises(InputError, match="NaN"):
        render.matrix(values + bad, *rest, CLASSES, 0)


def test_upsample_by_hand():
    # centres of 4 pixels over 2 cells: -0.25, 0.25, 0.75, 1.25; the ends clamp
    big = render.upsample(np.array([[0.0, 4.0]]), (1, 4))
    np.testing.assert_array_equal(big, np.float32([[0, 1, 3, 4]]))
    constant = render.upsample(np.full((2, 4, 3), 0.3), (9, 17))
    np.testing.assert_allclose(constant, np.full((2, 9, 17), 0.3), rtol=1e-6)


@pytest.mark.parametrize("size", [(7, 5), (12, 20), (21, 14)])
def test_upsample_equals_jax_image_resize(size):
    maps = np.random.default_rng(1).normal(size=(2, 3, 7, 5)).astype(np.float32)
    expected = jax.image.resize(maps, (2, 3, *size), "bilinear")
    np.testing.assert_allclose(render.upsample(maps, size), expected, atol=1e-5)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_overlay_is_the_blend_to_a_level(low):
    """Heat in 256 colours and opacities, against the formula in float."""
    frames, maps = clip(2)[0], np.random.default_rng(1).uniform(low, 1, (2, 3, 5))
    value = render.upsample(maps / np.abs(maps).max(), (12, 20))[..., None]
    alpha = 0.6 * (1 - (1 - np.abs(value)) ** 2)
    name, ends = ("RdBu_r", (0.04, 0.96)) if low else ("inferno", (0.2, 0.92))
    unit = (value[..., 0] + 1) / 2 if low else value[..., 0]
    cells = (
        np.clip(np.floor(256 * unit), 0, 255) / 255
    )  # a colour for each of 256 parts
    colour = colormaps[name](ends[0] + cells * (ends[1] - ends[0]))[..., :3]
    expected = frames * (1 - alpha) + 255 * colour * alpha
    np.testing.assert_allclose(render.overlay(frames, maps), expected, atol=2.5)


def test_overlay_without_evidence_is_the_frames():
    frames, _ = clip()
    np.testing.assert_array_equal(render.overlay(frames, np.zeros((6, 3, 5))), frames)


def test_overlay_changes_only_where_the_heat_is():
    frames, _ = clip(2, 12, 20)
    maps = np.zeros((2, 3, 5), np.float32)
    maps[1, 0, 4] = 2.0  # top right, second frame
    out = render.overlay(frames, maps)
    np.testing.assert_array_equal(out[0], frames[0])
    assert (out[1, :2, -2:] != frames[1, :2, -2:]).any(-1).all()
    np.testing.assert_array_equal(out[1, 6:], frames[1, 6:])
    np.testing.assert_array_equal(out[1, :, :14], frames[1, :, :14])


def test_overlay_takes_one_scale_for_the_clip():
    frames = np.full((2, 6, 6, 3), 100, np.uint8)
    maps = np.stack([np.full((2, 2), 0.05), np.full((2, 2), 1.0)])
    weak, strong = np.abs(render.overlay(frames, maps).astype(int) - 100).mean(
        (1, 2, 3)
    )
    assert weak < strong / 4


def test_overlay_outside_the_box_is_dimmed_and_has_no_heat():
    frames, _ = clip(1)
    hot = render.overlay(frames, np.ones((1, 4, 4)), box=BOX)
    cold = render.overlay(frames, np.zeros((1, 4, 4)), box=BOX)
    top, left, bottom, right = BOX
    inside = np.zeros((12, 20), bool)
    inside[top:bottom, left:right] = True
    np.testing.assert_array_equal(hot[:, ~inside], cold[:, ~inside])
    assert (cold[:, ~inside] < frames[:, ~inside]).all()
    np.testing.assert_array_equal(cold[:, inside], frames[:, inside])
    np.testing.assert_array_equal(frames, clip(1)[0])
    assert (hot[:, inside] != frames[:, inside]).any(-1).all()


def test_overlay_box_is_placed_by_top_left_bottom_right():
    frames = np.full((1, 30, 50, 3), 100, np.uint8)
    maps = np.zeros((1, 2, 4))
    maps[0, 0, 3] = 1.0  # the top right cell of the box
    box = (4, 10, 24, 42)
    heat = np.abs(render.overlay(frames, maps, box=box).astype(int) - 100).sum(-1)[0]
    inside = heat[4:24, 10:42]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    assert row < 10 and column >= 24
    assert inside[10:].sum() < inside[:10].sum() / 2 and not inside[:, :16].any()


@pytest.mark.parametrize("box", [(0, 0, 13, 20), (-1, 0, 5, 5), (3, 0, 3, 5)])
def test_overlay_refuses_a_box_that_does_not_fit(box):
    with pytest.raises(InputError, match="12 x 20"):
        render.overlay(clip(1)[0], np.ones((1, 2, 2)), box=box)


def test_overlay_signed_is_red_for_and_blue_against():
    frames = np.full((1, 8, 16, 3), 128, np.uint8)
    out = render.overlay(frames, np.array([[[1.0, 0.0, 0.0, -1.0]]])).astype(int)
    assert out[0, 4, 0, 0] > out[0, 4, 0, 2] and out[0, 4, -1, 2] > out[0, 4, -1, 0]
    np.testing.assert_array_equal(out[0, 4, 7:9], np.full((2, 3), 128))


@pytest.mark.parametrize("length, columns, count", [(45, 8, 8), (3, 8, 3), (9, 1, 1)])
def test_strip_shows_even_times_and_the_last(length, columns, count):
    frames, times = clip(length)
    maps = np.ones((length, 3, 3))
    figure = render.strip(frames, [("Grad-CAM", maps)], times, columns=columns)
    shown = [t for t in texts(figure) if t.endswith(" s")]
    assert len(shown) == count and shown[-1] == f"{times[-1]:.2f} s"
    assert [len(axis.images) for axis in figure.axes[:2]] == [count, count]
    steps = np.diff([float(t[:-2]) for t in shown])
    assert count == 1 or np.ptp(steps) < 1.5 / 7.5


def test_strip_says_rows_title_note_and_units():
    frames, times = clip()
    maps = np.linspace(0, 0.0123, 6)[:, None, None] * np.ones((6, 3, 3))
    rows = [("Grad-CAM (frame CNN)", maps), ("recurrent Grad-CAM", -maps)]
    figure = render.strip(frames, rows, times, box=BOX, title="why $jump$?", note="ab")
    said = " ".join(texts(figure))
    labels = "(a) original", "(b) Grad-CAM", "(c) recurrent", "logits"
    assert all(text in said for text in (*labels, "why $jump$?", "ab"))
    assert "0.0123" in said and "-0.0123" in said and render.NO_EVIDENCE not in said


def test_strip_scale_is_that_of_the_whole_clip():
    frames, times = clip(9)
    maps = np.full((9, 2, 2), 0.5)
    maps[1] = 4.0  # not among the three frames shown
    figure = render.strip(frames, [("x", maps)], times, columns=3)
    assert "4" in texts(figure)
    peak = render.overlay(frames, maps)[[0, 4, 8]]
    shown = np.stack([image.get_array() for image in figure.axes[1].images])
    np.testing.assert_array_equal(shown, peak)


def test_strip_says_that_a_row_has_no_evidence():
    frames, times = clip()
    rows = [("none", np.zeros((6, 3, 3))), ("some", np.ones((6, 3, 3)))]
    figure = render.strip(frames, rows, times)
    assert texts(figure).count(render.NO_EVIDENCE) == 1
    assert figure.axes[1].get_title() == render.NO_EVIDENCE


@pytest.mark.parametrize("length", [2, 64])
def test_matrix_masks_structural_zeros_only(length):
    values, *rest = causal(length)
    figure = render.matrix(values, *rest, CLASSES, "run", title="why run?")
    shown = mesh_of(figure).get_array()
    np.testing.assert_array_equal(shown.mask, np.triu(np.ones_like(values), 1) > 0)
    np.testing.assert_array_equal(shown.data, values)
    said = " ".join(texts(figure))
    axes = "input time t (s)", "output time t' (s)", f"t' = {rest[1][-1]:.2f} s"
    words = "importance (heat-map mass, logits)", "t > t': not seen yet", "why run?"
    assert all(text in said for text in (*axes, *words))
    assert render.NO_EVIDENCE not in said


def test_matrix_draws_the_row_beneath_that_is_given():
    values, *rest = causal(6)
    row = np.arange(6.0)
    said = "step from which the decision stays (t' = 0.40 s)"
    figure = render.matrix(values, *rest, CLASSES, 0, beneath=(said, row))
    (axis,) = (a for a in figure.axes if a.get_xlabel().startswith("input time"))
    np.testing.assert_array_equal(axis.patches[0].get_data().values, row)
    words = " ".join(axis.get_ylabel().split())
    assert words == "step from which the decision stays t' = 0.40 s"


@pytest.mark.parametrize("length, drawn", [(16, True), (8, True), (7, False)])
def test_lags_are_drawn_where_nothing_was_seen_yet(length, drawn):
    values, *rest = causal(length)
    profile = np.linspace(1, 0, length)
    figure = render.matrix(values, *rest, CLASSES, 0, profile=profile)
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
    figure = render.matrix(values, *rest, CLASSES, 0, profile=profile)
    assert "mean size by lag t' - t (s)" not in texts(figure)


def test_matrix_of_a_bidirectional_model_is_not_masked():
    values, *rest = causal()
    values[0, 5] = 1e-6
    figure = render.matrix(values, *rest, CLASSES, 0)
    assert not np.ma.is_masked(mesh_of(figure).get_array())
    assert "not seen yet" not in " ".join(texts(figure))


def test_matrix_cells_lie_at_their_seconds():
    values, times, out, scores = causal(6, 3)
    corners = mesh_of(render.matrix(values, times, out, scores, CLASSES, 0))
    corners = corners.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], (np.arange(7) - 0.5) / 7.5)
    np.testing.assert_allclose(corners[:, 0, 1], (np.arange(4) + 2.5) / 7.5)


@pytest.mark.parametrize("t_in", [1, 6])
def test_matrix_of_one_output_step_and_one_class(t_in):
    values, times, out, scores = causal(t_in, 1)
    figure = render.matrix(values, times, out, scores[:, :1], ["only"], 0)
    assert mesh_of(figure).get_array().shape == (1, t_in)
    assert {"only", f"{out[0]:.2f}"} <= set(texts(figure))


def test_matrix_scale_is_symmetric_when_signed():
    values, *rest = causal()
    assert mesh_of(render.matrix(values, *rest, CLASSES, 0)).norm.vmin == 0
    values[3, 1] = -0.5
    norm = mesh_of(render.matrix(values, *rest, CLASSES, 0)).norm
    assert norm.vmin == -norm.vmax == -np.abs(values).max()


def test_matrix_without_evidence_says_so():
    values, *rest = causal()
    figure = render.matrix(values * 0, *rest, CLASSES, 0)
    assert texts(figure).count(render.NO_EVIDENCE) == 2  # matrix and last row
    assert "not seen yet" not in " ".join(texts(figure))
    values[-1] = 0
    assert (
        texts(render.matrix(values, *rest, CLASSES, 0)).count(render.NO_EVIDENCE) == 1
    )


def test_matrix_shows_the_target_and_the_three_best_others():
    values, times, out, scores = causal()
    scores[-1] = [5, 1, 4, 3, 2]
    said = texts(render.matrix(values, times, out, scores, CLASSES, "run"))
    assert [t for t in said if t in CLASSES] == ["run", "walk", "jump", "dive"]
    side = render.matrix(values, times, out, scores, CLASSES, 1).axes[2]
    np.testing.assert_array_equal(side.lines[0].get_xdata(), scores[:, 1])


def test_names_are_shown_as_they_stand():
    values, times, out, scores = causal()
    names = ["$a_b$", "_under", r"$\frac{$", "走る 走", "long " * 30]
    scores[-1] = [5, 4, 3, 2, 1]
    for target in (names[3], names[4]):  # beside the three others
        figure = render.matrix(values, times, out, scores, names, target, title=target)
        said = texts(figure)
        assert set(names[:3]) <= set(said)
        assert all(len(line) <= 99 for text in said for line in text.split("\n"))
    frames, times = clip(2)
    rows = [(name, np.ones((2, 2, 2))) for name in names]
    said = texts(render.strip(frames, rows, times, title=names[0], note=names[3]))
    assert names[0] in said and "(c) _under" in said


@pytest.mark.parametrize("target", ["fly", -1, 5])
def test_matrix_refuses_an_unknown_class(target):
    values, *rest = causal()
    with pytest.raises(InputError, match="walk, run, jump"):
        render.matrix(values, *rest, CLASSES, target)


def test_no_text_is_small_and_none_leaves_the_figure():
    values, *rest = causal(16)
    frames, times = clip(16)
    rows = [("Grad-CAM (frame CNN)", np.full((16, 4, 4), 1.234e-6))] * 2
    for figure in (
        render.matrix(values * 1e-6, *rest, CLASSES, 0, title="word " * 40),
        render.matrix(values, *rest, CLASSES, 0, profile=values[-1], note="word " * 40),
        render.strip(frames, rows, times, note="word " * 99),
    ):
        height, width, _ = render.figure_to_array(figure).shape
        shown = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
        assert all(text.get_size() >= 8 for text in shown)
        for axis in figure.axes:
            box = axis.get_tightbbox()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        for text in figure.texts:
            assert text.get_window_extent().width <= width


def test_figure_to_array_is_the_figure_in_pixels():
    values, *rest = causal()
    figure = render.matrix(values, *rest, CLASSES, 0)
    pixels = render.figure_to_array(figure)
    width, height = figure.get_size_inches() * figure.dpi
    assert pixels.shape == (round(height), round(width), 3) and pixels.dtype == np.uint8
    assert (pixels[0, 0] == 255).all() and pixels.std() > 10


@pytest.mark.parametrize("kind, magic", [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figure_to_vector_keeps_words(kind, magic):
    values, *rest = causal()
    figure = render.matrix(values, *rest, CLASSES, 0, title="why $walk$?")
    data = render.figure_to_vector(figure, kind)
    assert data.startswith(magic)
    assert kind == "pdf" or b"why $walk$?" in data
    with pytest.raises(InputError, match="choose pdf or svg"):
        render.figure_to_vector(figure, "png")
