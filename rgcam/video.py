"""Files to frames and back: the only place that decodes or encodes.

PyAV reads, by the frames' own timestamps: index access is silently wrong on MPEG-PS.
imageio writes pictures and GIFs; PyAV writes MP4, whose colour tags and fast start
imageio does not reach.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import av
import imageio.v3 as iio
import numpy as np
from jaxtyping import Float, UInt8

from rgcam.decoding import (
    AGAIN,
    Bytes,
    File,
    Memory,
    Number,
    Shot,
    Source,
    Tally,
    absolute,
    header_duration,
    header_rate,
    notes,
    opened,
    reaches,
    shots_from,
    source_of,
)
from rgcam.errors import InputError

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
        pictures, times = _convert(_nearest(reaches(shots, tally), wish), wish)
    _check_count(len(times), wish, tally)
    return Clip(_stack(pictures), np.array(times), tuple(notes(tally)))


def write_video(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write an H.264 MP4 that plays everywhere; odd sides grow by a copied pixel.

    ``fps`` need not be whole. InputError if it is not above 0 or path not writable.
    """
    _check_rate(fps)
    rate, start = Fraction(fps).limit_denominator(65535), {"movflags": "+faststart"}
    height, width = frames.shape[1:3]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with _writing(path) as file, av.open(file, "w", "mp4", options=start) as container:
        stream = container.add_stream("libx264", rate, options={"crf": "18"})
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context  # 1 is BT.709, and limited range
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.pad(frame, padding, "edge"))
            yuv = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(yuv))
        container.mux(stream.encode(None))


def write_gif(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write a GIF that loops for ever; its delays, in hundredths, add up to fps.

    InputError if fps is not above 0 or path not writable.
    """
    _check_rate(fps)
    ends = np.rint(np.arange(len(frames) + 1) * 100 / fps)
    delays = [10 * max(int(d), 2) for d in np.diff(ends)]  # browsers slow down 10 ms
    options = {"plugin": "pillow", "extension": ".gif", "loop": 0}
    data = iio.imwrite("<bytes>", frames, duration=delays, **options)
    with _writing(path) as file:
        Path(file).write_bytes(data)


def write_image(path: File, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG; InputError if path is not writable."""
    data = iio.imwrite("<bytes>", image, plugin="pillow", extension=".png")
    with _writing(path) as file:
        Path(file).write_bytes(data)


@contextlib.contextmanager
def _writing(path: File) -> Iterator[str]:
    try:
        yield absolute(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write {path} ({reason}): choose another place"
        ) from error


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


def _convert(
    shots: Iterable[Shot], wish: _Wish
) -> tuple[list[np.ndarray], list[float]]:
    """Convert to RGB of the first one's size and turn upright."""
    pictures, times, first = [], [], None
    for time, frame in shots:
        first = frame if first is None else first
        width, height = _scale(first.width, first.height, wish.size)
        picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        pictures.append(_upright(picture, first.side_data.get("DISPLAYMATRIX")))
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


def _check_rate(fps: Number) -> None:
    if not 0 < fps < math.inf:
        raise InputError(f"fps is {fps:g}; it must be above 0, such as 7.5")


def _check_span(wish: _Wish) -> None:
    _check_rate(wish.fps)
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
