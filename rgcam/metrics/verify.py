"""Is beta what Eq. 1 defines? Two slow computations of random entries; pure."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Float, Int

from rgcam.attribution.explain import PRECISION, Explanation
from rgcam.attribution.gradcam import Index
from rgcam.models.cut import CutModel, classify
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
    target: int,
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
        target: that class.
        rows: output steps to differentiate one by one.
        entries: pairs (t, k) to perturb; each gives beta[t', t, k] for all t'.
        seed: of the choice.
    """
    assert explanation.beta is not None
    beta, features = np.asarray(explanation.beta), np.asarray(explanation.features)
    rng, (out, steps, channels) = np.random.default_rng(seed), beta.shape

    # Eq. 1 as it is written, one output step at a time.
    steps_out = rng.choice(out, min(rows, out), replace=False)
    row = functools.partial(_gradient_row, module, variables, features, target)
    loop = max(np.abs(np.asarray(row(t)) - beta[t]).max() for t in steps_out)

    # The same without any derivative: move one channel of one frame up and down.
    pairs = np.stack(
        [rng.integers(steps, size=entries), rng.integers(channels, size=entries)]
    )
    columns = _central_differences(module, variables, features, target, pairs)
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
    features: Float[Tensor, "in h w K"],
    target: int,
    pairs: Int[np.ndarray, "2 entries"],
) -> Float[np.ndarray, "out entries"]:
    """Return beta[:, t, k] for pairs (t, k) by central differences in float64."""

    def score_of(variables: Variables, a: Array) -> Array:
        return classify(module, variables, a)[:, target]

    program = jax.make_jaxpr(score_of)(variables, features)
    with jax.enable_x64(True):
        *weights, features = [
            _widen(x) for x in jax.tree.leaves((variables, jnp.asarray(features)))
        ]
        score = jax.jit(lambda weights, a: _evaluate(program, [*weights, a])[0])
        size = EPSILON * float(features.std() or 1.0)
        # All h w cells of the channel move together, so that the difference is the sum
        # of their derivatives: Eq. 1 is the mean.
        cells = features.shape[1] * features.shape[2]
        columns = []
        for t, k in pairs.T:
            up = score(weights, features.at[t, :, :, k].add(size))
            down = score(weights, features.at[t, :, :, k].add(-size))
            columns.append(np.asarray(up - down) / (2 * size * cells))
    return np.stack(columns, 1)


def _evaluate(program: ClosedJaxpr, inputs: Sequence[Array]) -> list[Array]:
    """Evaluate a traced program with all of its floating-point numbers in float64.

    Calling the model with float64 arrays does not suffice: what it creates or casts
    itself, such as the float32 carry of ``flax.linen.LSTMCell``, would stay as it is.
    """
    jaxpr = program.jaxpr
    values: dict[Var, Array] = dict(
        zip(jaxpr.constvars, map(_widen, program.consts), strict=True)
    )
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(v: Var | Literal) -> Array:
        if isinstance(v, Literal):
            # Literals are scalar arrays, which their type does not say.
            dtype = v.aval.dtype  # pyrefly: ignore[missing-attribute]
            return _widen(np.asarray(v.val, dtype))
        return values[v]

    for equation in jaxpr.eqns:
        outputs = _evaluate_equation(equation, [read(v) for v in equation.invars])
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _evaluate_equation(equation: JaxprEqn, inputs: Sequence[Array]) -> Sequence[Array]:
    """Evaluate one equation of a program; see ``_evaluate``."""
    parameters, name = equation.params, equation.primitive.name
    if name == "scan":
        if "num_consts" in parameters:
            constants, carried = parameters["num_consts"], parameters["num_carry"]
        else:  # JAX 0.12 describes the three groups of inputs by a tree
            constants, carried, _ = map(len, parameters["ft_in"].unpack())
        first, last = constants, constants + carried

        def step(carry, x):
            outputs = _evaluate(parameters["jaxpr"], [*inputs[:first], *carry, *x])
            return outputs[: last - first], outputs[last - first :]

        carry, stacked = jax.lax.scan(
            step,
            list(inputs[first:last]),
            list(inputs[last:]),
            length=parameters["length"],
            reverse=parameters["reverse"],
        )
        return [*carry, *stacked]
    if name == "while":
        first, last = parameters["cond_nconsts"], parameters["body_nconsts"]
        last += first
        condition, body = parameters["cond_jaxpr"], parameters["body_jaxpr"]
        return jax.lax.while_loop(
            lambda carry: _evaluate(condition, [*inputs[:first], *carry])[0],
            lambda carry: _evaluate(body, [*inputs[first:last], *carry]),
            list(inputs[last:]),
        )
    if name == "cond":
        branches = [
            functools.partial(lambda branch, *x: _evaluate(branch, x), branch)
            for branch in parameters["branches"]
        ]
        return jax.lax.switch(inputs[0], branches, *inputs[1:])
    for key in ("jaxpr", "call_jaxpr"):  # jit, remat, functions with own derivatives
        if key in parameters:
            called = parameters[key]
            if isinstance(called, Jaxpr):
                called = ClosedJaxpr(called, ())
            return _evaluate(called, inputs)
    wide = {key: _widen_dtype(value) for key, value in parameters.items()}
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
