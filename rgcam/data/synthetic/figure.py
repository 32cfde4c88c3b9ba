"""The figure of the drawn clips: its poses, and how it is painted.

An action is a path through key poses, deterministic and independent of pixels. The paths of
raise and lower arms, of walk left and right and of sit down and stand up are exact
reversals of one another: no single pose distinguishes the two. Lengths are in figure
heights, y points up from the floor, and angles are in degrees from straight down, positive
towards the figure's front.

Shapes are antialiased, and painted in all frames at once. A shape covers the fraction
``clip(0.5 - d, 0, 1)`` of a pixel at signed distance d (in pixels), and is evaluated only in
the bounding box of all its frames. Time is the innermost axis, so that numpy works on long
contiguous runs (measured: 1.5 times as fast). Every shape is also painted into a fourth
channel of the canvas, with 1 if it moves with the action and 0 otherwise: an occluded moving
part is therefore absent from the mask too.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Float32

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

Canvas = Float32[np.ndarray, "4 H W T"]  # R, G, B in 0..255, coverage by moving parts
Points = Float[np.ndarray, "T 2"]  # x, y in pixels, y down
Colour = Float[np.ndarray, "3"]  # R, G, B in 0..255


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


class Limb(NamedTuple):
    """A capsule between two joints.

    Attributes:
        start: joint at one end.
        end: joint at the other end.
        radii: radius at either end, figure heights.
        colour: field of ``Palette``.
        part: body part, as in ``MOVING``.
        shade: factor of the colour.
    """

    start: str
    end: str
    radii: tuple[float, float]
    colour: str
    part: str
    shade: float = 1.0


# Back to front: start, end, radii, colour, part, shade.
LIMBS = (
    Limb("shoulder_far", "elbow_far", (0.043, 0.038), "shirt", "far arm", 0.8),
    Limb("elbow_far", "hand_far", (0.038, 0.036), "sleeve", "far arm", 0.8),
    Limb("hand_far", "hand_far", (0.042, 0.042), "skin", "far arm", 0.88),
    Limb("ankle_far", "toe_far", (0.036, 0.032), "shoes", "far leg", 0.8),
    Limb("knee_far", "ankle_far", (0.046, 0.036), "socks", "far leg", 0.8),
    Limb("hip_far", "knee_far", (0.06, 0.048), "trousers", "far leg", 0.8),
    Limb("ankle_near", "toe_near", (0.036, 0.032), "shoes", "near leg"),
    Limb("knee_near", "ankle_near", (0.046, 0.036), "socks", "near leg"),
    Limb("hip_near", "knee_near", (0.06, 0.048), "trousers", "near leg"),
    Limb("chest", "head", (0.036, 0.036), "skin", "trunk", 0.88),
    Limb("chest", "hips", (0.092, 0.074), "shirt", "trunk"),
    Limb("hip_far", "hip_near", (0.06, 0.06), "trousers", "trunk", 0.94),
    Limb("hair", "hair", (0.094, 0.094), "hair", "trunk"),
    Limb("head", "head", (0.082, 0.082), "skin", "trunk"),
    Limb("eye_near", "eye_near", (0.012, 0.012), "hair", "trunk", 0.5),
    Limb("eye_far", "eye_far", (0.012, 0.012), "hair", "trunk", 0.5),
    Limb("shoulder_near", "elbow_near", (0.043, 0.038), "shirt", "near arm", 0.92),
    Limb("elbow_near", "hand_near", (0.038, 0.036), "sleeve", "near arm", 0.92),
    Limb("hand_near", "hand_near", (0.042, 0.042), "skin", "near arm"),
)


class Palette(NamedTuple):
    """Colours of a scene, each (3,) RGB in 0..255."""

    wall: np.ndarray
    wall_end: np.ndarray
    floor: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    sleeve: np.ndarray
    trousers: np.ndarray
    socks: np.ndarray
    shoes: np.ndarray
    stool: np.ndarray
    ball: np.ndarray


def _oklch(lightness: float, chroma: float, hue: float) -> np.ndarray:
    """Return the RGB (3,) in 0..255 of an OKLCH colour, hue in degrees, gamut-clipped.

    Equal OKLCH lightness is perceived as equally light at any hue, so that a difference
    in lightness guarantees contrast. Source: Ottosson, "A perceptual color space for
    image processing", 2020.
    """
    a = chroma * math.cos(math.radians(hue))
    b = chroma * math.sin(math.radians(hue))
    l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    )
    return 255 * np.clip(linear, 0, 1) ** (1 / 2.2)


class _Lightness(NamedTuple):
    """OKLCH lightness of the surfaces of a room, as ranges to draw from.

    Attributes:
        wall: range of the wall.
        floor: difference of the floor from the wall.
        skin: range of the skin.
        hair: range of the hair.
        shirt: range of the shirt.
        trousers: range of the trousers.
        shoes: of the shoes.
    """

    wall: tuple[float, float]
    floor: float
    skin: tuple[float, float]
    hair: tuple[float, float]
    shirt: tuple[float, float]
    trousers: tuple[float, float]
    shoes: float


_BRIGHT_ROOM = _Lightness(
    wall=(0.84, 0.92),
    floor=-0.07,
    skin=(0.45, 0.74),
    hair=(0.15, 0.4),
    shirt=(0.5, 0.62),
    trousers=(0.28, 0.45),
    shoes=0.25,
)
_DARK_ROOM = _Lightness(
    wall=(0.3, 0.4),
    floor=0.05,
    skin=(0.66, 0.85),
    hair=(0.45, 0.55),
    shirt=(0.66, 0.8),
    trousers=(0.6, 0.9),
    shoes=0.95,
)


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw the colours of a bright or a dark room, and of clothes that contrast with it."""
    light = _DARK_ROOM if rng.random() < 0.35 else _BRIGHT_ROOM
    wall = rng.uniform(*light.wall)
    hue = rng.uniform(0, 360)
    chroma = rng.uniform(0.02, 0.06)
    shirt_hue, trousers_hue, shoes_hue, ball_hue = hue + rng.uniform(70, 290, 4)
    skin = _oklch(rng.uniform(*light.skin), 0.075, rng.uniform(45, 65))
    shirt = _oklch(rng.uniform(*light.shirt), 0.16, shirt_hue)
    trousers = _oklch(rng.uniform(*light.trousers), 0.07, trousers_hue)
    wall_end = wall + rng.uniform(-0.06, 0.06)
    return Palette(
        wall=_oklch(wall, chroma, hue),
        wall_end=_oklch(wall_end, chroma, hue + rng.uniform(-60, 60)),
        floor=_oklch(wall + light.floor, chroma, hue + rng.uniform(-30, 30)),
        skin=skin,
        hair=_oklch(rng.uniform(*light.hair), 0.07, rng.uniform(30, 80)),
        shirt=shirt,
        sleeve=skin if rng.random() < 0.5 else shirt,
        trousers=trousers,
        socks=skin if rng.random() < 0.3 else trousers,
        shoes=_oklch(light.shoes, 0.03, shoes_hue),
        stool=_oklch(wall + 3 * light.floor, 0.07, rng.uniform(20, 100)),
        ball=_oklch(rng.uniform(0.55, 0.75), 0.14, ball_hue),
    )


