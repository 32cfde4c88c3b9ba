"""Shared by every test: eight CPU devices, and the clips that may not be there."""

import contextlib
import functools
import math
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# Tests compile for longer than they compute: less of LLVM's work, same arithmetic.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older emitters compile fusions in a quarter of the time (a training step in 0.8 s
# instead of 3.4), and faster in one piece than in 32; later versions of jaxlib have no
# others, and reject the flag. Without LLVM's expensive passes, what is compiled for speed
# all the same (``optimized``) compiles faster and runs as fast.
if version("jaxlib").startswith("0.10."):
    FLAGS = (
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_llvm_disable_expensive_passes=true",
    )
    os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Many tests compile the same programs: the workers and scripts share those that take
# longer to compile than to store.
CACHE = Path(tempfile.gettempdir()) / f"rgcam-tests-{os.getuid()}"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)  # of scripts in a process
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# JAX lowers each program in an MLIR context of its own, into which it loads all dialects:
# a sixth of the time of tests that lower hundreds of small programs. Here the programs of
# a worker share one. Nothing public says so; a JAX without this function does as ever.
try:
    from jax._src.interpreters import mlir

    mlir.make_ir_context = functools.cache(mlir.make_ir_context)
except (ImportError, AttributeError):
    mlir = None

HERE = Path(__file__).parent
ROOT = HERE.parent
BROWSERS = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
WIDE = {"width": 1280, "height": 900}
REAL_CLIPS = HERE.parents[1] / "shared" / "data"


# The files that take longest, begun first so that no worker waits for another at the end.
LONGEST = (
    "interop/test_consistency.py",
    "attribution/test_explain.py",
    "commands/test_train.py",
    "test_docs.py",
    "report/test_explain.py",
    "commands/test_explain.py",
    "training/test_kill.py",
    "corpus/test_run.py",
    "training/test_step.py",
    "attribution/test_causal.py",
    "report/test_explorer.py",
    "commands/test_evaluate.py",
)


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest."""
    rank = {HERE / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give all tests of a file to one worker, which traces and compiles for them once.

    Spread over two workers, most programs were traced by both: half of the time again.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # the order of collection
    return LoadFileScheduling(config, log)


# Of a process, above which its compiled programs are freed: a file of many programs, such
# as training/test_step.py, adds 9,000.
MEMORY_MAPS = 35_000


@pytest.fixture(scope="module", autouse=True)
def free_programs():
    """Free the compiled programs after a module where they have become many.

    Each program on a CPU holds several memory maps, of which Linux gives a process
    65,530: a worker that kept those of all tests ended in a segmentation fault of XLA.
    Freed after every module, what modules share was traced again and again.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > MEMORY_MAPS:
        jax.clear_caches()
        if mlir is not None:
            mlir.make_ir_context.cache_clear()


@pytest.fixture
def optimized():
    """Compile for speed: for tests that run a pretrained backbone over many frames."""
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


@contextlib.contextmanager
def wide_and_strict():
    """Set both settings of JAX under which types go wrong: float64, strict promotion.

    One program is compiled for both, and an array that is float64 by mistake is rejected
    where it is computed with another.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def shapes_of(module, inputs, method="__call__"):
    """Return the shapes of the variables that ``rgcam.models.classifiers.init`` makes."""
    from rgcam.models import classifiers

    init = functools.partial(classifiers.init, module, method=method)
    return jax.eval_shape(init, jax.random.key(0), inputs)


def draw(shapes):
    """Draw variables in NumPy, which keep the scale of what passes a ReLU.

    Initialising is a program of its own, which takes longer to compile than most that a
    test of a small module is about.
    """
    rng = np.random.default_rng(0)

    def draw_leaf(path, leaf):
        layer, name = [getattr(entry, "key", None) for entry in path][-2:]
        if leaf.ndim > 1:
            fan_in = math.prod(leaf.shape[:-1])
            values = rng.normal(scale=(2 / fan_in) ** 0.5, size=leaf.shape)
        else:  # biases and statistics; the forget gates of an LSTM are open
            around_one = name in ("scale", "var") or layer == "hf"
            values = around_one + rng.uniform(-0.1, 0.1, leaf.shape)
        return jnp.asarray(values.astype(leaf.dtype))

    return jax.tree.map_with_path(draw_leaf, shapes)


def draw_variables(module, inputs, method="__call__"):
    """Draw what ``rgcam.models.classifiers.init`` would initialise."""
    return draw(shapes_of(module, inputs, method))


@pytest.fixture
def real_clips() -> Path:
    """Return the folder of real clips, or skip where it is absent."""
    if not REAL_CLIPS.is_dir():
        pytest.skip("the real clips (shared/data) are not beside this checkout")
    return REAL_CLIPS


@pytest.fixture
def ucf_tree(tmp_path):
    """Make UCF101's layout of empty files: 2 classes, 10 groups of 2 clips each."""
    for name in ("Dive", "Swing"):
        for group in range(1, 11):
            for clip in (1, 2):
                path = tmp_path / name / f"v_{name}_g{group:02}_c{clip:02}.mp4"
                path.parent.mkdir(exist_ok=True)
                path.touch()
    (tmp_path / "Dive" / "notes.txt").touch()
    (tmp_path / ".hidden").mkdir()
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command in this process: call("explain", "--out=...") -> code, out, err.

    Test videos are drawings: where no model is given, they get the model of drawings.
    Figures are coarse: at their own resolution they took a third of the time.
    """
    from rgcam.commands import app
    from rgcam.commands import explain as explain_command
    from rgcam.report import plots

    monkeypatch.setattr(explain_command, "VIDEO_MODEL", explain_command.DEMO_MODEL)
    monkeypatch.setattr(plots, "DPI", 72)

    def run(command, *arguments):
        words = [command, *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", [f"{command}.py", *words[1:]])
        code = app.main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def browser():
    """Start a headless Chromium, or skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
        found = playwright.chromium.launch(**options)
        yield found
        found.close()


@pytest.fixture
def open_page(browser):
    """Open a file; afterwards nothing was said on the console, nothing asked for."""
    said, asked, contexts = [], [], []

    def open_file(file, fragment="", **options):
        context = browser.new_context(**({"viewport": WIDE} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url[:200]))
        page.goto(f"{file.as_uri()}{fragment}")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert not said
    local = "file:", "data:", "blob:", "about:"
    assert not [url for url in asked if not url.startswith(local)]
    assert sum(url.startswith("file:") for url in asked) == len(contexts)


def one_sentence(err):
    """Return the error line, having made sure that it is all that was said."""
    lines = [x for x in err.splitlines() if x and not x.startswith("decoding")]
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]
