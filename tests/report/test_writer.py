"""The writer: files are complete or absent, hold what the record shows, and play."""

import dataclasses
import math

import av
import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib import colormaps

from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip, probe, read_clip
from rgcam.errors import InputError
from rgcam.models import zoo
from rgcam.report import plots, writer
from rgcam.report.explain import explain_clip
from rgcam.report.writer import write_gif, write_image, write_video
from tests.data.test_video import numbers, stamp


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


@pytest.fixture(scope="module")
def clip():
    drawn = stickman.clip(4)
    return Clip(drawn.frames, drawn.times)


@pytest.fixture(scope="module")
def explained(model, clip):
    return explain_clip(model, clip, target=1, source="c.mp4")


@pytest.mark.parametrize("how", ["rise", "max"])
def test_the_file_of_arrays_holds_the_shown_maps(model, clip, tmp_path, how):
    record = explain_clip(model, clip, target=1, aggregate=how)
    writer.write(tmp_path, record, figures=False)
    assert [file.name for file in tmp_path.iterdir()] == ["explanation.npz"]
    with np.load(tmp_path / "explanation.npz") as arrays:
        np.testing.assert_array_equal(arrays["maps"], record.shown.shown_maps)
        np.testing.assert_array_equal(arrays["beta"], record.shown.beta)
        assert arrays["aggregate"] == how and arrays["matrix"].shape == (16, 16)
        assert arrays["target"] == 1
        axes = dict(line.partition(":")[::2] for line in arrays["axes"])
        assert set(axes) == set(arrays.files) - {"axes"}
        assert axes["maps"].split() == ["in", "h", "w"]
        # One length for each name, whatever array it is in.
        sizes = [
            pair
            for name, names in axes.items()
            for pair in zip(names.split(), arrays[name].shape, strict=True)
        ]
        assert dict(sizes)["channel"] == record.shown.beta.shape[2]
        assert len(set(sizes)) == len(dict(sizes))


def test_write_is_all_or_nothing(explained, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "out"
    writer.write(folder, explained)
    assert sorted(p.name for p in folder.iterdir()) == sorted(writer.FILES)
    before = {p: p.read_bytes() for p in folder.iterdir()}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_video", fail)
    with pytest.raises(InputError, match="No space left on device"):
        writer.write(folder, explained)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_a_failed_first_write_leaves_no_folder(explained, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "clip_strip", lambda explained: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.write(tmp_path / "out", explained)
    assert not (tmp_path / "out").exists()


def test_vector_figures_are_written_where_asked_for(explained, tmp_path):
    writer.write(tmp_path, dataclasses.replace(explained, options={"vector": "pdf"}))
    assert {p.name for p in tmp_path.iterdir()} == set(writer.file_names("pdf"))
    for name in ("strip.pdf", "matrix.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("size", [(48, 64), (45, 63)])
@pytest.mark.parametrize("fps", [7.5, 25, 29.97])
def test_mp4_round_trip(tmp_path, fps, size):
    frames = np.stack([stamp(i, *size) for i in range(20)])
    path = tmp_path / "a.mp4"
    write_video(path, frames, fps)
    info = probe(path)
    assert info[:2] == (size[1] + size[1] % 2, size[0] + size[0] % 2)
    assert info.fps == pytest.approx(fps)
    assert info.duration == pytest.approx(20 / fps, abs=1e-3)
    clip = read_clip(path, fps)
    assert numbers(clip.frames) == list(range(20)) and clip.notes == ()
    np.testing.assert_allclose(clip.times, np.arange(20) / fps, atol=1e-4)
    colour = clip.frames[:, -10:-4, 4:-4].mean((0, 1, 2))
    np.testing.assert_allclose(colour, (200, 100, 50), atol=4)


def test_mp4_plays_everywhere(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, np.stack([stamp(i) for i in range(9)]), 7.5)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"


def test_gif_round_trip(tmp_path):
    frames = np.stack([stamp(i) for i in range(16)])
    path = tmp_path / "a.gif"
    write_gif(path, frames, 7.5)
    assert b"NETSCAPE2.0\x03\x01\x00\x00\x00" in path.read_bytes()  # for ever
    clip = read_clip(path, 7.5)
    assert numbers(clip.frames) == list(range(16))
    np.testing.assert_allclose(clip.times, np.arange(16) / 7.5, atol=0.0051)
    np.testing.assert_allclose(clip.frames[:, -1, -1], frames[:, -1, -1], atol=8)


def test_gif_keeps_the_colours_of_heat(tmp_path):
    ramp = colormaps["inferno"](np.linspace(0.2, 0.92, 64))[:, :3]
    frames = np.uint8(255 * ramp)[None, None].repeat(48, 1).repeat(2, 0)
    frames[1] //= 2
    write_gif(tmp_path / "a.gif", frames, 7.5)
    shown = read_clip(tmp_path / "a.gif", 7.5).frames.astype(float)
    assert np.abs(shown - frames).max() <= 10 and len(shown) == 2


def test_png_round_trip(tmp_path):
    write_image(tmp_path / "a.png", stamp(5))
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), stamp(5))


def test_what_cannot_be_written(tmp_path):
    frames = np.stack([stamp(i) for i in range(3)])
    (tmp_path / "file").touch()
    for place in (tmp_path / "absent" / "a", tmp_path / "file" / "a", tmp_path):
        for write in (write_video, write_gif):
            with pytest.raises(InputError, match=f"cannot write {place}"):
                write(place, frames, 7.5)
        with pytest.raises(InputError, match=f"cannot write {place}"):
            write_image(place, frames[0])
    for write in (write_video, write_gif):
        for fps in (0, -1, math.nan, math.inf):
            with pytest.raises(InputError, match=f"fps is {fps:g}; it must be above 0"):
                write(tmp_path / "a", frames, fps)


@pytest.mark.parametrize(
    "fps, mp4, gif",
    [(1e-3, 1000, 655.35), (1e-5, 20000, 655.35), (1e-9, 20000, 655.35)],
)
def test_frames_hours_apart_are_shown_for_as_long_as_a_file_can(
    tmp_path, fps, mp4, gif
):
    frames = np.stack([stamp(i) for i in range(30)])
    for write, name, seconds in (
        (write_video, "a.mp4", mp4),
        (write_gif, "a.gif", gif),
    ):
        write(tmp_path / name, frames, fps)
        clip = read_clip(tmp_path / name, 1)
        assert numbers(clip.frames) == list(range(30))
        np.testing.assert_allclose(clip.times, np.arange(30) * seconds, rtol=1e-6)
