"""explain.py as a person calls it."""

import json
import os
import re
import sys

import av
import numpy as np
import pytest

import rgcam
from rgcam.attribution.targets import predicted_class
from rgcam.commands import app, explain
from rgcam.commands.explain import DEMO_SEED
from rgcam.data import video
from rgcam.data.synthetic import captions, stickman
from rgcam.metrics.faithfulness import check_faithfulness
from rgcam.models import zoo
from rgcam.report import writer
from tests.conftest import one_sentence

FILES = {
    "explanation.npz",
    "report.html",
    "strip.png",
    "matrix.png",
    "overlay.mp4",
    "overlay.gif",
    "summary.json",
}


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """Write a stickman clip as a video file."""
    path = tmp_path_factory.mktemp("video") / "stickman.mp4"
    writer.write_video(path, stickman.clip(3, size=96).frames, 7.5)
    return path


def test_explain_without_arguments(call, tmp_path, monkeypatch):
    """By default the checks choose the method."""
    monkeypatch.chdir(tmp_path)
    code, out, err = call("explain")
    assert code == 0, err
    assert {p.name for p in (tmp_path / "explanation").iterdir()} == FILES
    summary = json.loads((tmp_path / "explanation" / "summary.json").read_text())
    assert summary["prediction"] == summary["target"]
    assert summary["prediction"] in out and "matrix.png" in out
    truth = stickman.clip(DEMO_SEED)
    assert summary["prediction"] == stickman.CLASSES[truth.label]
    shown, other = summary["attributions"]
    assert shown["method"] == summary["shown"]["method"] == "fade"
    assert shown["faithfulness"]["passed"] and other["method"] == "gradcam"
    assert other["faithfulness"]["passed"] is False
    assert summary["selection"] in out and "recurrent Grad-CAM: FAILED" in out
    assert summary["arguments"]["method"] == "auto"


