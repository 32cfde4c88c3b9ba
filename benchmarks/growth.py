"""How time and memory grow with the length of a clip, beside the forward pass.

    python benchmarks/growth.py [--lengths=16,64,256,1024,4096] [--out=docs/growth]

An LRCN with the small CNN, 32 px, random weights, on this machine's CPU. Each number comes
from a process of its own: the median of up to three runs after one that compiles, and by
how much the resident set of the process (Linux) grew at most during these runs. Writes
OUT.png, a log-log figure, OUT.json, and prints a table with the exponents that are fitted
to all lengths but the shortest.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
CHILD = "child"  # first word of the command line of a measurement
WINDOW = 128  # frames that windowed and streamed explanations look back on
WAYS = {
    "forward": "forward pass",
    "pairs": "all pairs (explain)",
    "window": f"window of {WINDOW} (explain_long)",
    "stream": f"stream, window of {WINDOW}",
}
CLASSES, TARGET, SIZE = 11, 3, 32


class Point(NamedTuple):
    """What one way took at one length."""

    way: str
    steps: int
    seconds: float
    mib: float


def main(arguments: list[str] | None = None) -> None:
    """Measure every way at every length; draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", default="16,64,256,1024,4096", help="T")
    parser.add_argument("--out", default="docs/growth", help="path of the files")
    options = parser.parse_args(arguments)
    points = []
    for steps in map(int, options.lengths.split(",")):
        for way in WAYS:
            points.append(in_process(way, steps))
            print(points[-1], flush=True)
    out = Path(options.out)
    fields = [point._asdict() for point in points]
    out.with_suffix(".json").write_text(json.dumps(fields, indent=1) + "\n")
    draw(points, out.with_suffix(".png"))
    print(table(points))


def in_process(way: str, steps: int) -> Point:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, CHILD, way, str(steps)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    seconds, mib = json.loads(done.stdout.splitlines()[-1])
    return Point(way=way, steps=steps, seconds=seconds, mib=mib)


def measure(way: str, steps: int) -> tuple[float, float]:
    """Return seconds, and the MiB by which the resident set grew at most."""
    run = runner(way)
    frames = np.random.default_rng(0).normal(size=(steps, SIZE, SIZE, 3))
    frames = frames.astype(np.float32)
    run(frames)  # compiles, which takes memory of its own
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the largest is the current
    before = _resident("VmRSS")
    times: list[float] = []
    while len(times) < 3 and sum(times) < 10:
        began = time.perf_counter()
        run(frames)
        times.append(time.perf_counter() - began)
    return statistics.median(times), (_resident("VmHWM") - before) / 2**20


def runner(way: str) -> Callable[[np.ndarray], object]:
    """Return what explains frames in one of the ways, to the end."""
    import jax
    import jax.numpy as jnp

    import rgcam
    from rgcam.attribution import long, stream
    from rgcam.models import classifiers, cut

    arch = {
        "kind": "lrcn",
        "backbone": "small",
        "head": "gap",
        "width": 64,
        "dropout": 0.0,
        "cell": "lstm",
        "hidden": 64,
    }
    module = classifiers.build(arch, CLASSES)
    clip = jnp.zeros((2, SIZE, SIZE, 3))
    variables = jax.jit(lambda key: classifiers.init(module, key, clip))(
        jax.random.key(0)
    )

    @jax.jit
    def forward(variables, frames):
        return cut.classify(module, variables, cut.features(module, variables, frames))

    def explain_stream(frames: np.ndarray) -> object:
        state = stream.start(module, variables, frames[0], window=WINDOW)
        row = None
        for frame in frames:
            state, row = stream.step(module, variables, state, frame, target=TARGET)
        return jax.block_until_ready(row)

    ways: dict[str, Callable[[np.ndarray], object]] = {
        "forward": lambda frames: jax.block_until_ready(forward(variables, frames)),
        "pairs": lambda frames: jax.block_until_ready(
            rgcam.explain(module, variables, frames, TARGET, beta=False)
        ),
        "window": lambda frames: long.explain_long(
            module, variables, [frames], TARGET, window=WINDOW
        ),
        "stream": explain_stream,
    }
    return ways[way]


def exponent(points: Sequence[Point], field: str) -> float:
    """Fit log value on log T by least squares, without the shortest clip."""
    shortest = min(point.steps for point in points)
    good = [p for p in points if p.steps > shortest and getattr(p, field) > 0]
    if len(good) < 2:
        return float("nan")
    steps = np.log([p.steps for p in good])
    values = np.log([getattr(p, field) for p in good])
    return float(np.polyfit(steps, values, 1)[0])


def of_way(points: Sequence[Point], way: str) -> list[Point]:
    """Return the points of one way."""
    return [point for point in points if point.way == way]


def table(points: Sequence[Point]) -> str:
    """Format times, memory and exponents as a Markdown table."""
    lengths = sorted({point.steps for point in points})
    head = ["", *(f"T = {steps:,}" for steps in lengths), "time ~ T^", "memory ~ T^"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for way, title in WAYS.items():
        row = of_way(points, way)
        cells = [f"{1e3 * p.seconds:,.0f} ms, {p.mib:,.0f} MiB" for p in row]
        fits = [f"{exponent(row, field):.2f}" for field in ("seconds", "mib")]
        lines.append(f"| {' | '.join((title, *cells, *fits))} |")
    return "\n".join(lines)


def draw(points: Sequence[Point], file: Path) -> None:
    """Draw time and memory against T, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.8), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    titles = {"seconds": "time, s", "mib": "memory, MiB"}
    for axes, (field, title) in zip(panels, titles.items(), strict=True):
        for (way, name), marker in zip(WAYS.items(), "osd^", strict=True):
            row = [p for p in of_way(points, way) if getattr(p, field) > 0]
            label = f"{name}: T^{exponent(row, field):.2f}"
            axes.plot(
                [p.steps for p in row],
                [getattr(p, field) for p in row],
                marker=marker,
                label=label,
            )
        axes.set(xscale="log", yscale="log", xlabel="T, frames", title=title)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(file)


def _resident(field: str) -> int:
    """Return the resident set of this process, in bytes: VmRSS, or the largest, VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
