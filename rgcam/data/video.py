"""Video files -> frames, sampled by the frames' own time stamps.

PyAV decodes; access by frame number is silently wrong on some formats, such as MPEG-PS.
``decoding`` turns packets into frames with times.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideData
from jaxtyping import Float, UInt8

from rgcam import files
from rgcam.data.decoding import (
    GET_A_COPY,
    Bytes,
    DecodeStats,
    Memory,
    Source,
    TimedFrame,
    header_duration,
    header_rate,
    notes,
    opened,
    source_of,
    timed_frames,
    with_nearest_until,
)
from rgcam.errors import InputError
from rgcam.types import File, Number

__all__ = [
    "Clip",
    "VideoInfo",
    "probe",
    "read_clip",
    "read_pieces",
]
EPSILON = 1e-6  # seconds: times that are nearer than this are equal


class Clip(NamedTuple):
    """Frames that were read from a video.

    Attributes:
        frames: (T, H, W, 3) uint8, RGB, upright.
        times: (T,) float64, seconds since the file's first frame.
        notes: one sentence for each thing that is unusual about the file.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    times: Float[np.ndarray, " T"]
    notes: tuple[str, ...] = ()


class VideoInfo(NamedTuple):
    """What a video's header says, which need not be true.

    Attributes:
        width: in pixels, as stored: before any rotation.
        height: in pixels, as stored.
        duration: of the video stream, in seconds; NaN if unknown.
        fps: frames per second, on average; NaN if unknown.
    """

    width: int
    height: int
    duration: float
    fps: float


class _Request(NamedTuple):
    """The frames that are asked for; fields as the arguments of ``read_clip``."""

    source: Source
    fps: Number
    start: Number
    end: Number
    size: int | None
    max_bytes: int
    stream: int | None


def probe(path: File | Memory, stream: int | None = None) -> VideoInfo:
    """Read a video's header; decode nothing.

    Args:
        path: the video.
        stream: as in ``read_clip``.

    Raises:
        InputError: no video can be opened there.
    """
    with opened(source_of(path), stream) as (container, video_stream):
        return VideoInfo(
            width=video_stream.width,
            height=video_stream.height,
            duration=header_duration(container, video_stream),
            fps=header_rate(video_stream),
        )


def read_clip(
    path: File | Bytes,
    fps: Number = 7.5,
    *,
    start: Number = 0.0,
    end: Number | None = None,
    size: int | None = None,
    max_bytes: int = 4 * 2**30,
    name: str = "",
    stream: int | None = None,
) -> Clip:
    """Decode, in one pass, the frames nearest to start + k / fps for k = 0, 1, ...

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
        stream: number of the video stream, from 0, in a file that has several; None:
            the default or largest one.

    Returns:
        The clip: T >= 2 frames and their own times, not the grid's.

    Raises:
        InputError: the file cannot be read as a video, has fewer than two frames to
            give between start and end, or more than max_bytes.
    """
    request = _Request(
        source=source_of(path, name),
        fps=fps,
        start=start,
        end=math.inf if end is None else end,
        size=size,
        max_bytes=max_bytes,
        stream=stream,
    )
    stats = DecodeStats()
    _check_span(request)
    _check_cost(request, probe(request.source, stream))
    with contextlib.closing(
        timed_frames(request.source, start, stats, stream)
    ) as timed:
        nearest = _nearest(with_nearest_until(timed, stats), request)
        pictures, times = _gather(_convert(nearest, request), request)
    _check_count(len(times), request, stats)
    return Clip(
        frames=_stack(pictures),
        times=np.array(times),
        notes=(*notes(stats), *_tempo_notes(np.array(times), fps)),
    )


def read_pieces(
    path: File,
    fps: Number = 7.5,
    *,
    start: Number = 0.0,
    end: Number | None = None,
    count: int = 64,
    stream: int | None = None,
) -> Iterator[Clip]:
    """Decode as ``read_clip`` does, ``count`` frames at a time, the last piece shorter.

    The notes come with the last piece. InputError as in ``read_clip``, but for memory.
    """
    request = _Request(
        source=source_of(path),
        fps=fps,
        start=start,
        end=math.inf if end is None else end,
        size=None,
        max_bytes=0,
        stream=stream,
    )
    stats = DecodeStats()
    pictures: list[np.ndarray] = []
    times: list[float] = []
    _check_span(request)
    with contextlib.closing(
        timed_frames(request.source, start, stats, stream)
    ) as timed:
        nearest = _nearest(with_nearest_until(timed, stats), request)
        for picture, time in _convert(nearest, request):
            if len(pictures) == count:
                yield Clip(_stack(pictures), np.array(times[-count:]))
                pictures = []
            pictures.append(picture)
            times.append(time)
    _check_count(len(times), request, stats)
    last_times = times[-len(pictures) :]
    yield Clip(
        frames=_stack(pictures),
        times=np.array(last_times),
        notes=(*notes(stats), *_tempo_notes(np.array(times), fps)),
    )


