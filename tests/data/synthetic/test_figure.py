"""Poses and joints, shapes and colours: limbs of fixed length, areas, occlusion."""

import numpy as np
import pytest

from rgcam.data.synthetic import figure
from rgcam.data.synthetic.figure import CLASSES

PAIRS = [
    ("raise arms", "lower arms"),
    ("walk left", "walk right"),
    ("sit down", "stand up"),
]
LENGTHS = [
    ("shoulder_near", "elbow_near", 0.175),
    ("elbow_near", "hand_near", 0.155),
    ("hip_near", "knee_near", 0.225),
    ("knee_near", "ankle_near", 0.225),
    ("ankle_near", "toe_near", 0.055),
    ("shoulder_far", "elbow_far", 0.175),
    ("elbow_far", "hand_far", 0.155),
    ("hip_far", "knee_far", 0.225),
    ("knee_far", "ankle_far", 0.225),
    ("ankle_far", "toe_far", 0.055),
]


def still(pose, frames=1):
    """The pose with fields (T,), as ``joints`` takes it."""
    return figure.Pose(*(np.full(frames, float(value)) for value in pose))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_pair_is_one_path_of_poses_in_both_directions(one, other):
    one, other = CLASSES.index(one), CLASSES.index(other)
    progress = np.linspace(0, 1, 33)
    forward = np.array(figure.pose_path(one, progress))
    np.testing.assert_allclose(
        forward, figure.pose_path(other, 1 - progress), atol=1e-9
    )
    reverse = np.array(figure.pose_path(one, 1 - progress))
    assert np.abs(forward - reverse).max() > 0.3


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_a_path_goes_through_its_key_poses_in_order(label):
    keys = figure._PATHS[label]
    path = figure.pose_path(label, np.linspace(0, 1, len(keys)))
    np.testing.assert_allclose(np.array(path).T, np.array(keys), atol=1e-9)


def test_a_path_between_equal_keys_of_even_spacing_is_straight():
    walk = figure.pose_path(CLASSES.index("walk right"), np.linspace(0.25, 0.75, 9))
    np.testing.assert_allclose(walk.travel, np.linspace(-0.18, 0.18, 9), atol=1e-9)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_limbs_keep_their_length_in_every_pose(label, side):
    joints = figure.joints(figure.pose_path(label, np.linspace(0, 1, 25)), side)
    for start, end, length in LENGTHS:
        vector = getattr(joints, end) - getattr(joints, start)
        np.testing.assert_allclose(np.hypot(*vector.T), length, atol=1e-9)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_lower_foot_is_on_the_floor_but_for_the_lift(label):
    path = figure.pose_path(label, np.linspace(0, 1, 25))
    joints = figure.joints(path, 1)
    lower = np.minimum(joints.ankle_near, joints.ankle_far)[:, 1]
    np.testing.assert_allclose(lower, 0.035 + path.lift, atol=1e-9)


def test_a_jump_leaves_the_floor_and_other_actions_do_not():
    lifts = {
        name: figure.pose_path(label, np.linspace(0, 1, 25)).lift.max()
        for label, name in enumerate(CLASSES)
    }
    assert {name for name, lift in lifts.items() if lift > 0.1} == {"jump"}


def test_joints_of_an_upright_pose_by_hand():
    upright = figure.Pose(
        upper_near=0, fore_near=90, thigh_near=0, shin_near=0, thigh_far=0, shin_far=0
    )
    joints = figure.joints(still(upright), 1)
    # The hips are as high as two straight legs: 0.035 + 0.225 + 0.225.
    np.testing.assert_allclose(joints.knee_near, [[0.032, 0.26]], atol=1e-9)
    np.testing.assert_allclose(joints.chest, [[0, 0.485 + 0.27 - 0.03]], atol=1e-9)
    np.testing.assert_allclose(joints.elbow_near, [[0.058, 0.755 - 0.175]], atol=1e-9)
    np.testing.assert_allclose(joints.hand_near, [[0.213, 0.58]], atol=1e-9)


def test_the_other_side_is_the_mirror_image_and_travel_is_not_mirrored():
    pose = still(figure.Pose(lean=20.0, travel=0.3), 2)
    right, left = figure.joints(pose, 1), figure.joints(pose, -1)
    for one, other in zip(right, left, strict=True):
        np.testing.assert_allclose(one[:, 0] - 0.3, -(other[:, 0] - 0.3), atol=1e-9)
        np.testing.assert_allclose(one[:, 1], other[:, 1])


def test_sway_leans_the_torso_and_swings_the_forearms_against_each_other():
    angle = np.array([0.0, 2.0, -1.0])
    pose = still(figure.Pose(), 3)
    swayed = figure.sway(pose, angle)
    np.testing.assert_allclose(swayed.lean - pose.lean, angle)
    np.testing.assert_allclose(swayed.fore_near - pose.fore_near, 2 * angle)
    np.testing.assert_allclose(swayed.fore_far - pose.fore_far, -2 * angle)
    changed = {
        field
        for field, one, other in zip(pose._fields, pose, swayed, strict=True)
        if not np.array_equal(one, other)
    }
    assert changed == {"lean", "fore_near", "fore_far"}


def test_every_class_moves_known_parts_only():
    assert len(figure.MOVING) == len(figure._PATHS) == len(CLASSES)
    for parts in figure.MOVING:
        assert parts and set(parts) <= set(figure._BODY)


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
    figure.rounded_box(canvas, at((16.2, 15.7)), (0.0, 0.0), radius, RED)
    np.testing.assert_allclose(area(canvas), np.pi * radius**2, rtol=0.01)


