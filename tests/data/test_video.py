"""Video files made here, each frame's number drawn in it as eight black or white bars."""

import itertools
import math
import re
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import pytest

from rgcam.data import decoding, video
from rgcam.data.video import (
    Clip,
    probe,
    read_clip,
    read_pieces,
)
from rgcam.errors import InputError

HEIGHT, WIDTH = 48, 64
MPEG_PS = {"format": "mpeg"}
FAST = {"options": {"movflags": "+faststart"}}
CONTAINERS = [
    ("a.mp4", "libx264", 30000 / 1001, {}),
    ("a.mp4", "libx264", 25, FAST),
    ("a.mp4", "libx264", 30, {}),
    ("a.mp4", "libx264", 5, {}),
    ("a.avi", "mpeg4", 30000 / 1001, {}),
    ("a.avi", "mpeg4", 25, {"codec_options": {"bf": "2"}}),
    ("a.avi", "libx264", 25, {}),  # packets' pts are scrambled
    ("a.avi", "mjpeg", 12.5, {"pix_fmt": "yuvj420p"}),
    ("a.mpg", "mpeg1video", 30000 / 1001, MPEG_PS),
    ("a.mpg", "mpeg1video", 25, MPEG_PS | {"codec_options": {"bf": "2"}}),
    ("a.mpg", "mpeg2video", 30, MPEG_PS),
    ("a.webm", "libvpx", 30, {}),
    ("a.webm", "libvpx-vp9", 25, {}),
    ("a.mkv", "libx264", 30000 / 1001, {}),
    ("a.mkv", "ffv1", 5, {"pix_fmt": "gray"}),
    ("a.mov", "libx264", 25, {}),
    ("a.mov", "qtrle", 10, {"pix_fmt": "argb"}),
    ("a.gif", "gif", 25, {"pix_fmt": "rgb8"}),
    ("a.ts", "libx264", 30, {}),
    ("a.h264", "libx264", 25, {}),  # no time stamps at all
]