def _nearest(
    timed: Iterable[tuple[float, TimedFrame]], request: _Request
) -> Iterator[TimedFrame]:
    """Choose the frames nearest to start + k / fps, each once; of two, the earlier."""
    k = 0
    for nearest_until, frame in timed:
        moment = request.start + k / request.fps
        if moment > request.end - EPSILON:
            return
        if moment <= nearest_until + EPSILON:
            yield frame
            # The next k whose moment is nearer to a later frame.
            steps = (nearest_until + EPSILON - request.start) * request.fps
            k = max(k, math.floor(steps)) + 1


def _convert(
    timed: Iterable[TimedFrame], request: _Request
) -> Iterator[tuple[np.ndarray, float]]:
    """Convert to RGB of the first frame's size and turn upright; yield with times."""
    first = None
    for time, frame in timed:
        first = frame if first is None else first
        width, height = _scale(first.width, first.height, request.size)
        picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        matrix = first.side_data.get("DISPLAYMATRIX")
        yield _upright(picture, matrix), time


def _gather(
    pairs: Iterable[tuple[np.ndarray, float]], request: _Request
) -> tuple[list[np.ndarray], list[float]]:
    """Hold all pictures and times; InputError where they become too many."""
    pictures, times = [], []
    for picture, time in pairs:
        pictures.append(picture)
        times.append(time)
        if len(pictures) * picture.nbytes > request.max_bytes:
            raise _too_large(
                request,
                seconds=time - request.start,
                frames=len(pictures),
                frame_bytes=picture.nbytes,
            )
    return pictures, times


def _upright(picture: np.ndarray, matrix: object) -> np.ndarray:
    """Rotate and mirror as a display matrix says, in quarter turns."""
    if not isinstance(matrix, SideData):
        return picture
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]  # x' = ax + cy
    if abs(b) > abs(a):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _scale(width: int, height: int, size: int | None) -> tuple[int, int]:
    if size is None or min(width, height) <= size:
        return width, height
    ratio = size / min(width, height)
    return round(width * ratio), round(height * ratio)


def _stack(pictures: list[np.ndarray]) -> np.ndarray:
    """Stack the pictures and empty the list, so that no second copy of all is held."""
    stacked = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    for i in reversed(range(len(pictures))):
        stacked[i] = pictures.pop()
    return stacked


def _tempo_notes(times: np.ndarray, fps: Number) -> Iterator[str]:
    """Say where a model that takes frames for 1 / fps apart sees another tempo."""
    gaps = np.diff(times)
    usual, longest = float(np.median(gaps)), float(gaps.max())
    if usual * fps > 1.2:
        yield (
            f"the video has {1 / usual:.2g} frames per second where the model expects "
            f"{fps:g}: it sees the video {usual * fps:.1f} times as fast"
        )
    elif longest * fps > 3:
        yield (
            f"the frame rate varies: up to {longest:.2f} s lie between frames that the "
            f"model takes for {1 / fps:.2f} s apart"
        )


def _check_span(request: _Request) -> None:
    start, end = request.start, request.end
    files.check_rate(request.fps)
    if not 0 <= start < math.inf:
        raise InputError(f"start is {start:g}; it must be 0 or later, in seconds")
    if not start < end:
        raise InputError(f"end is {end:g}; it must be after start={start:g}")


def _check_cost(request: _Request, info: VideoInfo) -> None:
    """Raise InputError where the header already promises too many frames."""
    seconds = float(np.fmin(info.duration, request.end)) - request.start
    frames = seconds * float(np.fmin(request.fps, info.fps))
    frame_bytes = 3 * math.prod(_scale(info.width, info.height, request.size))
    if frames < math.inf and frames * frame_bytes > request.max_bytes:
        raise _too_large(
            request, seconds=seconds, frames=frames, frame_bytes=frame_bytes
        )


def _too_large(
    request: _Request, *, seconds: Number, frames: Number, frame_bytes: int
) -> InputError:
    minutes, hours = round(seconds / 60) % 60, round(seconds / 60) // 60
    span = f"{hours} h {minutes} min" if seconds >= 3600 else f"{seconds:.1f} s"
    fitting_seconds = request.max_bytes * seconds / (frames * frame_bytes)
    fitting_seconds = max(0.1, min(60, round(fitting_seconds, 1)))
    return InputError(
        f"{request.source}: {span} are {frames:,.0f} frames at {request.fps:g} fps, "
        f"{frames * frame_bytes / 1e9:.3g} GB in memory, and "
        f"{request.max_bytes / 1e9:.3g} are allowed; cut it with start and end "
        f"(--start={request.start:g} --end={request.start + fitting_seconds:g}) or "
        "lower fps"
    )


def _check_count(count: int, request: _Request, stats: DecodeStats) -> None:
    source = request.source
    if not stats.decoded:
        raise InputError(
            f"no frame of {source} decodes, it is cut off or damaged: {GET_A_COPY}"
        )
    if not count:
        raise InputError(
            f"start={request.start:g} is beyond the end of {source}, which lasts "
            f"{stats.end_seconds:.1f} s: choose an earlier start"
        )
    if count < 2:
        raise InputError(
            f"{source} gives 1 frame at {request.fps:g} fps; at least 2 are needed: "
            "raise --fps or pass a longer clip"
        )
