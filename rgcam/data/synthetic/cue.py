"""Clips that one early frame decides: the planted cue, and nothing else, is the truth.

A disc jumps to another place in every frame and changes its colour. In one frame of the
first half it has the colour of a class; all other frames show colours of no class, so
that neither motion nor recency nor what is bright says when and where the answer was.
Whoever scores the last step has to have kept it. Drawn from a seed, as ``stickman`` is.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from rgcam.data.synthetic.stickman import check_arguments

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 80, 230),
    "yellow": (230, 210, 40),
}
OTHERS = (
    (235, 235, 235),
    (120, 120, 120),
    (25, 25, 25),
    (60, 200, 210),
    (210, 70, 200),
)
CLASSES = tuple(COLOURS)


class CueClip(NamedTuple):
    """A clip and its truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        label: index into ``CLASSES``.
        mask: (T, H, W) bool, the disc in the frame of the cue; empty elsewhere.
        interval: the cue's frame and the one after it.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    label: int
    mask: Bool[np.ndarray, "T H W"]
    interval: tuple[int, int]


def clip(
    seed: int | tuple[int, ...],
    *,
    size: int = 64,
    length: int = 16,
    label: int | None = None,
) -> CueClip:
    """Draw the clip of a seed.

    Args:
        seed: anything ``np.random.default_rng`` takes; equal seeds give equal bytes.
        size: height and width H = W in pixels, at least 32; everything scales.
        length: T in frames, at least 8.
        label: index into ``CLASSES``, None to draw it from the seed, all alike; the
            rest of the clip is the same whatever the label.

    Raises:
        InputError: if an argument is out of range.
    """
    check_arguments(seed, size, length, label, CLASSES)
    rng = np.random.default_rng(seed)
    drawn, when = int(rng.integers(len(CLASSES))), int(rng.integers(length // 2))
    label = drawn if label is None else label
    cover = _discs(rng, size, length)[..., None]
    colours = np.array(OTHERS, float)[rng.integers(len(OTHERS), size=length)]
    colours[when] = COLOURS[CLASSES[label]]
    colours += rng.uniform(-20, 20, (length, 3))
    wall, grain = _wall(rng, size), rng.uniform(-8, 8, (length, size, size, 3))
    pixels = wall + cover * (colours[:, None, None] - wall) + grain
    mask = (cover[..., 0] > 0.5) & (np.arange(length) == when)[:, None, None]
    frames = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return CueClip(frames, label, mask, (when, when + 1))


def _discs(rng: np.random.Generator, size: int, length: int) -> np.ndarray:
    """Draw each frame's disc: the share (T, H, W) of a pixel that it covers."""
    radii = rng.uniform(0.08, 0.14, (length, 1, 1))
    x, y = rng.uniform(0.15, 0.85, (2, length, 1, 1))
    place = (np.arange(size) + 0.5) / size
    gap = np.hypot(place[:, None] - y, place - x) - radii
    return np.clip(0.5 - gap * size, 0, 1)


def _wall(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a still background (H, W, 3): large soft patches of dull colours."""
    patches = rng.uniform(80, 170) + rng.uniform(-18, 18, (4, 4, 3))
    place = (np.arange(size) + 0.5) / size * 3
    left = np.minimum(place.astype(int), 2)
    weights = np.zeros((size, 4))
    weights[np.arange(size), left] = 1 - (place - left)
    weights[np.arange(size), left + 1] += place - left
    return np.einsum("yi,ijc,xj->yxc", weights, patches, weights)
