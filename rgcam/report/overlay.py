"""Frames under heat maps: blended pixels, with a timeline below, and small for a GIF.

One scale holds for a whole clip, 0 stays 0, and where nothing is attributed the frame
itself shows. Colours: a sequential map from 0, or blue to red symmetric about 0 as soon
as one value is negative. Under signed heat the frames are grey, or red and blue could be
taken for colours of the video. Figures and page take their colours from here.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from rgcam.attribution.maps import normalize, upsample
from rgcam.errors import InputError
from rgcam.report.record import ExplainedClip
from rgcam.types import Box

# Colour maps and the part of each that is used: neither black nor white ends.
SEQUENTIAL = {"inferno": (0.2, 0.92), "viridis": (0.0, 1.0), "cividis": (0.0, 1.0)}
DIVERGING = ("RdBu_r", (0.04, 0.96))
PALE = (0.2, 0.8)  # the part of it that is too pale to be seen over a frame
MATRIX_POWER = 0.5  # of a matrix's colours: small values of one sign can be told apart
OPACITY = 0.6  # of the strongest heat
LEAST_SIDE = 240  # pixels; frames whose shorter side is less are enlarged for viewing
GIF_SIDE, GIF_FRAMES = 240, 64  # at most, so that a GIF can be mailed
BARS, BAND = 24, 60  # pixels of the timeline's bars, and of bars and text


def overlay(
    frames: UInt8[np.ndarray, "T H W 3"],
    maps: Float[np.ndarray, "T h w"],
    *,
    box: Box | None = None,
    opacity: float = OPACITY,
    signed: bool | None = None,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Blend heat maps into frames; where nothing is attributed the frame itself shows.

    Args:
        frames: RGB.
        maps: raw heat maps; of signed ones, red supports the class and blue opposes it.
        box: (top, left, bottom, right), the pixels that the model saw; None: all.
            What lies outside gets no heat and is dimmed.
        opacity: of the strongest heat; it falls to 0 with the value.
        signed: see ``colour_scale``.

    Raises:
        InputError: a value of maps is not finite, or box is not inside the frame.
    """
    scale = colour_scale(maps, signed, over_frames=True)
    return blend(frames, normalize(maps), scale, box, opacity)


class ColourScale(NamedTuple):
    """One scale of colours for many values; 0 is its end or, if signed, its middle.

    Attributes:
        low: value of the first colour: 0, or ``-high`` of signed values.
        high: value of the last colour, 0 if all values are 0.
        colours: RGBA, 0 to 1.
    """

    low: float
    high: float
    colours: Float[np.ndarray, "256 4"]


def colour_scale(
    values: Float[np.ndarray, "..."],
    signed: bool | None = None,
    *,
    over_frames: bool = False,
) -> ColourScale:
    """Return the one scale of all values: colours, and limits in true units.

    Args:
        values: in any units.
        signed: take the diverging colours; None: if any value is negative.
        over_frames: leave out the pale middle of the diverging colours, which could
            not be seen over a frame; there the opacity falls to 0 with the value.
    """
    peak = float(np.abs(values).max(initial=0))
    # Values whose size underflows when they are drawn have no sign.
    if signed is None:
        signed = bool((normalize(values) < 0).any())
    if not signed:
        colours = colour_table("inferno", SEQUENTIAL["inferno"])
    else:
        colours = diverging_heat() if over_frames else colour_table(*DIVERGING)
    return ColourScale(low=-peak if signed else 0.0, high=peak, colours=colours)


def diverging_heat() -> Float[np.ndarray, "256 4"]:
    """Return the diverging colours without their pale middle, to lay over grey frames."""
    name, (low, high) = DIVERGING
    opposing, supporting = PALE
    halves = np.linspace(low, opposing, 128), np.linspace(supporting, high, 128)
    return colormaps[name](np.concatenate(halves))


def colour_table(name: str, ends: tuple[float, float]) -> Float[np.ndarray, "256 4"]:
    """Return 256 colours (RGBA, 0 to 1) of the used part of a Matplotlib colour map."""
    return colormaps[name](np.linspace(*ends, 256))


