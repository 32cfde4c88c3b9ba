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
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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
AGAIN = "copy or download it again"


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
    path: Path
    fps: Number
    start: Number
    end: Number
    size: int | None
    max_bytes: int


@dataclasses.dataclass
class _Tally:
    """What one pass over a file met."""

    decoded: int = 0
    damaged: int = 0
    unstamped: int = 0
    sizes: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    aspect: float = 1.0  # a pixel's width over its height
    promised: float = math.nan  # seconds, by the header
    until: float = math.inf  # seconds at which the last frame ends


def probe(path: File) -> VideoInfo:
    """Read a video's header; decode nothing.

    Raises:
        InputError: No video can be opened there.
    """
    with _opened(Path(path)) as (container, stream):
        seconds, rate = _duration(container, stream), _rate(stream)
        return VideoInfo(stream.width, stream.height, seconds, rate)


def read_clip(
    path: File,
    fps: Number = 7.5,
    *,
    start: Number = 0.0,
    end: Number | None = None,
    size: int | None = None,
    max_bytes: int = 4 * 2**30,
) -> Clip:
    """Decode, as a stream, the frames nearest to start + k / fps for k = 0, 1, ...

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
        The clip: T >= 2 frames and their own times, not the grid's.

    Raises:
        InputError: The file cannot be read as a video, has fewer than two frames to
            give between start and end, or more than max_bytes.
    """
    stop = math.inf if end is None else end
    wish, tally = _Wish(Path(path), fps, start, stop, size, max_bytes), _Tally()
    _check_span(wish)
    _check_cost(wish, probe(path))
    with contextlib.closing(_shots(wish.path, start, tally)) as shots:
        pictures, times = _convert(_nearest(_reaches(shots, tally), wish), wish)
    _check_count(len(times), wish, tally)
    return Clip(_stack(pictures), np.array(times), tuple(_notes(tally)))


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
        yield _plain(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {path} ({reason}): choose another") from error


def _plain(path: File) -> str:
    """Make a path absolute: PyAV takes the start of ``clip:1.mp4`` for a protocol."""
    return str(Path(path).absolute())


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check its name") from None
    except OSError as error:
        what = "is a folder" if path.is_dir() else f"cannot be read ({error.strerror})"
        raise InputError(f"{path} {what}: pass one video file") from None
    if empty:
        raise InputError(f"{path} is empty (0 bytes): {AGAIN}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file; yield its container and its video stream."""
    _check_file(path)
    try:
        container = _open(path)
    except av.error.FFmpegError:
        hint = f"is no video, or cut off: play it to check, or {AGAIN}"
        raise InputError(f"{path} {hint}") from None
    with container:
        cover = av.stream.Disposition.attached_pic
        videos = [s for s in container.streams.video if not s.disposition & cover]
        if not videos or container.format.name == "tty":  # a .txt, drawn as a terminal
            raise InputError(f"{path} has no moving pictures: pass a video file")
        if videos[0].codec_context is None:
            raise InputError(f"{path} has an unknown codec: convert it to MP4 (H.264)")
        if videos[0].width * videos[0].height > BIG:
            videos[0].thread_type = "AUTO"
        yield container, videos[0]


def _open(path: Path) -> Any:
    try:
        return av.open(_plain(path))
    except UnicodeDecodeError:  # a title in another encoding, before PyAV 19
        return av.open(_plain(path), metadata_errors="replace")


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or math.nan)


def _duration(container: Any, stream: Any) -> float:
    """Return the seconds that the header promises; the least, if it says several."""
    if container.format.name == "avi" and stream.frames:
        return stream.frames / _rate(stream)
    seconds = [(container.duration or math.nan) / 1e6]
    seconds += [(stream.duration or math.nan) * float(stream.time_base)]
    with contextlib.suppress(ValueError):  # Matroska's, such as 00:01:02.5
        hours, minutes, rest = stream.metadata.get("DURATION", "").split(":")
        seconds += [3600 * float(hours) + 60 * float(minutes) + float(rest)]
    return float(np.fmin.reduce(seconds))


def _shots(path: Path, start: Number, tally: _Tally) -> Generator[Shot, None, None]:
    """Decode in order; from a key frame before start, if the file has it to seek."""
    for place in (start, 0):
        with _opened(path) as (container, stream):
            shots = _decode_from(container, stream, place, tally)
            first = next(shots, None)
            if first and (first[0] <= start or place == 0):
                yield first
                yield from shots
                return


def _decode_from(
    container: Any, stream: Any, start: Number, tally: _Tally
) -> Iterator[Shot]:
    tally.promised = _duration(container, stream)
    tally.aspect = float(stream.sample_aspect_ratio or 1)
    stamped = _decode(container, stream, tally)
    interval = 1 / float(stream.guessed_rate or 25)
    if start == 0 or not SEEKABLE & set(container.format.name.split(",")):
        return _timed(stamped, interval, tally)
    origin, _ = next(_decode(container, stream, _Tally()), (None, None))
    with contextlib.suppress(av.error.FFmpegError):
        ticks = ((origin or 0.0) + start) / float(stream.time_base)
        container.seek(int(ticks), stream=stream)
    from_key = itertools.dropwhile(lambda shot: not shot[1].key_frame, stamped)
    return _timed(from_key, interval, tally, origin)


def _decode(
    container: Any, stream: Any, tally: _Tally
) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Decode all that can be; yield (its time stamp in seconds, frame).

    AVI stamps packets in decoding order only: the n-th frame takes the n-th stamp.
    """
    unit, avi = float(stream.time_base), container.format.name == "avi"
    stamps = deque()
    for packet in _packets(container, stream, tally):
        stamps.append(packet.dts)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            tally.damaged += 1
            stamps.pop()
            continue
        for frame in frames:
            tally.decoded += 1
            tally.damaged += frame.is_corrupt
            tally.sizes.add((frame.width, frame.height))
            stamp = stamps.popleft() if stamps else None
            ticks = stamp if avi else frame.pts
            yield None if ticks is None else ticks * unit, frame


def _packets(container: Any, stream: Any, tally: _Tally) -> Iterator[Any]:
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        tally.damaged += 1


def _timed(
    stamped: Iterable[tuple[float | None, av.VideoFrame]],
    interval: float,
    tally: _Tally,
    origin: float | None = None,
) -> Iterator[Shot]:
    """Count seconds from origin; where stamps lack or run back, by the interval."""
    last = -interval
    for stamp, frame in stamped:
        origin = stamp or 0.0 if origin is None else origin
        time = -math.inf if stamp is None else stamp - origin
        if time <= last:
            time = last + interval
            tally.unstamped += 1
        yield time, frame
        last = time


def _reaches(shots: Iterable[Shot], tally: _Tally) -> Iterator[tuple[float, Shot]]:
    """Yield (the last second to which no later frame is nearer, shot)."""
    held, gap = None, 0.0
    for shot in shots:
        if held:
            gap = shot[0] - held[0]
            yield held[0] + gap / 2, held
        held = shot
    if held:
        tally.until = held[0] + gap
        yield held[0] + gap / 2, held


def _nearest(reaches: Iterable[tuple[float, Shot]], wish: _Wish) -> Iterator[Shot]:
    """Choose the shots nearest to start + k / fps, each once; a tie: the earlier."""
    k = 0
    for reach, shot in reaches:
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
    if not 0 <= wish.start < wish.end:
        span = f"start={wish.start:g} and end={wish.end:g}"
        raise InputError(f"{span}: start must be at least 0, and end after it")


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


def _check_count(count: int, wish: _Wish, tally: _Tally) -> None:
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


def _notes(tally: _Tally) -> Iterator[str]:
    until, promised, total = tally.until, tally.promised, tally.decoded
    if promised - until > 0.5 + 0.02 * promised:
        place = f"after {until:.1f} s of {promised:.1f} s"
        yield f"the file is cut off {place}: what decodes was read"
    if tally.damaged:
        yield f"damaged or not decoded: {tally.damaged} of {total} frames"
    if tally.unstamped:
        yield f"without a usable time stamp: {tally.unstamped} of {total} frames"
    if len(tally.sizes) > 1:
        yield "the picture's size changes: all frames are scaled to the first one's"
    if abs(tally.aspect - 1) > 0.02:
        yield f"pixels are {tally.aspect:.2f} times as wide as high: shown as squares"
