"""Evaluate a traced program equation by equation, in other numerics than its own; pure.

What a model computes is fixed when it is traced: the dtypes, and the precision of every
product. Another dtype, or a device's rounding, is had by evaluating each primitive anew.
Programs inside a program (loops, branches, calls) are walked here; what is done with a
primitive is the caller's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array

from rgcam.types import Tensor

Evaluate: TypeAlias = Callable[[JaxprEqn, Sequence[Array]], Sequence[Array]]
"""One equation of a primitive and its inputs -> its outputs; see ``apply``."""

Convert: TypeAlias = Callable[[Tensor], Array]
"""A constant of a program -> what it is in its place."""


def evaluate(
    program: ClosedJaxpr,
    inputs: Sequence[Array],
    primitive: Evaluate,
    convert: Convert = jnp.asarray,
) -> list[Array]:
    """Evaluate a program.

    Args:
        program: from ``jax.make_jaxpr``.
        inputs: its arrays, flat.
        primitive: evaluates one equation that contains no program.
        convert: of the program's own constants and literals.

    Returns:
        Its results, flat.
    """
    jaxpr = program.jaxpr
    values: dict[Var, Array] = dict(
        zip(jaxpr.constvars, map(convert, program.consts), strict=True)
    )
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(v: Var | Literal) -> Array:
        if isinstance(v, Literal):
            # Literals are scalar arrays, which their type does not say.
            dtype = v.aval.dtype  # pyrefly: ignore[missing-attribute]
            return convert(np.asarray(v.val, dtype))
        return values[v]

    for equation in jaxpr.eqns:
        arguments = [read(v) for v in equation.invars]
        outputs = _equation(equation, arguments, primitive, convert)
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def apply(equation: JaxprEqn, inputs: Sequence[Array]) -> Sequence[Array]:
    """Evaluate one equation of a primitive as it stands."""
    outputs = equation.primitive.bind(*inputs, **equation.params)
    return outputs if equation.primitive.multiple_results else [outputs]


def _equation(
    equation: JaxprEqn, inputs: Sequence[Array], primitive: Evaluate, convert: Convert
) -> Sequence[Array]:
    """Evaluate one equation, and the programs inside it."""
    parameters, name = equation.params, equation.primitive.name
    run = functools.partial(evaluate, primitive=primitive, convert=convert)
    if name == "scan":
        if "num_consts" in parameters:
            constants, carried = parameters["num_consts"], parameters["num_carry"]
        else:  # JAX 0.12 describes the three groups of inputs by a tree
            constants, carried, _ = map(len, parameters["ft_in"].unpack())
        first, last = constants, constants + carried

        def step(carry, x):
            outputs = run(parameters["jaxpr"], [*inputs[:first], *carry, *x])
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
            lambda carry: run(condition, [*inputs[:first], *carry])[0],
            lambda carry: run(body, [*inputs[first:last], *carry]),
            list(inputs[last:]),
        )
    if name == "cond":
        branches = [
            functools.partial(lambda branch, *x: run(branch, x), branch)
            for branch in parameters["branches"]
        ]
        return jax.lax.switch(inputs[0], branches, *inputs[1:])
    for key in ("jaxpr", "call_jaxpr"):  # jit, remat, functions with own derivatives
        if key in parameters:
            called = parameters[key]
            if isinstance(called, Jaxpr):
                called = ClosedJaxpr(called, ())
            return run(called, inputs)
    return primitive(equation, inputs)
