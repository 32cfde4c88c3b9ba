"""How the stickman clips are painted: smooth shapes, all frames at once.

A shape covers a pixel by ``clip(0.5 - d, 0, 1)``, d its signed distance in pixels, and
is evaluated only in the box that holds it in every frame; time is the innermost axis,
so that numpy works on long runs (measured: 1.5x). The canvas has a fourth channel that
every shape paints too, 1 if it moves with the action: what hides a moving part from
view hides it from the mask.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from rgcam.data.synthetic.poses import Joints

Canvas = Float32[np.ndarray, "4 H W T"]  # R, G, B in 0..255, share of moving part
Points = Float[np.ndarray, "T 2"]  # x, y in pixels, y down
Colour = Float[np.ndarray, "3"]  # R, G, B in 0..255


class Limb(NamedTuple):
    """A capsule between two joints, its two radii in figure heights."""

    start: str
    end: str
    radii: tuple[float, float]
    colour: str
    part: str
    shade: float = 1.0


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
    """Colours, each (3,) RGB in 0..255."""

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

    Source: Ottosson, "A perceptual color space for image processing", 2020. Equal
    lightness looks equally light, whatever the hue: contrast by construction.
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


class _Light(NamedTuple):
    """The lightness (OKLCH, from and to) of what a room holds; floor: less the wall."""

    wall: tuple[float, float]
    floor: float
    skin: tuple[float, float]
    hair: tuple[float, float]
    shirt: tuple[float, float]
    trousers: tuple[float, float]
    shoes: float


_PALE = _Light(
    (0.84, 0.92), -0.07, (0.45, 0.74), (0.15, 0.4), (0.5, 0.62), (0.28, 0.45), 0.25
)
_DARK = _Light(
    (0.3, 0.4), 0.05, (0.66, 0.85), (0.45, 0.55), (0.66, 0.8), (0.6, 0.9), 0.95
)


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw colours: a pale or a dark room, and clothes that stand out from it."""
    light = _DARK if rng.random() < 0.35 else _PALE
    wall, hue, chroma = (
        rng.uniform(*light.wall),
        rng.uniform(0, 360),
        rng.uniform(0.02, 0.06),
    )
    clothes = hue + rng.uniform(70, 290, 4)
    skin = _oklch(rng.uniform(*light.skin), 0.075, rng.uniform(45, 65))
    shirt = _oklch(rng.uniform(*light.shirt), 0.16, clothes[0])
    trousers = _oklch(rng.uniform(*light.trousers), 0.07, clothes[1])
    end = wall + rng.uniform(-0.06, 0.06)
    return Palette(
        wall=_oklch(wall, chroma, hue),
        wall_end=_oklch(end, chroma, hue + rng.uniform(-60, 60)),
        floor=_oklch(wall + light.floor, chroma, hue + rng.uniform(-30, 30)),
        skin=skin,
        hair=_oklch(rng.uniform(*light.hair), 0.07, rng.uniform(30, 80)),
        shirt=shirt,
        sleeve=skin if rng.random() < 0.5 else shirt,
        trousers=trousers,
        socks=skin if rng.random() < 0.3 else trousers,
        shoes=_oklch(light.shoes, 0.03, clothes[2]),
        stool=_oklch(wall + 3 * light.floor, 0.07, rng.uniform(20, 100)),
        ball=_oklch(rng.uniform(0.55, 0.75), 0.14, clothes[3]),
    )


def _blend(
    region: np.ndarray, gap: np.ndarray, colour: np.ndarray, moves: bool
) -> None:
    """Lay a colour over ``region`` (4, h, w, T) in place.

    ``gap`` (h, w, T) float32 is the signed distance from the shape, pixels; used up.
    """
    cover = np.subtract(np.float32(0.5), gap, out=gap)
    np.maximum(cover, np.float32(0), out=cover)
    np.minimum(cover, np.float32(1), out=cover)
    paint = np.array((*colour, moves), np.float32)[:, None, None, None]
    change = paint - region
    change *= cover
    region += change