def stamp(number, height=HEIGHT, width=WIDTH):
    """Draw bit b of number in the b-th eighth of the width; below, a colour."""
    bars = 255 * (number >> np.arange(width) * 8 // width & 1)
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2] = bars[None, :, None]
    picture[height // 2 :] = (200, 100, 50)
    return picture


def numbers(frames):
    """Read the numbers back."""
    height, width = frames.shape[1:3]
    middles = (np.arange(8) * 2 + 1) * width // 16
    return ((frames[:, height // 4, middles, 0] > 128) << np.arange(8)).sum(1).tolist()


def noise(number, height=HEIGHT, width=WIDTH):
    """Draw something that costs bytes."""
    rng = np.random.default_rng(number // 3)
    return rng.integers(0, 255, (height, width, 3), np.uint8)


def make(
    path,
    codec="libx264",
    fps=25,
    count=60,
    *,
    size=(HEIGHT, WIDTH),
    pix_fmt="yuv420p",
    times=None,
    draw=stamp,
    codec_options=None,
    prepare=lambda stream: None,
    **container_options,
):
    """Encode count frames, at times if given (in seconds, to the millisecond)."""
    with av.open(str(path), "w", **container_options) as container:
        stream = container.add_stream(codec, Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = size
        stream.pix_fmt, stream.options = pix_fmt, codec_options or {}
        stream.bit_rate, stream.codec_context.gop_size = 500_000, 10
        prepare(stream)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(draw(i, *size), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[i]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def nearest(times, fps):
    """Search by brute force: which frames a grid of step 1 / fps chooses."""
    times = np.asarray(times)
    end = times[-1] + (times[-1] - times[-2]) / 2
    grid = [k / fps for k in range(1000) if k / fps <= end]
    return sorted({int(np.argmin(np.abs(times - moment))) for moment in grid})


@pytest.mark.parametrize(("name", "codec", "rate", "options"), CONTAINERS)
def test_the_nearest_frames_are_read(tmp_path, name, codec, rate, options):
    path = make(tmp_path / name, codec, rate, **options)
    clip = read_clip(path)
    expected = nearest(np.arange(60) / rate, 7.5)
    assert numbers(clip.frames) == expected
    np.testing.assert_allclose(clip.times, np.array(expected) / rate, atol=1.1e-3)
    assert clip.frames.shape[1:] == (HEIGHT, WIDTH, 3)
    assert clip.frames.dtype == np.uint8 and clip.times.dtype == np.float64
    if options.get("pix_fmt") not in ("gray", "rgb8"):
        colour = clip.frames[:, -10:-4, 4:-4].mean((0, 1, 2))
        np.testing.assert_allclose(colour, (200, 100, 50), atol=30)


@pytest.mark.parametrize(("name", "codec", "rate", "options"), CONTAINERS[1::3])
def test_bytes_are_read_like_the_file(tmp_path, name, codec, rate, options):
    path = make(tmp_path / name, codec, rate, **options)
    data = path.read_bytes()
    for span in ({}, {"start": 0.8, "end": 1.6}):
        clip, again = read_clip(path, **span), read_clip(data, **span)
        np.testing.assert_array_equal(clip.frames, again.frames)
        np.testing.assert_array_equal(clip.times, again.times)
        assert clip.notes == again.notes
    again = read_clip(memoryview(data), name="clip:1.txt")  # of no protocol
    np.testing.assert_array_equal(read_clip(path).frames, again.frames)


@pytest.mark.parametrize("count", [1, 7, 99])
def test_pieces_make_the_clip(tmp_path, count):
    path = make(tmp_path / "a.mp4")
    for span in ({}, {"start": 0.8, "end": 1.6}):
        clip, pieces = (
            read_clip(path, **span),
            [*read_pieces(path, count=count, **span)],
        )
        assert [len(p.frames) for p in pieces[:-1]] == [count] * (len(pieces) - 1)
        frames, times, _ = zip(*pieces, strict=True)
        np.testing.assert_array_equal(np.concatenate(frames), clip.frames)
        np.testing.assert_array_equal(np.concatenate(times), clip.times)


def test_pieces_of_a_damaged_file_note_it_at_the_end(tmp_path):
    path = make(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    *first, last = read_pieces(path, count=3)
    assert last.notes == read_clip(path).notes != ()
    assert not any(piece.notes for piece in first)
    with pytest.raises(InputError, match="beyond the end"):
        list(read_pieces(path, start=99))


def test_known_choices(tmp_path):
    ntsc = make(tmp_path / "a.mp4", fps=30000 / 1001)
    assert numbers(read_clip(ntsc).frames)[:5] == [0, 4, 8, 12, 16]
    pal = make(tmp_path / "b.mp4", fps=25)
    assert numbers(read_clip(pal).frames)[:6] == [0, 3, 7, 10, 13, 17]
    slow = make(tmp_path / "c.mp4", fps=5)
    assert numbers(read_clip(slow, 30).frames) == list(range(60))


def test_variable_rate(tmp_path):
    gaps = np.array([0.02, 0.3, 0.05, 0.011, 0.2, 0.033, 0.5])
    times = np.round(np.cumsum(np.tile(gaps, 9)), 3)
    times -= times[0]
    for name in ("a.mkv", "a.mp4"):
        path = make(tmp_path / name, fps=25, times=times)
        for fps in (7.5, 3, 25):
            clip = read_clip(path, fps)
            expected = nearest(times[:60], fps)
            assert numbers(clip.frames) == expected
            np.testing.assert_allclose(clip.times, times[expected], atol=1e-6)


def test_time_stamps_that_run_back_go_on_at_the_average_rate(tmp_path):
    first = make(tmp_path / "a.ts", fps=25, count=30).read_bytes()
    second = make(tmp_path / "b.ts", fps=25, count=30, size=(60, 80)).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first + second)
    clip = read_clip(joined, 25)
    assert clip.frames.shape[1:] == (HEIGHT, WIDTH, 3)
    assert (np.diff(clip.times) > 0).all() and clip.times[-1] == pytest.approx(59 / 25)
    assert numbers(clip.frames) == [*range(30), *range(30)]
    assert any("size changes" in note for note in clip.notes)
    assert any("time stamp" in note for note in clip.notes)


def avi_chunks(data):
    """Return where the chunks of an AVI's only stream begin, and where they end."""
    ends = [data.index(b"movi") + 4]
    while data[ends[-1] :][:4] == b"00dc":
        size = int.from_bytes(data[ends[-1] + 4 :][:4], "little")
        ends.append(ends[-1] + 8 + size + size % 2)
    return ends


def test_empty_chunks_of_an_avi_take_time(tmp_path):
    data = make(tmp_path / "a.avi", "mpeg4", count=20).read_bytes()
    ends = avi_chunks(data)
    chunks = [data[a:b] for a, b in itertools.pairwise(ends)]
    body = b"movi" + b"".join([*chunks[:5], 3 * (b"00dc" + bytes(4)), *chunks[5:]])
    head = data[: ends[0] - 8] + len(body).to_bytes(4, "little")
    (tmp_path / "gap.avi").write_bytes(head + body)
    clip = read_clip(tmp_path / "gap.avi", 25)
    assert numbers(clip.frames) == list(range(20))
    expected = [i + 3 * (i >= 5) for i in range(20)]
    np.testing.assert_allclose(clip.times * 25, expected)


def test_a_broken_frame_of_an_avi_shifts_no_other(tmp_path):
    path = make(tmp_path / "a.avi", "mjpeg", count=20, pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    start, end = avi_chunks(data)[5:7]
    data[start + 8 : end] = bytes(end - start - 8)
    path.write_bytes(data)
    clip = read_clip(path, 25)
    rest = [i for i in range(20) if i != 5]
    assert numbers(clip.frames) == rest
    np.testing.assert_allclose(clip.times * 25, rest)
    assert clip.notes == ("the file is damaged: 1 of 19 frames are broken",)


MATRICES = {  # (a, b, c, d): x' = a x + c y, y' = b x + d y; then numpy's equivalent
    "quarter clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "quarter counterclockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "half": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside down": ((1, 0, 0, -1), np.flipud),
    "transposed": ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
}


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_matrix"),
    reason="this PyAV writes no display matrix",
)
@pytest.mark.parametrize("name", MATRICES)
def test_phone_videos_stand_upright(tmp_path, name):
    (a, b, c, d), turn = MATRICES[name]
    matrix = [v << 16 for v in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    path, plain = tmp_path / "a.mov", make(tmp_path / "plain.mov", count=9)
    make(path, count=9, prepare=lambda stream: stream.set_display_matrix(matrix))
    stored = read_clip(plain).frames
    expected = np.stack([turn(frame) for frame in stored])
    np.testing.assert_array_equal(read_clip(path).frames, expected)


def test_odd_size_and_size_limit(tmp_path):
    path = make(tmp_path / "a.mkv", "ffv1", pix_fmt="yuv444p", size=(45, 63))
    assert read_clip(path).frames.shape == (18, 45, 63, 3)
    small = read_clip(path, size=15).frames
    assert small.shape == (18, 15, 21, 3) and numbers(small) == nearest(
        np.arange(60) / 25, 7.5
    )
    assert read_clip(path, size=500).frames.shape == (18, 45, 63, 3)


def test_pixels_that_are_not_square_are_noted(tmp_path):
    def stretch(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = make(tmp_path / "a.mkv", prepare=stretch)
    assert any("1.33 times as wide" in note for note in read_clip(path).notes)


@pytest.mark.parametrize(
    ("name", "codec", "options", "seeks"),
    [
        ("a.mp4", "libx264", {}, True),
        ("a.mkv", "libx264", {}, True),
        ("a.mov", "mpeg4", {"codec_options": {"bf": "2"}}, True),
        ("a.webm", "libvpx", {}, True),
        ("a.mp4", "libx264", {"codec_options": {"x264-params": "open-gop=1"}}, True),
        ("a.mpg", "mpeg1video", MPEG_PS | {"codec_options": {"bf": "2"}}, False),
        ("a.avi", "libx264", {}, False),
    ],
)
def test_start_and_end_are_a_slice(tmp_path, name, codec, options, seeks):
    path = make(tmp_path / name, codec, 30000 / 1001, 120, **options)
    whole = read_clip(path)
    for i, j in ((0, 5), (7, 20), (16, 18), (23, 30)):
        part = read_clip(path, start=i / 7.5, end=j / 7.5)
        np.testing.assert_array_equal(part.frames, whole.frames[i:j])
        np.testing.assert_array_equal(part.times, whole.times[i:j])
    np.testing.assert_array_equal(read_clip(path, start=2).frames, whole.frames[15:])
    first = next(decoding.timed_frames(path, 3, decoding.DecodeStats()))[0]
    assert (first > 1) is seeks


def test_a_first_time_stamp_above_zero_with_start(tmp_path):
    times = 5 + np.arange(60) / 25
    path = make(tmp_path / "a.mkv", times=times)
    whole, part = read_clip(path), read_clip(path, start=0.8)
    assert whole.times[0] == 0
    np.testing.assert_array_equal(part.frames, whole.frames[6:])


def test_probe(tmp_path):
    info = probe(make(tmp_path / "a.mp4", fps=25))
    assert info == (WIDTH, HEIGHT, 2.4, 25)
    assert probe(make(tmp_path / "a.mkv", fps=25)).duration == pytest.approx(2.4)
    assert math.isnan(probe(make(tmp_path / "a.h264", fps=25)).duration)


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = np.zeros((1, 44100), np.float32)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def unreadable(folder):
    """Yield (path, what the error must say)."""
    yield folder / "missing.mp4", "missing.mp4 does not exist"
    yield folder, "is a folder"
    (folder / "empty.mp4").touch()
    yield folder / "empty.mp4", "is empty"
    for name in ("text.avi", "text.mp4", "text.mpg"):
        (folder / name).write_text("Dear reader,\n" * 1000)
        yield folder / name, f"{name} is no video"
    (folder / "notes.txt").write_text("Dear reader,\n" * 1000)
    yield folder / "notes.txt", "no moving pictures"
    yield write_sound(folder / "sound.mp4"), "no moving pictures"
    unknown = make(folder / "unknown.avi", "mpeg4")
    unknown.write_bytes(unknown.read_bytes().replace(b"FMP4", b"QZQZ"))
    yield unknown, "unknown codec"
    cut = make(folder / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    yield cut, "cut.mp4 is no video, or cut off"
    head = make(folder / "head.mkv", draw=noise)
    data = head.read_bytes()
    head.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75") + 99])  # first cluster
    yield head, "no frame of .*head.mkv decodes"
    iio.imwrite(folder / "picture.png", stamp(1))
    yield folder / "picture.png", "gives 1 frame at 7.5 fps; at least 2 are needed"
    one = make(folder / "one.mp4", count=1)
    yield one, "one.mp4 gives 1 frame at 7.5 fps; at least 2 are needed: raise --fps"


def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path, capfd):
    for path, message in unreadable(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            read_clip(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
        with pytest.raises(InputError, match=message.split(";")[0]):
            read_clip(str(path))
    assert capfd.readouterr() == ("", "")


def test_unreadable_bytes_get_the_files_sentences(tmp_path):
    for path, message in unreadable(tmp_path):
        if path.is_file():
            with pytest.raises(InputError, match=message) as caught:
                read_clip(path.read_bytes(), name=str(path))
            assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="the video in memory is empty"):
        read_clip(b"")


def test_no_permission(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mp4")

    def reject(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", reject)
    with pytest.raises(InputError, match=r"a.mp4 cannot be read \(Permission denied\)"):
        read_clip(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fps": 0}, "fps is 0"),
        ({"fps": -1.0}, "fps is -1"),
        ({"fps": math.nan}, "fps is nan"),
        ({"start": -1}, "start is -1; it must be 0 or later"),
        ({"start": math.inf}, "start is inf"),
        ({"start": 1, "end": 1}, "end is 1; it must be after start=1"),
        ({"start": 50}, "start=50 is beyond the end of .*a.mp4, which lasts 2.4 s"),
        ({"start": 1, "end": 1.05}, "gives 1 frame"),
    ],
)
def test_spans_that_hold_nothing(tmp_path, arguments, message):
    path = make(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=message):
        read_clip(path, **arguments)


@pytest.mark.parametrize(
    ("name", "codec", "options", "notes"),
    [
        ("a.avi", "mpeg4", {}, ("cut off after 1.* s of 3.0 s", "is damaged: 1 of")),
        ("a.mpg", "mpeg1video", MPEG_PS, ("is damaged: 1 of",)),
        ("a.mp4", "libx264", FAST, ("cut off after", "damaged")),
        ("a.mkv", "libx264", {}, ("cut off after",)),
        ("a.webm", "libvpx", {}, ("cut off after",)),
    ],
)
def test_half_a_file(tmp_path, capfd, name, codec, options, notes):
    path = make(tmp_path / name, codec, draw=noise, count=75, **options)
    whole = read_clip(path)
    assert whole.notes == ()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    half = read_clip(path)
    assert 6 <= len(half.frames) <= 18
    np.testing.assert_array_equal(half.frames[:5], whole.frames[:5])
    assert len(half.notes) == len(notes)
    for note, part in zip(half.notes, notes, strict=True):
        assert re.search(part, note)
    assert read_clip(path, end=0.8).notes == ()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_bit_rot(tmp_path, codec):
    path = make(tmp_path / "a.mkv", codec, draw=noise, count=75)
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for place in rng.integers(len(data) // 4, len(data), 20):
        data[place : place + 30] = rng.bytes(30)
    path.write_bytes(data)
    clip = read_clip(path)
    assert len(clip.frames) >= 5 and (np.diff(clip.times) > 0).all()


def test_a_title_in_another_encoding(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXXYYYY"
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(9):
            frame = av.VideoFrame.from_ndarray(stamp(i), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"XXXXYYYY", b"caf\xe9\xff\x82\xa0Y"))
    assert numbers(read_clip(path).frames) == [0, 3, 7]


def test_a_name_with_a_colon(tmp_path, monkeypatch):
    make(tmp_path / "a.mp4").rename(tmp_path / "clip:1.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_clip("clip:1.mp4").frames) == 18


def test_a_film_is_rejected_before_it_is_decoded(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"cut it with start and end \(--start=0"):
        read_clip(path, max_bytes=10 * HEIGHT * WIDTH * 3)
    assert len(read_clip(path, max_bytes=18 * HEIGHT * WIDTH * 3).frames) == 18
    film = video.VideoInfo(320, 240, 3 * 3600.0, 30.0)
    monkeypatch.setattr(video, "probe", lambda path, stream: film)
    with pytest.raises(InputError) as caught:
        read_clip(path)
    assert str(caught.value).endswith(
        "a.mp4: 3 h 0 min are 81,000 frames at 7.5 fps, 18.7 GB in memory, and 4.29 "
        "are allowed; cut it with start and end (--start=0 --end=60) or lower fps"
    )
    assert len(read_clip(path, end=60).frames) == 18


def test_a_header_that_lies_is_found_out_while_decoding(tmp_path):
    path = make(tmp_path / "a.h264")
    with pytest.raises(InputError, match="11 frames at 7.5 fps.*--start=0 --end=1.2"):
        read_clip(path, max_bytes=10 * HEIGHT * WIDTH * 3)


def test_imageio_reads_the_same_pixels(tmp_path):
    path = make(tmp_path / "a.mp4", fps=25)
    every = iio.imread(path, plugin="pyav")
    expected = every[nearest(np.arange(60) / 25, 7.5)]
    np.testing.assert_array_equal(read_clip(path).frames, expected)


def test_real_clips(real_clips):
    paths = sorted((real_clips / "original").glob("*.avi"))
    assert len(paths) == 4
    for path in paths:
        clip, info = read_clip(path), probe(path)
        assert isinstance(clip, Clip) and clip.notes == ()
        expected = nearest(np.arange(round(info.duration * info.fps)) / info.fps, 7.5)
        assert clip.frames.shape == (len(expected), 240, 320, 3)
        np.testing.assert_allclose(clip.times, np.array(expected) / info.fps)
