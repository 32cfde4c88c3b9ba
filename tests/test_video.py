"""Frames by timestamp from every container, and files that are not what they seem."""

import math
import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from rgcam import video
from rgcam.errors import InputError

CODECS = {
    "mp4": "libx264",
    "mov": "libx264",
    "mkv": "libx264",
    "avi": "mpeg4",
    "mpg": "mpeg1video",
    "webm": "libvpx",
}


def stamp(number, height=64, width=96):
    """Paint a frame's number as 10 black or white blocks, top to bottom."""
    bits = [(number >> b) & 1 for b in range(10)]
    rows = np.repeat(bits, -(-height // 10))[:height]
    return np.repeat((rows * 220 + 16).astype(np.uint8)[:, None, None], width, 1).repeat(
        3, 2
    )


def number(frame):
    """Read what ``stamp`` painted."""
    cell = -(-len(frame) // 10)
    middles = [min(b * cell + cell // 2, len(frame) - 1) for b in range(10)]
    return sum((int(frame[m, frame.shape[1] // 2, 0]) > 128) << b for b, m in enumerate(middles))


def write(path, count, rate=25, size=(64, 96), codec=None, times=None):
    """Write stamped frames; ``times`` are pts in units of 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or CODECS[path.suffix[1:]], Fraction(rate))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(stamp(n, *size), "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[n], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def nearest(times, fps, start=0.0, end=math.inf):
    """Choose by brute force: the frame nearest to each start + k / fps, none twice."""
    chosen, k = [], 0
    while (wanted := start + k / fps) <= times[-1] + 1e-9:
        best = min(range(len(times)), key=lambda n: (abs(times[n] - wanted), n))
        if best not in chosen and wanted <= end + 1e-9:
            chosen.append(best)
        k += 1
    return chosen


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("rate", [25, 30, Fraction(30000, 1001)])
def test_the_nearest_frames_from_any_container(tmp_path, suffix, rate):
    clip = video.read_clip(write(tmp_path / f"v.{suffix}", 60, rate))
    times = [n / float(rate) for n in range(60)]
    assert [number(f) for f in clip.frames] == nearest(times, 7.5)
    expected = [times[n] for n in nearest(times, 7.5)]
    np.testing.assert_allclose(clip.times, expected, atol=1.1e-3)
    assert clip.times[0] == 0 and clip.frames.shape[1:] == (64, 96, 3)
    assert clip.notes == ()


def test_a_slower_source_gives_its_own_frames(tmp_path):
    clip = video.read_clip(write(tmp_path / "v.mp4", 10, rate=5))
    assert [number(f) for f in clip.frames] == list(range(10))
    np.testing.assert_allclose(clip.times, np.arange(10) / 5, atol=1e-3)


def test_variable_frame_rate(tmp_path):
    gaps = np.random.default_rng(0).integers(10, 200, 50)
    times = np.concatenate([[0], np.cumsum(gaps)]).tolist()
    path = write(tmp_path / "v.mkv", 51, 1000, times=times)
    clip = video.read_clip(path, 10)
    seconds = [t / 1000 for t in times]
    assert [number(f) for f in clip.frames] == nearest(seconds, 10)
    chosen = [seconds[n] for n in nearest(seconds, 10)]
    np.testing.assert_allclose(clip.times, chosen, atol=1e-6)


def test_gif(tmp_path):
    frames = [stamp(n) for n in range(20)]
    import imageio.v3 as iio

    iio.imwrite(tmp_path / "v.gif", frames, duration=100, loop=0)
    clip = video.read_clip(tmp_path / "v.gif", 5)
    assert [number(f) for f in clip.frames] == list(range(0, 20, 2))


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mpg", "webm"])
@pytest.mark.parametrize("span", [(0.0, 1.0), (2.4, None), (3.2, 4.0)])
def test_a_part_equals_the_whole_s_part(tmp_path, suffix, span):
    path = write(tmp_path / f"v.{suffix}", 150)
    times = [n / 25 for n in range(150)]
    start, end = span
    clip = video.read_clip(path, 5, start=start, end=end)
    expected = nearest(times, 5, start, math.inf if end is None else end)
    assert [number(f) for f in clip.frames] == expected
    np.testing.assert_allclose(clip.times, [times[n] for n in expected], atol=1.1e-3)


def test_odd_sizes(tmp_path):
    path = write(tmp_path / "v.avi", 20, size=(63, 51), codec="mjpeg") if False else None
    with av.open(str(tmp_path / "o.mkv"), "w") as container:
        stream = container.add_stream("ffv1", 10)
        stream.height, stream.width, stream.pix_fmt = 63, 51, "bgr0"
        for n in range(10):
            frame = av.VideoFrame.from_ndarray(stamp(n, 63, 51), "rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    path = tmp_path / "o.mkv"
    clip = video.read_clip(path, 10)
    assert clip.frames.shape == (10, 63, 51, 3)
    assert [number(f) for f in clip.frames] == list(range(10))


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_phone_videos_come_upright(tmp_path, degrees):
    write(tmp_path / "v.mp4", 20)
    turned = tmp_path / "turned.mp4"
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "v.mp4", "-c", "copy"]
    subprocess.run(
        [*command, "-metadata:s:v", f"rotate={degrees}", turned], check=True
    )
    upright = tmp_path / "upright.mkv"
    command = ["ffmpeg", "-v", "error", "-i", turned, "-c:v", "ffv1", upright]
    subprocess.run(command, check=True)  # ffmpeg applies the rotation
    made, expected = video.read_clip(turned), video.read_clip(upright)
    assert made.frames.shape == expected.frames.shape
    assert made.frames.shape[1:3] == ((96, 64) if degrees != 180 else (64, 96))
    difference = made.frames.astype(int) - expected.frames
    assert np.abs(difference).mean() < 3


def test_long_videos_are_refused_before_decoding(tmp_path, monkeypatch):
    path = write(tmp_path / "v.mp4", 100)
    monkeypatch.setattr(video, "_decode", None)
    with pytest.raises(InputError, match=r"30 frames of 96 x 64.*--start=0 --end=1 "):
        video.read_clip(path, max_bytes=10 * 64 * 96 * 3)


def test_memory_is_bounded_where_the_header_is_silent(tmp_path, monkeypatch):
    path = write(tmp_path / "v.mp4", 100)
    silent = video.probe(path)._replace(duration=math.nan, frames=0)
    monkeypatch.setattr(video, "probe", lambda _: silent)
    with pytest.raises(InputError, match="too long to hold in memory"):
        video.read_clip(path, max_bytes=10 * 64 * 96 * 3)


@pytest.mark.parametrize("suffix", ["avi", "mpg", "mkv", "webm"])
def test_a_file_cut_in_half_gives_what_decodes_and_says_so(tmp_path, suffix):
    path = write(tmp_path / f"v.{suffix}", 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = video.read_clip(path)
    assert 5 <= len(clip.frames) <= 25
    assert clip.notes and all(n.startswith("the file is") for n in clip.notes)
    assert [number(f) for f in clip.frames[:4]] == [0, 3, 7, 10]


def bad_files(folder):
    """Make files that cannot be explained: name -> (path, what the sentence says)."""
    folder.mkdir()
    (folder / "empty.mp4").touch()
    (folder / "text.avi").write_text("this is no video\n" * 50)
    whole = write(folder / "whole.mp4", 50).read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    write(folder / "short.mp4", 3)
    write(folder / "single.mp4", 1)
    with av.open(str(folder / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", 44100, layout="mono")
        for n in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, n * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return {
        "nope.mp4": "there is no file",
        ".": "is a folder",
        "empty.mp4": "is empty",
        "text.avi": "is no video",
        "half.mp4": "header is cut off",
        "audio.mp4": "has no picture, only audio",
        "short.mp4": "gives 1 frame at 7.5 a second and 2 are needed",
        "single.mp4": "gives 1 frame",
    }


def test_bad_files_get_one_sentence(tmp_path):
    for name, says in bad_files(tmp_path / "bad").items():
        with pytest.raises(InputError) as caught:
            video.read_clip(tmp_path / "bad" / name)
        sentence = str(caught.value)
        assert says in sentence and str(tmp_path / "bad") in sentence
        assert "\n" not in sentence


def test_bad_options_get_one_sentence(tmp_path):
    path = write(tmp_path / "v.mp4", 50)
    with pytest.raises(InputError, match="fps is 0"):
        video.read_clip(path, 0)
    with pytest.raises(InputError, match="start is -1"):
        video.read_clip(path, start=-1.0)
    with pytest.raises(InputError, match="later than start"):
        video.read_clip(path, start=1.0, end=1.0)
    with pytest.raises(InputError, match=r"no frame after start=9 s \(2.0 s\)"):
        video.read_clip(path, start=9.0)


@pytest.mark.parametrize("size", [(64, 96), (63, 51)])
def test_written_video_reads_back(tmp_path, size):
    frames = np.stack([stamp(n, *size) for n in range(16)])
    video.write_video(tmp_path / "v.mp4", frames, 7.5)
    assert video.probe(tmp_path / "v.mp4").fps == 7.5
    clip = video.read_clip(tmp_path / "v.mp4")
    np.testing.assert_allclose(clip.times, np.arange(16) / 7.5, atol=1e-3)
    back = clip.frames[:, : size[0], : size[1]].astype(int)
    assert len(back) == 16 and np.abs(back - frames).mean() < 4


def test_written_image_reads_back(tmp_path):
    import imageio.v3 as iio

    video.write_image(tmp_path / "i.png", stamp(5))
    np.testing.assert_array_equal(iio.imread(tmp_path / "i.png"), stamp(5))


def test_original_clips(real_clips):
    for path in sorted((real_clips / "original").glob("*.avi")):
        info, clip = video.probe(path), video.read_clip(path)
        assert clip.notes == () and clip.frames.shape[1:] == (240, 320, 3)
        assert abs(len(clip.frames) - info.duration * 7.5) < 2
        gaps = np.diff(clip.times) * 7.5
        assert 0.65 < gaps.min() and gaps.max() < 1.35
