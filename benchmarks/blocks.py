"""How long should a stretch be? What ``rgcam.attribution.causal.sizes`` rests on.

    python benchmarks/blocks.py [--steps=16,32,64,128,256] [--parts=2,4,8]

Times ``blocks.all_pairs`` above random feature maps of EfficientNet-Lite0 (T, 7, 7,
1280) for an LRCN with 256 units, with a block's frames in so many stretches, in turn,
and prints the median of the ratios to one stretch (a plain reverse pass over all rows)
of the same round, and the seconds of compilation.
"""

import functools
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import causal
from rgcam.models import classifiers
from rgcam.models import cut as model_cut

STEPS = flags.DEFINE_list("steps", ["16", "32", "64", "128", "256"], "T")
PARTS = flags.DEFINE_list("parts", ["2", "4", "8"], "stretches of a block")
HEADS = flags.DEFINE_list("heads", ["gap", "fc"], "gap, fc")
REPEATS = flags.DEFINE_integer("repeats", 5, "rounds")
CLASSES, HIDDEN = 11, 256


def main(_) -> None:
    """Print a row for each head, T, and whether beta is wanted."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    print("\n| head | beta | T | one stretch |" + " parts: share |" * len(PARTS.value))
    print("|" + "---|" * (4 + len(PARTS.value)))
    for head in HEADS.value:
        for beta in (True, False):
            for steps in map(int, STEPS.value):
                print(row(head, beta, steps), flush=True)


def row(head: str, beta: bool, steps: int) -> str:
    """Measure one row: milliseconds in one stretch, and the others' share of it."""
    parts = [1, *map(int, PARTS.value)]
    calls, compiled = zip(*(call(head, beta, steps, p) for p in parts), strict=True)
    rounds = [[seconds(call) for call in calls] for _ in range(REPEATS.value)]
    alone = statistics.median(times[0] for times in rounds)
    shares = [
        statistics.median(times[n] / times[0] for times in rounds)
        for n in range(1, len(parts))
    ]
    cells = [f"{1e3 * alone:.0f} ms, {compiled[0]:.1f} s"]
    for part, share, wait in zip(parts[1:], shares, compiled[1:], strict=True):
        cells.append(f"{part}: {share:.2f}, {wait:.1f} s")
    return f"| {head} | {beta} | {steps} | " + " | ".join(cells) + " |"


def call(head: str, beta: bool, steps: int, parts: int):
    """Compile all pairs of T steps; return a function to time, and the seconds."""
    module, features, variables = head_of(head, steps)
    block, _ = causal.sizes(steps, carried=True)
    sizes = {"block": block, "stretch": -(-block // parts)}

    @jax.jit
    def run(variables, features):
        cut = model_cut.cut(module, variables, features)
        seed = jax.nn.one_hot(3, CLASSES)
        return causal.all_pairs(cut, features, seed, **sizes, beta=beta)

    wait = seconds(lambda: run.lower(variables, features).compile())
    jax.block_until_ready(run(variables, features))
    return lambda: jax.block_until_ready(run(variables, features)), wait


@functools.lru_cache(1)
def head_of(head: str, steps: int):
    """Make an LRCN's head and feature maps."""
    module = classifiers.build(
        {
            **{"kind": "lrcn", "backbone": "efficientnet_lite0", "head": head},
            **{"width": 512, "dropout": 0.0, "cell": "lstm", "hidden": HIDDEN},
        },
        CLASSES,
    )
    shape = (steps, 7, 7, 1280)
    features = jnp.asarray(np.random.default_rng(0).random(shape), jnp.float32)
    return (
        module,
        features,
        classifiers.init(module, jax.random.key(0), features, "classify"),
    )


def seconds(run) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
