"""Rasterised shapes: the covered area, antialiasing, occlusion and colours."""

import numpy as np
import pytest

from rgcam.data.synthetic import paint, poses

RED = np.array([255.0, 0.0, 0.0])
BLUE = np.array([0.0, 0.0, 255.0])


def black(size=32, frames=1):
    return np.zeros((4, size, size, frames), np.float32)


def at(*points):
    return np.array(points, float)


def area(canvas, channel=0):
    """The painted area in pixels, by frame."""
    return canvas[channel].sum((0, 1)) / 255


@pytest.mark.parametrize("radius", [3.0, 7.5])
def test_a_disc_covers_its_area(radius):
    canvas = black()
    paint.rounded_box(canvas, at((16.2, 15.7)), (0.0, 0.0), radius, RED)
    np.testing.assert_allclose(area(canvas), np.pi * radius**2, rtol=0.01)


def test_a_capsule_of_equal_radii_covers_a_rectangle_and_a_disc():
    canvas = black()
    paint.capsule(canvas, at((8.0, 10.0)), at((20.0, 19.0)), (4.0, 4.0), RED)
    expected = 15 * 2 * 4.0 + np.pi * 4.0**2  # the axis is 15 pixels long
    np.testing.assert_allclose(area(canvas), expected, rtol=0.01)


def test_a_box_covers_its_sides_and_rounded_corners():
    canvas = black()
    paint.rounded_box(canvas, at((16.0, 16.0)), (6.0, 3.0), 2.0, RED)
    expected = 12 * 6 + 2 * 2 * (12 + 6) + np.pi * 2**2
    np.testing.assert_allclose(area(canvas), expected, rtol=0.01)


def test_an_edge_through_a_pixel_covers_half_of_it():
    canvas = black()
    # The left side of the box is at x = 10.5, the centre of pixel 10.
    paint.rounded_box(canvas, at((16.5, 16.0)), (5.0, 4.0), 1.0, RED)
    row = canvas[0, 16, :, 0] / 255
    assert row[9] == 0 and row[11] == 1
    np.testing.assert_allclose(row[10], 0.5, atol=1e-6)


def test_a_box_without_corners_is_half_transparent():
    canvas = black()
    paint.rounded_box(canvas, at((16.0, 16.0)), (6.0, 4.0), 0.0, RED)
    np.testing.assert_allclose(canvas[0, 13:19, 11:21, 0], 127.5)


def test_each_frame_has_its_own_position():
    canvas = black(frames=2)
    paint.rounded_box(canvas, at((8.0, 8.0), (24.0, 20.0)), (0.0, 0.0), 3.0, RED)
    for frame, (x, y) in enumerate([(8.0, 8.0), (24.0, 20.0)]):
        rows, columns = np.nonzero(canvas[0, ..., frame])
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], [x, y])


def test_what_lies_outside_the_canvas_is_cut_off():
    canvas = black()
    paint.rounded_box(canvas, at((0.0, 16.0)), (0.0, 0.0), 5.0, RED)
    np.testing.assert_allclose(area(canvas), np.pi * 5.0**2 / 2, rtol=0.02)
    outside = black()
    paint.capsule(outside, at((-20.0, 5.0)), at((-9.0, 5.0)), (2.0, 2.0), RED)
    assert not outside.any()


def test_an_occluded_moving_part_is_absent_from_the_fourth_channel():
    canvas = black()
    centre = at((16.0, 16.0))
    paint.capsule(canvas, centre, centre, (6.0, 6.0), RED, moves=True)
    np.testing.assert_allclose(canvas[3].sum(), np.pi * 6.0**2, rtol=0.01)
    paint.capsule(canvas, centre, centre, (3.0, 3.0), BLUE)
    expected = np.pi * (6.0**2 - 3.0**2)
    np.testing.assert_allclose(canvas[3].sum(), expected, rtol=0.02)
    np.testing.assert_allclose(canvas[:3, 16, 16, 0], BLUE)


@pytest.mark.parametrize("part", sorted({limb.part for limb in paint.LIMBS}))
def test_only_the_named_parts_of_the_figure_are_marked_as_moving(part):
    rng = np.random.default_rng(0)
    joints = poses.joints(poses.Pose(*np.array(poses.Pose())[:, None]), 1)
    canvas = np.full((4, 64, 64, 1), 255, np.float32)
    canvas[3] = 0
    palette = paint.draw_palette(rng)
    paint.figure(canvas, joints, np.array([32.0, 60.0]), 45.0, palette, (part,))
    y, x = np.nonzero(canvas[3, ..., 0] > 0.5)
    assert len(y)
    # Every marked pixel lies on a limb of that part, of at most 0.094 figure heights.
    ends = [
        np.array([32.0, 60.0]) + [45.0, -45.0] * getattr(joints, name)[0]
        for limb in paint.LIMBS
        if limb.part == part
        for name in (limb.start, limb.end)
    ]
    margin = 0.094 * 45 + 1
    (left, top), (right, bottom) = np.min(ends, 0) - margin, np.max(ends, 0) + margin
    assert (x > left - 1).all() and (x < right).all()
    assert (y > top - 1).all() and (y < bottom).all()


def test_the_shadow_darkens_the_floor_less_under_a_jump():
    darkness = []
    for lift in (0.0, 0.2):
        pose = poses.Pose(lift=lift)
        joints = poses.joints(poses.Pose(*np.array(pose)[:, None]), 1)
        canvas = np.full((4, 64, 64, 1), 200, np.float32)
        paint._shadow(canvas, joints, np.array([32.0, 58.0]), 45.0)
        darkness.append(200 - canvas[:3].min())
    assert darkness[0] > 2 * darkness[1] > 0


def test_grey_of_oklch_is_neutral_and_its_ends_are_black_and_white():
    np.testing.assert_allclose(paint._oklch(0.0, 0.0, 0.0), 0, atol=1e-6)
    np.testing.assert_allclose(paint._oklch(1.0, 0.0, 0.0), 255, atol=0.1)
    grey = paint._oklch(0.6, 0.0, 123.0)
    assert np.ptp(grey) < 0.1


@pytest.mark.parametrize(
    ("rgb", "lightness", "chroma", "hue"),
    # Published OKLCH coordinates of the primaries of sRGB.
    [
        ((255, 0, 0), 0.62796, 0.25768, 29.23),
        ((0, 255, 0), 0.86644, 0.29483, 142.50),
        ((0, 0, 255), 0.45201, 0.31321, 264.05),
    ],
)
def test_oklch_of_the_primaries(rgb, lightness, chroma, hue):
    colour = paint._oklch(lightness, chroma, hue)
    np.testing.assert_allclose(colour, rgb, atol=6)  # the transfer curve is a power


def test_colours_are_in_range_and_clothes_contrast_with_the_wall():
    for seed in range(40):
        palette = paint.draw_palette(np.random.default_rng(seed))
        for colour in palette:
            assert (
                colour.shape == (3,) and (0 <= colour).all() and (colour <= 255).all()
            )
        # Luma of the trousers, which are lighter in a dark room and darker in a bright one.
        luma = np.array([0.299, 0.587, 0.114])
        assert abs(palette.trousers @ luma - palette.wall @ luma) > 30