def _blend(
    region: Float32[np.ndarray, "4 h w T"],
    distance: Float32[np.ndarray, "h w T"],
    colour: Colour,
    moves: bool,
) -> None:
    """Paint a shape over ``region`` in place.

    Args:
        region: part of the canvas.
        distance: signed distance from the shape, pixels; overwritten.
        colour: of the shape.
        moves: whether the shape moves with the action.
    """
    coverage = np.subtract(np.float32(0.5), distance, out=distance)
    np.maximum(coverage, np.float32(0), out=coverage)
    np.minimum(coverage, np.float32(1), out=coverage)
    paint = np.array((*colour, moves), np.float32)[:, None, None, None]
    change = paint - region
    change *= coverage
    region += change


def capsule(
    canvas: Canvas,
    start: Points,
    end: Points,
    radii: tuple[float, float],
    colour: Colour,
    moves: bool = False,
) -> None:
    """Paint a limb with round ends.

    Args:
        canvas: painted in place.
        start: centre of one end in each frame.
        end: centre of the other end.
        radii: radius at either end, pixels.
        colour: of the limb.
        moves: whether the limb moves with the action.
    """
    margin = max(radii) + 1
    rows, columns, dy, dx = _window(canvas, np.array((start, end)), margin)
    ax, ay = (end - start).astype(np.float32).T
    squared_length = np.maximum(ax * ax + ay * ay, np.float32(1e-6))
    # The position along the axis of the point nearest to each pixel, 0 to 1.
    along = dx * (ax / squared_length) + dy * (ay / squared_length)
    np.maximum(along, np.float32(0), out=along)
    np.minimum(along, np.float32(1), out=along)
    distance = np.sqrt((dx - along * ax) ** 2 + (dy - along * ay) ** 2)
    distance -= np.float32(radii[0]) + along * np.float32(radii[1] - radii[0])
    _blend(canvas[:, rows, columns], distance, colour, moves)


