"""The packets of a video file -> its frames in order, each with its time.

Times are the frames' own time stamps, in seconds since the file's first frame. What is
wrong with a file (damage, missing or wild stamps, sizes that change) is counted in
``DecodeStats`` and put into sentences by ``notes``.
"""

import contextlib
import dataclasses
import io
import itertools
import math
import stat
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Disposition

from rgcam import files
from rgcam.errors import InputError
from rgcam.types import File, Number

Bytes = bytes | bytearray | memoryview
TimedFrame = tuple[float, av.VideoFrame]  # seconds since the file's first frame, frame

SEEKABLE = {"mov", "matroska"}  # indexed, and stamped with presentation times
PIXELS_FOR_THREADS = 2**20  # from this frame size on, decoding on all cores pays
GET_A_COPY = "copy or download it again"
LOOKAHEAD = 8  # frames that tell a wild time stamp from a gap
USUAL_GAP = 1.0  # seconds; a longer step between two stamps is checked


class Memory(NamedTuple):
    """A video file that lies in memory.

    Attributes:
        data: the file's bytes.
        name: for messages; its suffix helps to tell the format.
    """

    data: bytes
    name: str

    def __str__(self) -> str:
        return self.name


Source = Path | Memory


class _Reader(io.BytesIO):
    """An open ``Memory``; PyAV reads its ``name`` as it would read a path."""

    def __init__(self, memory: Memory):
        super().__init__(memory.data)
        self.name = memory.name


@dataclasses.dataclass
class DecodeStats:
    """What one pass over a file met; filled in while the frames are read.

    Attributes:
        decoded: number of frames.
        damaged: number of frames, or packets, that could not be decoded properly.
        repaired_stamps: number of frames whose time stamp was missing or wild.
        stamp_restarts: number of places where the time stamps start again.
        sizes: (width, height) of the frames in pixels.
        pixel_aspect: width of a pixel over its height.
        video_streams: number of video streams, still cover pictures not counted.
        stream: number of the stream that is read, among the file's video streams.
        header_seconds: duration by the header; NaN: unknown.
        header_frames: number of frames by the header; 0: unknown.
        from_start: the pass began at the file's first frame.
        end_seconds: time at which the last frame ends; infinite until it is reached.
    """

    decoded: int = 0
    damaged: int = 0
    repaired_stamps: int = 0
    stamp_restarts: int = 0
    sizes: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    pixel_aspect: float = 1.0
    video_streams: int = 1
    stream: int = 0
    header_seconds: float = math.nan
    header_frames: int = 0
    from_start: bool = True
    end_seconds: float = math.inf


def source_of(video: File | Memory | Bytes, name: str = "") -> Source:
    """Return what can be opened: a path, or bytes with the name that they go by."""
    if isinstance(video, Memory):
        return video
    if isinstance(video, Bytes):
        return Memory(bytes(video), name or "the video in memory")
    return Path(video)


@contextlib.contextmanager
def opened(
    source: Source, stream: int | None = None
) -> Generator[tuple[InputContainer, av.VideoStream]]:
    """Open a file; yield its container and one of its video streams.

    Args:
        source: the file.
        stream: number of the stream among the file's video streams, from 0; None: the
            default or largest one, which is not always the first.

    Raises:
        InputError: the file cannot be read, is no video, or has no such stream.
    """
    _check_source(source)
    try:
        container = _open(source)
    except av.error.FFmpegError:
        raise InputError(
            f"{source} is no video, or cut off: play it to check, or {GET_A_COPY}"
        ) from None
    with container:
        video_stream = _choose_stream(container, source, stream)
        if video_stream.codec_context is None:
            raise InputError(
                f"{source} has an unknown codec: convert it to MP4 (H.264)"
            )
        if video_stream.width * video_stream.height > PIXELS_FOR_THREADS:
            video_stream.thread_type = "AUTO"
        yield container, video_stream


