"""What the benchmarks explain: one model, its weights and one clip, drawn from a seed.

``benchmarks/methods.py`` explains it in JAX and ``benchmarks/peers.py`` in PyTorch; the
results of both are ``Rows`` and are compared here.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import KeyPath
from jaxtyping import Array
from numpy.typing import ArrayLike

from rgcam.models import classifiers
from rgcam.models.classifiers import LRCN
from rgcam.types import Variables

CLASSES, HIDDEN, WIDTH, TARGET = 11, 256, 512, 3
SIZES = {"resnet18": 112, "efficientnet_lite0": 224}  # pixels, unless asked otherwise


class Case(NamedTuple):
    """One row of a table."""

    backbone: str
    head: str
    steps: int
    size: int


class Work(NamedTuple):
    """A model, its weights and one clip (T, S, S, 3)."""

    module: LRCN
    variables: Variables
    frames: jax.Array


class Rows(NamedTuple):
    """The results of a method for some output steps; None: it does not compute them."""

    scores: ArrayLike | None = None  # (out, C)
    beta: ArrayLike | None = None  # (out, in, K)
    maps: ArrayLike | None = None  # (out, in, h, w), rectified
    matrix: ArrayLike | None = None  # (out, in)


class Method(NamedTuple):
    """A way to explain: ``run(outs)`` explains these output steps, or all of them.

    Attributes:
        run: output steps -> their rows.
        all_steps: whether every call explains all output steps.
    """

    run: Callable[[Sequence[int]], Rows]
    all_steps: bool = False


def build(case: Case) -> Work:
    """Draw weights and frames by a fixed seed: what is measured depends on neither."""
    arch = {"kind": "lrcn", "backbone": case.backbone, "head": case.head}
    arch |= {"width": WIDTH, "cell": "lstm", "hidden": HIDDEN, "dropout": 0.0}
    module = classifiers.build(arch, CLASSES)
    assert isinstance(module, LRCN)
    rng = np.random.default_rng(0)
    shape = case.steps, case.size, case.size, 3
    frames = jnp.asarray(rng.normal(size=shape), jnp.float32)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: classifiers.init(module, key, frames[:1]))
    fill = functools.partial(_draw, rng)
    return Work(module, jax.tree.map_with_path(fill, shapes), frames)


def samples(steps: int) -> list[int]:
    """Choose the t' by which a method that is called once per t' is judged first."""
    return sorted({steps // 2, steps - 1})


def differences(truth: Rows, rows: Rows, outs: Sequence[int]) -> dict[str, float]:
    """Return the largest differences of the output steps ``outs`` from the truth.

    Args:
        truth: of all output steps.
        rows: of the output steps ``outs``, or of all; scores are always of all.
        outs: output steps to compare.

    Returns:
        By field, relative to the largest value of the truth.
    """
    result = {}
    for name, expected in truth._asdict().items():
        value = getattr(rows, name)
        if value is None:
            continue
        expected, value = np.asarray(expected), np.asarray(value)
        if name != "scores":
            expected = expected[list(outs)]
            value = value if len(value) == len(outs) else value[list(outs)]
        result[name] = float(abs(value - expected).max() / abs(expected).max())
    return result


def _draw(rng: np.random.Generator, path: KeyPath, leaf: jax.ShapeDtypeStruct) -> Array:
    """Draw a kernel that keeps variances, or a small bias; forget gates stay open."""
    names = [entry.key for entry in path]
    if names[-1] == "bias":
        value = 0.1 * rng.normal(size=leaf.shape) + (names[-2] == "hf")
    else:
        value = rng.normal(size=leaf.shape) * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
    return jnp.asarray(value, leaf.dtype)
