"""Video files to frames.

PyAV reads, by the frames' own timestamps: index access is silently wrong on MPEG-PS.
``decoding`` holds the parts.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np
from jaxtyping import Float, UInt8

from rgcam.data.decoding import (
    AGAIN,
    Bytes,
    File,
    Memory,
    Number,
    Shot,
    Source,
    Tally,
    check_rate,
    header_duration,
    header_rate,
    notes,
    opened,
    reaches,
    shots_from,
    source_of,
)
from rgcam.errors import InputError

__all__ = [
    "Clip",
    "VideoInfo",
    "probe",
    "read_clip",
    "read_pieces",
]
EPSILON = 1e-6  # seconds: two times nearer than this are one


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


class _Wish(NamedTuple):
    path: Source
    fps: Number
    start: Number
    end: Number
    size: int | None
    max_bytes: int


def probe(path: File | Memory) -> VideoInfo:
    """Read a video's header; decode nothing.

    Raises:
        InputError: No video can be opened there.
    """
    with opened(source_of(path)) as (container, stream):
        seconds, rate = header_duration(container, stream), header_rate(stream)
        return VideoInfo(stream.width, stream.height, seconds, rate)


def read_clip(
    path: File | Bytes,
    fps: Number = 7.5,
    *,
    start: Number = 0.0,
    end: Number | None = None,
    size: int | None = None,
    max_bytes: int = 4 * 2**30,
    name: str = "",
) -> Clip:
    """Decode, as a stream, the frames nearest to start + k / fps for k = 0, 1, ...

    No frame comes twice: a source slower than fps gives all of its frames. Of a
    damaged file, what decodes is returned, and a note says so.

    Args:
        path: the video, or the bytes of its file.
        fps: frames per second to sample.
        start: in seconds since the file's first frame.
        end: in seconds, exclusive; None: the video's end.
        size: limit of the shorter side in pixels; None: as stored.
        max_bytes: limit of what the frames take, T x H x W x 3.
        name: of the file, for messages, where only its bytes are given.

    Returns:
        The clip: T >= 2 frames and their own times, not the grid's.

    Raises:
        InputError: The file cannot be read as a video, has fewer than two frames to
            give between start and end, or more than max_bytes.
    """
    stop = math.inf if end is None else end
    wish = _Wish(source_of(path, name), fps, start, stop, size, max_bytes)
    tally = Tally()
    _check_span(wish)
    _check_cost(wish, probe(wish.path))
    with contextlib.closing(shots_from(wish.path, start, tally)) as shots:
        chosen = _nearest(reaches(shots, tally), wish)
        pictures, times = _gather(_convert(chosen, wish), wish)
    _check_count(len(times), wish, tally)
    return Clip(_stack(pictures), np.array(times), tuple(notes(tally)))


def read_pieces(
    path: File,
    fps: Number = 7.5,
    *,
    start: Number = 0.0,
    end: Number | None = None,
    count: int = 64,
) -> Iterator[Clip]:
    """Decode as ``read_clip`` does, ``count`` frames at a time, the last piece shorter.

    The notes come with the last piece. InputError as in ``read_clip``, but for memory.
    """
    stop = math.inf if end is None else end
    wish = _Wish(source_of(path), fps, start, stop, None, 0)
    tally, total, pictures, times = Tally(), 0, [], []
    _check_span(wish)
    with contextlib.closing(shots_from(wish.path, start, tally)) as shots:
        for picture, time in _convert(_nearest(reaches(shots, tally), wish), wish):
            if len(pictures) == count:
                yield Clip(_stack(pictures), np.array(times), ())
                pictures, times = [], []
            pictures.append(picture)
            times.append(time)
            total += 1
    _check_count(total, wish, tally)
    yield Clip(_stack(pictures), np.array(times), tuple(notes(tally)))


def _nearest(reached: Iterable[tuple[float, Shot]], wish: _Wish) -> Iterator[Shot]:
    """Choose the shots nearest to start + k / fps, each once; a tie: the earlier."""
    k = 0
    for reach, shot in reached:
        moment = wish.start + k / wish.fps
        if moment > wish.end - EPSILON:
            return
        if moment <= reach + EPSILON:
            yield shot
            k = max(k, math.floor((reach + EPSILON - wish.start) * wish.fps)) + 1


def _convert(shots: Iterable[Shot], wish: _Wish) -> Iterator[tuple[np.ndarray, float]]:
    """Convert to RGB of the first one's size and turn upright; yield with times."""
    first = None
    for time, frame in shots:
        first = frame if first is None else first
        width, height = _scale(first.width, first.height, wish.size)
        picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        yield _upright(picture, first.side_data.get("DISPLAYMATRIX")), time


