"""The compared methods in JAX: a forward pass, ours, and Eq. 1 looped over t'.

``benchmarks/peers.py`` has the ones in PyTorch, which take the same weights and frames.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr
from jax.stages import Compiled
from jaxtyping import Array

from benchmarks.work import CLASSES, TARGET, Method, Rows, Work
from rgcam.attribution import explain as attribution
from rgcam.models import cut as model_cut
from rgcam.models.cut import CutModel
from rgcam.types import Variables


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


def _scores(module: CutModel) -> Callable[[Variables, Array], Array]:
    def scores(variables: Variables, frames: Array) -> Array:
        features = model_cut.features(module, variables, frames)
        return module.apply(variables, features, method="classify")

    return scores
