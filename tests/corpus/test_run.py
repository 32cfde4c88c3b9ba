"""explain.py --videos: a whole corpus by one command that can be killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rgcam.corpus import manifest
from rgcam.corpus import run as corpus
from rgcam.data import video
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.models import zoo
from rgcam.report import writer
from rgcam.report.explain import AUTO, explain_clip
from tests.conftest import CACHE, ROOT, one_sentence

LENGTHS = (5, 16, 17, 40)
FILES = {
    "explanation.npz",
    "report.html",
    "strip.png",
    "matrix.png",
    "overlay.mp4",
    "overlay.gif",
    "summary.json",
    "thumbnails.jpg",
}


def write(path, seed=0, length=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_video(path, stickman.clip((9, seed), length=60).frames[:length], 7.5)


@pytest.fixture
def call(call):
    """Run a command as ``tests.conftest.call`` does, by the stickman model."""

    def run(command, *arguments):
        if not any(str(a).startswith("--model") for a in arguments):
            arguments = (*arguments, "--model=stickman-lrcn")
        return call(command, *arguments)

    return run


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Write four videos of several lengths, in two folders."""
    root = tmp_path_factory.mktemp("videos")
    for n, length in enumerate(LENGTHS):
        write(root / ("a" if n % 2 else "b c") / f"v{length}.mp4", n, length)
    return root


def arrays(folder, row):
    with np.load(folder / row["files"][0]) as found:
        return {name: found[name] for name in found.files}


def lines(folder):
    text = (folder / manifest.MANIFEST).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_corpus_equals_single_explanations_exactly(call, videos, tmp_path):
    out = tmp_path / "out"
    code, said, err = call("explain", f"--videos={videos}/**/*.mp4", f"--out={out}")
    assert code == 0, err
    assert "explained: 4 videos" in said and str(out) in said
    rows = {row["video"]: row for row in manifest.read(out)}
    assert sorted(rows) == ["a/v16.mp4", "a/v40.mp4", "b c/v17.mp4", "b c/v5.mp4"]
    model = zoo.load_model("stickman-lrcn")
    for name, row in rows.items():
        clip, stored = video.read_clip(videos / name), arrays(out, row)
        single = explain_clip(model, clip, method=AUTO)
        np.testing.assert_array_equal(stored["scores"], single.scores)
        np.testing.assert_array_equal(stored["maps"], single.shown.shown_maps)
        np.testing.assert_array_equal(stored["matrix"], single.shown.matrix)
        np.testing.assert_array_equal(stored["times"], clip.times)
        assert "beta" not in stored and stored["target"] == single.target
        assert row["prediction"] == row["target"] == single.prediction
        assert row["frames"] == len(clip.times)
        assert row["notes"] == list(single.clip.notes)
        assert row["seconds"] == pytest.approx(clip.times[-1], abs=1e-3)
        assert row["shown"] == single.shown.method
        assert row["verdict"] == single.shown.verdict
        assert row["selection"] == single.selection
        assert list(row["methods"]) == [a.method for a in single.attributions]
        for attribution in single.attributions:
            check = attribution.faithfulness
            assert row["methods"][attribution.method]["score"] == check.score
            assert row["methods"][attribution.method]["passed"] == check.passed
        times = [moment.time for moment in single.top_moments]
        assert [moment["time"] for moment in row["top_moments"]] == times


