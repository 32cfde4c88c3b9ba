"""Poses of the figure in ``rgcam.data.synthetic.stickman``, and paths through them.

Everything here is deterministic and independent of pixels. An action is a path through
key poses. The paths of raise and lower arms, of walk left and right and of sit down and
stand up are exact reversals of one another: no single pose distinguishes the two.
Lengths are in figure heights, y points up from the floor, and angles are in degrees from
straight down, positive towards the figure's front.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

CLASSES: tuple[str, ...] = (
    "wave",
    "kick",
    "jump",
    "squat",
    "bow",
    "raise arms",
    "lower arms",
    "walk left",
    "walk right",
    "sit down",
    "stand up",
)
_ARMS = ("near arm", "far arm")
_BODY = (*_ARMS, "near leg", "far leg", "trunk")
# The body parts that each class moves, which its mask shows.
MOVING: tuple[tuple[str, ...], ...] = (
    ("near arm",),
    ("near leg",),
    _BODY,
    _BODY,
    (*_ARMS, "trunk"),
    *(2 * (_ARMS,)),
    *(4 * (_BODY,)),
)
SEAT = (-0.22, 0.25)  # centre of the stool's top, relative to the figure's position

# Lengths of the limbs, and the height of the ankle above the sole.
_UPPER_ARM = 0.175
_FOREARM = 0.155
_TORSO = 0.27
_THIGH = 0.225
_SHIN = 0.225
_ANKLE = 0.035

Value: TypeAlias = float | Float[np.ndarray, " T"]
"""A number (of a key pose), or one number per frame."""


class Pose(NamedTuple):
    """One pose, or with arrays (T,) as fields one pose per frame.

    The defaults are the pose at rest.

    Attributes:
        lean: angle of the torso from upright, degrees.
        upper_near, fore_near, upper_far, fore_far: angles of the arms, degrees.
        thigh_near, shin_near, thigh_far, shin_far: angles of the legs, degrees.
        lift: height of the lower foot above the floor, figure heights.
        shift: displacement of the hips towards the figure's front, figure heights.
        travel: displacement of the figure to the right of the frame, whichever way it
            faces, figure heights.
    """

    lean: Value = 0.0
    upper_near: Value = 22.0
    fore_near: Value = 14.0
    upper_far: Value = -24.0
    fore_far: Value = -8.0
    thigh_near: Value = 8.0
    shin_near: Value = 5.0
    thigh_far: Value = -9.0
    shin_far: Value = -7.0
    lift: Value = 0.0
    shift: Value = 0.0
    travel: Value = 0.0


class Joints(NamedTuple):
    """Positions of the joints, each (T, 2): x to the right, y up, figure heights."""

    hips: np.ndarray
    chest: np.ndarray
    head: np.ndarray
    hair: np.ndarray
    eye_near: np.ndarray
    eye_far: np.ndarray
    shoulder_near: np.ndarray
    elbow_near: np.ndarray
    hand_near: np.ndarray
    shoulder_far: np.ndarray
    elbow_far: np.ndarray
    hand_far: np.ndarray
    hip_near: np.ndarray
    knee_near: np.ndarray
    ankle_near: np.ndarray
    toe_near: np.ndarray
    hip_far: np.ndarray
    knee_far: np.ndarray
    ankle_far: np.ndarray
    toe_far: np.ndarray


def _arms(near: tuple[int, int], far: tuple[int, int]) -> dict[str, int]:
    """Return both arms' angles (upper, fore) by the field of ``Pose``."""
    names = ("upper_near", "fore_near", "upper_far", "fore_far")
    return dict(zip(names, near + far, strict=True))


def _legs(near: tuple[int, int], far: tuple[int, int]) -> dict[str, int]:
    """Return both legs' angles (thigh, shin) by the field of ``Pose``."""
    names = ("thigh_near", "shin_near", "thigh_far", "shin_far")
    return dict(zip(names, near + far, strict=True))


