"""All pairs (t', t) of a causal model for about the price of its recurrent part.

A causal model is cut inside ``classify`` at its first linear map, which is the same for
every frame (see ``rgcam.models``):

    A (T, h, w, K) --drive--> u (T, D) --advance--> y (T, C)

Theorem 1 (no Jacobian of A). Adding an offset d[t] (K), alike in all cells, to A[t]
adds d[t] @ S to u[t], S the response (K, D). Hence Eq. 1 is

    beta[t', t] = 1/(h w) S G[t', t],    G[t', t] = d y[t', c] / d u[t]   (D,)

exactly; (h, w) and K are no part of the reverse pass, which forms G alone. A pooling
head's S is its first Dense kernel, a flattening head's that kernel summed over (h, w):
h w times less work than differentiating with respect to A.

Theorem 2 (no beta). Eq. 2 before its ReLU is L[t', t, i, j] = G[t', t] . Q[t, i, j]
with Q[t, i, j] = 1/(h w) A[t, i, j] @ S: where beta itself is not asked for, D numbers
a pair are contracted with h w cells, not with K channels, where that is less work.

Theorem 3 (triangle). y[t'] does not depend on frames after t', and on frames before s
only through the carry at s. So the output steps of one block go back stretch by
stretch, from the block's own to the first, taking the cotangent of the carry along:
half of the pairs are never computed, and the others are those of one long reverse
pass, to the last term. Memory beyond the results is that of one block and stretch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Carry = Any


class Cut(NamedTuple):
    """A causal model above its feature map, for one clip.

    Attributes:
        advance: (carry, u of some frames) -> (next carry, their scores); pure.
        begin: the carry before the first frame; () where nothing is carried.
        drive: u (T, D).
        response: S (K, D).
    """

    advance: Callable[[Carry, Array], tuple[Carry, Array]]
    begin: Carry
    drive: Float[Array, "T D"]
    response: Float[Array, "K D"]


def cut(module: Any, variables: Any, features: Float[Array, "T h w K"]) -> Cut:
    """Cut a module that ``splits``."""
    call = lambda method, *inputs: module.apply(variables, *inputs, method=method)
    drive = call("drive", features)
    begin = jax.tree.map(lambda x: x.astype(drive.dtype), call("begin"))
    response = call("response", features.shape[-1])
    return Cut(functools.partial(call, "advance"), begin, drive, response)


def splits(module: Any) -> bool:
    """Tell whether a module can be cut: ``rgcam.models`` says what that takes."""
    return all(hasattr(module, n) for n in ("drive", "response", "begin", "advance"))


def block_size(steps: int, carried: bool) -> int:
    """Return how many output steps go back together, and how long a stretch is.

    Measured by ``benchmarks/blocks.py``: small blocks skip more of the empty half, long
    ones make larger products.

    Args:
        steps: T.
        carried: whether frames meet at all; otherwise only the diagonal is computed.
    """
    if not carried:
        return min(steps, 8)
    if jax.default_backend() != "cpu":
        return min(steps, 256)  # steps in sequence, not products, are what costs
    return min(steps, 16 if steps <= 32 else 32 if steps <= 256 else 64)


def all_pairs(
    cut: Cut,
    features: Float[Array, "T h w K"],
    seed: Float[Array, " C"],
    *,
    size: int,
    beta: bool = True,
) -> tuple[Array, Array | None, Array]:
    """Compute Eq. 1 and Eq. 2 (without its ReLU) for all pairs by blocks.

    Args:
        cut: of these features.
        features: A.
        seed: derivative of the explained scalar with respect to a step's scores, such
            as the unit vector of a class.
        size: of a block and a stretch; see ``block_size``.
        beta: whether Eq. 1 is wanted too.

    Returns:
        Scores (T C), beta (T T K) or None, signed maps (T T h w).
    """
    steps, *cells, channels = features.shape
    count = -(-steps // size)
    drive = _stretches(cut.drive, count, size)
    starts, scores = _carries(cut.advance, cut.begin, drive)
    combine = _combination(cut, _stretches(features, count, size), beta)
    carried = bool(jax.tree.leaves(cut.begin))

    def visit(state, pair):
        cotangent, *results = state
        block, place = pair
        own = block == place
        cotangent = jax.tree.map(lambda x: jnp.where(own, 0, x), cotangent)
        carry = jax.tree.map(lambda x: x[place], starts)
        at = jnp.where(own, jnp.eye(size, dtype=seed.dtype), 0)
        cotangent, weights = back(cut.advance, carry, drive[place], cotangent, at, seed)
        found = combine(weights, place)
        put = functools.partial(_put, block, place)
        return (cotangent, *jax.tree.map(put, results, found)), None

    square = (count, size, count, size)
    empty = [jnp.zeros((*square, *cells), features.dtype)]
    empty += [jnp.zeros((*square, channels), features.dtype)] * beta
    state = (no_cotangent(cut.begin, size), *empty)
    (_, maps, *betas), _ = jax.lax.scan(visit, state, pairs(count, carried))
    scores = scores.reshape(count * size, -1)[:steps]
    return scores, _whole(betas[0], steps) if beta else None, _whole(maps, steps)


def pairs(count: int, carried: bool) -> Int[np.ndarray, "pairs 2"]:
    """List (block, stretch), each block from its own stretch back to the first."""
    first = lambda block: 0 if carried else block
    return np.array(
        [(b, j) for b in range(count) for j in range(b, first(b) - 1, -1)], np.int32
    )


def no_cotangent(begin: Carry, rows: int) -> Carry:
    """Return the cotangent of the carry that ``rows`` output steps start with."""
    return jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), begin)


def back(
    advance: Callable,
    carry: Carry,
    drive: Float[Array, "L D"],
    cotangent: Carry,
    seeds: Float[Array, "R L"],
    seed: Float[Array, " C"],
) -> tuple[Carry, Float[Array, "R L D"]]:
    """Take R output steps back through one stretch of L frames.

    Args:
        advance: see ``Cut``.
        carry: before the stretch.
        drive: u of the stretch.
        cotangent: of the carry after the stretch, with a leading axis R.
        seeds: 1 where an output step lies at a frame of the stretch, else 0.
        seed: see ``all_pairs``.

    Returns:
        The cotangent of the carry before the stretch, and G of its frames.
    """
    _, pull = jax.vjp(advance, carry, drive)
    return jax.vmap(lambda rest, at: pull((rest, at[:, None] * seed)))(cotangent, seeds)


def _stretches(x, count, size):
    """Cut (T, ...) into (count, size, ...), with zeros at the end."""
    space = [(0, count * size - len(x))] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, space).reshape(count, size, *x.shape[1:])


def _carries(advance, begin, drive):
    """Return the carry before every stretch, and the scores of every step."""

    def visit(carry, drive):
        after, scores = advance(carry, drive)
        return after, (carry, scores)

    return jax.lax.scan(visit, begin, drive)[1]


def _combination(cut, features, beta):
    """Return (G of a stretch, its number) -> [signed maps] or [signed maps, beta]."""
    count, size, *cells, channels = features.shape
    steps, cells = count * size, cells[0] * cells[1]
    response = cut.response / cells

    def with_beta(weights, place):
        found = jnp.einsum("otd,kd->otk", weights, response)
        maps = jnp.einsum("otk,thwk->othw", found, features[place])
        return [maps, found] if beta else [maps]

    if beta or not cheaper_without_beta(
        steps, steps**2 / 2, cells, channels, response.shape[1]
    ):
        return with_beta
    answers = jnp.einsum("bthwk,kd->bthwd", features, response)  # Q
    return lambda weights, place: [
        jnp.einsum("otd,thwd->othw", weights, answers[place])
    ]


def signed_maps(
    weights: Float[Array, "R L D"],
    response: Float[Array, "K D"],
    features: Float[Array, "L h w K"],
) -> Float[Array, "R L h w"]:
    """Combine G into Eq. 2's maps before their ReLU, in the order that costs less."""
    rows, length, width = weights.shape
    cells, channels = features.shape[1] * features.shape[2], features.shape[3]
    response = response / cells
    if cheaper_without_beta(length, rows * length, cells, channels, width):
        answers = jnp.einsum("thwk,kd->thwd", features, response)
        return jnp.einsum("otd,thwd->othw", weights, answers)
    beta = jnp.einsum("otd,kd->otk", weights, response)
    return jnp.einsum("otk,thwk->othw", beta, features)


def cheaper_without_beta(
    steps: int, pairs: float | int, cells: int, channels: int, width: int
) -> bool:
    """Compare the multiplications of Theorem 2's order with those of beta's."""
    by_beta = pairs * channels * (width + cells)
    return steps * cells * channels * width + pairs * cells * width < by_beta


def _put(block, place, whole, part):
    """Put one block's stretch (R, L, ...) where it belongs in (B, R, J, L, ...)."""
    zero, part = jnp.zeros_like(block), part[None, :, None]
    rest = [zero] * (part.ndim - 3)
    return jax.lax.dynamic_update_slice(whole, part, (block, zero, place, *rest))


def _whole(x, steps):
    """Make (B, R, J, L, ...) one (T, T, ...)."""
    count, size = x.shape[:2]
    return x.reshape(count * size, count * size, *x.shape[4:])[:steps, :steps]
