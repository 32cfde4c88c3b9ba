"""The figures of one explained clip, and its frames under heat maps."""

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from rgcam.report import render
from rgcam.report.record import ExplainedClip

OVERLAY_SIDE = 240  # pixels; shorter sides below this are enlarged for viewing
GIF_SIDE, GIF_FRAMES = 240, 64  # at most, so that a GIF can be mailed
BAND = 60  # pixels of the timeline under an overlay


def all_figures(explained: ExplainedClip) -> dict[str, Figure]:
    """Draw strip and matrix."""
    return {"strip": strip(explained), "matrix": matrix(explained)}


def strip(explained: ExplainedClip) -> Figure:
    """Draw the paper's Fig. 3: frames, frame-CNN baseline, the shown attribution."""
    shown, baseline = explained.shown, explained.frame_baseline
    rows: list[tuple[str, np.ndarray]] = []
    if baseline is not None:
        rows.append(("Grad-CAM (frame CNN)", baseline.maps[0]))
    rows.append((shown.title, shown.shown_maps))
    return render.strip(
        explained.clip.frames,
        rows,
        explained.clip.times,
        box=explained.box,
        title=explained.title,
        note=caption(explained, explained.shown_text),
    )


def matrix(explained: ExplainedClip) -> Figure:
    """Draw the matrix with the score curves."""
    shown = explained.shown
    return render.matrix(
        shown.matrix,
        explained.clip.times,
        explained.times_out,
        explained.scores,
        explained.model.classes,
        explained.target,
        title=explained.title,
        note=caption(explained, shown.title),
        beneath=(explained.shown_text, shown.shown_row),
        profile=shown.reach.profile,
    )


def overlay(explained: ExplainedClip) -> np.ndarray:
    """Lay the maps over the frames, enlarged if they are small."""
    frames, shown = explained.clip.frames, explained.shown
    factor = max(1, -(-OVERLAY_SIDE // min(frames.shape[1:3])))
    large = _resize(frames, factor)
    top, left, bottom, right = (factor * edge for edge in explained.box)
    heat = render.overlay(large, shown.shown_maps, box=(top, left, bottom, right))
    times = explained.clip.times
    return timeline(heat, shown.shown_row, times, explained.shown_text)


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


def vector(explained: ExplainedClip, kind: str) -> dict[str, bytes]:
    """Return strip and matrix as files of kind "pdf" or "svg", by name."""
    return {
        f"{name}.{kind}": render.figure_to_vector(figure, kind)
        for name, figure in all_figures(explained).items()
    }


def caption(explained: ExplainedClip, what: str) -> str:
    """Say beneath a figure what it shows, and how faithful that is."""
    verdict = f"faithfulness check: {explained.shown.verdict}"
    return f"{what[0].upper()}{what[1:]}; {verdict}"


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
