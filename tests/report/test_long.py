"""Long videos from a file to files, against the whole clip at once."""

import json

import numpy as np
import pytest

import rgcam
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.report import long, writer

FILES = {"explanation.npz", "matrix.png", "summary.json"}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Write a video of 48 frames; explain it at once."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    frames = np.concatenate([stickman.clip(seed).frames for seed in range(3)])
    writer.write_video(path, frames, 7.5)
    m, clip = rgcam.load_model("stickman-lrcn"), rgcam.read_clip(path)
    e = rgcam.explain(m.module, m.variables, m.preprocess(clip.frames), beta=False)
    return path, clip.times, np.asarray(e.scores), np.asarray(e.matrix)


def arrays_of(folder):
    with np.load(folder / "explanation.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_a_window_of_a_file(call, known, tmp_path):
    path, times, scores, matrix = known
    code, out, err = call(
        "explain", f"--video={path}", f"--out={tmp_path}", "--window=8"
    )
    assert code == 0, err
    assert {p.name for p in tmp_path.iterdir()} == FILES
    found = arrays_of(tmp_path)
    assert found["matrix"].shape == (48, 8) and found["window"] == 8
    axes = dict(line.partition(":")[::2] for line in found["axes"])
    assert axes["matrix"].split() == ["row", "lag"] and axes["scores"] == " in class"
    assert all(len(axes[n].split()) == found[n].ndim for n in found if n != "axes")
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["times"], times)
    for lag in range(8):
        expected = np.diagonal(matrix, -lag)
        np.testing.assert_allclose(found["matrix"][lag:, lag], expected, atol=1e-4)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["prediction"] in out and "8 frames before it" in out
    assert summary["prediction"] == stickman.CLASSES[scores[-1].argmax()]
    assert (
        f"left out: {100 * summary['left_out']:.1f} %" in out
        and summary["left_out"] > 0
    )


def test_chosen_steps_of_a_file(call, known, tmp_path):
    path, _, _, matrix = known
    code, out, err = call(
        "explain", f"--video={path}", f"--out={tmp_path}", "--steps=5::10"
    )
    assert code == 0, err
    found = arrays_of(tmp_path)
    np.testing.assert_array_equal(found["out"], [5, 15, 25, 35, 45])
    np.testing.assert_allclose(found["matrix"], matrix[5::10], atol=1e-4)
    assert "left out" not in out and "at 5 output steps" in out
    moments = json.loads((tmp_path / "summary.json").read_text())["top_moments"]
    assert moments[0]["frame"] == matrix[5::10].sum(0).argmax()


def test_what_does_not_fit_is_explained_by_a_window(call, known, tmp_path):
    code, out, err = call(
        "explain", f"--video={known[0]}", f"--out={tmp_path}", "--max_gib=0.0005"
    )
    assert code == 0, err
    assert "the 128 frames before it" in out
    assert arrays_of(tmp_path)["matrix"].shape == (48, 48)  # the video is shorter


@pytest.mark.parametrize("window", [None, 7])
def test_the_matrix_of_the_figure_keeps_the_mass(known, window):
    path = str(known[0])
    m = rgcam.load_model("stickman-lrcn")
    explained = long.explain_file(m, path, fps=7.5, window=window)
    matrix, times_in, times_out, scores = long.pooled(explained, 10)
    assert matrix.shape == (10, 10) == (len(times_out), len(times_in))
    np.testing.assert_allclose(
        matrix.sum(), explained.explanation.matrix.sum(), rtol=1e-5
    )
    mass = explained.importance
    np.testing.assert_allclose(mass.sum(), matrix.sum(), rtol=1e-5)
    assert times_in[-1] == explained.times[-1]
    np.testing.assert_array_equal(scores[-1], explained.explanation.scores[-1])
    expected = np.where(times_in > times_out[:, None], 0, 1)
    assert not (matrix * (1 - expected)).any()


@pytest.mark.parametrize(
    ("text", "steps"),
    [(None, None), ("", None), ("-1", [-1]), ("3,10", [3, 10]), ("::100", slice(None, None, 100))],
)  # fmt: skip
def test_steps_as_text(text, steps):
    assert long.parse_steps(text) == steps


@pytest.mark.parametrize("text", ["x", "1,", "1:2:3:4", "1.5"])
def test_text_that_names_no_steps_is_an_error(text):
    with pytest.raises(InputError, match="first:end:stride"):
        long.parse_steps(text)
