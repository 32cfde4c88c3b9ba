"""Count the package files that an explanation runs through.

    python benchmarks/trace.py

A file counts when a function of it is called. Running its top level on import does not
count, nor do contents pages (``__init__.py``), whose only function imports on demand. The
limits are those of the design: a reader follows an explanation through few files.
"""

import inspect
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax
import numpy as np

import rgcam
from rgcam.commands import app
from rgcam.data.synthetic import stickman
from rgcam.report import writer

PACKAGE = Path(rgcam.__file__).parent
COMMAND_LIMIT = 28
DEMO_LIMIT = COMMAND_LIMIT + 2  # three files that draw the clip, none that reads one
FUNCTION_LIMIT = 12


def traced(run: Callable[[], object]) -> list[str]:
    """Return the package's files in which functions are called during ``run``."""
    names: set[str] = set()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        # Only functions have fast local variables: modules and bodies of classes do not.
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
            names.add(code.co_filename)

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
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


def main() -> int:
    """Trace the command on a video and on the demo clip, then the function on arrays."""
    with tempfile.TemporaryDirectory() as folder:
        video = f"{folder}/clip.mp4"
        writer.write_video(video, stickman.clip(7).frames, 7.5)
        options = [f"--video={video}", "--model=stickman-lrcn", f"--out={folder}"]
        command = traced(lambda: app.main(["explain", *options]))
        jax.clear_caches()  # or the next explanation would skip what this one traced
        demo = traced(lambda: app.main(["explain", f"--out={folder}"]))
    model = rgcam.load_model("stickman-lrcn")
    size = model.description.preprocess.size
    frames = np.zeros((8, size, size, 3), np.float32)
    jax.clear_caches()
    function = traced(
        lambda: rgcam.explain(model.module, model.variables, frames, method="fade")
    )
    within = [
        report("explain.py --video=FILE", command, COMMAND_LIMIT),
        report("explain.py, which draws its clip", demo, DEMO_LIMIT),
        report('rgcam.explain(method="fade")', function, FUNCTION_LIMIT),
    ]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