_REST = Pose()
_WAVE_OUT = Pose(upper_near=122.0, fore_near=132.0)
_WAVE_IN = Pose(upper_near=122.0, fore_near=205.0)
_WIND_UP = Pose(lean=8, **_legs((-28, -75), (-4, -4)), **_arms((35, 60), (-30, -10)))
_KICK = Pose(lean=-20, **_legs((88, 90), (-6, -4)), **_arms((-45, -25), (50, 75)))
_CROUCH = Pose(lean=14, **_legs((48, -36), (-40, 30)), **_arms((-40, -25), (-55, -40)))
_FLIGHT = Pose(
    **_legs((26, -14), (-28, 4)), **_arms((112, 140), (-112, -140)), lift=0.18
)
_DEEP = Pose(lean=6, **_legs((78, -16), (-78, 16)), **_arms((48, -42), (-48, 42)))
_BENT = Pose(
    lean=84, **_legs((4, 2), (-12, -10)), **_arms((14, 6), (-4, -4)), shift=-0.06
)
_ARMS_UP = Pose(**_arms((158, 172), (-158, -172)))
_SETTLE = Pose(
    lean=34, **_legs((48, -8), (40, -14)), **_arms((50, 66), (36, 52)), shift=-0.1
)
_SEATED = Pose(
    lean=-2, **_legs((88, 3), (80, -4)), **_arms((24, 58), (6, 44)), shift=-0.22
)
_STEP = Pose(lean=2, **_legs((28, 14), (-24, -40)), **_arms((-30, -14), (32, 52)))
_PASS = Pose(lean=3, **_legs((1, -2), (24, -34)), **_arms((6, 20), (-4, 10)))
_OTHER_STEP = Pose(lean=2, **_legs((-24, -40), (28, 14)), **_arms((32, 52), (-30, -14)))
_STRIDE = (_REST, _STEP, _PASS, _OTHER_STEP, _REST)

_RAISE = (_REST, _ARMS_UP)
_SIT = (_REST, _SETTLE, _SEATED)
_WALK = tuple(
    pose._replace(travel=0.18 * (index - 2)) for index, pose in enumerate(_STRIDE)
)
_PATHS = (
    (_REST, _WAVE_OUT, _WAVE_IN, _WAVE_OUT, _WAVE_IN, _REST),
    (_REST, _WIND_UP, _KICK, _KICK, _REST),
    (_REST, _CROUCH, _FLIGHT, _CROUCH, _REST),
    (_REST, _DEEP, _DEEP, _REST),
    (_REST, _BENT, _BENT, _REST),
    _RAISE,
    _RAISE[::-1],
    _WALK[::-1],
    _WALK,
    _SIT,
    _SIT[::-1],
)


def pose_path(label: int, progress: Float[np.ndarray, " T"]) -> Pose:
    """Return the poses of an action: a Catmull-Rom spline through its key poses.

    Args:
        label: index into ``CLASSES``.
        progress: (T,) fraction of the action completed, 0 (first pose) to 1 (last pose).

    Returns:
        Pose with fields (T,). For a pair (a, b) of reversed actions,
        ``pose_path(a, p)`` equals ``pose_path(b, 1 - p)``.
    """
    return path_through(_PATHS[label], progress)


def path_through(
    key_poses: tuple[Pose, ...], progress: Float[np.ndarray, " T"]
) -> Pose:
    """Return the poses of a Catmull-Rom spline through key poses.

    Args:
        key_poses: at equal distances, the first at progress 0 and the last at 1.
        progress: (T,) fraction completed.

    Returns:
        Pose with fields (T,).
    """
    keys = np.array(key_poses)
    # The first and the last key are repeated, so that every segment has two neighbours.
    keys = np.concatenate([keys[:1], keys, keys[-1:]])
    position = progress * (len(keys) - 3)  # in segments
    index = np.minimum(position.astype(int), len(keys) - 4)
    u = (position - index)[:, None]  # within the segment from b to c, 0 to 1
    a, b, c, d = (keys[index + i] for i in range(4))
    bend = u * (2 * a - 5 * b + 4 * c - d + u * (3 * b - 3 * c + d - a))
    return Pose(*(b + 0.5 * u * (c - a + bend)).T)


