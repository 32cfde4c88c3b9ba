"""rgcam explain --model=FILE.keras: everything is written; options and plain mistakes."""

import json
import zipfile

import numpy as np
import pytest

from rgcam.commands import keras_model
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.interop.keras_files import import_keras
from rgcam.report import writer
from tests.conftest import one_sentence
from tests.make_keras2_reference import ARCHIVE

try:
    import_keras()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make two Keras files, a video of two seconds, and class names."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(ARCHIVE) as archive:
        for name in ("lrcn.h5", "mobile.keras"):
            archive.extract(name, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 24, 32, 3)).astype(np.uint8)
    writer.write_video(tmp_path / "my.mp4", pixels, 8)
    (tmp_path / "names.txt").write_text("walk\nrun\n\njump\n")
    return tmp_path


def test_a_keras_file_of_one_score_writes_everything(call, folder):
    code, output, error = call(
        "explain",
        "--model=lrcn.h5",
        "--video=my.mp4",
        "--classes=names.txt",
        "--target=run",
        "--out=out",
        "--verify",
    )
    assert code == 0, error
    assert (
        "lrcn.h5: cut at layer time_distributed_4, 4 x 4 cells; pixels: unit" in output
    )
    assert "4 frames" in output and "verified: as defined" in output
    assert "where the model expects" not in output
    files = {file.name for file in (folder / "out").iterdir()}
    assert {"report.html", "strip.png", "matrix.png", "overlay.mp4"} <= files
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["model"]["arch"] == {
        "framework": "Keras",
        "layer": "time_distributed_4",
    }
    arrays = np.load(folder / "out" / "explanation.npz")
    assert arrays["matrix"].shape == (1, 4)
    assert "run" in (folder / "out" / "report.html").read_text()


def test_scores_of_every_step_another_layer_and_other_pixels(call, folder):
    code, output, error = call(
        "explain",
        "--model=lrcn.h5",
        "--video=my.mp4",
        "--layer=time_distributed_3",
        "--every_step",
        "--preprocess=minus_one_one",
        "--method=gradcam",
        "--out=out",
    )
    assert code == 0, error
    assert "time_distributed_3, 8 x 8 cells; pixels: minus_one_one" in output
    arrays = np.load(folder / "out" / "explanation.npz")
    assert arrays["matrix"].shape == (4, 4)
    assert not np.triu(arrays["matrix"], 1).any()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model=lrcn.h5", "--classes=two.txt"], "2 class names for a model of 3"),
        (["--model=lrcn.h5", "--classes=no.txt"], "class names no.txt cannot be read"),
        (["--model=no.keras"], "there is no Keras file no.keras"),
        (["--model=lrcn.h5", "--layer=conv"], "no layer 'conv'"),
        (["--model=mobile.keras", "--every_step"], "runs forward only"),
        (["--model=lrcn.h5", "--videos=*.mp4"], "--videos is for rgcam's own models"),
        (["--model=lrcn.h5", "--window=4"], "--window is for rgcam's own models"),
        (["--model=ucf101-lrcn", "--layer=conv"], "--layer is for a Keras file"),
        (["--model=lrcn.h5", "--video=my.mp4", "--start=1.8"], "takes 4 frames and"),
    ],
)
def test_mistakes_are_one_sentence(call, folder, options, message):
    (folder / "two.txt").write_text("a\nb\n")
    code, _, error = call("explain", *options, "--out=out")
    assert code == 2 and message in one_sentence(error)


def test_frames_are_chosen_evenly_from_the_first_to_the_last():
    clip = Clip(np.arange(9)[:, None], np.arange(9) / 8, ())
    chosen = keras_model.evenly_spaced(clip, 5, "model.keras")
    assert chosen.frames[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert chosen.times.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_long_videos_are_decoded_at_a_rate_that_suffices(folder):
    assert keras_model.rate_for(4, "my.mp4", 0.0, None, None) == 8  # all of 2 seconds
    assert keras_model.rate_for(2, "my.mp4", 0.0, None, None) == pytest.approx(
        4, rel=0.1
    )
