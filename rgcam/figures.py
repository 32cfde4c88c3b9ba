"""The pictures of one explained clip: what ``report`` writes, as figures and arrays.

A ``story`` is a ``report.Story``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rgcam import data, render

OVERLAY_SIDE = 240  # pixels; shorter sides below this are enlarged for viewing


def strip(story: Any):
    """Draw the paper's Fig. 3: the frames, the frame CNN's Grad-CAM, the recurrent."""
    rows: list[tuple[str, np.ndarray]] = []
    if story.cnn_explanation is not None:
        rows.append(("Grad-CAM (frame CNN)", diagonal(story.cnn_explanation.maps)))
    rows.append(("recurrent Grad-CAM", story.explanation.maps[-1]))
    clip = story.clip
    return render.strip(
        clip.frames, rows, clip.times, box=box(story), title=title(story)
    )


def matrix(story: Any):
    """Draw the matrix beside the score curves."""
    e, times = story.explanation, story.clip.times
    return render.matrix(
        e.matrix,
        times,
        times,
        e.scores,
        story.model.classes,
        story.target,
        title=title(story),
    )


def overlay(story: Any) -> np.ndarray:
    """Lay the maps of the last decision over the frames, enlarged if they are small."""
    frames = story.clip.frames
    factor = max(1, -(-OVERLAY_SIDE // min(frames.shape[1:3])))
    large = _enlarge(frames, factor)
    top, left, bottom, right = (factor * edge for edge in box(story))
    maps = story.explanation.maps[-1]
    return render.overlay(large, maps, box=(top, left, bottom, right))


def title(story: Any) -> str:
    """Say in a line what is explained."""
    name = Path(story.source).name
    return (
        f"Why {story.model.name} sees “{story.model.classes[story.target]}” in {name}"
    )


def box(story: Any) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of what the model saw of the frames."""
    spec = story.model.description.preprocess
    return data.crop_box(spec, *story.clip.frames.shape[1:3])


def diagonal(maps: np.ndarray) -> np.ndarray:
    """Return L[t, t] of maps (... T T h w): a frame CNN's map of each frame alone."""
    steps = np.arange(maps.shape[-3])
    return maps[..., steps, steps, :, :]


def rate(times: np.ndarray, fps: float) -> float:
    """Return the frames a second that these times have, for playing."""
    return (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else fps


def _enlarge(frames: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return frames
    height, width = (factor * n for n in frames.shape[1:3])
    images = (Image.fromarray(frame) for frame in frames)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(i.resize((width, height), bicubic)) for i in images])