def blend(
    frames: UInt8[np.ndarray, "T H W 3"],
    unit_maps: Float[np.ndarray, "T h w"],
    scale: ColourScale,
    box: Box | None = None,
    opacity: float = OPACITY,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Blend normalised maps into frames: see ``overlay``.

    The opacity of value v is ``opacity * (1 - (1 - |v|)^2)``: faint values show, and
    strong ones do not hide the frame. Under signed heat the frame is grey.
    """
    height, width = frames.shape[1:3]
    top, left, bottom, right = box or (0, 0, height, width)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(f"box {box} does not fit into frames of {height} x {width}")
    output, inside = frames // 2, np.s_[:, top:bottom, left:right]
    table = (scale.colours[:, :3] * 255).astype(np.uint8)
    pairs = zip(output[inside], frames[inside], unit_maps, strict=True)
    # In 8 bits by Pillow, one frame at a time: a clip in floats would not fit caches.
    for blended, frame, cells in pairs:
        if scale.low < 0:
            frame = np.asarray(Image.fromarray(frame).convert("L").convert("RGB"))
        value = upsample(cells, (bottom - top, right - left))
        alpha = 255 * opacity * (1 - (1 - np.abs(value)) ** 2)
        index = 256 * (value / 2 + 0.5 if scale.low < 0 else value)
        heat = table[np.clip(index, 0, 255).astype(np.uint8)]
        mask = np.rint(alpha).astype(np.uint8)
        blended[:] = Image.composite(*map(Image.fromarray, (heat, frame, mask)))
    return output


def clip_overlay(explained: ExplainedClip) -> UInt8[np.ndarray, "T more W 3"]:
    """Lay the shown maps over a clip, enlarged if it is small, with a timeline."""
    frames, shown = explained.clip.frames, explained.shown
    factor = max(1, -(-LEAST_SIDE // min(frames.shape[1:3])))
    large = _resize(frames, factor)  # heat is then drawn at that size, not enlarged
    top, left, bottom, right = (factor * edge for edge in explained.box)
    heat = overlay(
        large,
        explained.maps_of_frames(shown),
        box=(top, left, bottom, right),
        signed=not shown.rectified,
    )
    times = explained.clip.times
    return timeline(
        heat,
        shown.shown_row,
        times,
        explained.shown_text,
        steps=explained.steps_of_frames,
    )


def timeline(
    frames: UInt8[np.ndarray, "T H W 3"],
    row: Float[np.ndarray, " in"],
    times: Float[np.ndarray, " T"],
    description: str = "",
    *,
    steps: Int[np.ndarray, " T"] | None = None,
) -> UInt8[np.ndarray, "T more W 3"]:
    """Put below each frame its time and the importance of every frame.

    Bars have one scale for the clip; the frame's own is bright.

    Args:
        frames: RGB.
        row: importance of each frame, in logits, or of each step of A.
        times: of the frames, in seconds.
        description: of the row; a second line of text.
        steps: number in the row of each frame; None: its own.
    """
    height, width = frames.shape[1:3]
    steps = np.arange(len(frames)) if steps is None else steps
    # Every column of pixels belongs to one frame: bars touch, and none is left out.
    frame_of_column = np.arange(width) * len(row) // width
    heights = np.rint(BARS * np.abs(row) / (np.abs(row).max() or 1)).astype(int)
    bars = np.arange(BARS, 0, -1)[:, None] <= heights[frame_of_column]
    output = np.full((len(frames), height + BAND, width, 3), 24, np.uint8)
    output[:, :height] = frames
    for time, t, image in zip(times, steps, output, strict=True):
        band = image[height : height + BARS]
        grey = np.where(frame_of_column == t, 255, 120)[None].repeat(BARS, 0)
        band[bars] = grey[bars][:, None]
        band[-1, frame_of_column == t] = 255
        label = f"{time:.2f} s    importance {row[t]:+.3g} logits"
        image[height + BARS :] = _lines((label, description), width, BAND - BARS)
    return output


def small(
    frames: UInt8[np.ndarray, "T H W 3"], fps: float
) -> tuple[UInt8[np.ndarray, "few h w 3"], float]:
    """Return frames that are few and small enough for a GIF, and their frame rate."""
    stride = -(-len(frames) // GIF_FRAMES)  # fewer a second: the GIF is as long
    factor = min(1.0, GIF_SIDE / min(frames.shape[1:3]))
    return _resize(frames[::stride], factor), fps / stride


def frame_rate(times: Float[np.ndarray, " T"], default: float) -> float:
    """Return the frames per second of these times; of a single one, ``default``."""
    span = float(times[-1] - times[0])
    return (len(times) - 1) / span if len(times) > 1 else default


def _lines(
    lines: tuple[str, ...], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Write lines of text, smaller where one is too long."""
    image = Image.new("RGB", (width, height), (24, 24, 24))
    for i, line in enumerate(lines):
        fonts = (ImageFont.load_default(size) for size in (12, 11, 10, 9))
        font = next((f for f in fonts if f.getlength(line) < width - 6), None)
        font = font or ImageFont.load_default(8)
        ImageDraw.Draw(image).text((4, 3 + 16 * i), line, (255, 255, 255), font)
    return np.asarray(image)


def _resize(
    frames: UInt8[np.ndarray, "T H W 3"], factor: float | int
) -> UInt8[np.ndarray, "T h w 3"]:
    if factor == 1:
        return frames
    height, width = (round(factor * n) for n in frames.shape[1:3])
    images = (Image.fromarray(frame) for frame in frames)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(i.resize((width, height), bicubic)) for i in images])
