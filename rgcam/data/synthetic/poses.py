"""How the stick figure of ``rgcam.data.synthetic.stickman`` stands and moves; no pixels, no chance.

An action is a path through key poses. The paths of raise and lower arms, of walk left
and right and of sit down and stand up are one another's reverse, key by key: no single
pose tells the two apart. Lengths are in figure heights, y is up from the floor, and
angles are in degrees from straight down, positive to the figure's front.
"""

from typing import Any, NamedTuple

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
MOVING: tuple[tuple[str, ...], ...] = (  # of each class, what its mask shows
    ("near arm",),
    ("near leg",),
    _BODY,
    _BODY,
    (*_ARMS, "trunk"),
    *(2 * (_ARMS,)),
    *(4 * (_BODY,)),
)
SEAT = (-0.22, 0.25)  # centre of the stool's top, from where the figure stands
_UPPER, _FORE, _TORSO, _THIGH, _SHIN, _ANKLE = 0.175, 0.155, 0.27, 0.225, 0.225, 0.035

Value = Any  # float (a key pose) or array (T,) (a pose per frame)


class Pose(NamedTuple):
    """One pose, or with arrays (T,) as fields one pose per frame; defaults: at rest.

    Attributes:
        lean: of the torso, from upright, degrees.
        upper_near, fore_near, upper_far, fore_far: angles of the arms, degrees.
        thigh_near, shin_near, thigh_far, shin_far: angles of the legs, degrees.
        lift: height of the lower foot above the floor, figure heights.
        shift: of the hips to the figure's front, figure heights.
        travel: of the figure to the right of the picture whatever its front.
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
    """Where the figure's joints are, each (T, 2): x to the right and y up."""

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
    """Name both arms' angles (upper, fore) as fields of ``Pose``."""
    names = ("upper_near", "fore_near", "upper_far", "fore_far")
    return dict(zip(names, near + far, strict=True))


def _legs(near: tuple[int, int], far: tuple[int, int]) -> dict[str, int]:
    """Name both legs' angles (thigh, shin) as fields of ``Pose``."""
    names = ("thigh_near", "shin_near", "thigh_far", "shin_far")
    return dict(zip(names, near + far, strict=True))


_REST = Pose()
_WAVE_OUT = Pose(upper_near=122.0, fore_near=132.0)
_WAVE_IN = Pose(upper_near=122.0, fore_near=205.0)
_WIND_UP = Pose(8, **_legs((-28, -75), (-4, -4)), **_arms((35, 60), (-30, -10)))
_KICK = Pose(-20, **_legs((88, 90), (-6, -4)), **_arms((-45, -25), (50, 75)))
_CROUCH = Pose(14, **_legs((48, -36), (-40, 30)), **_arms((-40, -25), (-55, -40)))
_FLIGHT = Pose(
    **_legs((26, -14), (-28, 4)), **_arms((112, 140), (-112, -140)), lift=0.18
)
_DEEP = Pose(6, **_legs((78, -16), (-78, 16)), **_arms((48, -42), (-48, 42)))
_BENT = Pose(84, **_legs((4, 2), (-12, -10)), **_arms((14, 6), (-4, -4)), shift=-0.06)
_ARMS_UP = Pose(**_arms((158, 172), (-158, -172)))
_SETTLE = Pose(
    34, **_legs((48, -8), (40, -14)), **_arms((50, 66), (36, 52)), shift=-0.1
)
_SEATED = Pose(-2, **_legs((88, 3), (80, -4)), **_arms((24, 58), (6, 44)), shift=-0.22)
_STEP = Pose(2, **_legs((28, 14), (-24, -40)), **_arms((-30, -14), (32, 52)))
_PASS = Pose(3, **_legs((1, -2), (24, -34)), **_arms((6, 20), (-4, 10)))
_OTHER_STEP = Pose(2, **_legs((-24, -40), (28, 14)), **_arms((32, 52), (-30, -14)))
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
    """Return the poses of an action: a Catmull-Rom curve through its key poses.

    Args:
        label: index into ``CLASSES``.
        progress: (T,) share of the action done, 0 (first pose) to 1 (last pose).

    Returns:
        Pose with fields (T,); of a reversed pair, ``pose_path(a, p)`` is
        ``pose_path(b, 1 - p)``.
    """
    keys = np.array(_PATHS[label])
    keys = np.concatenate([keys[:1], keys, keys[-1:]])
    place = progress * (len(keys) - 3)
    index = np.minimum(place.astype(int), len(keys) - 4)
    u = (place - index)[:, None]
    a, b, c, d = (keys[index + i] for i in range(4))
    bend = u * (2 * a - 5 * b + 4 * c - d + u * (3 * b - 3 * c + d - a))
    return Pose(*(b + 0.5 * u * (c - a + bend)).T)


