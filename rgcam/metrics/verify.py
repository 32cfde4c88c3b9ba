"""Is beta what Eq. 1 defines? Two slow computations of random entries; pure."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jaxtyping import Array, Float, Int

from rgcam.attribution import targets
from rgcam.attribution.explain import Explanation
from rgcam.attribution.targets import Index, StepClasses
from rgcam.metrics import interpret
from rgcam.models.cut import PRECISION, CutModel, classify
from rgcam.types import Tensor, Variables

EPSILON = 1e-4  # of the central differences, in units of A's standard deviation
BOUND = 1e-4  # of both errors; float32 has 1e-7, a sum over T steps some more


class BetaErrors(NamedTuple):
    """Largest differences from Eq. 1, relative to the largest |beta|.

    Attributes:
        loop: from jax.grad of one output step after another, float32.
        differences: from central differences of the scores, float64.
        rows: number of output steps that were compared with the loop.
        entries: number of entries (t', t, k) that were compared with the differences.
    """

    loop: float
    differences: float
    rows: int
    entries: int

    @property
    def as_defined(self) -> bool:
        """Tell whether both errors are within BOUND."""
        return max(self.loop, self.differences) <= BOUND

    @property
    def sentence(self) -> str:
        """Say in one line how large the errors are, and whether they are acceptable."""
        verdict = "as defined" if self.as_defined else "NOT as defined"
        return (
            f"{verdict}: error {self.loop:.1e} of the largest beta against a loop over "
            f"{self.rows} output steps, {self.differences:.1e} against float64 "
            f"differences of {self.entries} entries"
        )


def verify(
    module: CutModel,
    variables: Variables,
    explanation: Explanation,
    target: int | StepClasses,
    *,
    rows: int = 4,
    entries: int = 8,
    seed: int = 0,
) -> BetaErrors:
    """Compare beta with its definition at random entries.

    Args:
        module: the explained model; only its ``classify`` is used.
        variables: its variables.
        explanation: with beta, of one class.
        target: that class, or one for each output step.
        rows: output steps to differentiate one by one.
        entries: pairs (t, k) to perturb; each gives beta[t', t, k] for all t'.
        seed: of the choice.
    """
    assert explanation.beta is not None
    beta, features = np.asarray(explanation.beta), np.asarray(explanation.features)
    rng, (out, steps, channels) = np.random.default_rng(seed), beta.shape
    classes = np.broadcast_to(
        targets.class_index(target, explanation.scores.shape), (out,)
    )

    # Eq. 1 as it is written, one output step at a time.
    steps_out = rng.choice(out, min(rows, out), replace=False)
    row = functools.partial(_gradient_row, module, variables, features)
    loop = max(
        np.abs(np.asarray(row(classes[t], t)) - beta[t]).max() for t in steps_out
    )

    # The same without any derivative: move one channel of one frame up and down.
    pairs = np.stack(
        [rng.integers(steps, size=entries), rng.integers(channels, size=entries)]
    )
    columns = _central_differences(module, variables, features, classes, pairs)
    differences = np.abs(columns - beta[:, pairs[0], pairs[1]]).max()

    scale = np.abs(beta).max() or 1.0
    return BetaErrors(
        loop=float(loop / scale),
        differences=float(differences / scale),
        rows=len(steps_out),
        entries=out * entries,
    )


@functools.partial(jax.jit, static_argnames=("module",))
def _gradient_row(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "in h w K"],
    target: Index,
    step: Index,
) -> Float[Array, "in K"]:
    """Differentiate the score of one output step; average over space (Eq. 1)."""

    def score(a: Float[Array, "in h w K"]) -> Float[Array, ""]:
        return classify(module, variables, a)[step, target]

    with jax.default_matmul_precision(PRECISION):
        return jax.grad(score)(jnp.asarray(features)).mean((1, 2))


def _central_differences(
    module: CutModel,
    variables: Variables,
    features: Float[np.ndarray, "in h w K"],
    classes: Int[np.ndarray, " out"],
    pairs: Int[np.ndarray, "2 entries"],
) -> Float[np.ndarray, "out entries"]:
    """Return beta[:, t, k] for pairs (t, k) by central differences in float64."""

    def score_of(variables: Variables, a: Array) -> Array:
        return classify(module, variables, a)[jnp.arange(len(classes)), classes]

    program = jax.make_jaxpr(score_of)(variables, features)
    size = EPSILON * (float(features.std(dtype=np.float64)) or 1.0)

    @jax.jit  # with the casts, each of which would be a program of its own outside
    def moved_scores(
        weights: list[Array],
        features: Float[Array, "in h w K"],
        t: Index,
        k: Index,
        offset: Float[Array, ""],
    ) -> Float[Array, " out"]:
        """Return the scores after channel k of frame t has moved by an offset."""
        moved = _widen(features).at[t, :, :, k].add(offset)
        return _evaluate(program, [*map(_widen, weights), moved])[0]

    score = functools.partial(moved_scores, jax.tree.leaves(variables), features)
    with jax.enable_x64(True):
        # All h w cells of the channel move together, so that the difference is the sum
        # of their derivatives: Eq. 1 is the mean.
        cells = features.shape[1] * features.shape[2]
        columns = []
        for t, k in pairs.T:
            up, down = score(t, k, size), score(t, k, -size)
            columns.append(np.asarray(up - down) / (2 * size * cells))
    return np.stack(columns, 1)


def _evaluate(program: ClosedJaxpr, inputs: Sequence[Array]) -> list[Array]:
    """Evaluate a traced program with all of its floating-point numbers in float64.

    Calling the model with float64 arrays does not suffice: what it creates or casts
    itself, such as the float32 carry of ``flax.linen.LSTMCell``, would stay as it is.
    """
    return interpret.evaluate(program, inputs, _evaluate_wide, _widen)


def _evaluate_wide(equation: JaxprEqn, inputs: Sequence[Array]) -> Sequence[Array]:
    """Evaluate one equation of a primitive in float64."""
    wide = {key: _widen_dtype(value) for key, value in equation.params.items()}
    outputs = equation.primitive.bind(*inputs, **wide)
    return outputs if equation.primitive.multiple_results else [outputs]


def _widen(x: Tensor) -> Array:
    """Convert floating-point numbers to float64; others and random keys stay as is."""
    x = jnp.asarray(x)
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _widen_dtype(parameter: object) -> object:
    """Replace a parameter that is a floating-point dtype by float64."""
    if isinstance(parameter, np.dtype) and jnp.issubdtype(parameter, jnp.floating):
        return np.dtype(np.float64)
    return parameter
