"""Stick figures that wave, kick or walk: a video dataset drawn from a seed.

Nothing is downloaded or stored: ``clip(seed)`` draws the same bytes every time,
together with the ground truth (which pixels of which frames show the action). Raise and
lower arms, walk left and right, and sit down and stand up are pairs that show the same
frames in reverse order. Otherwise the classes of a pair are equal in distribution: a
scene (``Scene``) is drawn independently of the label, and its distribution is invariant
under time reversal. Only the order of frames distinguishes the two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from rgcam.data.synthetic import figure
from rgcam.data.synthetic.figure import CLASSES, Canvas, Palette
from rgcam.errors import InputError

__all__ = ["CLASSES", "StickmanClip", "clip"]

FPS = 7.5


class StickmanClip(NamedTuple):
    """A clip with its ground truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        label: index into ``CLASSES``.
        mask: (T, H, W) bool, the visible pixels of the body parts that the action
            moves; False outside the interval.
        interval: first frame of the action, and the first one after it.
        times: (T,) float64 seconds.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    label: int
    mask: Bool[np.ndarray, "T H W"]
    interval: tuple[int, int]
    times: Float[np.ndarray, " T"]


class Scene(NamedTuple):
    """Everything random about a clip, drawn independently of the action.

    Attributes:
        label: the class, if the caller does not set one.
        progress: (T,) fraction of the action completed; strictly within (0, 1) during it.
        sway: (T,) idle sway, degrees.
        ball: (T, 2) centre of the distractor, in frame widths.
        ball_shape: half width of its flat part and its corner radius, frame widths.
        height: of the figure, in frame heights.
        position: (2,) of the figure, in frame widths and heights from the top left.
        side: 1 if the figure's front is to the right, -1 if to the left.
        palette: colours.
        background: (4, H, W, 1) canvas with everything that does not move.
        noise: (H, W, T) float32, in grey levels.
    """

    label: int
    progress: np.ndarray
    sway: np.ndarray
    ball: np.ndarray
    ball_shape: tuple[float, float]
    height: float
    position: np.ndarray
    side: int
    palette: Palette
    background: np.ndarray
    noise: np.ndarray


def clip(
    seed: int | tuple[int, ...],
    *,
    size: int = 64,
    length: int = 16,
    label: int | None = None,
) -> StickmanClip:
    """Draw the clip that a seed determines: one figure, one action, 7.5 fps.

    The action takes 7 to 12 frames (4 to ``3 * length // 4`` in clips under 16), with
    at least one frame at rest before and after it.

    Args:
        seed: anything ``np.random.default_rng`` takes; equal seeds give equal bytes.
        size: height and width H = W in pixels, at least 32; the scene scales with it.
        length: T in frames, at least 8.
        label: index into ``CLASSES``; None draws it from the seed, uniformly. The rest
            of the scene does not depend on the label.

    Returns:
        The clip and its ground truth.

    Raises:
        InputError: if an argument is out of range.
    """
    check_arguments(seed, size, length, label)
    scene = draw_scene(np.random.default_rng(seed), size, length)
    return _render(scene, scene.label if label is None else label)


def check_arguments(
    seed: int | tuple[int, ...],
    size: int,
    length: int,
    label: int | None,
    classes: Sequence[str] = CLASSES,
) -> None:
    """Raise InputError for arguments of ``clip`` that are out of range."""
    if np.min(seed, initial=0) < 0:
        raise InputError(f"seed is {seed}: a clip's seed cannot be negative.")
    if size < 32:
        raise InputError(f"size is {size}: drawn frames need 32 pixels or more.")
    if length < 8:
        raise InputError(f"length is {length}: a drawn clip needs 8 frames or more.")
    if label is not None and not 0 <= label < len(classes):
        raise InputError(f"label is {label}: it must be in 0..{len(classes) - 1}.")


def draw_scene(rng: np.random.Generator, size: int, length: int) -> Scene:
    """Draw everything but the action."""
    label = int(rng.integers(len(CLASSES)))
    height, side = rng.uniform(0.62, 0.8), int(rng.choice((-1, 1)))
    x, y = rng.uniform(height / 2, 1 - height / 2), rng.uniform(0.92, 0.96)
    position = np.array([x, y])
    palette = figure.draw_palette(rng)
    ball, ball_shape = _ball(rng, length)
    return Scene(
        label=label,
        progress=_progress(rng, length),
        sway=_sway(rng, length),
        ball=ball,
        ball_shape=ball_shape,
        height=height,
        position=position,
        side=side,
        palette=palette,
        background=_background(rng, palette, size, height, position, side),
        noise=_noise(rng, length, size),
    )


def _noise(
    rng: np.random.Generator, length: int, size: int
) -> Float32[np.ndarray, "H W T"]:
    """Draw uniform noise of an amplitude of 2 to 8 grey levels."""
    steps = rng.integers(-128, 128, (size, size, length), np.int8)
    return (steps + np.float32(0.5)) * np.float32(rng.uniform(2.0, 8.0) / 128)