def test_figures_are_those_of_a_single_explanation(call, videos, tmp_path):
    name, options = "a/v16.mp4", ("--target=kick", "--cnn=stickman-cnn")
    one, many = tmp_path / "one", tmp_path / "many"
    options += ("--method=fade", "--aggregate=settled")
    call("explain", f"--video={videos / name}", f"--out={one}", *options)
    figures = (f"--videos={videos / name}", f"--out={many}", "--figures", "--beta")
    code, _, err = call("explain", *figures, *options)
    assert code == 0, err
    folder = many / "v16"
    assert {p.name for p in folder.iterdir()} == FILES
    (row,) = manifest.read(many)
    assert {f"v16/{p}" for p in FILES} == set(row["files"])
    summaries = [json.loads((f / "summary.json").read_text()) for f in (one, folder)]
    for summary in summaries:
        del summary["arguments"]
    assert summaries[0] == summaries[1]
    assert row["target"] == "kick"
    with np.load(one / "explanation.npz") as a, np.load(many / row["files"][0]) as b:
        assert set(a.files) == set(b.files)
        for key in a.files:
            np.testing.assert_array_equal(a[key], b[key])
    pages = [page_data(f / "report.html") for f in (one, folder)]
    for page in pages:  # which names the command
        del page["about"]
    assert pages[0] == pages[1]
    assert pages[1]["signed"] and len(pages[1]["targets"]) == 4


def page_data(page):
    """Return what a page's scripts read, of the method that it opens on."""
    text = page.read_text().split('id="data">')[1].split("</script>")[0]
    data = json.loads(text)
    return data | data["methods"][0]


