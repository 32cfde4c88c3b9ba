"""Files that are complete or absent, locks, and names that are not UTF-8."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

from rgcam import files
from rgcam.errors import InputError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.txt"
    files.write_text(file, "old\n")
    with pytest.raises(RuntimeError), files.atomic(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_names_that_are_not_utf8_are_escaped_and_not_fatal(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    assert files.printable(name) == r"caf\xe9.mp4"
    assert files.printable("日本 é") == "日本 é"
    assert files.printable(f"日本 {name}") == r"日本 caf\xe9.mp4"
    files.write_text(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_text("utf-8") == r"caf\xe9.mp4"
    # JSON is ASCII: it gives the name back as it was.
    files.write_json(tmp_path / "a.json", {"video": name})
    assert json.loads((tmp_path / "a.json").read_text())["video"] == name


def test_a_folder_is_locked_by_one_process_at_a_time(tmp_path):
    code = (
        "import sys, pathlib, rgcam.files as f\n"
        "with f.locked(pathlib.Path(sys.argv[1]), instead='x'):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout.readline() == b"locked\n"
        says = rf"process {other.pid}\) writes in .*or give another --workdir"
        with (
            pytest.raises(InputError, match=says),
            files.locked(tmp_path, instead="another --workdir"),
        ):
            pass
        other.kill()
    with files.locked(tmp_path, instead="another --workdir"):
        assert (tmp_path / files.LOCK).read_text() == str(os.getpid())


def test_the_cache_folder_of_a_user_without_a_home(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    folder = files.default_cache_folder()
    assert folder == tmp_path / f"rgcam-{os.getuid()}"
    assert folder.stat().st_mode & 0o077 == 0
    stranger = os.getuid() + 1
    monkeypatch.setattr("os.getuid", lambda: stranger)
    (tmp_path / f"rgcam-{stranger}").mkdir()
    with pytest.raises(InputError, match="belongs to another user.*XDG_CACHE_HOME"):
        files.default_cache_folder()


def no_home():
    raise RuntimeError("Could not determine home directory.")
