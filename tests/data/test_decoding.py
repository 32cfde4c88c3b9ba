"""Streams, header durations and time stamps of files that are unusual or wrong."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rgcam.data import decoding
from rgcam.data.decoding import DecodeStats
from rgcam.data.video import probe, read_clip
from rgcam.errors import InputError


def grey(number, height=48, width=64):
    return np.full((height, width, 3), 4 * number, np.uint8)


def numbers(frames):
    return np.rint(frames.mean((1, 2, 3)) / 4).astype(int).tolist()


def encode(path, streams, *, sound_seconds=0.0, first_stamp=0, **options):
    """Write video lossless streams, each (height, width, number of frames), at 25 fps."""
    with av.open(str(path), "w", **options) as container:
        added = []
        for height, width, count in streams:
            codec = "ffv1" if Path(path).suffix == ".mkv" else "png"
            stream = container.add_stream(codec, 25)
            stream.height, stream.width, stream.pix_fmt = height, width, "gray"
            stream.codec_context.time_base = Fraction(1, 1000)
            added.append((stream, height, width, count))
        sound = container.add_stream("pcm_s16le", rate=8000) if sound_seconds else None
        for stream, height, width, count in added:
            for i in range(count):
                picture = grey(i, height, width)[..., 0]
                frame = av.VideoFrame.from_ndarray(picture, format="gray")
                frame.pts, frame.time_base = first_stamp + 40 * i, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if sound is not None:
            samples = np.zeros((1, int(8000 * sound_seconds)), np.int16)
            audio = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            audio.sample_rate = 8000
            container.mux([*sound.encode(audio), *sound.encode(None)])
    return path


def test_the_best_of_several_video_streams_is_read_and_named(tmp_path):
    path = encode(tmp_path / "a.avi", [(24, 40, 30), (48, 64, 30)])
    clip = read_clip(path)
    assert clip.frames.shape[1:] == (48, 64, 3)
    assert clip.notes == (
        "the file has 2 video streams: number 1 was read; choose with --stream",
    )
    assert probe(path)[:2] == (64, 48)


def test_a_stream_can_be_chosen_by_its_number(tmp_path):
    path = encode(tmp_path / "a.mkv", [(24, 40, 30), (48, 64, 30)])
    assert read_clip(path, stream=0).frames.shape[1:] == (24, 40, 3)
    assert probe(path, 0)[:2] == (40, 24)
    for number in (2, -1):
        with pytest.raises(InputError, match=f"no video stream {number}: it has 2"):
            read_clip(path, stream=number)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_still_picture_of_an_animated_avif_is_not_the_film(tmp_path):
    pictures = [Image.fromarray(grey(i)) for i in range(10)]
    path = tmp_path / "a.avif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    assert len(read_clip(path, 10).frames) == 10


def test_a_clip_with_longer_sound_is_not_called_cut_off(tmp_path):
    for name in ("a.mkv", "a.mov", "a.avi"):
        path = encode(tmp_path / name, [(48, 64, 50)], sound_seconds=9.0)
        clip = read_clip(path)
        assert clip.notes == () and len(clip.frames) == 15
        assert probe(path).duration == pytest.approx(2.0, abs=0.05)


def test_a_header_duration_counts_from_the_first_frame(tmp_path):
    path = encode(tmp_path / "a.mkv", [(48, 64, 50)], first_stamp=1_000_000_000)
    assert probe(path).duration == pytest.approx(2.0, abs=0.05)
    clip = read_clip(path, max_bytes=10**6)
    assert clip.notes == () and clip.times[0] == 0 and len(clip.frames) == 15


def test_the_last_picture_of_a_gif_lasts_as_long_as_it_says(tmp_path):
    pictures = [Image.fromarray(grey(i)) for i in range(6)]
    held = [100, 100, 100, 100, 100, 3000]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=held)
    assert read_clip(path).notes == ()


def timed(stamps, interval=0.04, origin=None):
    stats = DecodeStats()
    frame = av.VideoFrame(16, 16, "gray")
    stamps = [None if stamp is None else float(stamp) for stamp in stamps]
    pairs = ((stamp, frame) for stamp in stamps)
    times = [t for t, _ in decoding._timed(pairs, interval, stats, origin)]
    return np.array(times), stats


REGULAR = np.arange(60) * 0.04


@pytest.mark.parametrize(
    "wild", [{10: 100.0}, {10: -5.0}, {0: 100.0}, {10: 100.0, 11: 100.04}, {58: 70.0}]
)
def test_a_wild_stamp_moves_no_other_frame(wild):
    stamps = REGULAR + 7.0
    for place, stamp in wild.items():
        stamps[place] = stamp
    times, stats = timed(stamps)
    others = [i for i in range(60) if i not in wild]
    np.testing.assert_allclose(times[others], REGULAR[others], atol=1e-9)
    np.testing.assert_allclose(times, REGULAR, atol=0.041)
    assert (np.diff(times) > 0).all()
    assert stats.repaired_stamps == len(wild) and stats.stamp_restarts == 0


def test_missing_stamps_lie_between_their_neighbours():
    stamps = [None if i in (4, 5, 20) else t for i, t in enumerate(REGULAR)]
    times, stats = timed(stamps)
    np.testing.assert_allclose(times, REGULAR)
    assert stats.repaired_stamps == 3


def test_a_long_gap_that_later_stamps_confirm_stays():
    stamps = np.concatenate([REGULAR[:30], REGULAR[30:] + 50])
    times, stats = timed(stamps)
    np.testing.assert_array_equal(times, stamps)
    assert stats.repaired_stamps == stats.stamp_restarts == 0


def test_stamps_that_start_again_keep_their_own_steps():
    second = np.arange(30) * 0.1
    times, stats = timed([*REGULAR, *second])
    np.testing.assert_allclose(times[:60], REGULAR)
    np.testing.assert_allclose(np.diff(times[60:]), 0.1)
    assert times[60] == pytest.approx(60 * 0.04)
    assert stats.stamp_restarts == 1 and stats.repaired_stamps == 0


def test_stamps_that_are_all_equal_are_replaced_by_the_usual_interval():
    times, stats = timed(np.zeros(20))
    np.testing.assert_allclose(times, np.arange(20) * 0.04)
    assert stats.repaired_stamps == 19


def test_a_slow_or_uneven_video_is_noted(tmp_path):
    slow = encode(tmp_path / "a.mkv", [(48, 64, 30)])
    assert read_clip(slow).notes == ()
    (note,) = read_clip(slow, 50).notes
    assert note == (
        "the video has 25 frames per second where the model expects 50: it sees the "
        "video 2.0 times as fast"
    )


def test_a_pause_in_a_video_of_variable_rate_is_noted(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(grey(i)[..., 0], format="gray")
            frame.pts = 40 * i + 800 * (i >= 25)
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (note,) = read_clip(path).notes
    assert note.startswith("the frame rate varies: up to 0.8")


def test_an_animated_webp_is_named_and_its_conversion_works(tmp_path):
    pictures = [Image.fromarray(grey(6 * i)) for i in range(10)]
    path = tmp_path / "in.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    for video in (path, path.read_bytes()):
        with pytest.raises(InputError, match="animated WebP, which is not") as caught:
            read_clip(video)
    command = str(caught.value).split('python -c "')[1].rstrip('"')
    directory = Path.cwd()
    try:
        os.chdir(tmp_path)
        exec(command, {})
    finally:
        os.chdir(directory)
    assert len(read_clip(tmp_path / "out.gif", 10).frames) == 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_is_rejected_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", "/dev/null"):
        with pytest.raises(InputError, match="is a pipe or a device: save the video"):
            read_clip(path)


def decoded_number(frames):
    """Read the number in the squares of shared/faults: least significant bit left."""
    squares = [26 + 12 * bit for bit in range(10)]
    bits = frames[:, 47, squares].mean(-1) > 128
    return (bits << np.arange(10)).sum(1).tolist()


FAULTS = Path(__file__).parents[3] / "shared" / "faults"


@pytest.mark.skipif(not FAULTS.is_dir(), reason="shared/faults is not here")
def test_files_that_are_often_read_wrongly_are_read_right():
    def read(name):
        return read_clip(FAULTS / name)

    base = read("base.mp4")
    assert decoded_number(base.frames) == list(range(0, 60, 4)) and base.notes == ()
    np.testing.assert_allclose(base.times, np.arange(15) * 4 / 30, atol=1e-3)
    late = read("starts-late.mkv")
    assert decoded_number(late.frames) == list(range(0, 60, 4)) and late.notes == ()
    np.testing.assert_allclose(late.times, base.times, atol=1e-3)
    assert probe(FAULTS / "starts-late.mkv").duration == pytest.approx(2, abs=0.1)
    gif = read("last-picture-held.gif")
    assert gif.notes == () and decoded_number(gif.frames) == [0, 1, 3, 4, 5]
    film = read("preview-first.mkv")
    assert decoded_number(film.frames) == list(range(0, 60, 4))
    assert len(film.notes) == 1 and "2 video streams" in film.notes[0]
    wild = read("one-wild-stamp.mp4")
    assert decoded_number(wild.frames) == list(range(0, 60, 4))
    np.testing.assert_allclose(wild.times, base.times, atol=2e-3)
    assert len(wild.notes) == 1 and "1 of 60" in wild.notes[0]
    with pytest.raises(InputError, match="animated WebP"):
        read("animated.webp")
