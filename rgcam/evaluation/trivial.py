"""Explanations that know nothing of the model, to be beaten; pure.

Each gives maps (T T h w) of a causal model: for every output step the same map of a
frame, none of frames not seen yet. What cannot beat them explains nothing.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

NAMES = ("uniform", "random", "centre", "motion", "activation", "recency")
DECAY = 4.0  # frames in which recency falls to 1 / e
CENTRE = 0.25  # standard deviation, of the side


def maps(
    name: str,
    frames: UInt8[np.ndarray, "T H W 3"],
    features: Float[np.ndarray, "T h w K"],
    seed: int = 0,
) -> Float[np.ndarray, "T T h w"]:
    """Return the maps of one of ``NAMES``.

    ``uniform``: all alike. ``random``: uniform noise. ``centre``: a Gaussian about the
    middle. ``motion``: the absolute change of the pixels since the frame before.
    ``activation``: the mean of the feature map over channels. ``recency``: uniform in
    space, falling with t' - t.
    """
    steps, height, width, _ = features.shape
    grid = steps, height, width
    frame = {
        "random": lambda: np.random.default_rng(seed).random(grid),
        "centre": lambda: np.broadcast_to(_centre(height, width), grid),
        "motion": lambda: _motion(frames, height, width),
        "activation": lambda: features.mean(-1),
    }.get(name, lambda: np.ones(grid))()
    lag = np.arange(steps)[:, None] - np.arange(steps)
    weight = np.exp(-lag / DECAY) if name == "recency" else np.ones_like(lag)
    return np.where(lag >= 0, weight, 0)[..., None, None] * frame


def of_frames(own: Float[np.ndarray, "T h w"]) -> Float[np.ndarray, "T T h w"]:
    """Return a frame CNN's maps, of every frame by itself, as those of all t'."""
    seen = np.tril(np.ones((len(own), len(own))))
    return seen[..., None, None] * own


def _centre(height: int, width: int) -> np.ndarray:
    rows, columns = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    return np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * CENTRE**2))


def _motion(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average the absolute change over cells; the first frame has none."""
    grey = frames.astype(np.float32).mean(-1)
    change = np.abs(np.diff(grey, axis=0, prepend=grey[:1]))
    rows, columns = (
        np.arange(n) * cells // n
        for n, cells in zip(change.shape[1:], (height, width), strict=True)
    )
    total = np.zeros((len(frames), height, width))
    where: Any = np.s_[:, rows[:, None], columns]
    np.add.at(total, where, change)
    return total
