"""What is compared, in JAX: a forward pass, ours, and Eq. 1 looped over t'.

``benchmarks/peers.py`` has the PyTorch ones. All see the same weights and frames.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rgcam import chunks, gradcam, models

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

    module: nn.Module
    variables: Any
    frames: jax.Array


class Rows(NamedTuple):
    """What a method made of some output steps; None what it does not make."""

    scores: Any = None  # (out, C)
    beta: Any = None  # (out, in, K)
    maps: Any = None  # (out, in, h, w), rectified
    matrix: Any = None  # (out, in)


class Method(NamedTuple):
    """A way to explain: ``run`` the output steps ``outs``, or all if ``whole``."""

    run: Callable[[Sequence[int]], Rows]
    whole: bool = False


def build(case: Case) -> Work:
    """Draw weights and frames by a fixed seed: what is measured depends on neither."""
    arch = {"kind": "lrcn", "backbone": case.backbone, "head": case.head}
    arch |= {"width": WIDTH, "cell": "lstm", "hidden": HIDDEN, "dropout": 0.0}
    module = models.build(arch, CLASSES)
    rng = np.random.default_rng(0)
    shape = case.steps, case.size, case.size, 3
    frames = jnp.asarray(rng.normal(size=shape), jnp.float32)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: models.init(module, key, frames[:1]))
    fill = functools.partial(_draw, rng)
    return Work(module, jax.tree.map_with_path(fill, shapes), frames)


def forward(work: Work) -> Method:
    """One jitted forward pass, frames -> scores: the physical reference.

    The backbone sees as many frames at once as it does in ``explain``.
    """
    compiled = lower_forward(work)
    return Method(lambda _: Rows(compiled(work.variables, work.frames)), whole=True)


def forward_at_once(work: Work) -> Method:
    """The same with all frames in the backbone at once."""
    compiled = jax.jit(work.module.apply).lower(work.variables, work.frames).compile()
    return Method(lambda _: Rows(compiled(work.variables, work.frames)), whole=True)


def ours(work: Work, beta: bool = True) -> Method:
    """``rgcam.gradcam.explain``: scores, beta, maps and matrix of all pairs."""
    explain = functools.partial(gradcam.explain, work.module, beta=beta)

    def run(_):
        found = explain(work.variables, work.frames, TARGET)
        return Rows(found.scores, found.beta, found.maps, found.matrix)

    return Method(run, whole=True)


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
        one = jnp.zeros((len(features), CLASSES)).at[out, TARGET].set(1)
        beta = pull(one)[0].mean((1, 2))
        maps = jax.nn.relu(jnp.einsum("tk,thwk->thw", beta, features))
        return beta, maps, maps.sum((1, 2))

    def run(outs):
        features = features_of(work.variables, work.frames)
        scores, pull = cut(work.variables, features)
        rows = [row(pull, features, out) for out in outs]
        return Rows(scores, *map(jnp.stack, zip(*rows, strict=True)))

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


def differences(truth: Rows, found: Rows, outs: Sequence[int]) -> dict[str, float]:
    """Compare what ``found`` has of ``outs`` with ``truth``, relative to its largest.

    ``found`` holds the rows ``outs``, or all; scores are always of all steps.
    """
    result = {}
    for name, wanted in truth._asdict().items():
        value = getattr(found, name)
        if value is None:
            continue
        wanted, value = np.asarray(wanted), np.asarray(value)
        if name != "scores":
            wanted = wanted[list(outs)]
            value = value if len(value) == len(outs) else value[list(outs)]
        result[name] = float(abs(value - wanted).max() / abs(wanted).max())
    return result


def lower_forward(work: Work):
    """Compile the forward pass."""
    return jax.jit(_scores(work.module)).lower(work.variables, work.frames).compile()


def lower_ours(work: Work):
    """Compile ``explain`` for XLA's analyses; the measured one is called as it is."""
    explain = jax.jit(functools.partial(gradcam.explain, work.module))
    return explain.lower(work.variables, work.frames, TARGET).compile()


PAPER = """
forward:           T (2 M + head + 8 H (D + H) + 2 H C)
explain - forward: T' T (8 H (D + H) + head' + 2 hw K) + T' 2 H C + sum
M: multiply-adds of the backbone; D: numbers that a frame vector has (K or 512);
H: units of the LSTM; C: classes. Head gap: head = hw K, head' = sum = 0; head fc:
head = 2 hw K D, head' = 2 K D (its kernel summed over space), sum = hw K D.
A method that leaves out t > t' needs half of the T' T."""


def paper_flops(
    case: Case, cells: int, channels: int, once: bool = False
) -> tuple[float, float]:
    """Count by hand what forward, and explain on top of it, compute: see PAPER.

    With ``once`` the body of the recurrent loop over t is counted once, as XLA does.
    """
    fc, area, steps = case.head == "fc", cells * channels, case.steps
    vector, turns = WIDTH if fc else channels, 1 if once else steps
    lstm, scores = 8 * HIDDEN * (vector + HIDDEN), steps * 2 * HIDDEN * CLASSES
    below = 2 * MULTIPLY_ADDS[case.backbone] * (case.size / 224) ** 2
    head = 2 * area * vector if fc else area
    pair = 2 * area + (2 * channels * vector if fc else 0)
    forward = steps * (below + head) + turns * lstm + scores
    added = steps * steps * pair + steps * turns * lstm + scores
    return forward, added + (area * vector if fc else 0)


def _scores(module: nn.Module) -> Callable:
    def scores(variables, frames):
        features = chunks.features(module, variables, frames)
        return module.apply(variables, features, method="classify")

    return scores


def _draw(rng: np.random.Generator, path, leaf) -> jax.Array:
    """Draw a kernel that keeps variances, or a small bias; forget gates stay open."""
    names = [entry.key for entry in path]
    if names[-1] == "bias":
        value = 0.1 * rng.normal(size=leaf.shape) + (names[-2] == "hf")
    else:
        value = rng.normal(size=leaf.shape) * (1.5 / np.prod(leaf.shape[:-1])) ** 0.5
    return jnp.asarray(value, leaf.dtype)
