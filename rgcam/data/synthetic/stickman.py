"""Stick figures that wave, kick, walk: a video dataset drawn from a seed.

Nothing is downloaded and nothing stored: ``clip(seed)`` draws the same bytes every
time, with the truth (which pixels of which frames are the action) beside the frames.
Raise and lower arms, walk left and right, sit down and stand up show the same frames
in reverse order and are equal in distribution otherwise: chance (`_Take`) never sees
the label and is itself the same forwards and backwards. Only order tells them apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from rgcam.data.synthetic.paint import Palette, capsule, draw_palette, figure, slab
from rgcam.data.synthetic.poses import CLASSES, MOVING, SEAT, joints, pose_path, sway
from rgcam.errors import InputError

__all__ = ["CLASSES", "StickmanClip", "clip"]

_FPS = 7.5


class StickmanClip(NamedTuple):
    """A clip and its truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        label: index into ``CLASSES``.
        mask: (T, H, W) bool, the visible pixels of the body parts that the action
            moves; empty outside the interval.
        interval: first frame of the action and the first after it.
        times: (T,) float64 seconds.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    label: int
    mask: Bool[np.ndarray, "T H W"]
    interval: tuple[int, int]
    times: Float[np.ndarray, " T"]


class _Take(NamedTuple):
    """All that chance decides about a clip; drawn without knowing the label.

    Attributes:
        label: the class, for a clip whose caller names none.
        progress: (T,) share of the action done; strictly within (0, 1) during it.
        sway: (T,) idle sway, degrees.
        ball: (T, 2) centre of the distractor, in frame widths.
        ball_shape: half width of its flat part and its corner radius, frame widths.
        height: of the figure, in frame heights.
        spot: (2,) where it stands, in frame widths and heights from the top left.
        side: 1 if its front is to the right, -1 if to the left.
        palette: colours.
        backdrop: (4, H, W, 1) what never moves.
        grain: (H, W, T) noise, in grey levels.
    """

    label: int
    progress: np.ndarray
    sway: np.ndarray
    ball: np.ndarray
    ball_shape: tuple[float, float]
    height: float
    spot: np.ndarray
    side: int
    palette: Palette
    backdrop: np.ndarray
    grain: np.ndarray


def clip(
    seed: int | tuple[int, ...],
    *,
    size: int = 64,
    length: int = 16,
    label: int | None = None,
) -> StickmanClip:
    """Draw the clip of a seed: one figure doing one action, once, at 7.5 fps.

    The action takes 7 to 12 frames (4 to ``3 * length // 4`` in clips under 16), with
    at least one frame at rest before and after it.

    Args:
        seed: anything ``np.random.default_rng`` takes; equal seeds give equal bytes.
        size: height and width H = W in pixels, at least 32; everything scales.
        length: T in frames, at least 8.
        label: index into ``CLASSES``, None to draw it from the seed, all classes
            alike; the rest of the scene is the same whatever the label.

    Returns:
        StickmanClip.

    Raises:
        InputError: if an argument is out of range.
    """
    check_arguments(seed, size, length, label)
    take = _take(np.random.default_rng(seed), size, length)
    return _film(take, take.label if label is None else label)


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


def _take(rng: np.random.Generator, size: int, length: int) -> _Take:
    """Draw everything but the label's action; see ``_Take``."""
    label = int(rng.integers(len(CLASSES)))
    height, side = rng.uniform(0.62, 0.8), int(rng.choice((-1, 1)))
    spot = np.array([rng.uniform(height / 2, 1 - height / 2), rng.uniform(0.92, 0.96)])
    palette = draw_palette(rng)
    ball, ball_shape = _ball(rng, length)
    return _Take(
        label=label,
        progress=_progress(rng, length),
        sway=_sway(rng, length),
        ball=ball,
        ball_shape=ball_shape,
        height=height,
        spot=spot,
        side=side,
        palette=palette,
        backdrop=_backdrop(rng, palette, size, height, spot, side),
        grain=_grain(rng, length, size),
    )


def _grain(rng: np.random.Generator, length: int, size: int) -> np.ndarray:
    """Draw the noise (H, W, T) float32, in grey levels: uniform, up to 8 each way."""
    steps = rng.integers(-128, 128, (size, size, length), np.int8)
    return (steps + np.float32(0.5)) * np.float32(rng.uniform(2.0, 8.0) / 128)