def _check_source(source: Source) -> None:
    """Raise InputError for what is no file, is empty, or is known to be unreadable."""
    if isinstance(source, Memory):
        head = source.data[:64]
    else:
        head = _first_bytes(source)
    if not head:
        raise InputError(f"{source} is empty (0 bytes): {GET_A_COPY}")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and b"ANIM" in head:
        raise InputError(
            f"{source} is an animated WebP, which is not supported: convert it, for "
            'example by python -c "from PIL import Image; '
            "Image.open('in.webp').save('out.gif', save_all=True)\""
        )


def _first_bytes(path: Path) -> bytes:
    try:
        # Opening a named pipe would wait for somebody who writes into it.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise InputError(
                f"{path} is a pipe or a device: save the video to a file and pass that"
            )
        with path.open("rb") as file:
            return file.read(64)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check its name") from None
    except OSError as error:
        problem = (
            "is a folder" if path.is_dir() else f"cannot be read ({error.strerror})"
        )
        raise InputError(f"{path} {problem}: pass one video file") from None


def _open(source: Source) -> InputContainer:
    def file() -> str | _Reader:
        return files.absolute(source) if isinstance(source, Path) else _Reader(source)

    try:
        return av.open(file(), "r")
    except UnicodeDecodeError:  # a title in another encoding, before PyAV 19
        return av.open(file(), "r", metadata_errors="replace")


def _choose_stream(
    container: InputContainer, source: Source, number: int | None
) -> av.VideoStream:
    moving = _moving_streams(container)
    # FFmpeg opens a text file too, and draws it as a terminal.
    if not moving or container.format.name == "tty":
        raise InputError(f"{source} has no moving pictures: pass a video file")
    if number is not None:
        videos = container.streams.video
        if not 0 <= number < len(videos):
            raise InputError(
                f"{source} has no video stream {number}: it has {len(videos)}, "
                "numbered from 0"
            )
        return videos[number]
    # What ffmpeg does: a still picture beside a film, as in an animated AVIF, is never
    # the film; then what the file marks as its default, then the largest.
    default = Disposition.default
    return max(
        moving,
        key=lambda s: (
            s.frames != 1,
            bool(s.disposition & default),
            _area(s),
            -s.index,
        ),
    )


def _area(stream: av.VideoStream) -> int:
    """Return the pixels of a frame; 0 where the codec is unknown."""
    return 0 if stream.codec_context is None else stream.width * stream.height


def _moving_streams(container: InputContainer) -> list[av.VideoStream]:
    """Return the video streams that are not cover pictures."""
    cover = Disposition.attached_pic
    return [s for s in container.streams.video if not s.disposition & cover]


def header_rate(stream: av.VideoStream) -> float:
    """Return the mean frames per second that the header promises, or NaN."""
    return float(stream.average_rate or stream.guessed_rate or math.nan)


def header_duration(container: InputContainer, stream: av.VideoStream) -> float:
    """Return the seconds that the header gives this stream, from its first frame.

    The container's own duration may be that of the sound, and may count from 0 where
    the stamps start later. Of several figures, the smallest; NaN where there is none.
    """
    if container.format.name == "avi" and stream.frames:
        return stream.frames / header_rate(stream)
    unit = stream.time_base or Fraction(0)
    seconds = []
    if stream.duration is not None:
        seconds.append(float(stream.duration * unit))
    start = float((stream.start_time or 0) * unit)
    ends = [_matroska_end(stream)]
    if len(container.streams) == 1 and container.duration is not None:
        ends.append(container.duration / 1e6)
    # Some writers store the span, others the time at which it ends.
    seconds += [end - start if end > start else end for end in ends]
    spans = [span for span in seconds if not math.isnan(span)]
    return min(spans, default=math.nan)


def _matroska_end(stream: av.VideoStream) -> float:
    """Read Matroska's DURATION tag, such as 00:01:02.5; NaN where there is none."""
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    except ValueError:
        return math.nan


def timed_frames(
    source: Source, start: Number, stats: DecodeStats, stream: int | None = None
) -> Generator[TimedFrame, None, None]:
    """Decode the frames in order, each with its time.

    Args:
        source: the file.
        start: in seconds; where the file can be searched, frames are decoded from the
            key frame before it, otherwise from the file's beginning.
        stats: filled in on the way.
        stream: as in ``opened``.
    """
    # Some files find a key frame that is later than asked: read those from 0.
    for seek_to in (start, 0):
        with opened(source, stream) as (container, video_stream):
            frames = _frames_from(container, video_stream, seek_to, stats)
            first = next(frames, None)
            if first and (first[0] <= start or seek_to == 0):
                yield first
                yield from frames
                return


