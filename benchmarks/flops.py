"""Floating-point operations of a forward pass and of an explanation: by hand, by trace."""

import math

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

from benchmarks.work import CLASSES, HIDDEN, WIDTH, Case
from rgcam.attribution import causal

# Of one frame of 224 px up to A: k k C_in / groups C_out h w, summed over convolutions.
MULTIPLY_ADDS = {"resnet18": 1_813_561_344, "efficientnet_lite0": 383_907_552}


PAPER = """
forward:           T (2 M + head + 8 H (D + H) + 2 H C)
explain - forward: P (8 H H + back + 2 K S + 2 hw K) + T 2 H C + sum
M: multiply-adds of the backbone; D: numbers that a frame vector has (K or 512);
H: units of the LSTM; C: classes; P: pairs (t', t) that the blocks compute; S: numbers
that an offset of A moves first. Head gap: head = hw K, back = sum = 0, S = 4 H; head
fc: head = 2 hw K D, back = 8 H D, S = D, sum = 2 hw K D (its kernel over space)."""


def paper_flops(case: Case, cells: int, channels: int) -> tuple[float, float]:
    """Count by hand what forward, and explain with beta on top of it, compute."""
    fc, area, steps = case.head == "fc", cells * channels, case.steps
    vector = WIDTH if fc else channels
    below = 2 * MULTIPLY_ADDS[case.backbone] * (case.size / 224) ** 2
    head = 2 * area * vector if fc else area
    scores = 2 * HIDDEN * CLASSES
    forward = steps * (below + head + 8 * HIDDEN * (vector + HIDDEN) + scores)
    pair = 8 * HIDDEN**2 + 2 * area + 2 * channels * (vector if fc else 4 * HIDDEN)
    pair += 8 * HIDDEN * vector if fc else 0
    response = 2 * area * vector if fc else 0
    return forward, computed_pairs(steps) * pair + steps * scores + response


def computed_pairs(steps: int) -> int:
    """Count the pairs that ``rgcam.attribution.causal`` computes."""
    block, stretch = causal.sizes(steps, carried=True)
    spans = [(s, min(s + stretch, block)) for s in range(0, block, stretch)]
    within = sum((block - first) * (end - first) for first, end in spans)
    # Pairs of a block with an earlier one are computed whole.
    return within + len(causal.earlier_pairs(-(-steps // block))) * block**2


def program_flops(jaxpr: Jaxpr) -> float:
    """Count a traced program's arithmetic, the bodies of loops as often as they run.

    XLA's own count has the body of a loop once. Products, convolutions, reductions and
    the usual functions of one or two numbers count; moving data does not.
    """
    return sum(map(_flops, jaxpr.eqns))


ONE_BY_ONE = {"add", "sub", "mul", "div", "max", "min", "tanh", "logistic", "exp"}


def _flops(equation: JaxprEqn) -> float:
    """Count the arithmetic of one equation; a product is one multiply and one add."""
    name, parameters = equation.primitive.name, equation.params
    inputs = [_shape(variable) for variable in equation.invars]
    size = sum(math.prod(_shape(variable)) for variable in equation.outvars)
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        return 2 * size * math.prod(inputs[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        # Every output is a sum over the kernel's entries for its channel.
        kernel = inputs[1]
        outputs = kernel[parameters["dimension_numbers"].rhs_spec[0]]
        return 2 * size * math.prod(kernel) / outputs
    if name.startswith("reduce_") or name in ONE_BY_ONE:
        return max(size, *map(math.prod, inputs))
    inner = sum(program_flops(j) for j in jaxprs_in_params(parameters))
    return inner * parameters.get("length", 1) if name == "scan" else inner


def _shape(variable: Var | Literal) -> tuple[int, ...]:
    """Return the shape of an array of a traced program; () of what is no array."""
    return getattr(variable.aval, "shape", ())
