"""What the layout promises: pure modules stay pure, names are where people look."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rgcam

PACKAGE = Path(rgcam.__file__).parent
ROOT = PACKAGE.parent
PURE = sorted(
    file.relative_to(PACKAGE).as_posix().removesuffix(".py")
    for room in ("attribution", "metrics")
    for file in (PACKAGE / room).glob("*.py")
)
KEPT_OUT = {
    *"imageio av tensorflow_datasets orbax grain os pathlib".split(),
    *"rgcam.data.video rgcam.training.checkpoint rgcam.data.cache rgcam.data.sources".split(),
}


def imports_of(file: Path) -> set[str]:
    """Return the modules imported when ``file`` is imported."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_no_files_or_codecs(name):
    imported = imports_of(PACKAGE / f"{name}.py")
    found = {i for i in imported if i in KEPT_OUT or i.split(".")[0] in KEPT_OUT}
    assert not found, f"rgcam/{name}.py is pure: move what needs {found} elsewhere"


def test_explaining_a_bundled_model_imports_no_training():
    """Orbax, Optax and the like take a second of every start on a slow machine."""
    code = "import sys, rgcam.commands.explain; print(*sys.modules)"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "orbax.checkpoint",
        "optax",
        "grain",
        "tensorflow_datasets",
        "rgcam.training.step",
    }
    assert not heavy & set(found.stdout.split())


def test_public_names():
    for name in (
        "importance_weights heatmaps importance_matrix explain Explanation "
        "load_model Model read_clip Clip InputError show"
    ).split():
        assert hasattr(rgcam, name) and name in rgcam.__all__


@pytest.mark.parametrize("script", ["train.py", "explain.py"])
def test_scripts_stay_thin(script):
    assert len((ROOT / script).read_text().splitlines()) <= 12