def _gather(
    pairs: Iterable[tuple[np.ndarray, float]], wish: _Wish
) -> tuple[list[np.ndarray], list[float]]:
    """Hold all pictures and times; InputError where they become too many."""
    pictures, times = [], []
    for picture, time in pairs:
        pictures.append(picture)
        times.append(time)
        if len(pictures) * picture.nbytes > wish.max_bytes:
            _refuse(wish, time - wish.start, len(pictures), picture.nbytes)
    return pictures, times


def _upright(picture: np.ndarray, side_data: Any) -> np.ndarray:
    """Rotate and mirror as a display matrix says, in quarter turns."""
    if side_data is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5]  # x' = ax + cy
    if abs(b) > abs(a):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _scale(width: int, height: int, size: int | None) -> tuple[int, int]:
    if size is None or min(width, height) <= size:
        return width, height
    ratio = size / min(width, height)
    return round(width * ratio), round(height * ratio)


def _stack(pictures: list[Any]) -> np.ndarray:
    """Stack and let go one by one, so that no second copy of all is held."""
    stacked = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    for i in range(len(pictures)):
        stacked[i], pictures[i] = pictures[i], None
    return stacked


def _check_span(wish: _Wish) -> None:
    check_rate(wish.fps)
    if not 0 <= wish.start < math.inf:
        raise InputError(f"start is {wish.start:g}; it must be 0 or later, in seconds")
    if not wish.start < wish.end:
        raise InputError(f"end is {wish.end:g}; it must be after start={wish.start:g}")


def _check_cost(wish: _Wish, info: VideoInfo) -> None:
    seconds = np.fmin(info.duration, wish.end) - wish.start
    frames = seconds * np.fmin(wish.fps, info.fps)
    size = 3 * math.prod(_scale(info.width, info.height, wish.size))
    if frames < math.inf and frames * size > wish.max_bytes:
        _refuse(wish, seconds, frames, size)


def _refuse(wish: _Wish, seconds: Number, frames: Number, size: int) -> NoReturn:
    minutes, hours = round(seconds / 60) % 60, round(seconds / 60) // 60
    span = f"{hours} h {minutes} min" if seconds >= 3600 else f"{seconds:.1f} s"
    fits = max(0.1, min(60, round(wish.max_bytes * seconds / (frames * size), 1)))
    raise InputError(
        f"{wish.path}: {span} are {frames:,.0f} frames at {wish.fps:g} fps, "
        f"{frames * size / 1e9:.3g} GB in memory, and {wish.max_bytes / 1e9:.3g} are "
        f"allowed; cut it with start and end (--start={wish.start:g} "
        f"--end={wish.start + fits:g}) or lower fps"
    )


def _check_count(count: int, wish: _Wish, tally: Tally) -> None:
    path, start, fps = wish.path, wish.start, wish.fps
    if not tally.decoded:
        raise InputError(
            f"no frame of {path} decodes, it is cut off or damaged: {AGAIN}"
        )
    if not count:
        end = f"the end of {path}, which lasts {tally.until:.1f} s"
        raise InputError(f"start={start:g} is beyond {end}: choose an earlier start")
    if count < 2:
        cure = "at least 2 are needed: raise --fps or pass a longer clip"
        raise InputError(f"{path} gives 1 frame at {fps:g} fps; {cure}")