def test_a_capsule_of_equal_radii_covers_a_rectangle_and_a_disc():
    canvas = black()
    figure.capsule(canvas, at((8.0, 10.0)), at((20.0, 19.0)), (4.0, 4.0), RED)
    expected = 15 * 2 * 4.0 + np.pi * 4.0**2  # the axis is 15 pixels long
    np.testing.assert_allclose(area(canvas), expected, rtol=0.01)


def test_a_box_covers_its_sides_and_rounded_corners():
    canvas = black()
    figure.rounded_box(canvas, at((16.0, 16.0)), (6.0, 3.0), 2.0, RED)
    expected = 12 * 6 + 2 * 2 * (12 + 6) + np.pi * 2**2
    np.testing.assert_allclose(area(canvas), expected, rtol=0.01)


def test_an_edge_through_a_pixel_covers_half_of_it():
    canvas = black()
    # The left side of the box is at x = 10.5, the centre of pixel 10.
    figure.rounded_box(canvas, at((16.5, 16.0)), (5.0, 4.0), 1.0, RED)
    row = canvas[0, 16, :, 0] / 255
    assert row[9] == 0 and row[11] == 1
    np.testing.assert_allclose(row[10], 0.5, atol=1e-6)


def test_a_box_without_corners_is_half_transparent():
    canvas = black()
    figure.rounded_box(canvas, at((16.0, 16.0)), (6.0, 4.0), 0.0, RED)
    np.testing.assert_allclose(canvas[0, 13:19, 11:21, 0], 127.5)


def test_each_frame_has_its_own_position():
    canvas = black(frames=2)
    figure.rounded_box(canvas, at((8.0, 8.0), (24.0, 20.0)), (0.0, 0.0), 3.0, RED)
    for frame, (x, y) in enumerate([(8.0, 8.0), (24.0, 20.0)]):
        rows, columns = np.nonzero(canvas[0, ..., frame])
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], [x, y])


def test_what_lies_outside_the_canvas_is_cut_off():
    canvas = black()
    figure.rounded_box(canvas, at((0.0, 16.0)), (0.0, 0.0), 5.0, RED)
    np.testing.assert_allclose(area(canvas), np.pi * 5.0**2 / 2, rtol=0.02)
    outside = black()
    figure.capsule(outside, at((-20.0, 5.0)), at((-9.0, 5.0)), (2.0, 2.0), RED)
    assert not outside.any()


def test_an_occluded_moving_part_is_absent_from_the_fourth_channel():
    canvas = black()
    centre = at((16.0, 16.0))
    figure.capsule(canvas, centre, centre, (6.0, 6.0), RED, moves=True)
    np.testing.assert_allclose(canvas[3].sum(), np.pi * 6.0**2, rtol=0.01)
    figure.capsule(canvas, centre, centre, (3.0, 3.0), BLUE)
    expected = np.pi * (6.0**2 - 3.0**2)
    np.testing.assert_allclose(canvas[3].sum(), expected, rtol=0.02)
    np.testing.assert_allclose(canvas[:3, 16, 16, 0], BLUE)


@pytest.mark.parametrize("part", sorted({limb.part for limb in figure.LIMBS}))
def test_only_the_named_parts_of_the_figure_are_marked_as_moving(part):
    rng = np.random.default_rng(0)
    joints = figure.joints(figure.Pose(*np.array(figure.Pose())[:, None]), 1)
    canvas = np.full((4, 64, 64, 1), 255, np.float32)
    canvas[3] = 0
    palette = figure.draw_palette(rng)
    figure.draw_figure(canvas, joints, np.array([32.0, 60.0]), 45.0, palette, (part,))
    y, x = np.nonzero(canvas[3, ..., 0] > 0.5)
    assert len(y)
    # Every marked pixel lies on a limb of that part, of at most 0.094 figure heights.
    ends = [
        np.array([32.0, 60.0]) + [45.0, -45.0] * getattr(joints, name)[0]
        for limb in figure.LIMBS
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
        pose = figure.Pose(lift=lift)
        joints = figure.joints(figure.Pose(*np.array(pose)[:, None]), 1)
        canvas = np.full((4, 64, 64, 1), 200, np.float32)
        figure._shadow(canvas, joints, np.array([32.0, 58.0]), 45.0)
        darkness.append(200 - canvas[:3].min())
    assert darkness[0] > 2 * darkness[1] > 0


def test_grey_of_oklch_is_neutral_and_its_ends_are_black_and_white():
    np.testing.assert_allclose(figure._oklch(0.0, 0.0, 0.0), 0, atol=1e-6)
    np.testing.assert_allclose(figure._oklch(1.0, 0.0, 0.0), 255, atol=0.1)
    grey = figure._oklch(0.6, 0.0, 123.0)
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
    colour = figure._oklch(lightness, chroma, hue)
    np.testing.assert_allclose(colour, rgb, atol=6)  # the transfer curve is a power


def test_colours_are_in_range_and_clothes_contrast_with_the_wall():
    for seed in range(40):
        palette = figure.draw_palette(np.random.default_rng(seed))
        for colour in palette:
            assert (
                colour.shape == (3,) and (0 <= colour).all() and (colour <= 255).all()
            )
        # Luma of the trousers, which are lighter in a dark room and darker in a bright one.
        luma = np.array([0.299, 0.587, 0.114])
        assert abs(palette.trousers @ luma - palette.wall @ luma) > 30
