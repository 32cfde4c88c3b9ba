"""The record of a corpus: rows survive kills, other options and second runs do not."""

import json
import subprocess
import sys

import pytest

from rgcam.corpus import manifest
from rgcam.errors import InputError

OPTIONS = {"model": "m", "fps": 7.5, "target": None}
OK = {"status": "ok", "files": []}


def add(folder, *videos, **row):
    with manifest.open_manifest(folder, OPTIONS) as record:
        for video in videos:
            record.add({"video": video} | OK | row)


def test_rows_are_kept_and_the_newest_counts(tmp_path):
    add(tmp_path, "a", "b", status="failed", error="bad")
    add(tmp_path, "b")
    rows = {row["video"]: row["status"] for row in manifest.read(tmp_path)}
    assert rows == {"a": "failed", "b": "ok"}
    assert len((tmp_path / manifest.MANIFEST).read_text().splitlines()) == 3
    with manifest.open_manifest(tmp_path, OPTIONS) as record:
        assert record.is_done("b") and not record.is_done("a")
        assert not record.is_done("c")


def test_a_video_whose_files_are_gone_is_not_done(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.npz").touch()
    add(tmp_path, "a", files=["a/x.npz"])
    with manifest.open_manifest(tmp_path, OPTIONS) as record:
        assert record.is_done("a")
        (tmp_path / "a" / "x.npz").unlink()
        assert not record.is_done("a")


def test_a_line_cut_anywhere_is_cut_off(tmp_path):
    add(tmp_path, "a", "b")
    file = tmp_path / manifest.MANIFEST
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(first, len(whole)):
        file.write_bytes(whole[:size])
        assert [row["video"] for row in manifest.read(tmp_path)] == ["a"], size
    add(tmp_path, "b")
    assert file.read_bytes() == whole


def test_a_damaged_line_is_reported(tmp_path):
    add(tmp_path, "a", "b")
    file = tmp_path / manifest.MANIFEST
    lines = file.read_text().splitlines()
    file.write_text("\n".join(["nonsense", *lines]) + "\n")
    with pytest.raises(InputError, match="line 1 of .* is damaged"):
        add(tmp_path, "c")


def test_different_options_raise_and_are_named(tmp_path):
    add(tmp_path, "a")
    with (
        pytest.raises(InputError, match=r"fps 7.5 -> 15.*target None -> 'kick'"),
        manifest.open_manifest(tmp_path, OPTIONS | {"fps": 15, "target": "kick"}),
    ):
        pass
    (tmp_path / manifest.OPTIONS).write_text("{")
    with pytest.raises(InputError, match="no record of a corpus"):
        add(tmp_path, "b")


def test_one_run_at_a_time_and_a_dead_one_does_not_count(tmp_path):
    code = (
        "import sys, pathlib, rgcam.corpus.manifest as m\n"
        "with m.open_manifest(pathlib.Path(sys.argv[1]), {'model': 'm'}) as record:\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout.readline() == b"open\n"
        says = rf"another run \(process {other.pid}\) writes in"
        with (
            pytest.raises(InputError, match=says),
            manifest.open_manifest(tmp_path, {"model": "m"}),
        ):
            pass
        other.kill()
    with manifest.open_manifest(tmp_path, {"model": "m"}) as record:
        record.add({"video": "a"} | OK)
    assert json.loads((tmp_path / manifest.MANIFEST).read_text())["video"] == "a"


def test_places_that_cannot_be_written_or_read(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x", tmp_path / "file"):
        with pytest.raises(InputError, match="cannot write in"):
            add(place, "a")
    with pytest.raises(InputError, match="holds no manifest"):
        manifest.read(tmp_path)
