"""Count the package files that an explanation runs through.

    python benchmarks/trace.py

A file counts when a function of it is called, other than by the top level of a module that
is being imported. Contents pages (``__init__.py``), whose only function imports on demand,
do not count. Each explanation has a process and a cache of its own: what an earlier one
traced and compiled would not run again. The limits are those of the design: a reader
follows an explanation through few files.
"""

import collections
import inspect
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

import rgcam
from rgcam.commands import app
from rgcam.data.synthetic import stickman
from rgcam.report import writer

PACKAGE = Path(rgcam.__file__).parent
COMMAND_LIMIT = 28
FUNCTION_LIMIT = 12


def traced(run: Callable[[], object]) -> list[str]:
    """Return the package's files in which functions are called during ``run``."""
    names: set[str] = set()
    importing = collections.Counter[int]()  # modules whose top level runs, by thread

    def profile(frame: FrameType, event: str, argument: object) -> None:
        code, thread = frame.f_code, threading.get_ident()
        if code.co_name == "<module>":
            importing[thread] += {"call": 1, "return": -1}.get(event, 0)
        elif event == "call" and not importing[thread]:
            # Only functions have fast local variables: modules and bodies of classes do not.
            if not code.co_flags & inspect.CO_OPTIMIZED:
                return
            names.add(code.co_filename)

    threading.setprofile(profile)  # of threads that begin from now on
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    paths = (
        Path(name)
        for name in names
        if name.startswith(str(PACKAGE)) and not name.endswith("__init__.py")
    )
    return sorted(path.relative_to(PACKAGE).as_posix() for path in paths)


def report(title: str, files: list[str], limit: int) -> bool:
    """Print the count and the files; return whether the count is within the limit."""
    print(f"{title}: {len(files)} files (limit {limit})")
    print("  " + "\n  ".join(files))
    return len(files) <= limit


def trace_video() -> list[str]:
    """Trace the command on a video."""
    with tempfile.TemporaryDirectory() as folder:
        video = f"{folder}/clip.mp4"
        writer.write_video(video, stickman.clip(7).frames, 7.5)
        options = [f"--video={video}", "--model=stickman-lrcn", f"--out={folder}"]
        return traced(lambda: app.main(["explain", *options]))


def trace_demo() -> list[str]:
    """Trace the command on the clip that it draws."""
    with tempfile.TemporaryDirectory() as folder:
        return traced(lambda: app.main(["explain", f"--out={folder}"]))


def trace_function() -> list[str]:
    """Trace the function on arrays."""
    model = rgcam.load_model("stickman-lrcn")
    size = model.description.preprocess.size
    frames = np.zeros((8, size, size, 3), np.float32)
    return traced(
        lambda: rgcam.explain(model.module, model.variables, frames, method="fade")
    )


def in_new_process(trace: Callable[[], list[str]]) -> list[str]:
    """Trace where nothing has been traced or compiled, neither now nor before."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawned) as process:
            return process.submit(trace).result()


def main() -> int:
    """Trace the command on a video and on the demo clip, then the function on arrays."""
    within = [
        report("explain.py --video=FILE", in_new_process(trace_video), COMMAND_LIMIT),
        report(
            "explain.py, which draws its clip",
            in_new_process(trace_demo),
            COMMAND_LIMIT,
        ),
        report(
            'rgcam.explain(method="fade")',
            in_new_process(trace_function),
            FUNCTION_LIMIT,
        ),
    ]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
