"""What an explanation costs beside one forward pass and beside the other tools.

    python benchmarks/explain.py > explain.md        # progress goes to stderr
    python benchmarks/explain.py --backbones=resnet18 --heads=gap --steps=16,64
    JAX_PLATFORMS=cuda python benchmarks/explain.py > gpu.md    # JAX's methods alone

Explains one class at every step t' of a clip: maps L (T', T, h, w) of Eq. 2 and matrix.
Same weights, same frames, one process:

    forward           one jitted forward pass, frames -> scores, a few frames at a
                      time as in ours, which is faster: the physical reference
    forward-at-once   the same with the whole clip in the backbone at once, as
                      module.apply does it
    ours              rgcam.explain: scores, beta, maps, matrix of all pairs
    ours-maps         rgcam.explain(beta=False): all but beta, as of the tools below
    looped            Eq. 1 as written: features once, one jitted vjp of the model cut
                      at A per t'
    torch-forward     one forward pass of the same network in PyTorch
    torch-loop        PyTorch by an expert: features once, autograd.grad of the head
                      per t'
    torch-batched     the same in one call by is_grads_batched
    captum            LayerGradCam, one call per t'; it runs the network forward in each
    pytorch-grad-cam  GradCAM as its README calls it, one call per t'; it runs the
                      network forward and backward in each

First all are compared with ours (scores, beta, maps, matrix, as far as a tool has them;
of pytorch-grad-cam, whose maps are normalised and resized, the weights it computes) and
the script fails where they differ by more than 1e-3 of the largest. Then they run in
turns, --repeats times, or as often as --limit seconds allow, and medians of times and
of paired ratios are printed. A method whose one run would take longer than --limit is
not run: beside "> 120 s" stands what T of its calls would take, from the measured
time of a call of the same T, and is called predicted.

The tools are not dependencies of rgcam: pip install -e '.[bench]', or put a folder on
PYTHONPATH that ``pip install --no-deps --target DIR grad-cam ttach captum
opencv-python-headless`` has made. Tools that are not installed are skipped and reported.
"""

import importlib.metadata
import itertools
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging

from rgcam.attribution import explain

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import flops, memory, methods, tables, work
from benchmarks.work import Case, Method, Rows, Work

OWN = "forward-at-once ours-maps looped".split()
PEERS = "torch-forward torch-loop torch-batched captum pytorch-grad-cam".split()
BACKBONES = flags.DEFINE_list("backbones", list(work.SIZES), "of the LRCN")
HEADS = flags.DEFINE_list("heads", ["gap", "fc"], "of the LRCN")
STEPS = flags.DEFINE_list("steps", ["16", "32", "64", "128", "256"], "clip lengths T")
SIZE = flags.DEFINE_integer("size", 0, "pixels; 0: 112 (resnet18), 224 (efficientnet)")
REPEATS = flags.DEFINE_integer("repeats", 5, "paired runs")
NAMES = flags.DEFINE_list("peers", OWN + PEERS, "beside forward and ours")
LIMIT = flags.DEFINE_float("limit", 120, "seconds of one run, and of all of a method")
MEMORY = flags.DEFINE_bool("memory", True, "measure it; leave out what needs too much")
TOLERANCE = 1e-3


def main(_) -> None:
    """Measure and print."""
    logging.set_verbosity(logging.WARNING)
    print(header(), flush=True)
    for backbone, head in itertools.product(BACKBONES.value, HEADS.value):
        size = SIZE.value or work.SIZES[backbone]
        cases = [Case(backbone, head, int(t), size) for t in STEPS.value]
        results = [measure(case) for case in cases]
        print(tables.report(results, LIMIT.value), flush=True)