def test_failed_videos_are_recorded_and_tried_again(call, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    write(root / "good.mp4")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("no video\n" * 99)
    command = ("explain", f"--videos={root}", f"--out={out}", "--method=fade")
    code, said, err = call(*command)
    assert code == 0, err
    assert "explained: 1 videos" in said and "failed: 2" in said
    rows = {row["video"]: row for row in manifest.read(out)}
    assert rows["good.mp4"]["status"] == "ok"
    assert "is empty" in rows["empty.mp4"]["error"]
    assert "\n" not in rows["text.mp4"]["error"]
    before = (out / rows["good.mp4"]["files"][0]).stat().st_mtime_ns
    write(root / "empty.mp4", 2)
    code, said, err = call(*command)
    assert code == 0, err
    assert "explained before: 1" in said
    rows = {row["video"]: row["status"] for row in manifest.read(out)}
    assert rows == {"good.mp4": "ok", "empty.mp4": "ok", "text.mp4": "failed"}
    assert [row["video"] for row in lines(out)].count("good.mp4") == 1
    assert (out / "good" / "explanation.npz").stat().st_mtime_ns == before


def test_other_options_are_rejected(call, videos, tmp_path):
    command = ("explain", f"--videos={videos}/a/v16.mp4", f"--out={tmp_path / 'o'}")
    command += ("--method=gradcam",)
    assert call(*command)[0] == 0
    code, _, err = call(*command, "--fps=5", "--target=kick")
    assert code == 2
    assert "fps 7.5 -> 5.0; target None -> 'kick'" in one_sentence(err)
    for option, says in {
        "--method=fade": "-> 'fade'",
        "--aggregate=max": "aggregate 'last' -> 'max'",
        "--relu": "relu None -> True",
        "--nocheck": "check True -> False",
    }.items():
        code, _, err = call(*command, option)
        assert code == 2 and says in one_sentence(err)
    assert call(*command, "--max_gib=2", "--threads=1")[0] == 0


def test_names_that_differ_in_suffix_only(call, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    write(root / "x.mp4", 1)
    command = "explain", f"--videos={root}/*", f"--out={out}", "--method=fade"
    assert call(*command, "--nocheck")[0] == 0
    for n, name in enumerate(("x.mkv", "y.mp4", "y.mov")):
        write(tmp_path / "tmp.mp4", 2 + n)
        os.replace(tmp_path / "tmp.mp4", root / name)
    assert call(*command, "--nocheck")[0] == 0
    folders = {row["video"]: row["files"][0] for row in manifest.read(out)}
    assert len(set(folders.values())) == 4
    assert folders["x.mp4"] == "x/explanation.npz"
    assert folders["y.mov"] == "y.mov/explanation.npz"


def test_a_clip_too_long_is_that_clips_failure(call, tmp_path):
    write(tmp_path / "in" / "long.mp4", 1, 60)
    write(tmp_path / "in" / "short.mp4", 1, 4)
    out = tmp_path / "out"
    arguments = (f"--videos={tmp_path / 'in'}", f"--out={out}", "--max_gib=0.01")
    code, _, err = call("explain", *arguments, "--method=fade")
    assert code == 0, err
    rows = {row["video"]: row for row in manifest.read(out)}
    assert "60 frames at 7.5 fps" in rows["long.mp4"]["error"]
    assert "--max_gib" in rows["long.mp4"]["error"]
    assert rows["short.mp4"]["status"] == "ok"


def test_a_full_disk_stops_the_run(call, videos, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copy", full)
    out = tmp_path / "out"
    code, _, err = call("explain", f"--videos={videos}", f"--out={out}")
    assert code == 2 and "No space left" in one_sentence(err)
    assert lines(out) == []


def test_mistakes_are_one_sentence(call, videos, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.mp4").touch()
    many, out = f"--videos={videos}/**/*.mp4", f"--out={tmp_path / 'o'}"
    for arguments, says in {
        (f"--videos={tmp_path}/*.mp4", out): "matches no file",
        (f"--videos={tmp_path}/nope.mp4", out): "matches no file",
        (many, f"--out={tmp_path / 'file'}"): "cannot write",
        (many, f"--out={videos}"): "holds the videos",
        (many, out, "--engine=spark"): "choose local or ray",
        (many, out, "--video=x.mp4"): "not both",
        (many, out, "--target=kik"): "did you mean kick",
        (many, out, "--model=nope"): "no model",
        (many, out, "--fps=0"): "above 0",
        (many, out, "--start=3", "--end=2"): "before --end",
        (f"--videos={tmp_path}/bad", f"--out={tmp_path / 'p'}"): "is empty",
    }.items():
        code, _, err = call("explain", *arguments)
        assert code == 2 and says in one_sentence(err), (arguments, err)
    assert not (tmp_path / "o").exists()


def test_the_files_of_a_run_are_not_found_by_the_next(tmp_path):
    for name in ("v.mp4", "out/v/overlay.mp4", "deep/[x]/w.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    out = tmp_path / "out"
    both = (tmp_path, ["deep/[x]/w.avi", "v.mp4"])
    assert corpus.find_videos(str(tmp_path), out)[:2] == both
    assert corpus.find_videos(f"{tmp_path}/**/*.[am]*", out)[:2] == both
    assert corpus.find_videos(f"{tmp_path}/**", out)[:2] == both
    assert corpus.find_videos(f"{tmp_path}/deep/[x]/w.avi", out)[1] == ["w.avi"]
    assert corpus.find_videos(f"{tmp_path}/deep/[x]/*.avi", out)[1] == ["w.avi"]
    assert corpus.find_videos(f"{tmp_path}/*.txt", out)[1] == ["notes.txt"]
    (sentence,) = corpus.find_videos(str(tmp_path), out).left_out
    assert sentence == "left out: files without a video's suffix (1), such as notes.txt"
    with pytest.raises(InputError, match="holds the videos"):
        corpus.find_videos(f"{tmp_path}/*.mp4", tmp_path)


@pytest.mark.slow
def test_kill_9_twice_loses_nothing(tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    for n in range(24):
        write(root / f"v{n:02}.mp4", n, 6)
    command = [sys.executable, "explain.py", f"--videos={root}", f"--out={out}"]
    command += ["--model=stickman-lrcn", "--method=fade"]
    options = {"JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(CACHE)}
    environment = os.environ | options
    for least in (3, 10):
        run = subprocess.Popen(command, cwd=ROOT, env=environment)
        while run.poll() is None and rows_in(out) < least:
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        assert least <= rows_in(out) < 24
    with (out / manifest.MANIFEST).open("a") as file:
        file.write('{"video": "v23.mp4", "status": "o')  # as a kill could leave it
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    done = [row["video"] for row in lines(out)]
    assert sorted(done) == [f"v{n:02}.mp4" for n in range(24)]
    assert all(arrays(out, row)["scores"].shape == (6, 11) for row in lines(out))


def rows_in(out):
    file = out / manifest.MANIFEST
    return file.read_bytes().count(b"\n") if file.exists() else 0