def sway(pose: Pose, angle: Float[np.ndarray, " T"]) -> Pose:
    """Add idle sway: the torso leans by ``angle`` degrees and the forearms swing."""
    return pose._replace(
        lean=pose.lean + angle,
        fore_near=pose.fore_near + 2 * angle,
        fore_far=pose.fore_far - 2 * angle,
    )


def _segment(angle: Value, length: float) -> Float[np.ndarray, "T 2"]:
    """Return the vector of a limb: its length at an angle from straight down."""
    radians = np.radians(angle)
    return length * np.stack([np.sin(radians), -np.cos(radians)], axis=-1)


def _hips(pose: Pose) -> Float[np.ndarray, "T 2"]:
    """Return the hips, at the height at which the lower foot touches the floor."""
    near = _segment(pose.thigh_near, _THIGH) + _segment(pose.shin_near, _SHIN)
    far = _segment(pose.thigh_far, _THIGH) + _segment(pose.shin_far, _SHIN)
    height = _ANKLE - np.minimum(near[:, 1], far[:, 1]) + pose.lift
    return np.stack([pose.shift, height], axis=-1)


def _arm(
    shoulder: np.ndarray, upper: Value, fore: Value
) -> tuple[np.ndarray, np.ndarray]:
    """Return elbow and hand, each (T, 2)."""
    elbow = shoulder + _segment(upper, _UPPER_ARM)
    return elbow, elbow + _segment(fore, _FOREARM)


def _leg(
    hip: np.ndarray, thigh: Value, shin: Value
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return knee, ankle and toe, each (T, 2).

    The foot is level unless the shin points forward by more than 20 degrees, as in a
    kick; then it turns with the shin.
    """
    knee = hip + _segment(thigh, _THIGH)
    ankle = knee + _segment(shin, _SHIN)
    foot = 90 + np.maximum(shin - 20, 0)
    return knee, ankle, ankle + _segment(foot, 0.055)


def joints(pose: Pose, side: int) -> Joints:
    """Compute the positions of the joints in a pose per frame.

    Args:
        pose: Pose with fields (T,).
        side: 1 if the figure's front is to the right, -1 if to the left.

    Returns:
        Joints with fields (T, 2), in figure heights from the figure's position on the
        floor.
    """
    hips = _hips(pose)
    up = _segment(180 - pose.lean, 1.0)  # unit vector along the torso
    front = np.stack([up[:, 1], -up[:, 0]], axis=-1)
    neck = hips + _TORSO * up
    head = neck + 0.135 * up + 0.012 * front
    shoulder_near, shoulder_far = neck + 0.058 * front, neck - 0.058 * front
    elbow_near, hand_near = _arm(shoulder_near, pose.upper_near, pose.fore_near)
    elbow_far, hand_far = _arm(shoulder_far, pose.upper_far, pose.fore_far)
    hip_near, hip_far = hips + [0.032, 0], hips - [0.032, 0]
    knee_near, ankle_near, toe_near = _leg(hip_near, pose.thigh_near, pose.shin_near)
    knee_far, ankle_far, toe_far = _leg(hip_far, pose.thigh_far, pose.shin_far)
    facing_right = Joints(
        hips=hips + 0.03 * up,
        chest=neck - 0.03 * up,
        head=head,
        hair=head + 0.026 * up - 0.022 * front,
        eye_near=head + 0.068 * front,
        eye_far=head + 0.028 * front,
        shoulder_near=shoulder_near,
        elbow_near=elbow_near,
        hand_near=hand_near,
        shoulder_far=shoulder_far,
        elbow_far=elbow_far,
        hand_far=hand_far,
        hip_near=hip_near,
        knee_near=knee_near,
        ankle_near=ankle_near,
        toe_near=toe_near,
        hip_far=hip_far,
        knee_far=knee_far,
        ankle_far=ankle_far,
        toe_far=toe_far,
    )
    travel = np.stack([pose.travel, np.zeros_like(pose.travel)], axis=-1)
    return Joints(*(point * [side, 1] + travel for point in facing_right))
