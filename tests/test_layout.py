"""The layout: rooms import downwards only, maths stays free of I/O, names stay public."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rgcam

PACKAGE = Path(rgcam.__file__).parent
ROOT = PACKAGE.parent
# Each line imports from the lines above it only; rooms of one line are siblings.
FLOORS = (
    ("errors",),
    ("types",),
    ("files",),
    ("programs",),
    ("models",),
    ("data", "attribution"),
    ("interop", "metrics"),
    ("training", "evaluation", "report"),
    ("corpus",),
    ("commands",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Entry points stand above all rooms: the package's own __init__ loads rooms lazily, and
# the others forward a command line.
ENTRIES = {"__init__.py", "__main__.py", "datasets.py", "evaluate.py"}
# Whole rooms of maths but for weight files, and maths in rooms that also read and write.
MATHS = sorted(
    {
        path.relative_to(PACKAGE).as_posix()
        for room in ("attribution", "metrics", "models")
        for path in (PACKAGE / room).glob("*.py")
        if path.name not in ("zoo.py", "torch_files.py", "checkpoint_files.py")
    }
    | {"training/step.py", "report/plots.py", "report/overlay.py"}
    | {f"evaluation/{name}.py" for name in ("detection", "controls", "tables")}
)
INPUT_OUTPUT = set("imageio av tensorflow_datasets orbax grain os pathlib".split())
FILE_MODULES = {
    "rgcam.data.cache",
    "rgcam.data.sources",
    "rgcam.data.video",
    "rgcam.models.checkpoint_files",
    "rgcam.training.checkpoint",
}


def modules(folder: Path = PACKAGE) -> dict[str, Path]:
    """Return dotted name -> file of every module of the package or of a folder."""
    names = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


def imports_of(path: Path, *, lazy: bool = True) -> set[str]:
    """Return dotted names that a file imports, those inside functions if ``lazy``.

    Imports for the type checker alone (``if TYPE_CHECKING:``) do not count.
    """
    names = set()
    for node in _executed(ast.parse(path.read_text()).body, lazy):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _executed(body: list[ast.stmt], lazy: bool) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield from ast.walk(node) if lazy else (node,)


def test_every_room_imports_from_lower_floors_only():
    upward = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        if path.name == "__main__.py" or (len(parts) == 1 and path.name in ENTRIES):
            continue
        room = parts[0].removesuffix(".py")
        for name in imports_of(path):
            pieces = name.split(".")
            if pieces[0] != "rgcam" or len(pieces) == 1:
                continue
            other = pieces[1]
            if other != room and FLOOR.get(other, len(FLOORS)) >= FLOOR[room]:
                upward.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not upward


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "benchmarks"])
def test_no_module_imports_itself_through_others(folder):
    files = modules(folder)
    graph = {
        name: {
            imported
            for imported in imports_of(path)
            if imported in files and files[imported].name != "__init__.py"
        }
        for name, path in files.items()
    }
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for imported in sorted(graph[name]):
                visit(imported)
            done.add(path.pop())

    for name in graph:
        visit(name)


@pytest.mark.parametrize("name", MATHS)
def test_maths_imports_no_files_and_no_codecs(name):
    imported = imports_of(PACKAGE / name)
    assert not {module.split(".")[0] for module in imported} & INPUT_OUTPUT
    assert not imported & FILE_MODULES


def test_every_test_belongs_to_a_module():
    strays = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        parts = path.relative_to(ROOT / "tests").parts
        source = PACKAGE.joinpath(*parts[:-1], parts[-1].removeprefix("test_"))
        if len(parts) > 1 and parts[0] in FLOOR and not source.is_file():
            strays.append(str(path.relative_to(ROOT)))
    assert strays == [
        # What is compared or killed there spans several modules of the room.
        name
        for name in strays
        if Path(name).name in ("test_consistency.py", "test_kill.py")
    ]


@pytest.mark.parametrize(
    "statement, absent",
    [
        ("import rgcam", "matplotlib av PIL orbax jax flax"),
        ("import rgcam; rgcam.explain", "matplotlib av PIL orbax optax grain"),
        (
            "import sys; sys.argv = ['explain.py', '--help']; import explain",
            "orbax.checkpoint optax grain tensorflow_datasets rgcam.training.step",
        ),
    ],
)
def test_imports_stay_light(statement, absent):
    code = f"{statement}; import sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(absent.split()) & set(run.stdout.split())


def test_public_names_and_rooms_are_there():
    for name in rgcam.__all__:
        assert getattr(rgcam, name) is not None
    for room in FLOOR.keys() - {"errors", "types", "files", "programs"}:
        assert importlib.import_module(f"rgcam.{room}").__doc__
        assert room in dir(rgcam)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        rgcam.absent  # noqa: B018


def test_the_version_is_the_installed_one():
    assert rgcam.__version__ == importlib.metadata.version("rgcam")


def test_a_reader_follows_an_explanation_through_few_files():
    run = subprocess.run(
        [sys.executable, "benchmarks/trace.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    counts = re.findall(r": (\d+) files \(limit (\d+)\)", run.stdout)
    assert [limit for _, limit in counts] == ["28", "28", "12"]
    assert "  report/record.py" in run.stdout


@pytest.mark.parametrize("script", ["train.py", "explain.py"])
def test_scripts_only_call_commands(script):
    body = ast.parse((ROOT / script).read_text()).body
    assert len(body) <= 5 and not any(isinstance(x, ast.FunctionDef) for x in body)
