"""A container's packets -> its frames in order, each with the right time.

Timestamps are the frames' own, seconds since the file's first frame. What a file does
wrong on the way (damage, missing stamps, sizes that change) is counted in a Tally.
"""

import contextlib
import dataclasses
import io
import itertools
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import av
import numpy as np

from rgcam.errors import InputError

Number = float | int
File = str | os.PathLike[str]
Bytes = bytes | bytearray | memoryview
Shot = tuple[float, av.VideoFrame]  # seconds since the file's first frame, picture
SEEKABLE = {"mov", "matroska"}  # indexed, and stamped with presentation times
BIG = 2**20  # pixels from which decoding on all cores pays
AGAIN = "copy or download it again"


class Memory(NamedTuple):
    """A video file that lies in memory.

    Attributes:
        data: the file's bytes.
        name: what messages call it; a suffix helps to tell the format.
    """

    data: bytes
    name: str

    def __str__(self) -> str:
        return self.name


Source = Path | Memory


class _Reader(io.BytesIO):
    """An open ``Memory``; PyAV looks at its name as it would at a path."""

    def __init__(self, memory: Memory):
        super().__init__(memory.data)
        self.name = memory.name


@dataclasses.dataclass
class Tally:
    """What one pass over a file met."""

    decoded: int = 0
    damaged: int = 0
    unstamped: int = 0
    sizes: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    aspect: float = 1.0  # a pixel's width over its height
    promised: float = math.nan  # seconds, by the header
    until: float = math.inf  # seconds at which the last frame ends


def absolute(path: File) -> str:
    """Make a path absolute: PyAV takes the start of ``clip:1.mp4`` for a protocol."""
    return str(Path(path).absolute())


def check_rate(fps: Number) -> None:
    """Validate a number of frames per second.

    Raises:
        InputError: it is not above 0.
    """
    if not 0 < fps < math.inf:
        raise InputError(f"fps is {fps:g}; it must be above 0, such as 7.5")


def source_of(video: File | Memory | Bytes, name: str = "") -> Source:
    """Return what can be opened: a path, or bytes with the name that they go by."""
    if isinstance(video, Memory):
        return video
    if isinstance(video, Bytes):
        return Memory(bytes(video), name or "the video in memory")
    return Path(video)


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
        _refuse_empty(path)


def _refuse_empty(source: Source) -> NoReturn:
    raise InputError(f"{source} is empty (0 bytes): {AGAIN}")


@contextlib.contextmanager
def opened(path: Source) -> Iterator[tuple[Any, Any]]:
    """Open a file; yield its container and its video stream."""
    if isinstance(path, Path):
        _check_file(path)
    elif not path.data:
        _refuse_empty(path)
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


def _open(path: Source) -> Any:
    file = lambda: absolute(path) if isinstance(path, Path) else _Reader(path)
    try:
        return av.open(file())
    except UnicodeDecodeError:  # a title in another encoding, before PyAV 19
        return av.open(file(), metadata_errors="replace")


def header_rate(stream: Any) -> float:
    """Return the mean frames a second that the header promises, or NaN."""
    return float(stream.average_rate or stream.guessed_rate or math.nan)


def header_duration(container: Any, stream: Any) -> float:
    """Return the seconds that the header promises; the least, if it says several."""
    if container.format.name == "avi" and stream.frames:
        return stream.frames / header_rate(stream)
    seconds = [(container.duration or math.nan) / 1e6]
    seconds += [(stream.duration or math.nan) * float(stream.time_base)]
    with contextlib.suppress(ValueError):  # Matroska's, such as 00:01:02.5
        hours, minutes, rest = stream.metadata.get("DURATION", "").split(":")
        seconds += [3600 * float(hours) + 60 * float(minutes) + float(rest)]
    return float(np.fmin.reduce(seconds))


def shots_from(
    path: Source, start: Number, tally: Tally
) -> Generator[Shot, None, None]:
    """Decode in order; from a key frame before start, if the file has it to seek."""
    for place in (start, 0):
        with opened(path) as (container, stream):
            shots = _decode_from(container, stream, place, tally)
            first = next(shots, None)
            if first and (first[0] <= start or place == 0):
                yield first
                yield from shots
                return


def _decode_from(
    container: Any, stream: Any, start: Number, tally: Tally
) -> Iterator[Shot]:
    tally.promised = header_duration(container, stream)
    tally.aspect = float(stream.sample_aspect_ratio or 1)
    stamped = _decode(container, stream, tally)
    interval = 1 / float(stream.guessed_rate or 25)
    if start == 0 or not SEEKABLE & set(container.format.name.split(",")):
        return _timed(stamped, interval, tally)
    origin, _ = next(_decode(container, stream, Tally()), (None, None))
    with contextlib.suppress(av.error.FFmpegError):
        ticks = ((origin or 0.0) + start) / float(stream.time_base)
        container.seek(int(ticks), stream=stream)
    from_key = itertools.dropwhile(lambda shot: not shot[1].key_frame, stamped)
    return _timed(from_key, interval, tally, origin)


def _decode(
    container: Any, stream: Any, tally: Tally
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


def _packets(container: Any, stream: Any, tally: Tally) -> Iterator[Any]:
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        tally.damaged += 1


def _timed(
    stamped: Iterable[tuple[float | None, av.VideoFrame]],
    interval: float,
    tally: Tally,
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


def reaches(shots: Iterable[Shot], tally: Tally) -> Iterator[tuple[float, Shot]]:
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


def notes(tally: Tally) -> Iterator[str]:
    """Say in one sentence each what was odd about a file."""
    until, promised, total = tally.until, tally.promised, tally.decoded
    if promised - until > 0.5 + 0.02 * promised:
        place = f"after {until:.1f} s of {promised:.1f} s"
        yield f"the file is cut off {place}: what decodes was read"
    if tally.damaged:
        yield f"the file is damaged: {tally.damaged} of {total} frames are broken"
    if tally.unstamped:
        yield f"time stamps are missing or wrong: {tally.unstamped} of {total} frames"
    if len(tally.sizes) > 1:
        yield "the picture's size changes: all frames are scaled to the first one's"
    if abs(tally.aspect - 1) > 0.02:
        yield f"pixels are {tally.aspect:.2f} times as wide as high: shown as squares"
