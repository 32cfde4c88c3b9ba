"""Random views of a clip for training, the same for all of its frames, and shake."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from rgcam.errors import InputError

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


class Augmentation(NamedTuple):
    """How much a training clip is changed at random.

    Attributes:
        mirror: half of the clips are flipped left to right.
        crop: side of the smallest random crop, as a share of the frame's; 1 is none.
        colour: largest relative change of brightness, of contrast and of saturation;
            0 is none.
        stride: every s-th frame is taken, s drawn from 1 to this; 1 is none.
        shake: largest shift of a frame against the scene, as a share of the side, as
            by a hand-held camera: each clip's largest shift is drawn from 0 to this,
            then each frame's independently; 0 is none.
    """

    mirror: bool = False
    crop: float = 1.0
    colour: float = 0.0
    stride: int = 1
    shake: float = 0.0


def from_config(fields: Mapping[str, Any]) -> Augmentation:
    """Check a config's ``data.augment``; InputError where a field is out of range."""
    options = Augmentation(**fields)
    for name, is_valid, range_ in (
        ("crop", 0 < options.crop <= 1, "above 0 and at most 1"),
        ("colour", 0 <= options.colour < 1, "at least 0 and below 1"),
        ("stride", options.stride >= 1, "1 or more"),
        ("shake", 0 <= options.shake < 0.5, "at least 0 and below 0.5"),
    ):
        if not is_valid:
            value = getattr(options, name)
            raise InputError(f"data.augment.{name} is {value}; it must be {range_}")
    return options


def changes_pixels(options: Augmentation) -> bool:
    """Tell whether features cannot be computed once for all epochs."""
    return options.crop < 1 or options.colour > 0 or options.shake > 0


def window(
    steps: np.ndarray, length: int, stride: int, rng: np.random.Generator
) -> np.ndarray:
    """Take at most ``length`` steps at a random place and a random stride.

    A stride that would leave fewer than ``length`` steps of the clip is not drawn.
    """
    largest_stride = min(stride, max(len(steps) // length, 1))
    step = int(rng.integers(largest_stride)) + 1
    span = length * step
    start = int(rng.integers(max(len(steps) - span, 0) + 1))
    return steps[start : start + span : step]


def pixels(
    frames: UInt8[np.ndarray, "T S S 3"],
    options: Augmentation,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "T S S 3"]:
    """Crop and recolour a clip, every frame alike, and shake it."""
    if options.crop < 1:
        frames = crop(frames, *random_box(options.crop, rng))
    if options.colour > 0:
        frames = recolour(frames, *(1 + options.colour * rng.uniform(-1, 1, 3)))
    if options.shake > 0:
        largest_shift = options.shake * rng.random() * frames.shape[1]
        frames = shake(frames, random_shifts(len(frames), largest_shift, rng))
    return frames


def random_box(smallest: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a square (left, top, side) in shares of the frame's side."""
    side = rng.uniform(smallest, 1)
    left, top = rng.uniform(0, 1 - side, 2)
    return left, top, side


def crop(
    frames: UInt8[np.ndarray, "T S S 3"], left: float, top: float, side: float
) -> UInt8[np.ndarray, "T S S 3"]:
    """Enlarge a square of every frame to the frame's size, bicubic."""
    size = frames.shape[1]
    box = tuple(size * x for x in (left, top, left + side, top + side))
    bicubic = Image.Resampling.BICUBIC
    resized = (
        Image.fromarray(frame).resize((size, size), bicubic, box) for frame in frames
    )
    return np.stack([np.asarray(image) for image in resized])


def recolour(
    frames: UInt8[np.ndarray, "T S S 3"],
    brightness: float,
    contrast: float,
    saturation: float,
) -> UInt8[np.ndarray, "T S S 3"]:
    """Scale brightness, contrast (about the clip's mean grey) and saturation."""
    to_grey = np.outer(GREY, np.ones(3, np.float32))
    mix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * to_grey
    mean = float(frames.mean((0, 1, 2)) @ GREY)
    matrix: Float[np.ndarray, "3 3"] = (brightness * contrast * mix).astype(np.float32)
    changed = frames.astype(np.float32) @ matrix + brightness * (1 - contrast) * mean
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def random_shifts(
    steps: int, largest: float, rng: np.random.Generator
) -> Int[np.ndarray, "T 2"]:
    """Draw each frame's shift in whole pixels, up to ``largest`` in each direction."""
    return np.rint(rng.uniform(-largest, largest, (steps, 2))).astype(int)


def shake(frames: np.ndarray, shifts: Int[np.ndarray, "T 2"]) -> np.ndarray:
    """Move every frame (H, W, ...) down and right by its shift; edges are repeated."""
    rows, columns = (
        np.clip(np.arange(side) - shifts[:, axis, None], 0, side - 1)
        for axis, side in enumerate(frames.shape[1:3])
    )
    steps = np.arange(len(frames))[:, None, None]
    return frames[steps, rows[:, :, None], columns[:, None, :]]
