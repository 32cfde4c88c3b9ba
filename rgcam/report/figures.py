"""The pictures of one explained clip: what ``report`` writes, as figures and arrays.

A ``story`` is a ``report.Story``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from rgcam.attribution import lags
from rgcam.data import clips
from rgcam.metrics import selfcheck
from rgcam.report import render

OVERLAY_SIDE = 240  # pixels; shorter sides below this are enlarged for viewing
GIF_SIDE, GIF_FRAMES = 240, 64  # at most, so that a GIF can be mailed
BAND = 60  # pixels of the timeline under an overlay


def strip(story: Any):
    """Draw the paper's Fig. 3: the frames, the frame CNN's Grad-CAM, the recurrent."""
    rows: list[tuple[str, np.ndarray]] = []
    if story.cnn_explanation is not None:
        rows.append(("Grad-CAM (frame CNN)", diagonal(story.cnn_explanation.maps)))
    rows.append((selfcheck.title(story.check), maps(story)))
    said = {"title": title(story), "note": caption(story, moment(story))}
    clip = story.clip
    return render.strip(clip.frames, rows, clip.times, box=box(story), **said)


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
        note=caption(story, selfcheck.title(story.check)),
        beneath=(moment(story), row(story)),
        profile=lags.lags(e.matrix).profile,
    )


def overlay(story: Any) -> np.ndarray:
    """Lay the maps over the frames, enlarged if they are small."""
    frames = story.clip.frames
    factor = max(1, -(-OVERLAY_SIDE // min(frames.shape[1:3])))
    large = _resize(frames, factor)
    top, left, bottom, right = (factor * edge for edge in box(story))
    heat = render.overlay(large, maps(story), box=(top, left, bottom, right))
    return timeline(heat, row(story), story.clip.times, moment(story))


def timeline(
    frames: UInt8[np.ndarray, "T H W 3"],
    row: Float[np.ndarray, " T"],
    times: Float[np.ndarray, " T"],
    moment: str = "",
) -> UInt8[np.ndarray, "T more W 3"]:
    """Put beneath each frame its time and how much every frame counted, and when.

    Bars on one scale for the clip; the frame's own is bright.
    """
    height, width = frames.shape[1:3]
    places = np.arange(width) * len(row) // width
    tall = np.rint(24 * np.abs(row) / (np.abs(row).max() or 1)).astype(int)[places]
    bars = np.arange(24, 0, -1)[:, None] <= tall
    out = np.full((len(frames), height + BAND, width, 3), 24, np.uint8)
    out[:, :height] = frames
    for t, picture in enumerate(out):
        band = picture[height : height + 24]
        band[bars] = np.where(places == t, 255, 120)[None].repeat(24, 0)[bars][:, None]
        band[-1, places == t] = 255
        words = f"{times[t]:.2f} s    importance {row[t]:+.3g} logits"
        picture[height + 24 :] = _lines((words, moment), width, BAND - 24)
    return out


def gif(
    frames: UInt8[np.ndarray, "T H W 3"], fps: float
) -> tuple[UInt8[np.ndarray, "few h w 3"], float]:
    """Return frames that are few and small enough to mail, and how many a second."""
    stride = -(-len(frames) // GIF_FRAMES)
    factor = min(1.0, GIF_SIDE / min(frames.shape[1:3]))
    return _resize(frames[::stride], factor), fps / stride


def vector(story: Any, kind: str) -> dict[str, bytes]:
    """Return strip and matrix as files of kind "pdf" or "svg", by name."""
    drawn = {"strip": strip(story), "matrix": matrix(story)}
    return {
        f"{name}.{kind}": render.figure_to_vector(figure, kind)
        for name, figure in drawn.items()
    }


def title(story: Any) -> str:
    """Say in a line what is explained."""
    name = Path(story.source).name
    return (
        f"Why {story.model.name} sees “{story.model.classes[story.target]}” in {name}"
    )


def maps(story: Any) -> Float[np.ndarray, "T h w"]:
    """Return the heat maps that are shown: of the story's aggregation over t'."""
    e, how = story.explanation, story.aggregate
    if how == "last":  # a corpus keeps no other
        return e.maps[-1]
    return lags.aggregate(e.maps, e.scores, story.target, how)


def row(story: Any) -> Float[np.ndarray, " T"]:
    """Return the mass of the maps that are shown, as the matrix has it."""
    e, how = story.explanation, story.aggregate
    if how in lags.STEPS:
        return e.matrix[lags.choose_step(e.scores, story.target, how)]
    return maps(story).sum((1, 2))


def moment(story: Any) -> str:
    """Say of which steps t' the maps are that are shown."""
    scores, times = story.explanation.scores, story.clip.times
    return lags.words(scores, story.target, story.aggregate, times)


def caption(story: Any, what: str) -> str:
    """Say beneath a picture what it shows, and how far it can be trusted."""
    said = "; ".join(filter(None, (what, selfcheck.verdict(story.check))))
    return said[0].upper() + said[1:]


def box(story: Any) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of what the model saw of the frames."""
    spec = story.model.description.preprocess
    return clips.crop_box(spec, *story.clip.frames.shape[1:3])


def diagonal(maps: np.ndarray) -> np.ndarray:
    """Return L[t, t] of maps (... T T h w): a frame CNN's map of each frame alone."""
    steps = np.arange(maps.shape[-3])
    return maps[..., steps, steps, :, :]


def rate(times: np.ndarray, fps: float) -> float:
    """Return the frames a second that these times have, for playing."""
    return (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else fps


def _lines(lines: tuple[str, ...], width: int, height: int) -> np.ndarray:
    """Write lines of text, smaller where one is too long."""
    image = Image.new("RGB", (width, height), (24, 24, 24))
    for i, words in enumerate(lines):
        fonts = (ImageFont.load_default(size) for size in (12, 11, 10, 9))
        font = next((f for f in fonts if f.getlength(words) < width - 6), None)
        font = font or ImageFont.load_default(8)
        ImageDraw.Draw(image).text((4, 3 + 16 * i), words, (255, 255, 255), font)
    return np.asarray(image)


def _resize(frames: np.ndarray, factor: float | int) -> np.ndarray:
    if factor == 1:
        return frames
    height, width = (round(factor * n) for n in frames.shape[1:3])
    images = (Image.fromarray(frame) for frame in frames)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(i.resize((width, height), bicubic)) for i in images])
