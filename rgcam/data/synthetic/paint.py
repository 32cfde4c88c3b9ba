"""Rasterisation of the stickman clips: antialiased shapes, all frames at once.

A shape covers the fraction ``clip(0.5 - d, 0, 1)`` of a pixel at signed distance d (in
pixels), and is evaluated only in the bounding box of all its frames. Time is the
innermost axis, so that numpy works on long contiguous runs (measured: 1.5 times as
fast). Every shape is also painted into a fourth channel of the canvas, with 1 if it
moves with the action and 0 otherwise: an occluded moving part is therefore absent from
the mask too.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from rgcam.data.synthetic.poses import Joints

Canvas = Float32[np.ndarray, "4 H W T"]  # R, G, B in 0..255, coverage by moving parts
Points = Float[np.ndarray, "T 2"]  # x, y in pixels, y down
Colour = Float[np.ndarray, "3"]  # R, G, B in 0..255


class Limb(NamedTuple):
    """A capsule between two joints.

    Attributes:
        start: joint at one end.
        end: joint at the other end.
        radii: radius at either end, figure heights.
        colour: field of ``Palette``.
        part: body part, as in ``poses.MOVING``.
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


def figure(
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