def test_explain_writes_what_it_says_and_the_functions_compute(
    call, clip_file, tmp_path
):
    options = "--target=Kick", "--method=gradcam", "--verify"
    code, out, err = call(
        "explain", f"--video={clip_file}", f"--out={tmp_path / 'o'}", *options
    )
    assert code == 0, err
    assert "verified: as defined: error " in out
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
    assert summary["attributions"][0]["faithfulness"]["verdict"] in out
    if summary["top_moments"]:
        best = summary["top_moments"][0]
        assert best["frame"] == matrix[-1].argmax()
        assert best["time"] == pytest.approx(times[best["frame"]], abs=1e-3)
    overlay = video.probe(tmp_path / "o" / "overlay.mp4")
    assert overlay.fps == pytest.approx(7.5) and overlay.height >= 240
    m = rgcam.load_model("stickman-lrcn")
    frames = m.preprocess(rgcam.read_clip(clip_file).frames)
    e = rgcam.explain(m.module, m.variables, frames, target)
    np.testing.assert_allclose(matrix, e.matrix, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(maps, e.maps[-1], rtol=1e-3, atol=1e-5)


def test_another_method_is_checked_and_the_next_explanation_replaces_the_files(
    call, clip_file, tmp_path
):
    (tmp_path / "notes.txt").write_text("mine")
    code, out, err = call(
        "explain", f"--video={clip_file}", f"--out={tmp_path}", "--method=fade"
    )
    assert code == 0, err
    (fade,) = json.loads((tmp_path / "summary.json").read_text())["attributions"]
    check = fade["faithfulness"]
    assert check["passed"] and fade["method"] == "fade"
    assert fade["baseline"] == "previous"
    assert f"faithfulness check: {check['verdict']}" in out
    assert "PASSED" in check["verdict"]
    with np.load(tmp_path / "explanation.npz") as arrays:
        assert (arrays["maps"] < 0).any() and "beta" not in arrays
    # The verdict above is of the last step alone. Over the later half of the steps, whose
    # mean varies less, the score is higher still.
    model = zoo.load_model("stickman-lrcn")
    frames = model.preprocess(video.read_clip(clip_file, 7.5).frames)
    run = model.module, model.variables
    e = rgcam.explain(*run, frames, method="fade")
    target = int(predicted_class(e.scores))
    whole = check_faithfulness(*run, e.features, e.maps, target, method="fade")
    assert whole.baseline == "previous" and whole.score > 0.9
    # Another explanation in this folder replaces the first, and keeps the rest.
    options = "--method=fade", "--target=wave"
    call("explain", f"--video={clip_file}", f"--out={tmp_path}", *options)
    assert {p.name for p in tmp_path.iterdir()} == FILES | {"notes.txt"}
    assert json.loads((tmp_path / "summary.json").read_text())["target"] == "wave"


def test_all_moments_that_ever_spoke_for_the_class(call, clip_file, tmp_path):
    options = "--aggregate=max", "--verify"
    code, out, err = call(
        "explain", f"--video={clip_file}", f"--out={tmp_path}", *options
    )
    assert code == 0, err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["shown"]["aggregation"] == summary["arguments"]["aggregate"] == "max"
    assert f"{summary['target']}, maximum over all steps" in out
    with np.load(tmp_path / "explanation.npz") as arrays:
        assert arrays["maps"].sum() > arrays["matrix"][-1].sum()
        assert summary["top_moments"][0]["frame"] == arrays["maps"].sum((1, 2)).argmax()


def test_no_positive_evidence_is_said(call, clip_file, tmp_path, monkeypatch):
    """With the scores' kernel negated and squashed to zero, nothing can be for it."""
    model = zoo.load_model("stickman-lrcn")
    scores = {k: 0 * v for k, v in model.variables["params"]["scores"].items()}
    params = model.variables["params"] | {"scores": scores}
    zeroed = model._replace(variables={"params": params})
    monkeypatch.setattr("rgcam.commands.explain.load_model", lambda name: zeroed)
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
    writer.write_video(folder / "one.mp4", stickman.clip(1).frames[:1], 7.5)
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
        (fine, "--max_gib=0.000001"): "give a window",
        (fine, "--window=0"): "window is 0",
        (fine, "--steps=x"): "first:end:stride",
        (fine, "--steps=3,99"): "a video of 16 frames does not have",
        ("--steps=-1",): "are for a --video",
        (fine, "--method=cam"): "unknown method 'cam': choose one of gradcam, ",
        (fine, "--method=gradcam", "--baseline=mean"): "gradcam compares with",
        (fine, "--method=path", "--baseline=x"): "unknown baseline 'x'",
        (fine, "--method=path", "--steps=-1"): "leave it out with --steps",
        (fine, "--aggregate=max", "--window=3"): "--aggregate is for one whole clip",
        (fine, "--aggregate=max", "--steps=-1"): "with --steps",
        (fine, "--aggregate=mean", "--max_gib=0.000001"): "--aggregate needs more",
        (fine, "--aggregate=sum"): "last|settled|rise|mean|max",
        (fine, "--method=path", "--max_gib=0.000001"): "by --start and --end",
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
    places = f"--video={path}", f"--out={tmp_path / 'out'}"
    code, out, err = call("explain", *places, "--method=fade")
    assert code == 0, err
    notes = json.loads((tmp_path / "out" / "summary.json").read_text())["video"][
        "notes"
    ]
    assert notes and notes[0] in out


def test_a_video_without_a_model_gets_the_model_of_real_videos():
    options = explain.ExplainOptions
    assert explain._model_name(options(video="a.mp4")) == "ucf101-lrcn"
    assert explain._model_name(options(videos="*.mp4")) == "ucf101-lrcn"
    assert explain._model_name(options()) == "stickman-lrcn"
    assert explain._model_name(options(video="a.mp4", model="runs/x")) == "runs/x"


def test_stages_are_shown_on_a_terminal_only(monkeypatch, capsys):
    app.stage("decode")
    app.stage("")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    app.stage("decode")
    app.stage("explain")
    app.stage("")
    lines = capsys.readouterr().err.replace("\r", "\n").split("\n")
    assert lines[0] == "decode ..." and re.fullmatch(r"decode: \d+\.\d s", lines[1])
    assert lines[2] == "explain ..." and lines[3].startswith("explain: ")


# Captioners.

CAPTIONER = "--model=stickman-captioner"


@pytest.fixture(scope="module")
def drawn():
    """Return the clip that a captioner explains where no video is given."""
    return captions.clip(DEMO_SEED)


def test_a_captioner_explains_the_words_of_its_caption(call, drawn, tmp_path):
    code, out, err = call("explain", CAPTIONER, f"--out={tmp_path}", "--verify")
    assert code == 0, err
    assert {p.name for p in tmp_path.iterdir()} == FILES
    text = " ".join(drawn.words)
    summary = json.loads((tmp_path / "summary.json").read_text())
    sentence = summary["sentence"]
    assert sentence["text"] == summary["prediction"] == text
    assert sentence["kind"] == "caption" and sentence["question"] is None
    assert [word["word"] for word in sentence["words"]] == list(drawn.words)
    probability = np.prod([word["probability"] for word in sentence["words"]])
    assert summary["probability"] == pytest.approx(probability)
    assert f"caption: {text} (p = {probability:.2f})" in out
    assert "verified: as defined" in out
    with np.load(tmp_path / "explanation.npz") as arrays:
        matrix, maps, scores = (arrays[n] for n in ("matrix", "maps", "scores"))
        words, classes = arrays["output_steps"].tolist(), arrays["classes"]
        target = arrays["target"]
    assert tuple(words) == drawn.words == tuple(classes[target])
    assert matrix.shape == (len(words), len(drawn.frames))
    assert np.array_equal(scores.argmax(1), target)
    shown = summary["shown"]
    np.testing.assert_allclose(matrix[shown["step"]], maps.sum((1, 2)), rtol=1e-4)
    support = np.maximum(matrix, 0).sum(1)
    assert shown["step"] == support.argmax() and shown["aggregation"] == "step"
    assert shown["description"] == f"word “{words[shown['step']]}”"
    assert f"shown: {shown['description']}, by averaged gradients (fade)" in out
    for verb, (start, stop) in zip(drawn.verbs, drawn.intervals, strict=True):
        word = sentence["words"][verb]
        best = int(matrix[verb].argmax())
        assert start <= best < stop
        assert word["time"] == pytest.approx(drawn.times[best], abs=1e-3)
        assert word["support"] == pytest.approx(support[verb], rel=1e-4)
        assert f"“{word['word']}” {word['time']:.2f} s" in out
    first, second = summary["attributions"]
    assert (first["method"], first["baseline"]) == ("fade", "first")
    assert second["method"] == "gradcam"
    page = (tmp_path / "report.html").read_text("utf-8")
    assert f"Why stickman-captioner writes “{text}” about captions clip" in page
    assert json.dumps(words, separators=(",", ":")) in page


def test_a_captioner_answers_a_question_about_a_video(call, drawn, tmp_path):
    video_file = tmp_path / "clip.mp4"
    writer.write_video(video_file, drawn.frames, 7.5)
    code, out, err = call(
        "explain",
        CAPTIONER,
        f"--video={video_file}",
        "--question=What does the person do first?",
        "--method=fade",
        f"--out={tmp_path / 'o'}",
    )
    assert code == 0, err
    question = "what does the person do first ?"
    assert f"question: {question}" in out and f"answer: {drawn.answers[0]} (p" in out
    sentence = json.loads((tmp_path / "o" / "summary.json").read_text())["sentence"]
    assert sentence["text"] == drawn.answers[0] and sentence["question"] == question
    code, out, err = call(
        "explain",
        CAPTIONER,
        f"--videos={tmp_path / '*.mp4'}",
        "--question=what does the person do second ?",
        "--method=fade",
        "--nocheck",
        f"--out={tmp_path / 'many'}",
    )
    assert code == 0, err
    (row,) = map(
        json.loads, (tmp_path / "many/manifest.jsonl").read_text().splitlines()
    )
    assert row["prediction"] == drawn.answers[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--target=kicks"], "leave out --target with the captioner"),
        (["--aggregate=max"], "leave out --aggregate"),
        (["--cnn=stickman-cnn"], "leave out --cnn"),
        (["--window=4"], "leave out --window"),
        (["--steps=-1"], "leave out --steps"),
        (["--videos=.", "--word=kicks"], "--word is for one --video"),
        (["--question=who flies ?"], "'who' is no word of this captioner: it knows a"),
        (["--word=flies"], "the caption has no word 'flies': it is “a person"),
        (
            ["--model=stickman-lrcn", "--question=what ?"],
            "--question is for a captioner",
        ),
        (["--model=stickman-lrcn", "--word=kicks"], "--word is for a captioner"),
    ],
)
def test_what_a_captioner_does_not_offer_is_one_sentence(call, tmp_path, options, says):
    out = tmp_path / "o"
    code, _, err = call("explain", CAPTIONER, *options, f"--out={out}")
    assert code == 2 and says in one_sentence(err)
    assert not out.exists() or not list(out.iterdir())