def _frames_from(
    container: InputContainer,
    stream: av.VideoStream,
    start: Number,
    stats: DecodeStats,
) -> Iterator[TimedFrame]:
    stats.header_seconds = header_duration(container, stream)
    stats.header_frames = stream.frames
    stats.pixel_aspect = float(stream.sample_aspect_ratio or 1)
    stats.video_streams = len(_moving_streams(container))
    stats.stream = [s.index for s in container.streams.video].index(stream.index)
    stamped = _decode(container, stream, stats)
    interval = 1 / float(stream.guessed_rate or 25)
    searchable = bool(SEEKABLE & set(container.format.name.split(",")))
    stats.from_start = start == 0 or not searchable
    if stats.from_start:
        return _timed(stamped, interval, stats)

    first_frames = itertools.islice(
        _decode(container, stream, DecodeStats()), LOOKAHEAD
    )
    origin = _origin([stamp for stamp, _ in first_frames], interval)
    with contextlib.suppress(av.error.FFmpegError):
        ticks = (origin + start) / float(stream.time_base or 1)
        container.seek(int(ticks), stream=stream)
    from_key_frame = itertools.dropwhile(lambda pair: not pair[1].key_frame, stamped)
    return _timed(from_key_frame, interval, stats, origin)


def _decode(
    container: InputContainer, stream: av.VideoStream, stats: DecodeStats
) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Decode all that can be; yield (its time stamp in seconds, frame).

    AVI stamps packets in decoding order only: the n-th frame takes the n-th stamp.
    """
    unit = float(stream.time_base or 0)
    is_avi = container.format.name == "avi"
    packet_stamps: deque[int | None] = deque()
    for packet in _packets(container, stream, stats):
        packet_stamps.append(packet.dts)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            stats.damaged += 1
            packet_stamps.pop()
            continue
        for frame in frames:
            if not isinstance(frame, av.VideoFrame):
                continue
            stats.decoded += 1
            stats.damaged += frame.is_corrupt
            stats.sizes.add((frame.width, frame.height))
            packet_stamp = packet_stamps.popleft() if packet_stamps else None
            ticks = packet_stamp if is_avi else frame.pts
            yield None if ticks is None else ticks * unit, frame


def _packets(
    container: InputContainer, stream: av.VideoStream, stats: DecodeStats
) -> Iterator[av.Packet]:
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        stats.damaged += 1


def _timed(
    stamped: Iterable[tuple[float | None, av.VideoFrame]],
    interval: float,
    stats: DecodeStats,
    origin: float | None = None,
) -> Iterator[TimedFrame]:
    """Turn time stamps into strictly increasing times, and repair what cannot be true.

    A stamp is wild if the stamps after it go on from the ones before it: that frame
    alone is placed between its neighbours. A long step that the later stamps confirm
    is a gap in the video and stays. Where the stamps start again from a smaller value,
    as in two files joined, the times go on with the stamps' own steps.

    Args:
        stamped: (stamp in seconds or None, frame), in the order of display.
        interval: usual seconds between frames.
        stats: repairs are counted there.
        origin: stamp of the file's first frame; None: ``stamped`` begins with it.
    """
    frames = iter(stamped)
    upcoming = deque(itertools.islice(frames, LOOKAHEAD))
    stamps = [stamp for stamp, _ in upcoming]
    from_start = origin is None
    if origin is None:
        origin = _origin(stamps, interval)
    shift = -origin  # from a stamp to a time
    first = 0.0
    if not from_start:
        first = min([s + shift for s in stamps if s is not None], default=0.0)
    previous = first - interval
    while upcoming:
        stamp, frame = upcoming.popleft()
        time = math.nan if stamp is None else stamp + shift
        if not previous < time <= previous + max(USUAL_GAP, 10 * interval):
            upcoming.extend(itertools.islice(frames, LOOKAHEAD - len(upcoming)))
            later = [s + shift for s, _ in upcoming if s is not None]
            if time <= previous and _restarts(time, later, previous):
                stats.stamp_restarts += 1
                shift += previous + interval - time
                time = previous + interval
            elif not time > previous or _comes_back(time, later, previous):
                stats.repaired_stamps += 1
                time = _between(previous, upcoming, shift, interval)
        yield time, frame
        previous = time
        if not upcoming:
            upcoming.extend(itertools.islice(frames, 1))


def _origin(stamps: list[float | None], interval: float) -> float:
    """Return the stamp that the first frame has, or should have."""
    stamped = [
        (place, stamp) for place, stamp in enumerate(stamps) if stamp is not None
    ]
    if not stamped:
        return 0.0
    place, first = stamped[0]
    later = [stamp for _, stamp in stamped[1:]]
    if later and _comes_back(first, later, -math.inf):
        place, first = min(stamped[1:], key=lambda pair: pair[1])
    return first - place * interval


def _comes_back(time: float, later: list[float], previous: float) -> bool:
    """Tell whether most of the later times lie before this one."""
    return sum(previous < t < time for t in later) > len(later) / 2


def _restarts(time: float, later: list[float], previous: float) -> bool:
    """Tell whether the times go on from this smaller one."""
    going_on = sum(time < t for t in later)
    return sum(t <= previous for t in later) > len(later) / 2 and going_on > 0


def _between(
    previous: float,
    upcoming: Iterable[tuple[float | None, av.VideoFrame]],
    shift: float,
    interval: float,
) -> float:
    """Place a frame between the one before it and the next whose stamp is good."""
    later = [
        (stamp + shift, steps)
        for steps, (stamp, _) in enumerate(upcoming, start=2)
        if stamp is not None and stamp + shift > previous
    ]
    if not later:
        return previous + interval
    time, steps = min(later)
    return previous + (time - previous) / steps


def with_nearest_until(
    frames: Iterable[TimedFrame], stats: DecodeStats
) -> Iterator[tuple[float, TimedFrame]]:
    """Yield with each frame the last second to which no later frame is nearer."""
    held: TimedFrame | None = None
    gap = 0.0
    for timed in frames:
        if held:
            gap = timed[0] - held[0]
            yield held[0] + gap / 2, held
        held = timed
    if held:
        stats.end_seconds = held[0] + (_own_duration(held[1]) or gap)
        yield held[0] + gap / 2, held


def _own_duration(frame: av.VideoFrame) -> float:
    """Return the seconds for which a frame says that it is shown; 0: unknown."""
    return float((frame.duration or 0) * (frame.time_base or 0))


def notes(stats: DecodeStats) -> Iterator[str]:
    """Describe, in one sentence each, what is unusual about a file."""
    if stats.video_streams > 1:
        yield (
            f"the file has {stats.video_streams} video streams: number {stats.stream} "
            "was read; choose with --stream"
        )
    missing = stats.header_seconds - stats.end_seconds
    complete = (
        stats.from_start
        and 0 < stats.header_frames <= stats.decoded
        and not stats.damaged
    )
    if missing > 0.5 + 0.02 * stats.header_seconds and not complete:
        yield (
            f"the file is cut off after {stats.end_seconds:.1f} s of "
            f"{stats.header_seconds:.1f} s: what decodes was read"
        )
    total = stats.decoded
    if stats.damaged:
        yield f"the file is damaged: {stats.damaged} of {total} frames are broken"
    if stats.repaired_stamps:
        yield (
            f"time stamps are missing or wrong: {stats.repaired_stamps} of {total} "
            "replaced by a time between their neighbours'"
        )
    if stats.stamp_restarts:
        yield (
            "the time stamps start again in the middle of the file "
            f"({stats.stamp_restarts} times): the times go on from the frame before"
        )
    if len(stats.sizes) > 1:
        yield "the picture's size changes: all frames are scaled to the first one's"
    if abs(stats.pixel_aspect - 1) > 0.02:
        yield (
            f"pixels are {stats.pixel_aspect:.2f} times as wide as high: shown as "
            "squares"
        )