def measure(case: Case) -> tables.Result:
    """Compare all methods with ours, then time them in turns."""
    on_cpu = jax.default_backend() == "cpu"
    beside = [name for name in NAMES.value if on_cpu or name in OWN]
    names = ["forward", "ours", *beside]
    peaks = memory.peaks(case, names) if MEMORY.value and on_cpu else {}
    fits = [name for name in names if peaks.get(name, 0) is not None]
    clip = work.build(case)
    available = {name: m for name in fits if (m := make(name, clip)) is not None}
    truth = available["ours"].run(())
    differences, estimates = {}, {}
    for name, method in available.items():
        say(f"{'/'.join(map(str, case))}: {name}")
        differences[name] = agree(name, truth, method, case.steps)
        estimates[name] = estimate(method, case.steps)
    late = {name: s for name, s in estimates.items() if s > LIMIT.value}
    runs = {n: run_of(m, case.steps) for n, m in available.items() if n not in late}
    times = in_turns(runs, {n: repeats(estimates[n]) for n in runs})
    counted = costs(case, clip, truth)
    return tables.Result(case, times, late, peaks, differences, counted)


def make(name: str, clip: Work) -> Method | None:
    """Make a method, or say why there is none."""
    try:
        return methods.make(name, clip)
    except ImportError as error:
        say(f"{name} is skipped: {error}")
        return None


def agree(name, truth: Rows, method: Method, steps: int) -> dict:
    """Return the differences from ours; fail where there is one."""
    outs = work.samples(steps)
    differences = work.differences(truth, method.run(outs), outs)
    bad = {field: d for field, d in differences.items() if not d <= TOLERANCE}
    if bad:
        sys.exit(f"error: {name} and ours differ, relative to the largest: {bad}")
    return differences


def estimate(method: Method, steps: int) -> float:
    """Predict the seconds of one whole run from the calls for one and for two t'."""
    few = work.samples(steps)
    one = seconds(lambda: method.run(few[-1:]))
    if method.all_steps:
        return one
    two = seconds(lambda: method.run(few))
    return one + (steps - 1) * max(two - one, 0)


def run_of(method: Method, steps: int) -> Callable[[], Rows]:
    """Return the run that is timed: all t'."""
    return lambda: method.run(range(steps))


def repeats(predicted: float) -> int:
    """Count how often a method may run."""
    return max(1, min(REPEATS.value, int(LIMIT.value / predicted)))


def in_turns(runs: dict[str, Callable], counts: dict[str, int]) -> dict:
    """Time in rounds, to and fro; round r has those that run more than r times."""
    times = {name: [] for name in runs}
    for r in range(max(counts.values())):
        for name in list(runs)[:: -1 if r % 2 else 1]:
            if r < counts[name]:
                time.sleep(0.2)  # threads of the one before stop spinning
                times[name].append(seconds(runs[name]))
    return times


def seconds(run: Callable[[], Rows]) -> float:
    """Time one run to its end."""
    began = time.perf_counter()
    jax.block_until_ready(tuple(run()))
    return time.perf_counter() - began


def costs(case: Case, clip: Work, truth: Rows) -> tables.Costs:
    """Count FLOPs by XLA and on paper, and bytes."""
    programs = methods.lower_forward(clip), methods.lower_ours(clip)
    xla = [(p.cost_analysis() or {}).get("flops", math.nan) for p in programs]
    maps, beta = np.asarray(truth.maps), np.asarray(truth.beta)
    sides = math.prod(maps.shape[2:]), beta.shape[-1]
    paper = flops.paper_flops(case, *sides)
    counted = [flops.program_flops(p.jaxpr) for p in methods.traced(clip)]
    result = explain.explanation_bytes(case.steps, case.steps, *sides)
    (f, e), (g, h) = ((x, y - x) for x, y in (xla, counted))
    held = [planned_bytes(program) for program in programs]
    return tables.Costs(f, g, paper[0], e, h, paper[1], held[0], held[1], result)


def planned_bytes(program) -> int:
    """Return temporaries and output in XLA's plan of a compiled program."""
    plan = program.memory_analysis()
    return plan.temp_size_in_bytes + plan.output_size_in_bytes


def header() -> str:
    """Say where this was measured."""
    versions = ", ".join(map(version, ("jax", "torch", "captum", "grad-cam")))
    cores = len(os.sched_getaffinity(0))
    device = f"{jax.devices()[0].device_kind} {platform.machine()}, {cores} cores"
    return f"{device}; {versions}; LSTM({work.HIDDEN}), {work.CLASSES} classes"


def version(package: str) -> str:
    """Return name and version of what is installed."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def say(text: str) -> None:
    """Tell how far it is, beside the tables."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app.run(main)