def sway(pose: Pose, angle: Float[np.ndarray, " T"]) -> Pose:
    """Add idle sway: the torso leans by ``angle`` (T,) degrees and the arms swing."""
    return pose._replace(
        lean=pose.lean + angle,
        fore_near=pose.fore_near + 2 * angle,
        fore_far=pose.fore_far - 2 * angle,
    )


def _toward(angle: np.ndarray, length: float) -> np.ndarray:
    """Return the offset (T, 2) of a length at an angle (T,) from straight down."""
    turn = np.radians(angle)
    return length * np.stack([np.sin(turn), -np.cos(turn)], axis=-1)


def _hips(pose: Pose) -> np.ndarray:
    """Return the hips (T, 2): as high as the longer-reaching leg holds them."""
    near = _toward(pose.thigh_near, _THIGH) + _toward(pose.shin_near, _SHIN)
    far = _toward(pose.thigh_far, _THIGH) + _toward(pose.shin_far, _SHIN)
    height = _ANKLE - np.minimum(near[:, 1], far[:, 1]) + pose.lift
    return np.stack([pose.shift, height], axis=-1)


def _arm(shoulder: np.ndarray, upper: np.ndarray, fore: np.ndarray) -> list[np.ndarray]:
    """Return shoulder, elbow and hand, each (T, 2)."""
    elbow = shoulder + _toward(upper, _UPPER)
    return [shoulder, elbow, elbow + _toward(fore, _FORE)]


def _leg(hip: np.ndarray, thigh: np.ndarray, shin: np.ndarray) -> list[np.ndarray]:
    """Return hip, knee, ankle and toe, each (T, 2); the foot is level unless kicked."""
    knee = hip + _toward(thigh, _THIGH)
    ankle = knee + _toward(shin, _SHIN)
    foot = 90 + np.maximum(shin - 20, 0)
    return [hip, knee, ankle, ankle + _toward(foot, 0.055)]


def joints(pose: Pose, side: int) -> Joints:
    """Return where the joints are in a pose (fields (T,)).

    Args:
        pose: Pose with fields (T,).
        side: 1 if the figure's front is to the right, -1 if to the left.

    Returns:
        Joints with fields (T, 2), figure heights from the spot on the floor.
    """
    hips, up = _hips(pose), _toward(180 - pose.lean, 1.0)
    front = np.stack([up[:, 1], -up[:, 0]], axis=-1)
    neck = hips + _TORSO * up
    head = neck + 0.135 * up + 0.012 * front
    trunk = [
        hips + 0.03 * up,
        neck - 0.03 * up,
        head,
        head + 0.026 * up - 0.022 * front,
    ]
    trunk += [head + x * front for x in (0.068, 0.028)]
    near_arm = _arm(neck + 0.058 * front, pose.upper_near, pose.fore_near)
    far_arm = _arm(neck - 0.058 * front, pose.upper_far, pose.fore_far)
    near_leg = _leg(hips + [0.032, 0], pose.thigh_near, pose.shin_near)
    far_leg = _leg(hips - [0.032, 0], pose.thigh_far, pose.shin_far)
    travel = np.stack([pose.travel, np.zeros_like(pose.travel)], axis=-1)
    points = trunk + near_arm + far_arm + near_leg + far_leg
    return Joints(*(point * [side, 1] + travel for point in points))
