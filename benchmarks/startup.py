"""How long a person waits for ``rgcam explain``, stage by stage.

    python benchmarks/startup.py [--before=FOLDER] [--video=FILE] [--runs=3] [--out=startup]

Every run is a process of its own. Cold: nothing is kept of earlier runs. Warm: the same
command once more. With ``--before``, a checkout of an older version (``git worktree add
FOLDER COMMIT``), each run is followed by one of that version, so that both see the same load
of the machine. Medians over the runs, in seconds; writes OUT.json and OUT.md.

========  =======================================================================
stage     is
========  =======================================================================
import    the start of Python, and what is imported before the model
load      models: descriptions, weights, statistics
decode    the video, or drawing the demo clip
explain   features, scores and maps of every class and method, the frame CNN's too
check     the faithfulness of every map that the page offers
draw      figures, page, and files
compile   tracing, lowering and compiling, or reading what was compiled, of all the
          above, in which it is not contained
========  =======================================================================
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = ("import", "load", "decode", "explain", "check", "draw", "compile")
# What a version says when a stage begins -> the stage.
SAID = {
    "load rgcam": "import",
    "load the model": "load",
    "decode": "decode",
    "features": "explain",
    "explain": "explain",
    "frame-CNN": "explain",
    "draw": "draw",
}
CHILD = "child"  # first word of the command line of a run
COMPILING = (
    "jaxpr_trace_duration",
    "jaxpr_to_mlir_module_duration",
    "backend_compile_duration",
)


def main(arguments: list[str] | None = None) -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", help="checkout of an older version")
    parser.add_argument("--video", help="a real clip, explained beside the demo")
    parser.add_argument("--runs", type=int, default=3, help="of each case")
    parser.add_argument("--out", default="startup", help="path of the files, no suffix")
    options = parser.parse_args(arguments)
    versions = {"after": ROOT}
    if options.before:
        versions["before"] = Path(options.before).absolute()
    clips = {"demo": []} | (
        {"clip": [f"--video={Path(options.video).absolute()}"]} if options.video else {}
    )
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.runs):
        for clip, words in clips.items():
            for version, root in versions.items():
                with tempfile.TemporaryDirectory() as cache:
                    for start in ("cold", "warm"):
                        name = f"{clip}, {start}, {version}"
                        row = run(root, words, cache)
                        results.setdefault(name, []).append(row)
                        print(name, row, flush=True)
    medians = {
        name: {
            key: round(statistics.median(row[key] for row in rows), 2)
            for key in rows[0]
        }
        for name, rows in results.items()
    }
    out = Path(options.out)
    out.with_suffix(".json").write_text(
        json.dumps({"medians": medians, "runs": results}, indent=1) + "\n"
    )
    out.with_suffix(".md").write_text(table(medians))
    print(table(medians))


def run(root: Path, words: list[str], cache: str) -> dict[str, float]:
    """Explain once in a process; return the seconds of its stages."""
    environment = dict(os.environ, PYTHONPATH=str(root), XDG_CACHE_HOME=cache)
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    folder = tempfile.mkdtemp()
    child = [sys.executable, __file__, CHILD, str(time.monotonic())]
    try:
        output = subprocess.run(
            [*child, *words, f"--out={folder}/explanation"],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    finally:
        shutil.rmtree(folder)
    return json.loads(output.splitlines()[-1])


def table(medians: dict[str, dict[str, float]]) -> str:
    """Format medians as a Markdown table."""
    columns = ("total", *STAGES, "CPU")
    lines = [f"| {' | '.join(('', *columns))} |", "|" + "---|" * (len(columns) + 1)]
    for name, row in medians.items():
        cells = [f"{row[column]:.1f}" for column in columns]
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines) + "\n"


def run_child(began: float, words: list[str]) -> None:
    """Explain in this process, of the version on PYTHONPATH, and print its stages.

    Args:
        began: when the parent started this process, of ``time.monotonic``.
        words: options of the command.
    """
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    from rgcam.commands import app

    marks = [(began, "import")]  # (time, the stage that begins)
    compiling: list[tuple[float, float]] = []  # (from, to)

    def mark(name: str) -> None:
        # Only now: an early import of JAX would not be this command's.
        _watch(marks, compiling)
        stages = [stage for start, stage in SAID.items() if name.startswith(start)]
        marks.append((time.monotonic(), stages[0] if stages else ""))

    app.stage = mark
    code = app.main(["explain", *words])
    ended = time.monotonic()
    marks.append((ended, ""))
    row = dict.fromkeys(STAGES, 0.0)
    compiling = _union(compiling)
    for (start, name), (end, _) in zip(marks, marks[1:], strict=False):
        inside = sum(
            max(0.0, min(end, to) - max(start, since)) for since, to in compiling
        )
        row[name or "draw"] += end - start - inside
        row["compile"] += inside
    row["total"] = ended - began
    row["CPU"] = time.process_time()
    print("\n" + json.dumps(row))
    sys.exit(code)


def _watch(
    marks: list[tuple[float, str]], compiling: list[tuple[float, float]]
) -> None:
    """Follow JAX's compilation and the checks, once they are imported."""
    jax = sys.modules.get("jax")
    if jax is not None and not compiling:
        compiling.append((0.0, 0.0))

        def record(event: str, seconds: float, **fields: object) -> None:
            if event.endswith(COMPILING):
                now = time.monotonic()
                compiling.append((now - seconds, now))

        jax.monitoring.register_event_duration_secs_listener(record)
    check = sys.modules.get("rgcam.metrics.faithfulness")
    if check is not None and not hasattr(check, "is_watched"):
        setattr(check, "is_watched", True)  # noqa: B010
        for name in ("intervene", "judge", "judge_each"):
            setattr(check, name, _as_check(getattr(check, name), marks))


def _as_check(
    function: Callable[..., object], marks: list[tuple[float, str]]
) -> Callable[..., object]:
    """Let the time of a function count as the check's."""

    def call(*args: object, **kwargs: object) -> object:
        marks.append((time.monotonic(), "check"))
        try:
            return function(*args, **kwargs)
        finally:
            marks.append((time.monotonic(), "explain"))

    return call


def _union(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join intervals that overlap: one trace contains others."""
    joined: list[tuple[float, float]] = []
    for since, to in sorted(intervals):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(to, joined[-1][1])
        else:
            joined.append((since, to))
    return joined


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        run_child(float(sys.argv[2]), sys.argv[3:])
    else:
        main()