def capsule(
    canvas: Canvas,
    start: Points,
    end: Points,
    radii: tuple[float, float],
    colour: Colour,
    moves: bool = False,
) -> None:
    """Paint a limb with round ends: from ``start`` to ``end``, radii in pixels."""
    reach = max(radii) + 1
    rows, columns, dy, dx = _window(canvas, np.array((start, end)), reach)
    ax, ay = (end - start).astype(np.float32).T
    square = np.maximum(ax * ax + ay * ay, np.float32(1e-6))
    share = dx * (ax / square) + dy * (ay / square)
    np.maximum(share, np.float32(0), out=share)
    np.minimum(share, np.float32(1), out=share)
    gap = np.sqrt((dx - share * ax) ** 2 + (dy - share * ay) ** 2)
    gap -= np.float32(radii[0]) + share * np.float32(radii[1] - radii[0])
    _blend(canvas[:, rows, columns], gap, colour, moves)


def slab(
    canvas: Canvas,
    centre: Points,
    half: tuple[float, float],
    corner: float,
    colour: Colour,
) -> None:
    """Paint a block with round corners; a disc if its half sizes (x, y) are 0."""
    reach = max(half) + corner + 1
    rows, columns, dy, dx = _window(canvas, centre[None], reach)
    out_x = np.maximum(abs(dx) - np.float32(half[0]), 0)
    out_y = np.maximum(abs(dy) - np.float32(half[1]), 0)
    gap = np.sqrt(out_x**2 + out_y**2) - np.float32(corner)
    _blend(canvas[:, rows, columns], gap, colour, False)


def _window(
    canvas: np.ndarray, points: np.ndarray, reach: float
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Cut the box around ``points`` (N, T, 2) out of the frames.

    Returns:
        Its rows and columns (slices), and the distances of its pixels' centres from
        each frame's first point, dy (h, 1, T) and dx (w, T), float32 pixels.
    """
    size = canvas.shape[1]
    flat = points.reshape(-1, 2)
    left, top = (flat.min(0) - reach).clip(0, size).astype(int).tolist()
    right, bottom = (flat.max(0) + reach + 1).clip(0, size).astype(int).tolist()
    x, y = points[0].astype(np.float32).T - np.float32(0.5)
    dx = np.arange(left, right, dtype=np.float32)[:, None] - x
    dy = np.arange(top, bottom, dtype=np.float32)[:, None, None] - y
    return slice(top, bottom), slice(left, right), dy, dx


def figure(
    canvas: Canvas,
    place: Joints,
    spot: Float[np.ndarray, "2"],
    unit: float,
    palette: Palette,
    moving: tuple[str, ...],
) -> None:
    """Paint the figure and its shadow, back to front.

    Args:
        canvas: painted in place.
        place: joints (T, 2), in figure heights from the spot, y up.
        spot: where the figure stands, pixels.
        unit: figure height, pixels.
        palette: its colours.
        moving: the parts to mark in the canvas's fourth channel.
    """
    _shadow(canvas, place, spot, unit)
    flip = np.array([unit, -unit])
    for limb in LIMBS:
        start = spot + flip * getattr(place, limb.start)
        end = spot + flip * getattr(place, limb.end)
        radii = (limb.radii[0] * unit, limb.radii[1] * unit)
        colour = limb.shade * getattr(palette, limb.colour)
        capsule(canvas, start, end, radii, colour, limb.part in moving)


def _shadow(canvas: np.ndarray, place: Joints, spot: np.ndarray, unit: float) -> None:
    """Darken the floor under the figure, less the higher it is."""
    centre = spot + place.hips * [unit, 0]
    wide, tall = 0.24 * unit, 0.035 * unit
    rows, columns, dy, dx = _window(canvas, centre[None], 1.1 * wide)
    depth = np.clip(1.2 - (dx / wide) ** 2 - (dy / tall) ** 2, 0, 1)
    low = np.minimum(place.ankle_near, place.ankle_far)[:, 1]
    fade = 0.3 * np.clip(1.2 - 3 * low, 0, 1).astype(np.float32)
    canvas[:3, rows, columns] *= 1 - fade * depth
