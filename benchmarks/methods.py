"""What is compared, in JAX: a forward pass, ours, and Eq. 1 looped over t'.

``benchmarks/peers.py`` has the PyTorch ones. All see the same weights and frames.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    Var,
    jaxprs_in_params,
)
from jax.stages import Compiled
from jax.tree_util import KeyPath
from jaxtyping import Array
from numpy.typing import ArrayLike

from rgcam.attribution import causal
from rgcam.attribution import explain as attribution
from rgcam.models import classifiers
from rgcam.models import cut as model_cut
from rgcam.models.classifiers import LRCN
from rgcam.models.cut import CutModel
from rgcam.types import Variables

CLASSES, HIDDEN, WIDTH, TARGET = 11, 256, 512, 3
SIZES = {"resnet18": 112, "efficientnet_lite0": 224}  # pixels, unless asked otherwise
# Of one frame of 224 px up to A: k k C_in / groups C_out h w, summed over convolutions.
MULTIPLY_ADDS = {"resnet18": 1_813_561_344, "efficientnet_lite0": 383_907_552}


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


def forward(work: Work) -> Method:
    """One jitted forward pass, frames -> scores: the physical reference.

    The backbone sees as many frames at once as it does in ``explain``.
    """
    compiled = lower_forward(work)
    return Method(lambda _: Rows(compiled(work.variables, work.frames)), all_steps=True)


def forward_at_once(work: Work) -> Method:
    """The same with all frames in the backbone at once."""
    compiled = jax.jit(work.module.apply).lower(work.variables, work.frames).compile()
    return Method(lambda _: Rows(compiled(work.variables, work.frames)), all_steps=True)


def ours(work: Work, beta: bool = True) -> Method:
    """``rgcam.explain``: scores, beta, maps and matrix of all pairs."""
    explain = functools.partial(attribution.explain, work.module, beta=beta)

    def run(_: Sequence[int]) -> Rows:
        e = explain(work.variables, work.frames, TARGET)
        return Rows(scores=e.scores, beta=e.beta, maps=e.maps, matrix=e.matrix)

    return Method(run, all_steps=True)


def looped(work: Work) -> Method:
    """Eq. 1 as it is written: one pull-back of the model cut at A for each t'.

    Features and the forward pass of the head once, then one call per t' of the jitted
    ``jax.vjp`` with respect to the whole A (T, h, w, K), averaged over space.
    """
    features_of = jax.jit(functools.partial(work.module.apply, method="features"))
    classify = functools.partial(work.module.apply, method="classify")

    @jax.jit
    def cut(variables, features):
        return jax.vjp(lambda a: classify(variables, a), features)

    @jax.jit
    def row(pull, features, out):
        # The cotangent that picks y[t', c]; the pull-back gives its gradient by A.
        cotangent = jnp.zeros((len(features), CLASSES)).at[out, TARGET].set(1)
        beta = pull(cotangent)[0].mean((1, 2))
        maps = jax.nn.relu(jnp.einsum("tk,thwk->thw", beta, features))
        return beta, maps, maps.sum((1, 2))

    def run(outs):
        features = features_of(work.variables, work.frames)
        scores, pull = cut(work.variables, features)
        rows = [row(pull, features, out) for out in outs]
        beta, maps, matrix = map(jnp.stack, zip(*rows, strict=True))
        return Rows(scores=scores, beta=beta, maps=maps, matrix=matrix)

    return Method(run)


METHODS = {
    "forward": forward,
    "forward-at-once": forward_at_once,
    "ours": ours,
    "ours-maps": functools.partial(ours, beta=False),
    "looped": looped,
}


def make(name: str, work: Work) -> Method:
    """Make the method of this name, one of METHODS or of ``peers.PEERS``.

    Raises:
        ImportError: what it needs is not installed.
    """
    if name in METHODS:
        return METHODS[name](work)
    from benchmarks import peers  # PyTorch is not a dependency

    return peers.peer(name, work)


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


def lower_forward(work: Work) -> Compiled:
    """Compile the forward pass."""
    return jax.jit(_scores(work.module)).lower(work.variables, work.frames).compile()


def lower_ours(work: Work) -> Compiled:
    """Compile ``explain`` for XLA's analyses; the measured one is called as it is."""
    explain = jax.jit(functools.partial(attribution.explain, work.module))
    return explain.lower(work.variables, work.frames, TARGET).compile()


def traced(work: Work) -> tuple[ClosedJaxpr, ClosedJaxpr]:
    """Return forward pass and ``explain`` as JAX traces them."""
    forward = _scores(work.module)
    explain = functools.partial(attribution.explain, work.module)
    return (
        jax.make_jaxpr(forward)(work.variables, work.frames),
        jax.make_jaxpr(explain)(work.variables, work.frames, TARGET),
    )


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


def _scores(module: CutModel) -> Callable[[Variables, Array], Array]:
    def scores(variables: Variables, frames: Array) -> Array:
        features = model_cut.features(module, variables, frames)
        return module.apply(variables, features, method="classify")

    return scores


def _draw(rng: np.random.Generator, path: KeyPath, leaf: jax.ShapeDtypeStruct) -> Array:
    """Draw a kernel that keeps variances, or a small bias; forget gates stay open."""
    names = [entry.key for entry in path]
    if names[-1] == "bias":
        value = 0.1 * rng.normal(size=leaf.shape) + (names[-2] == "hf")
    else:
        value = rng.normal(size=leaf.shape) * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
    return jnp.asarray(value, leaf.dtype)
