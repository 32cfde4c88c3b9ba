"""Poses and joints: paths through key poses, limbs of fixed length, feet on the floor."""

import numpy as np
import pytest

from rgcam.data.synthetic import poses
from rgcam.data.synthetic.poses import CLASSES

PAIRS = [
    ("raise arms", "lower arms"),
    ("walk left", "walk right"),
    ("sit down", "stand up"),
]
LIMBS = [
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


def at(pose, frames=1):
    """The pose with fields (T,), as ``joints`` takes it."""
    return poses.Pose(*(np.full(frames, float(value)) for value in pose))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_pair_is_one_path_of_poses_in_both_directions(one, other):
    one, other = CLASSES.index(one), CLASSES.index(other)
    progress = np.linspace(0, 1, 33)
    forward = np.array(poses.pose_path(one, progress))
    np.testing.assert_allclose(forward, poses.pose_path(other, 1 - progress), atol=1e-9)
    reverse = np.array(poses.pose_path(one, 1 - progress))
    assert np.abs(forward - reverse).max() > 0.3


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_a_path_goes_through_its_key_poses_in_order(label):
    keys = poses._PATHS[label]
    path = poses.pose_path(label, np.linspace(0, 1, len(keys)))
    np.testing.assert_allclose(np.array(path).T, np.array(keys), atol=1e-9)


def test_a_path_between_equal_keys_of_even_spacing_is_straight():
    walk = poses.pose_path(CLASSES.index("walk right"), np.linspace(0.25, 0.75, 9))
    np.testing.assert_allclose(walk.travel, np.linspace(-0.18, 0.18, 9), atol=1e-9)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_limbs_keep_their_length_in_every_pose(label, side):
    joints = poses.joints(poses.pose_path(label, np.linspace(0, 1, 25)), side)
    for start, end, length in LIMBS:
        vector = getattr(joints, end) - getattr(joints, start)
        np.testing.assert_allclose(np.hypot(*vector.T), length, atol=1e-9)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_lower_foot_is_on_the_floor_but_for_the_lift(label):
    path = poses.pose_path(label, np.linspace(0, 1, 25))
    joints = poses.joints(path, 1)
    lower = np.minimum(joints.ankle_near, joints.ankle_far)[:, 1]
    np.testing.assert_allclose(lower, 0.035 + path.lift, atol=1e-9)


def test_a_jump_leaves_the_floor_and_other_actions_do_not():
    lifts = {
        name: poses.pose_path(label, np.linspace(0, 1, 25)).lift.max()
        for label, name in enumerate(CLASSES)
    }
    assert {name for name, lift in lifts.items() if lift > 0.1} == {"jump"}


def test_joints_of_an_upright_pose_by_hand():
    upright = poses.Pose(
        upper_near=0, fore_near=90, thigh_near=0, shin_near=0, thigh_far=0, shin_far=0
    )
    joints = poses.joints(at(upright), 1)
    # The hips are as high as two straight legs: 0.035 + 0.225 + 0.225.
    np.testing.assert_allclose(joints.knee_near, [[0.032, 0.26]], atol=1e-9)
    np.testing.assert_allclose(joints.chest, [[0, 0.485 + 0.27 - 0.03]], atol=1e-9)
    np.testing.assert_allclose(joints.elbow_near, [[0.058, 0.755 - 0.175]], atol=1e-9)
    np.testing.assert_allclose(joints.hand_near, [[0.213, 0.58]], atol=1e-9)


def test_the_other_side_is_the_mirror_image_and_travel_is_not_mirrored():
    pose = at(poses.Pose(lean=20.0, travel=0.3), 2)
    right, left = poses.joints(pose, 1), poses.joints(pose, -1)
    for one, other in zip(right, left, strict=True):
        np.testing.assert_allclose(one[:, 0] - 0.3, -(other[:, 0] - 0.3), atol=1e-9)
        np.testing.assert_allclose(one[:, 1], other[:, 1])


def test_sway_leans_the_torso_and_swings_the_forearms_against_each_other():
    angle = np.array([0.0, 2.0, -1.0])
    pose = at(poses.Pose(), 3)
    swayed = poses.sway(pose, angle)
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
    assert len(poses.MOVING) == len(poses._PATHS) == len(CLASSES)
    for parts in poses.MOVING:
        assert parts and set(parts) <= set(poses._BODY)
