"""How time and memory grow with the length of a clip, beside the forward pass.

    python benchmarks/growth.py [--lengths=16,64,256,1024,4096] [--out=docs/growth]

An LRCN with the small CNN, 32 px, random weights, on this machine's CPU. Each number comes
from a process of its own: the median of up to three runs after one that compiles, and by
how much the resident set of the process (Linux) grew at most during these runs. Writes
OUT.png, a log-log figure, OUT.json, and prints a table with the exponents that are fitted
to all lengths but the shortest.

Where PyTorch is installed, a network of the same layers is explained there in two ways,
one call per output step: by hand (features once, one gradient of the head per call) and as
pytorch-grad-cam and Captum do (a pass forward and backward per call). Of these, CALLS
output steps are timed and their mean is multiplied by T; memory is not measured.
"""

import argparse
import functools
import gc
import importlib.util
import json
import math
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
PEERS = {
    "by_hand": "PyTorch, features once, one gradient per t'",
    "per_call": "PyTorch, forward and backward per t'",
}
TITLES = WAYS | PEERS
CALLS = 8  # output steps by which a way of PyTorch is timed
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
    has_torch = importlib.util.find_spec("torch") is not None
    ways = [*WAYS, *PEERS] if has_torch else [*WAYS]
    for steps in map(int, options.lengths.split(",")):
        for way in ways:
            points.append(in_process(way, steps))
            print(points[-1], flush=True)
    out = Path(options.out)
    fields = [
        point._asdict() | ({"mib": None} if math.isnan(point.mib) else {})
        for point in points
    ]
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
    if way in PEERS:
        return seconds_of_peer(way, steps), math.nan
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


def seconds_of_peer(way: str, steps: int) -> float:
    """Return the seconds that PyTorch takes for all output steps, from CALLS of them."""
    import torch
    from torch import nn

    class Network(nn.Module):
        """The layers of the LRCN above: small CNN, mean over space, LSTM, scores."""

        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(
                nn.PixelUnshuffle(2),
                nn.Conv2d(12, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(64, 64, 3, stride=1, padding=1),
                nn.ReLU(),
            )
            self.project = nn.Linear(64, 64)
            self.recurrent = nn.LSTM(64, 64)
            self.scores = nn.Linear(64, CLASSES)

        def classify(self, maps):
            vectors = torch.relu(self.project(maps.mean((2, 3))))
            return self.scores(self.recurrent(vectors)[0])

    model = Network().eval()
    frames = torch.randn(steps, 3, SIZE, SIZE)

    def features():
        with torch.no_grad():
            return model.backbone(frames).requires_grad_()

    def explain(maps, scores, out):
        (gradient,) = torch.autograd.grad(scores[out, TARGET], maps, retain_graph=True)
        beta = gradient.mean((2, 3), keepdim=True)
        return (beta * maps.detach()).sum(1).relu()

    def call(out):
        """Run the network forward and backward, down to its weights, as the tools do."""
        model.zero_grad()
        maps = model.backbone(frames)
        maps.retain_grad()
        model.classify(maps)[out, TARGET].backward()
        beta = maps.grad.mean((2, 3), keepdim=True)
        return (beta * maps.detach()).sum(1).relu()

    outs = np.linspace(0, steps - 1, min(CALLS, steps)).round().astype(int)
    shared = 0.0
    if way == "by_hand":
        features()  # the first run of a shape is slower
        began = time.perf_counter()
        maps = features()
        scores = model.classify(maps)
        shared = time.perf_counter() - began
        call = functools.partial(explain, maps, scores)
    call(outs[-1])
    began = time.perf_counter()
    for out in outs:
        call(out)
    return shared + (time.perf_counter() - began) / len(outs) * steps


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
    for way, title in TITLES.items():
        row = of_way(points, way)
        if not row:
            continue
        cells = [_cell(p) for p in row]
        exponents = [exponent(row, field) for field in ("seconds", "mib")]
        fits = ["" if math.isnan(value) else f"{value:.2f}" for value in exponents]
        lines.append(f"| {' | '.join((title, *cells, *fits))} |")
    return "\n".join(lines)


def _cell(point: Point) -> str:
    memory = "" if math.isnan(point.mib) else f", {point.mib:,.0f} MiB"
    return f"{1e3 * point.seconds:,.0f} ms{memory}"


def draw(points: Sequence[Point], file: Path) -> None:
    """Draw time and memory against T, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    titles = {"seconds": "time, s", "mib": "memory, MiB"}
    for axes, (field, title) in zip(panels, titles.items(), strict=True):
        for (way, name), marker in zip(TITLES.items(), "osd^xv", strict=True):
            row = [p for p in of_way(points, way) if getattr(p, field) > 0]
            if not row:
                continue
            label = f"{name}: $T^{{{exponent(row, field):.2f}}}$"
            axes.plot(
                [p.steps for p in row],
                [getattr(p, field) for p in row],
                marker=marker,
                label=label,
            )
        axes.set(xscale="log", yscale="log", xlabel="T, frames", title=title)
        # Below the axes: lines from corner to corner leave no room between them.
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16))
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
