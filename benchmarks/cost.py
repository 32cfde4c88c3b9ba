"""What each method and the faithfulness check cost, in forward passes of the same clip.

    python benchmarks/cost.py

Frames are random: nothing here depends on what they show. Medians of paired runs, one
after the other in every round. A pass is frames to scores, jitted; ``explain`` is the
whole explanation, ``check`` is ``faithfulness.check_faithfulness`` as explain.py calls it after it.
"""

import functools
import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import explain
from rgcam.metrics import faithfulness
from rgcam.models import cut, zoo

CASES = flags.DEFINE_list(
    "cases",
    ["stickman-lrcn:16", "ucf101-lrcn:16"],
    "model:frames, each",
)
METHODS = flags.DEFINE_list("methods", list(explain.METHODS), "to measure")
REPEATS = flags.DEFINE_integer("repeats", 7, "rounds")


def main(_) -> None:
    """Measure and print."""
    print("| model | T | method | forward | explain | check |")
    print("|---" * 6 + "|")
    for case in CASES.value:
        name, length = case.split(":")
        model = zoo.load_model(name)
        for method in METHODS.value:
            row = measure(model, int(length), method)
            print(f"| {name} | {length} | {method} | {row} |", flush=True)


def measure(model, length: int, method: str) -> str:
    """Time a pass, and the rest in passes."""
    size = model.description.preprocess.size
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(length, size, size, 3)).astype(np.float32)
    run = model.module, model.variables
    e = explain.explain(*run, frames, 0, method=method)
    e = jax.tree.map(np.asarray, e)
    steps = (
        lambda: forward(*run, frames),
        lambda: explain.explain(*run, frames, 0, method=method),
        lambda: faithfulness.check_faithfulness(
            *run, e.features, e.maps, 0, method=method
        ),
    )
    rounds = [[seconds(step) for step in steps] for _ in range(REPEATS.value + 1)]
    times = np.array(rounds[1:])  # the first one compiles
    passes = np.median(times / times[:, :1], axis=0)
    return f"{1e3 * np.median(times[:, 0]):.0f} ms | {passes[1]:.2f} | {passes[2]:.2f}"


@functools.partial(jax.jit, static_argnames="module")
def forward(module, variables, frames):
    """Return the scores."""
    features = cut.features(module, variables, frames)
    return module.apply(variables, features, method="classify")


def seconds(step) -> float:
    """Time a step to its end."""
    began = time.perf_counter()
    jax.block_until_ready(step())
    return time.perf_counter() - began


if __name__ == "__main__":
    app.run(main)
