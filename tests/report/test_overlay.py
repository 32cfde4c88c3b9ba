"""Frames under heat maps: hand-computed pixels, the timeline, what fits a GIF."""

import numpy as np
import pytest
from matplotlib import colormaps

from rgcam.attribution import maps as attribution_maps
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.models import zoo
from rgcam.report import overlay
from rgcam.report.explain import explain_clip
from tests.report.test_record import by_aggregation

BOX = (2, 5, 10, 13)  # top, left, bottom, right in a 12 x 20 frame


def clip(length=6, height=12, width=20):
    """Return a grey clip whose brightness differs by pixel, and its times at 7.5 fps."""
    shape = (length, height, width, 3)
    frames = np.random.default_rng(0).integers(60, 180, shape).astype(np.uint8)
    return frames, np.arange(length) / 7.5


@pytest.fixture(scope="module")
def explained():
    drawn = stickman.clip(4)
    clip = Clip(drawn.frames, drawn.times)
    return explain_clip(zoo.load_model("stickman-lrcn"), clip, target=1, source="c.mp4")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_an_error(bad):
    maps = np.full((2, 3, 3), bad)
    with pytest.raises(InputError, match="NaN"):
        overlay.overlay(clip(2)[0], maps)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_overlay_is_the_blend_to_a_level(low):
    """Heat in 256 colours and opacities, against the formula in float."""
    frames, maps = clip(2)[0], np.random.default_rng(1).uniform(low, 1, (2, 3, 5))
    value = attribution_maps.upsample(maps / np.abs(maps).max(), (12, 20))[..., None]
    alpha = 0.6 * (1 - (1 - np.abs(value)) ** 2)
    if low:  # red and blue without their pale middle, over grey
        grey = frames @ np.array([0.299, 0.587, 0.114])
        frames = np.repeat(grey[..., None], 3, -1).astype(np.uint8)
    unit = (value[..., 0] + 1) / 2 if low else value[..., 0]
    part = np.clip(np.floor(256 * unit), 0, 255).astype(int)  # one colour for each
    if low:
        halves = np.linspace(0.04, 0.2, 128), np.linspace(0.8, 0.96, 128)
        table = colormaps["RdBu_r"](np.concatenate(halves))
    else:
        table = colormaps["inferno"](np.linspace(0.2, 0.92, 256))
    expected = frames * (1 - alpha) + 255 * table[part][..., :3] * alpha
    coloured = clip(2)[0]
    np.testing.assert_allclose(overlay.overlay(coloured, maps), expected, atol=2.5)


def test_overlay_without_evidence_is_the_frames():
    frames, _ = clip()
    np.testing.assert_array_equal(overlay.overlay(frames, np.zeros((6, 3, 5))), frames)


def test_overlay_changes_only_where_the_heat_is():
    frames, _ = clip(2, 12, 20)
    maps = np.zeros((2, 3, 5), np.float32)
    maps[1, 0, 4] = 2.0  # top right, second frame
    out = overlay.overlay(frames, maps)
    np.testing.assert_array_equal(out[0], frames[0])
    assert (out[1, :2, -2:] != frames[1, :2, -2:]).any(-1).all()
    np.testing.assert_array_equal(out[1, 6:], frames[1, 6:])
    np.testing.assert_array_equal(out[1, :, :14], frames[1, :, :14])


def test_overlay_takes_one_scale_for_the_clip():
    frames = np.full((2, 6, 6, 3), 100, np.uint8)
    maps = np.stack([np.full((2, 2), 0.05), np.full((2, 2), 1.0)])
    weak, strong = np.abs(overlay.overlay(frames, maps).astype(int) - 100).mean(
        (1, 2, 3)
    )
    assert weak < strong / 4


def test_overlay_outside_the_box_is_dimmed_and_has_no_heat():
    frames, _ = clip(1)
    hot = overlay.overlay(frames, np.ones((1, 4, 4)), box=BOX)
    cold = overlay.overlay(frames, np.zeros((1, 4, 4)), box=BOX)
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
    heat = np.abs(overlay.overlay(frames, maps, box=box).astype(int) - 100).sum(-1)[0]
    inside = heat[4:24, 10:42]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    assert row < 10 and column >= 24
    assert inside[10:].sum() < inside[:10].sum() / 2 and not inside[:, :16].any()


@pytest.mark.parametrize("box", [(0, 0, 13, 20), (-1, 0, 5, 5), (3, 0, 3, 5)])
def test_a_box_that_does_not_fit_is_an_error(box):
    with pytest.raises(InputError, match="12 x 20"):
        overlay.overlay(clip(1)[0], np.ones((1, 2, 2)), box=box)


def test_overlay_signed_is_red_for_and_blue_against():
    frames = np.full((1, 8, 16, 3), 128, np.uint8)
    out = overlay.overlay(frames, np.array([[[1.0, 0.0, 0.0, -1.0]]])).astype(int)
    assert out[0, 4, 0, 0] > out[0, 4, 0, 2] and out[0, 4, -1, 2] > out[0, 4, -1, 0]
    np.testing.assert_array_equal(out[0, 4, 7:9], np.full((2, 3), 128))


def test_the_frame_rate_is_that_of_the_times():
    assert overlay.frame_rate(np.array([0.0, 0.5, 1.0]), 9.0) == 2
    assert overlay.frame_rate(np.array([0.0]), 9.0) == 9


def test_the_timeline_shows_every_frames_importance():
    frames = np.full((4, 30, 40, 3), 90, np.uint8)
    row, times = np.array([0, 1, 2, 0.5]), np.arange(4) / 7.5
    out = overlay.timeline(frames, row, times, "last step")
    assert out.shape == (4, 30 + overlay.BAND, 40, 3)
    np.testing.assert_array_equal(out[:, :30], frames)
    tall = (out[0, 30:53, :, 0] > 24).sum(0)[5::10]
    np.testing.assert_array_equal(tall, [0, 11, 23, 5])
    assert [image[52, 10 * t + 5, 0] for t, image in enumerate(out)][1:3] == [255] * 2
    assert out[1, 52, 25, 0] == 120 and out[0, 53, 5, 0] == 255
    assert out[0, 55:71, :, 0].max() > 200 and out[0, 74:, :, 0].max() > 200  # words
    bare = overlay.timeline(frames, row, times)
    assert (bare[:, 74:] == 24).all() and (bare[:, :70] == out[:, :70]).all()
    none = overlay.timeline(frames, 0 * row, times)
    assert (none[0, 30:53] == 24).all()


def test_the_overlay_shows_the_aggregation(explained):
    last, most = (
        overlay.clip_overlay(by_aggregation(explained, a)) for a in ("last", "max")
    )
    assert last.shape == most.shape and (last != most)[:, : -overlay.BAND].any()
    words = np.s_[:, 24 + 20 - overlay.BAND :]
    assert (last != most)[words].any()


def test_a_line_that_is_too_long_is_written_smaller():
    long = overlay._lines(("x" * 34,), 240, 20)
    assert (long[:, 237:] == 24).all() and long.max() > 200


def test_a_gif_can_be_mailed():
    frames = np.zeros((150, 480, 640, 3), np.uint8)
    small, fps = overlay.small(frames, 7.5)
    assert small.shape == (50, 240, 320, 3) and fps == 2.5
    same, fps = overlay.small(frames[:9, :64, :64], 7.5)
    assert same.shape == (9, 64, 64, 3) and fps == 7.5
