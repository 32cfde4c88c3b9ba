"""Clips whose class is determined by one early frame, the planted cue.

A disc jumps to another position in every frame and changes its colour. In one frame of
the first half it has the colour of a class; in all other frames it has colours of no
class, so that neither motion nor recency nor brightness correlates with the time and
place of the cue. A model that scores the last step must have memorised it. Like the
``stickman`` clips, these are drawn from a seed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from rgcam.data.synthetic.stickman import check_arguments

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 80, 230),
    "yellow": (230, 210, 40),
}
DISTRACTOR_COLOURS = (
    (235, 235, 235),
    (120, 120, 120),
    (25, 25, 25),
    (60, 200, 210),
    (210, 70, 200),
)
CLASSES = tuple(COLOURS)


class CueClip(NamedTuple):
    """A clip with its ground truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        label: index into ``CLASSES``.
        mask: (T, H, W) bool, the disc in the frame of the cue; False in all other frames.
        interval: index of the cue's frame, and the next index (exclusive end).
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
    """Draw the clip that a seed determines.

    Args:
        seed: anything ``np.random.default_rng`` takes; equal seeds give equal bytes.
        size: height and width H = W in pixels, at least 32; the scene scales with it.
        length: T in frames, at least 8.
        label: index into ``CLASSES``; None draws it from the seed, uniformly. The rest
            of the clip does not depend on the label.

    Returns:
        The clip and its ground truth.

    Raises:
        InputError: if an argument is out of range.
    """
    check_arguments(seed, size, length, label, CLASSES)
    rng = np.random.default_rng(seed)
    drawn_label = int(rng.integers(len(CLASSES)))
    label = drawn_label if label is None else label
    cue_frame = int(rng.integers(length // 2))
    coverage = _disc_coverage(rng, size, length)[..., None]
    distractors = np.array(DISTRACTOR_COLOURS, float)
    colours = distractors[rng.integers(len(distractors), size=length)]
    colours[cue_frame] = COLOURS[CLASSES[label]]
    colours += rng.uniform(-20, 20, (length, 3))
    background = _background(rng, size)
    noise = rng.uniform(-8, 8, (length, size, size, 3))
    pixels = background + coverage * (colours[:, None, None] - background) + noise
    is_cue = np.arange(length) == cue_frame
    mask = (coverage[..., 0] > 0.5) & is_cue[:, None, None]
    frames = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return CueClip(
        frames=frames, label=label, mask=mask, interval=(cue_frame, cue_frame + 1)
    )


def _disc_coverage(
    rng: np.random.Generator, size: int, length: int
) -> Float[np.ndarray, "T H W"]:
    """Draw a disc per frame; return the fraction of each pixel that it covers."""
    radii = rng.uniform(0.08, 0.14, (length, 1, 1))
    x, y = rng.uniform(0.15, 0.85, (2, length, 1, 1))
    centres = (np.arange(size) + 0.5) / size
    distance = np.hypot(centres[:, None] - y, centres - x) - radii
    return np.clip(0.5 - distance * size, 0, 1)


def _background(rng: np.random.Generator, size: int) -> Float[np.ndarray, "H W 3"]:
    """Draw a static background: a 4 x 4 grid of dull colours, linearly interpolated."""
    patches = rng.uniform(80, 170) + rng.uniform(-18, 18, (4, 4, 3))
    position = (np.arange(size) + 0.5) / size * 3  # in cells of the grid
    left = np.minimum(position.astype(int), 2)
    weights = np.zeros((size, 4))
    weights[np.arange(size), left] = 1 - (position - left)
    weights[np.arange(size), left + 1] += position - left
    return np.einsum("yi,ijc,xj->yxc", weights, patches, weights)
