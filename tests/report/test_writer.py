"""The writer never leaves half a folder, and files hold what the record shows."""

import dataclasses

import numpy as np
import pytest

from rgcam.data import video
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.models import zoo
from rgcam.report import figures, writer
from rgcam.report.explain import explain_clip


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
    writer.write(tmp_path, record, pictures=False)
    assert [file.name for file in tmp_path.iterdir()] == ["explanation.npz"]
    with np.load(tmp_path / "explanation.npz") as arrays:
        np.testing.assert_array_equal(arrays["maps"], record.shown.shown_maps)
        np.testing.assert_array_equal(arrays["beta"], record.shown.beta)
        assert arrays["aggregate"] == how and arrays["matrix"].shape == (16, 16)
        assert arrays["target"] == 1


def test_write_is_all_or_nothing(explained, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "out"
    writer.write(folder, explained)
    assert sorted(p.name for p in folder.iterdir()) == sorted(writer.FILES)
    before = {p: p.read_bytes() for p in folder.iterdir()}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "write_video", fail)
    with pytest.raises(InputError, match="No space left on device"):
        writer.write(folder, explained)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_a_failed_first_write_leaves_no_folder(explained, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "strip", lambda explained: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.write(tmp_path / "out", explained)
    assert not (tmp_path / "out").exists()


def test_vector_figures_are_written_where_asked_for(explained, tmp_path):
    writer.write(tmp_path, dataclasses.replace(explained, options={"vector": "pdf"}))
    assert {p.name for p in tmp_path.iterdir()} == set(writer.file_names("pdf"))
    for name in ("strip.pdf", "matrix.pdf"):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")