def _progress(rng: np.random.Generator, length: int) -> Float[np.ndarray, " T"]:
    """Draw the time of the action; p and 1 - p[::-1] are equal in distribution."""
    frames = rng.integers(min(7, length // 2), min(12, 3 * length // 4) + 1)
    start = rng.integers(1, length - frames)
    return np.clip((np.arange(length) - start + 1) / (frames + 1), 0.0, 1.0)


def _sway(rng: np.random.Generator, length: int) -> Float[np.ndarray, " T"]:
    """Draw the idle sway in degrees: a slow sine of random frequency and phase."""
    cycles = rng.uniform(0.2, 0.5) * np.arange(length) / FPS + rng.random()
    return rng.uniform(0.8, 2.5) * np.sin(2 * np.pi * cycles)


def _ball(
    rng: np.random.Generator, length: int
) -> tuple[np.ndarray, tuple[float, float]]:
    """Draw the distractor's path (T, 2), in frame widths, and its ``ball_shape``."""
    middle, drift = rng.uniform(0.2, 0.8), rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
    time = np.linspace(-0.5, 0.5, length)
    bounce = np.abs(np.sin(np.pi * (rng.uniform(0, 2.5) * time + rng.random())))
    y = rng.uniform(0.2, 0.85) - rng.uniform(0, 0.3) * bounce
    radius = rng.uniform(0.04, 0.075)
    corner = radius * rng.choice((1.0, 0.3))  # a disc or a square
    return np.stack([middle + drift * time, y], -1), (radius - corner, corner)


def _background(
    rng: np.random.Generator,
    palette: Palette,
    size: int,
    height: float,
    position: np.ndarray,
    side: int,
) -> Canvas:
    """Draw what never moves: wall, clutter, floor and stool, as a canvas of one frame."""
    canvas = np.zeros((4, size, size, 1), np.float32)
    x, y = (np.arange(size) + 0.5) / size, (np.arange(size)[:, None] + 0.5) / size
    tilt = rng.uniform(-0.5, 0.5)
    blend = np.clip(0.5 + tilt * (x - 0.5) + (y - 0.5), 0, 1)
    wall, end = palette.wall[:, None, None], palette.wall_end[:, None, None]
    canvas[:3, ..., 0] = wall + (end - wall) * blend
    for _ in range(rng.integers(4, 9)):
        _clutter(rng, canvas, palette)
    floor = np.array([[0.5, position[1] - rng.uniform(0.05, 0.1) + 0.5]])
    half = (1.0 * size, 0.5 * size)
    figure.rounded_box(canvas, floor * size, half, 0.0, palette.floor)
    _stool(canvas, position * size, height * size, side, palette.stool)
    return canvas


def _clutter(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Paint a disc, a box or a bar on the wall, in a colour close to the wall's."""
    size = canvas.shape[1]
    colour = palette.wall + rng.uniform(-26, 26, 3) + rng.uniform(-14, 14)
    start = rng.uniform(0, 1, (1, 2)) * size
    radius = rng.uniform(0.05, 0.16) * size
    kind = rng.integers(3)
    if kind == 0:
        figure.rounded_box(canvas, start, (0.0, 0.0), radius, colour)
    elif kind == 1:
        half = radius * rng.uniform(0.3, 1.2, 2)
        figure.rounded_box(canvas, start, (half[0], half[1]), 0.02 * size, colour)
    else:
        end = start + rng.uniform(-0.5, 0.5, (1, 2)) * size
        figure.capsule(canvas, start, end, (radius / 4, radius / 4), colour)


def _stool(
    canvas: Canvas,
    position: np.ndarray,
    height: float,
    side: int,
    colour: np.ndarray,
) -> None:
    """Paint the stool behind the figure; in every clip, so that it predicts nothing."""
    seat = position + np.array([figure.SEAT[0] * side, -figure.SEAT[1]]) * height
    for foot in (-0.1, 0.1):
        end = np.array([seat[0] + foot * height, position[1] - 0.02 * height])
        start = np.array([seat[0] + 0.6 * foot * height, seat[1]])
        radii = (0.02 * height, 0.018 * height)
        figure.capsule(canvas, start[None], end[None], radii, 0.8 * colour)
    half = (0.085 * height, 0.005 * height)
    figure.rounded_box(canvas, seat[None], half, 0.022 * height, colour)


def _render(scene: Scene, label: int) -> StickmanClip:
    """Render an action in a scene."""
    size, length = scene.noise.shape[1:]
    canvas = scene.background.repeat(length, 3)
    half, corner = (part * size for part in scene.ball_shape)
    figure.rounded_box(
        canvas, scene.ball * size, (half, half), corner, scene.palette.ball
    )
    pose = figure.sway(figure.pose_path(label, scene.progress), scene.sway)
    figure.draw_figure(
        canvas,
        figure.joints(pose, scene.side),
        scene.position * size,
        scene.height * size,
        scene.palette,
        figure.MOVING[label],
    )
    active = (scene.progress > 0) & (scene.progress < 1)
    first, last = np.flatnonzero(active)[[0, -1]].tolist()
    return StickmanClip(
        frames=to_frames(canvas, scene.noise),
        label=label,
        mask=np.ascontiguousarray(
            (canvas[3] > 0.5).transpose(2, 0, 1) & active[:, None, None]
        ),
        interval=(first, last + 1),
        times=np.arange(length) / FPS,
    )


def to_frames(
    canvas: Canvas, noise: Float32[np.ndarray, "H W T"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Add noise to a canvas and round it to frames."""
    level = canvas[:3] + noise
    level += np.float32(0.5)
    frames = np.clip(level, 0, 255, out=level).astype(np.uint8)
    return np.ascontiguousarray(frames.transpose(3, 1, 2, 0))
