"""What a whole explanation costs beside one forward pass, in one paired run.

    python benchmarks/explain.py [--steps=16,64] [--repeats=7]

Prints, for each head and clip length, the median time of one jitted forward pass
(frames -> scores), of ``rgcam.explain`` (all pairs, maps, matrix) on the same frames
and weights, and the median of the paired ratios. Runs alternate, so that what else
the machine does falls on both. Weights are random: the cost does not depend on them.
"""

import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam import gradcam, models  # noqa: E402

STEPS = flags.DEFINE_list("steps", ["16", "64"], "clip lengths T")
BACKBONES = flags.DEFINE_list("backbones", ["efficientnet_lite0"], "of rgcam.models")
SIZE = flags.DEFINE_integer("size", 224, "pixels")
REPEATS = flags.DEFINE_integer("repeats", 7, "paired runs")


def main(_) -> None:
    """Print the table."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {SIZE.value} px")
    head = "backbone", "head", "T", "forward ms", "explain ms", "ratio"
    print(("{:>20}{:>6}{:>6}" + "{:>12}" * 3).format(*head))
    for backbone in BACKBONES.value:
        for kind in models.HEADS:
            for steps in map(int, STEPS.value):
                row = measure(backbone, kind, steps)
                print(f"{backbone:>20}{kind:>6}{steps:>6}{row}", flush=True)


def measure(backbone: str, head: str, steps: int) -> str:
    """Time forward and explain in turns."""
    arch = {"kind": "lrcn", "backbone": backbone, "head": head, "width": 512}
    module = models.build(arch | {"cell": "lstm", "hidden": 256, "dropout": 0}, 11)
    shape = steps, SIZE.value, SIZE.value, 3
    frames = jax.numpy.asarray(np.random.default_rng(0).normal(size=shape), "float32")
    variables = models.init(module, jax.random.key(0), frames[:2])
    forward = jax.jit(module.apply)
    runs = (
        lambda: forward(variables, frames),
        lambda: gradcam.explain(module, variables, frames, 3),
    )
    for run in runs:
        seconds(run)  # compile
    pairs = [[seconds(run) for run in runs] for _ in range(REPEATS.value)]
    ratio = statistics.median(b / a for a, b in pairs)
    a, b = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    return f"{a:>12.0f}{b:>12.0f}{ratio:>12.2f}"


def seconds(run) -> float:
    """Time one run to its end."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