def rounded_box(
    canvas: Canvas,
    centre: Points,
    half: tuple[float, float],
    corner: float,
    colour: Colour,
) -> None:
    """Paint a static box with round corners, or a disc.

    Args:
        canvas: painted in place.
        centre: of the box in each frame.
        half: half the width and half the height of the box without its rounded
            border, pixels; (0, 0) for a disc.
        corner: radius of the corners, added on every side, pixels. The interior is
            at distance -corner, so a box with a corner below 0.5 is translucent: the
            floor of the stickman clips, with 0, is half transparent.
        colour: of the box.
    """
    margin = max(half) + corner + 1
    rows, columns, dy, dx = _window(canvas, centre[None], margin)
    outside_x = np.maximum(abs(dx) - np.float32(half[0]), 0)
    outside_y = np.maximum(abs(dy) - np.float32(half[1]), 0)
    distance = np.sqrt(outside_x**2 + outside_y**2) - np.float32(corner)
    _blend(canvas[:, rows, columns], distance, colour, False)


def _window(
    canvas: Canvas, points: Float[np.ndarray, "N T 2"], margin: float
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Find the bounding box of points in all frames.

    Args:
        canvas: clips the box.
        points: N points per frame, pixels.
        margin: added on every side, pixels.

    Returns:
        The rows and columns of the box as slices, and the offsets of its pixels'
        centres from each frame's first point: dy (h, 1, T) and dx (w, T), float32
        pixels.
    """
    size = canvas.shape[1]
    corners = points.reshape(-1, 2)
    left, top = (corners.min(0) - margin).clip(0, size).astype(int).tolist()
    right, bottom = (corners.max(0) + margin + 1).clip(0, size).astype(int).tolist()
    x, y = points[0].astype(np.float32).T - np.float32(0.5)
    dx = np.arange(left, right, dtype=np.float32)[:, None] - x
    dy = np.arange(top, bottom, dtype=np.float32)[:, None, None] - y
    return slice(top, bottom), slice(left, right), dy, dx


def draw_figure(
    canvas: Canvas,
    joints: Joints,
    position: Float[np.ndarray, "2"],
    height: float,
    palette: Palette,
    moving: tuple[str, ...],
) -> None:
    """Paint the figure and its shadow, back to front.

    Args:
        canvas: painted in place.
        joints: in figure heights from the figure's position, y up.
        position: of the figure on the floor (x, y), pixels, y down.
        height: of the figure, pixels.
        palette: colours of the scene.
        moving: body parts to paint as 1 into the canvas's fourth channel.
    """
    _shadow(canvas, joints, position, height)
    to_pixels = np.array([height, -height])
    for limb in LIMBS:
        start = position + to_pixels * getattr(joints, limb.start)
        end = position + to_pixels * getattr(joints, limb.end)
        radii = (limb.radii[0] * height, limb.radii[1] * height)
        colour = limb.shade * getattr(palette, limb.colour)
        capsule(canvas, start, end, radii, colour, limb.part in moving)


def _shadow(
    canvas: Canvas,
    joints: Joints,
    position: Float[np.ndarray, "2"],
    height: float,
) -> None:
    """Darken the floor under the figure, the less the higher its lower foot is."""
    centre = position + joints.hips * [height, 0]
    half_width, half_height = 0.24 * height, 0.035 * height
    rows, columns, dy, dx = _window(canvas, centre[None], 1.1 * half_width)
    depth = np.clip(1.2 - (dx / half_width) ** 2 - (dy / half_height) ** 2, 0, 1)
    lower_ankle = np.minimum(joints.ankle_near, joints.ankle_far)[:, 1]
    strength = 0.3 * np.clip(1.2 - 3 * lower_ankle, 0, 1).astype(np.float32)
    canvas[:3, rows, columns] *= 1 - strength * depth
