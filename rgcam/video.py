"""Files to frames and back: the only place that decodes or encodes.

PyAV reads, by the frames' own timestamps: index access is silently wrong on MPEG-PS.
imageio writes pictures and GIFs; PyAV writes MP4, whose rate factor, colour tags and
fast start imageio does not reach.
"""

import contextlib
import dataclasses
import itertools
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import imageio.v3 as iio
import numpy as np
from jaxtyping import Float, UInt8

from rgcam.errors import InputError

Number = float | int
File = str | os.PathLike[str]
Shot = tuple[float, av.VideoFrame]  # seconds since the file's first frame, picture
EPSILON = 1e-6  # seconds: two times nearer than this are one
SEEKABLE = {"mov", "matroska"}  # indexed, and stamped with presentation times
BIG = 2**20  # pixels from which decoding on all cores pays


class Clip(NamedTuple):
    """What was read of a video.

    Attributes:
        frames: (T, H, W, 3) uint8, RGB, upright.
        times: (T,) float64, seconds since the file's first frame.
        notes: one sentence for each thing that was odd about the file.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    times: Float[np.ndarray, " T"]
    notes: tuple[str, ...] = ()


class VideoInfo(NamedTuple):
    """What a video's header says, which need not be true.

    Attributes:
        width: in pixels, as stored: before any rotation.
        height: in pixels, as stored.
        duration: in seconds; NaN if unknown.
        fps: frames per second, on average; NaN if unknown.
    """

    width: int
    height: int
    duration: float
    fps: float


@dataclasses.dataclass
class _Tally:
    """What one pass over a file met."""

    decoded: int = 0
    damaged: int = 0
    unstamped: int = 0
    sizes: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    until: float = 0.0  # seconds at which the last frame ends
    finished: bool = False


def probe(path: File) -> VideoInfo:
    """Read a video's header; decode nothing.

    Raises:
        InputError: No video can be opened there.
    """
    with _opened(Path(path)) as (container, stream):
        return _info(container, stream)


def read_clip(
    path: File,
    fps: Number = 7.5,
    *,
    start: Number = 0.0,
    end: Number | None = None,
    size: int | None = None,
    max_bytes: int = 4 * 2**30,
) -> Clip:
    """Decode the frames nearest to start + k / fps for k = 0, 1, ..., as a stream.

    No frame comes twice: a source slower than fps gives all of its frames. Of a
    damaged file, what decodes is returned, and a note says so.

    Args:
        path: the video.
        fps: frames per second to sample.
        start: in seconds since the file's first frame.
        end: in seconds, exclusive; None: the video's end.
        size: limit of the shorter side in pixels; None: as stored.
        max_bytes: limit of what the frames take, T x H x W x 3.

    Returns:
        The clip: T >= 2 frames, and their own times, not the grid's.

    Raises:
        InputError: The file cannot be read as a video, has fewer than two frames to
            give between start and end, or more than max_bytes.
    """
    path, until = Path(path), math.inf if end is None else end
    _check_span(fps, start, until)
    with _opened(path) as (container, stream):
        info, odd = _info(container, stream), _odd_pixels(stream)
    _check_cost(path, info, fps, start, until, size, max_bytes)
    tally = _Tally()
    with contextlib.closing(_shots(path, start, tally)) as shots:
        chosen = _nearest(_reaches(shots, tally), fps, start, until)
        pictures, times = _convert(path, chosen, size, max_bytes, start)
    _check_count(path, len(times), fps, start, tally)
    return Clip(_stack(pictures), np.array(times), odd + _notes(tally, info))


def write_video(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write an H.264 MP4 that plays everywhere; odd sides grow by a copied pixel.

    Args:
        path: the file to write, whatever its suffix.
        frames: (T, H, W, 3) uint8, RGB.
        fps: frames per second; need not be whole.

    Raises:
        InputError: Nothing can be written there, or fps is not above 0.
    """
    _check_rate(fps)
    height, width = frames.shape[1:3]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with _writing(path), av.open(_plain(path), "w", "mp4", FAST_START) as container:
        stream = container.add_stream("libx264", Fraction(fps).limit_denominator(65535))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for frame in frames:
            container.mux(stream.encode(_yuv(np.pad(frame, padding, "edge"))))
        container.mux(stream.encode(None))


def write_gif(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write a GIF that loops forever; its delays are hundredths that add up to fps.

    Raises:
        InputError: Nothing can be written there, or fps is not above 0.
    """
    _check_rate(fps)
    ends = np.rint(np.arange(len(frames) + 1) * 100 / fps)
    delays = (10 * np.maximum(np.diff(ends), 2)).astype(int)  # browsers slow 10 ms down
    options = {"plugin": "pillow", "extension": ".gif", "loop": 0}
    with _writing(path):
        iio.imwrite(Path(path), frames, duration=delays.tolist(), **options)


def write_image(path: File, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG.

    Raises:
        InputError: Nothing can be written there.
    """
    with _writing(path):
        iio.imwrite(Path(path), image, plugin="pillow", extension=".png")
