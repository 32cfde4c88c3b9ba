"""rgcam summarize: a page and a table of what --videos wrote."""

import csv
import json
import os

import pytest

from rgcam.corpus import manifest
from tests.conftest import one_sentence
from tests.corpus.test_run import write


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Write videos whose folders are classes of the stickman model."""
    root = tmp_path_factory.mktemp("clips")
    for n, name in enumerate(("kick", "kick", "wave")):
        write(root / name / f"v_g{n}_.mp4", n, 6)
    (root / "kick" / "broken.mp4").touch()
    return root


def test_many_videos_end_with_a_summary_of_their_accuracy(call, clips, tmp_path):
    options = ("--model=stickman-lrcn", "--method=gradcam")
    code, out, err = call("explain", f"--videos={clips}", f"--out={tmp_path}", *options)
    assert code == 0, err
    rows = [row for row in manifest.read(tmp_path) if row["status"] == "ok"]
    correct = sum(row["video"].split("/")[0] == row["prediction"] for row in rows)
    assert f"accuracy: {correct} of 3 (" in out
    assert "could not be explained: 1 of 4 videos" in out
    assert f"summary: {tmp_path}/: index.html, summary.csv" in out
    text = (tmp_path / "summary.csv").read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert len(lines) == 4 and "is empty" in lines[0]["error"]
    assert (
        "4 videos explained by stickman-lrcn" in (tmp_path / "index.html").read_text()
    )
    (tmp_path / "index.html").unlink()
    code, again, err = call("summarize", tmp_path)
    assert code == 0, err
    assert again.strip() in out and (tmp_path / "index.html").exists()
    code, grouped, err = call("summarize", tmp_path, r"--group=_g(\d)_")
    assert code == 0, err
    assert "does not match 1 of 4 file names, such as broken.mp4" in grouped


def test_no_summary_is_written_where_none_is_wanted(call, clips, tmp_path):
    options = ("--model=stickman-lrcn", "--nosummary", "--nocheck")
    code, out, err = call("explain", f"--videos={clips}", f"--out={tmp_path}", *options)
    assert code == 0, err
    assert "accuracy" not in out and not (tmp_path / "index.html").exists()
    rows = [row for row in manifest.read(tmp_path) if row["status"] == "ok"]
    assert {(row["shown"], row["passed"]) for row in rows} == {("gradcam", None)}


def test_mistakes_are_one_sentence(call, clips, tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / manifest.MANIFEST).write_text("")
    (tmp_path / "damaged" / manifest.OPTIONS).write_text("[")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / manifest.MANIFEST).write_text("")
    (tmp_path / "new" / manifest.OPTIONS).write_text(json.dumps({"videos": "x"}))
    for arguments, says in {
        ("summarize",): "say which folder",
        ("summarize", tmp_path): "holds no manifest.jsonl",
        ("summarize", tmp_path / "damaged"): "no record of a corpus",
        ("summarize", tmp_path / "new"): "no explained video yet",
        ("explain", f"--videos={clips}", "--group=_g"): "has no parenthesis",
    }.items():
        code, _, err = call(*arguments)
        assert code == 2 and says in one_sentence(err), (arguments, err)


def test_names_that_are_not_utf8_are_escaped_and_linked(call, tmp_path):
    write(tmp_path / "in" / "v.mp4", 0, 6)
    (tmp_path / "in" / "v.mp4").rename(tmp_path / "in" / os.fsdecode(b"caf\xe9.mp4"))
    out = tmp_path / "out"
    options = ("--model=stickman-lrcn", "--method=gradcam", "--figures")
    code, said, err = call(
        "explain", f"--videos={tmp_path}/in", f"--out={out}", *options
    )
    assert code == 0, err
    assert "summary: " in said and (out / os.fsdecode(b"caf\xe9")).is_dir()
    page = (out / "index.html").read_text("utf-8")
    assert r"caf\\xe9.mp4" in page and "caf%E9/report.html" in page
    assert r"caf\xe9.mp4" in (out / "summary.csv").read_text("utf-8")