def _progress(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw when the action happens, (T,); in distribution 1 - its reverse."""
    frames = rng.integers(min(7, length // 2), min(12, 3 * length // 4) + 1)
    start = rng.integers(1, length - frames)
    return np.clip((np.arange(length) - start + 1) / (frames + 1), 0.0, 1.0)


def _sway(rng: np.random.Generator, length: int) -> np.ndarray:
    """Draw the idle sway (T,) in degrees: a slow wave of random phase."""
    turn = 2 * np.pi * (rng.uniform(0.2, 0.5) * np.arange(length) / _FPS + rng.random())
    return rng.uniform(0.8, 2.5) * np.sin(turn)


def _ball(
    rng: np.random.Generator, length: int
) -> tuple[np.ndarray, tuple[float, float]]:
    """Draw the distractor's path (T, 2), in frame widths, and its shape."""
    middle, drift = rng.uniform(0.2, 0.8), rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
    when = np.linspace(-0.5, 0.5, length)
    bounce = np.abs(np.sin(np.pi * (rng.uniform(0, 2.5) * when + rng.random())))
    y = rng.uniform(0.2, 0.85) - rng.uniform(0, 0.3) * bounce
    reach = rng.uniform(0.04, 0.075)
    corner = reach * rng.choice((1.0, 0.3))
    return np.stack([middle + drift * when, y], -1), (reach - corner, corner)


def _backdrop(
    rng: np.random.Generator,
    palette: Palette,
    size: int,
    height: float,
    spot: np.ndarray,
    side: int,
) -> np.ndarray:
    """Draw what never moves: wall, clutter, floor and stool, (4, H, W, 1)."""
    canvas = np.zeros((4, size, size, 1), np.float32)
    x, y = (np.arange(size) + 0.5) / size, (np.arange(size)[:, None] + 0.5) / size
    tilt = rng.uniform(-0.5, 0.5)
    blend = np.clip(0.5 + tilt * (x - 0.5) + (y - 0.5), 0, 1)
    wall, end = palette.wall[:, None, None], palette.wall_end[:, None, None]
    canvas[:3, ..., 0] = wall + (end - wall) * blend
    for _ in range(rng.integers(4, 9)):
        _clutter(rng, canvas, palette)
    floor = np.array([[0.5, spot[1] - rng.uniform(0.05, 0.1) + 0.5]])
    slab(canvas, floor * size, (1.0 * size, 0.5 * size), 0.0, palette.floor)
    _stool(canvas, spot * size, height * size, side, palette.stool)
    return canvas


def _clutter(rng: np.random.Generator, canvas: np.ndarray, palette: Palette) -> None:
    """Paint a disc, a block or a bar on the wall, in a colour near the wall's."""
    size = canvas.shape[1]
    colour = palette.wall + rng.uniform(-26, 26, 3) + rng.uniform(-14, 14)
    start = rng.uniform(0, 1, (1, 2)) * size
    reach = rng.uniform(0.05, 0.16) * size
    kind = rng.integers(3)
    if kind == 0:
        slab(canvas, start, (0.0, 0.0), reach, colour)
    elif kind == 1:
        half = reach * rng.uniform(0.3, 1.2, 2)
        slab(canvas, start, (half[0], half[1]), 0.02 * size, colour)
    else:
        end = start + rng.uniform(-0.5, 0.5, (1, 2)) * size
        capsule(canvas, start, end, (reach / 4, reach / 4), colour)


def _stool(
    canvas: np.ndarray, spot: np.ndarray, unit: float, side: int, colour: np.ndarray
) -> None:
    """Paint the stool behind the figure; every clip has one, so it tells nothing."""
    seat = spot + np.array([SEAT[0] * side, -SEAT[1]]) * unit
    for foot in (-0.1, 0.1):
        end = np.array([seat[0] + foot * unit, spot[1] - 0.02 * unit])
        start = np.array([seat[0] + 0.6 * foot * unit, seat[1]])
        leg = (0.02 * unit, 0.018 * unit)
        capsule(canvas, start[None], end[None], leg, 0.8 * colour)
    slab(canvas, seat[None], (0.085 * unit, 0.005 * unit), 0.022 * unit, colour)


def _film(take: _Take, label: int) -> StickmanClip:
    """Draw an action into a take."""
    size, length = take.grain.shape[1:]
    canvas = take.backdrop.repeat(length, 3)
    flat, corner = (part * size for part in take.ball_shape)
    slab(canvas, take.ball * size, (flat, flat), corner, take.palette.ball)
    place = joints(sway(pose_path(label, take.progress), take.sway), take.side)
    unit = take.height * size
    figure(canvas, place, take.spot * size, unit, take.palette, MOVING[label])
    active = (take.progress > 0) & (take.progress < 1)
    first, last = np.flatnonzero(active)[[0, -1]].tolist()
    return StickmanClip(
        frames=_expose(canvas, take.grain),
        label=label,
        mask=np.ascontiguousarray(
            (canvas[3] > 0.5).transpose(2, 0, 1) & active[:, None, None]
        ),
        interval=(first, last + 1),
        times=np.arange(length) / _FPS,
    )


def _expose(canvas: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Return the frames (T, H, W, 3) uint8 of a canvas, with the grain (H, W, T)."""
    level = canvas[:3] + grain
    level += np.float32(0.5)
    frames = np.clip(level, 0, 255, out=level).astype(np.uint8)
    return np.ascontiguousarray(frames.transpose(3, 1, 2, 0))
