"""Which block size is fastest? What ``rgcam.blocks.block_size`` rests on.

    python benchmarks/blocks.py [--steps=16,32,64,128,256]

Times ``blocks.all_pairs`` above random feature maps of EfficientNet-Lite0 (T, 7, 7,
1280) for an LRCN with 256 units, every size in turn, and prints the median of the
ratios to one single block (a plain reverse pass over all steps) of the same round.
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
from rgcam import blocks, models  # noqa: E402

STEPS = flags.DEFINE_list("steps", ["16", "32", "64", "128", "256"], "T")
SIZES = flags.DEFINE_list("sizes", ["8", "16", "32", "64", "128"], "of a block")
HEADS = flags.DEFINE_list("heads", ["gap", "fc"], "gap, fc")
REPEATS = flags.DEFINE_integer("repeats", 5, "rounds")
CLASSES, HIDDEN = 11, 256


def main(_) -> None:
    """Print a row for each head, T, and whether beta is wanted."""
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    print("\n| head | beta | T | one block |" + " size: share |" * len(SIZES.value))
    print("|" + "---|" * (4 + len(SIZES.value)))
    for head in HEADS.value:
        for beta in (True, False):
            for steps in map(int, STEPS.value):
                print(row(head, beta, steps), flush=True)


def row(head: str, beta: bool, steps: int) -> str:
    """Measure one row: milliseconds of one block, and others' share of it."""
    sizes = [s for s in map(int, SIZES.value) if s < steps]
    calls = [call(head, beta, steps, size) for size in [steps, *sizes]]
    rounds = [[seconds(call) for call in calls] for _ in range(REPEATS.value)]
    alone = 1e3 * statistics.median(times[0] for times in rounds)
    shares = [
        statistics.median(times[n + 1] / times[0] for times in rounds)
        for n in range(len(sizes))
    ]
    told = [f"{size}: {share:.2f}" for size, share in zip(sizes, shares, strict=True)]
    told += [""] * (len(SIZES.value) - len(sizes))
    return f"| {head} | {beta} | {steps} | {alone:.0f} ms | " + " | ".join(told) + " |"


def call(head: str, beta: bool, steps: int, size: int):
    """Compile all pairs of T steps in blocks of one size; return a function to time."""
    module, features, variables = head_of(head, steps)

    @jax.jit
    def run(variables, features):
        cut = blocks.cut(module, variables, features)
        seed = jax.nn.one_hot(3, CLASSES)
        return blocks.all_pairs(cut, features, seed, size=size, beta=beta)

    jax.block_until_ready(run(variables, features))
    return lambda: jax.block_until_ready(run(variables, features))


@functools.lru_cache(1)
def head_of(head: str, steps: int):
    """Make an LRCN's head and feature maps."""
    module = models.build(
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
        models.init(module, jax.random.key(0), features, "classify"),
    )


def seconds(run) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
