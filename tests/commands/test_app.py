"""What every command does before its own work, on any terminal and system."""

import json
import os
import re
import shutil
import subprocess
import sys

import jax
import pytest

from rgcam.commands import COMMANDS, app
from rgcam.data.synthetic import stickman
from rgcam.models import zoo
from rgcam.report import writer
from tests.conftest import ROOT, one_sentence
from tests.test_files import no_home

HEAVY = ("orbax", "optax", "grain", "tensorflow_datasets", "rgcam.training.step")


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """Play a machine on which nothing is set; put the tests' own settings back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = [
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
    ]
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_cache_folder(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", None)
    app.cache_compiled_programs()
    place = jax.config.jax_compilation_cache_dir
    assert place.startswith(str(tmp_path / "rgcam" / "programs"))
    app.cache_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == place


def test_another_place_for_programs_is_left_alone(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    app.cache_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")


def run(*arguments, **environment):
    """Run a command in a process of its own; return code, stdout and stderr as bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "rgcam", *arguments],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    return done.returncode, done.stdout, done.stderr


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path):
    """A file name that is not UTF-8, a class in Japanese, a class that is TeX."""
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    drawn = stickman.clip(3, size=96)
    writer.write_video(tmp_path / "a.mp4", drawn.frames, 7.5)
    os.rename(tmp_path / "a.mp4", file)
    model = shutil.copytree(zoo.BUNDLED / "stickman-lrcn", tmp_path / "model")
    fields = json.loads((model / "model.json").read_text())
    fields["classes"][drawn.label] = "日本"
    fields["classes"][drawn.label - 1] = "$^$"
    (model / "model.json").write_text(json.dumps(fields))
    code, out, err = run(
        "explain",
        f"--model={model}",
        f"--cnn={model}",
        f"--video={file}",
        "--target=日本",
        "--method=fade",
        f"--out={tmp_path / 'out'}",
        PYTHONIOENCODING="cp1252",
        LANG="C",
        MPLBACKEND="no such backend",
    )
    assert code == 0, err
    assert rb"caf\xe9.mp4, 16 frames" in out and rb"explained: \u65e5\u672c" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["target"] == "日本"
    assert summary["arguments"]["video"] == file
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert r"caf\xe9.mp4" in page and "日本" in page


def test_a_platform_that_is_not_there_is_one_sentence(tmp_path):
    code, _, err = run("explain", f"--out={tmp_path / 'out'}", JAX_PLATFORMS="abacus")
    assert code == 2
    assert "'abacus' of JAX_PLATFORMS" in one_sentence(err.decode())


def test_without_a_home_folder_a_clip_is_explained(call, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    code, _, err = call("explain", f"--out={tmp_path / 'out'}", "--method=fade")
    assert code == 0, err


def test_a_cache_folder_that_cannot_be_written_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        app.cache_compiled_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_help_loads_no_heavy_module():
    code = (
        "import sys; from rgcam.commands import COMMANDS, app\n"
        "for command in COMMANDS:\n"
        "    app.main([command, '--help']); print('MODULES', *sys.modules)"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, capture_output=True, text=True, check=True)
    *parts, _ = re.split("^MODULES (.*)\n", result.stdout, flags=re.MULTILINE)
    for command, shown, modules in zip(COMMANDS, parts[::2], parts[1::2], strict=True):
        assert shown.startswith(f"usage: rgcam {command}")
        heavy = [name for name in HEAVY if name in modules.split()]
        assert not heavy, command


@pytest.mark.parametrize("command", ["train", "preview"])
def test_help_lists_the_fields_of_a_config(command, call):
    code, out, _ = call(command, "--help")
    assert code == 0 and "--config.data.augment." in out and "hidden=256" in out


def test_a_reader_that_ends_early_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rgcam", "--help"]
    run = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert run.returncode == 141 and run.stderr == b""
