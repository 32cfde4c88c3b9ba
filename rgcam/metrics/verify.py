"""Is an explanation what Eq. 1 defines? Two slow computations of random entries."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rgcam.attribution.gradcam import Explanation

EPSILON = 1e-4  # of the central differences, in units of A's standard deviation
BOUND = 1e-4  # of both errors; float32 has 1e-7, a sum over T steps some more


class Errors(NamedTuple):
    """Largest differences, as shares of the largest |beta|.

    Attributes:
        loop: from jax.grad of one output step after another, float32.
        differences: from central differences of the scores, float64.
        rows: output steps that were compared with the loop.
        entries: entries (t', t, k) that were compared with the differences.
    """

    loop: float
    differences: float
    rows: int
    entries: int


def verify(
    module: nn.Module,
    variables: Any,
    explanation: Explanation,
    target: int,
    *,
    rows: int = 4,
    entries: int = 8,
    seed: int = 0,
) -> Errors:
    """Compare beta with its definition at random places.

    Args:
        module: the model explained; its ``classify`` is all that is used.
        variables: its variables.
        explanation: with beta, of one class.
        target: that class.
        rows: output steps to differentiate by themselves.
        entries: pairs (t, k) to move; each gives beta[t', t, k] for all t'.
        seed: of the choice.
    """
    assert explanation.beta is not None
    beta, features = np.asarray(explanation.beta), np.asarray(explanation.features)
    rng, (out, steps, channels) = np.random.default_rng(seed), beta.shape
    chosen = rng.choice(out, min(rows, out), replace=False)
    one = functools.partial(_row, module, variables, features, target)
    loop = max(np.abs(np.asarray(one(t)) - beta[t]).max() for t in chosen)
    pairs = np.stack(
        [rng.integers(steps, size=entries), rng.integers(channels, size=entries)]
    )
    with jax.enable_x64(True):
        found = _differences(module, variables, features, target, pairs)
    differences = np.abs(found - beta[:, pairs[0], pairs[1]]).max()
    scale = np.abs(beta).max() or 1.0
    return Errors(
        float(loop / scale), float(differences / scale), len(chosen), out * entries
    )


def text(errors: Errors) -> str:
    """Say in one line how large the errors are, and whether that is right."""
    verdict = "as defined" if max(errors[:2]) <= BOUND else "NOT as defined"
    return (
        f"{verdict}: error {errors.loop:.1e} of the largest beta against a loop over "
        f"{errors.rows} output steps, {errors.differences:.1e} against float64 "
        f"differences of {errors.entries} entries"
    )


@functools.partial(jax.jit, static_argnames=("module",))
def _row(module, variables, features, target, step):
    """Differentiate one output step: the definition."""
    score = lambda a: module.apply(variables, a, method="classify")[step, target]
    return jax.grad(score)(features).mean((1, 2))


def _differences(module, variables, features, target, pairs):
    """Return beta (out, entries) by central differences."""
    wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
    variables, features = wide(variables), jnp.asarray(features, jnp.float64)
    run = jax.jit(lambda v, a: module.apply(v, a, method="classify")[:, target])
    size = EPSILON * float(features.std() or 1.0)
    cells = features.shape[1] * features.shape[2]
    columns = []
    for t, k in pairs.T:
        up, down = (
            run(variables, features.at[t, :, :, k].add(sign * size)) for sign in (1, -1)
        )
        columns.append(np.asarray(up - down) / (2 * size * cells))
    return np.stack(columns, 1)
