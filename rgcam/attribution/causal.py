"""All pairs (t', t) of a causal model for about the price of its recurrent part.

A causal model is cut inside ``classify`` at its first linear map, which is the same for
every frame (see ``rgcam.models.classifiers``):

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
only through the carry at s. So output steps go back stretch by stretch, taking the
cotangent of the carry along, and join in where they lie: about half of the pairs are
never computed, and the others are those of one long reverse pass, to the last term.
Up to ROWS output steps go together (a block), so that a clip of T <= ROWS frames takes
T sequential steps, each one product for all rows that are under way.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Carry = Any
ROWS = 256  # output steps of a block at most
LONGEST = 32  # frames of a stretch, by ``benchmarks/blocks.py``


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
    """Tell whether a module can be cut: ``rgcam.models.classifiers`` says what that takes."""
    return all(hasattr(module, n) for n in ("drive", "response", "begin", "advance"))


def sizes(steps: int, carried: bool) -> tuple[int, int]:
    """Return how many output steps go back together, and how long a stretch is.

    Four stretches a block, and more where they would exceed LONGEST: more of them
    skip more of the empty half, but make smaller products and take longer to compile.

    Args:
        steps: T.
        carried: whether frames meet at all; otherwise only the diagonal is computed.
    """
    if not carried:
        return min(steps, 8), 8
    block = -(-steps // -(-steps // ROWS))  # blocks alike, so that little is padding
    return block, max(8, min(-(-block // 4), LONGEST))


def all_pairs(
    cut: Cut,
    features: Float[Array, "T h w K"],
    seed: Float[Array, " C"],
    *,
    block: int,
    stretch: int,
    beta: bool = True,
) -> tuple[Array, Array | None, Array]:
    """Compute Eq. 1 and Eq. 2 (without its ReLU) for all pairs by blocks.

    Args:
        cut: of these features.
        features: A.
        seed: derivative of the explained scalar with respect to a step's scores, such
            as the unit vector of a class.
        block: output steps that go back together; see ``sizes``.
        stretch: frames that they go back at once.
        beta: whether Eq. 1 is wanted too.

    Returns:
        Scores (T C), beta (T T K) or None, signed maps (T T h w).
    """
    steps, count = len(features), -(-len(features) // block)
    drive = _divided(cut.drive, count)
    combine, seen = _combination(cut, features, beta)
    seen = _divided(seen, count)
    visit = functools.partial(
        _visit, cut.advance, seed=seed, stretch=stretch, combine=combine
    )

    def own(carry, part):
        after, scores, rest, found = visit(carry, *part)
        return after, (carry, scores, rest, found)

    if count == 1:
        _, (_, scores, _, found) = own(cut.begin, (drive[0], seen[0]))
        return scores, found[1] if beta else None, found[0]

    def place(results, found, row, column):
        put = functools.partial(_put, row, column)
        return list(map(put, results, found))

    def diagonal(state, part):
        number, carry, *results = state
        after, (*kept, found) = own(carry, part)
        return (number + 1, after, *place(results, found, number, number)), kept

    def earlier(state, pair):
        rest, *results = state
        row, column = pair
        first = lambda new, old: jnp.where(column == row - 1, new[row], old)
        rest = jax.tree.map(first, rests, rest)
        carry = jax.tree.map(lambda x: x[column], starts)
        _, _, rest, found = visit(carry, drive[column], seen[column], rest)
        return (rest, *place(results, found, row, column)), None

    size = drive.shape[1]
    inner = [features.shape[1:3], features.shape[3:]][: 1 + beta]
    empty = [jnp.zeros((count, size, count, size, *x), features.dtype) for x in inner]
    nothing: Any = jnp.int32(0), cut.begin, *empty
    scanned: Any = jax.lax.scan(diagonal, nothing, (drive, seen))
    (_, _, *results), (starts, scores, rests) = scanned
    if jax.tree.leaves(cut.begin):
        state = no_cotangent(cut.begin, size), *results
        (_, *results), _ = jax.lax.scan(earlier, state, earlier_pairs(count))
    maps, *betas = (_whole(x, steps) for x in results)
    return scores.reshape(-1, len(seed))[:steps], betas[0] if beta else None, maps


def earlier_pairs(count: int) -> Int[np.ndarray, "pairs 2"]:
    """List (block, one before it), each block's from the nearest to the first."""
    found = [(b, j) for b in range(count) for j in range(b - 1, -1, -1)]
    return np.array(found, np.int32).reshape(-1, 2)


def no_cotangent(begin: Carry, rows: int) -> Carry:
    """Return the cotangent of the carry that ``rows`` output steps start with."""
    return jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), begin)


def back(
    pull: Callable,
    cotangent: Carry,
    seeds: Float[Array, "R L"],
    seed: Float[Array, " C"],
) -> tuple[Carry, Float[Array, "R L D"]]:
    """Take R output steps back through L frames.

    Args:
        pull: of ``jax.vjp(advance, carry before the stretch, its drive)``.
        cotangent: of the carry after the stretch, with a leading axis R.
        seeds: 1 where an output step lies at a frame of the stretch, else 0.
        seed: see ``all_pairs``.

    Returns:
        The cotangent of the carry before the stretch, and G of its frames.
    """
    return jax.vmap(lambda rest, at: pull((rest, at[:, None] * seed)))(cotangent, seeds)


def _visit(advance, carry, drive, seen, rest=None, *, seed, stretch, combine):
    """Take a block's output steps back through a block's frames.

    Without ``rest``, through its own: a stretch's output steps join in at its end. With
    the cotangent of the carry after the frames, through those of an earlier block.

    Returns:
        The carry after the frames, their scores, the cotangent of the carry before
        them, and [signed maps] or [signed maps, beta] (R, R, ...).
    """
    size, own = len(drive), rest is None
    spans = [slice(s, min(s + stretch, size)) for s in range(0, size, stretch)]
    scores, pulls, found = [], [], []
    for span in spans:
        (carry, there), pull = jax.vjp(advance, carry, drive[span])
        scores.append(there)
        pulls.append(pull)
    if own:
        rest = no_cotangent(carry, 0)
    for span, pull in zip(spans[::-1], pulls[::-1], strict=True):
        length = span.stop - span.start
        rows = size - span.start if own else size
        rest = jax.tree.map(functools.partial(_below_zeros, rows=rows), rest)
        at = jnp.eye(rows, length) if own else jnp.zeros((rows, length))
        rest, weights = back(pull, rest, at.astype(drive.dtype), seed)
        found.append(combine(weights, seen[span]))
    return carry, jnp.concatenate(scores), rest, _beside(found[::-1], size)


def _beside(found, size):
    """Join the stretches' parts (R' L ...), with zeros above those of fewer rows."""
    parts = zip(*found, strict=True)
    whole = functools.partial(_below_zeros, rows=size)
    return [jnp.concatenate([whole(x) for x in part], 1) for part in parts]


def _below_zeros(x, rows):
    """Put rows of zeros above x, so that there are ``rows``."""
    return jnp.pad(x, [(rows - len(x), 0)] + [(0, 0)] * (x.ndim - 1))


def _divided(x, count):
    """Cut (T, ...) into (count, size, ...), with zeros at the end."""
    size = -(-len(x) // count)
    space = [(0, count * size - len(x))] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, space).reshape(count, size, *x.shape[1:])


def _combination(cut, features, beta):
    """Return (G, a stretch of ``seen``) -> [signed maps] or with beta, and ``seen``."""
    steps, *cells, channels = features.shape
    cells = cells[0] * cells[1]
    response = cut.response / cells

    def with_beta(weights, features):
        found = jnp.einsum("otd,kd->otk", weights, response)
        maps = jnp.einsum("otk,thwk->othw", found, features)
        return [maps, found] if beta else [maps]

    if beta or not cheaper_without_beta(
        steps, steps**2 / 2, cells, channels, response.shape[1]
    ):
        return with_beta, features
    answers = jnp.einsum("thwk,kd->thwd", features, response)  # Q
    return lambda weights, answers: [
        jnp.einsum("otd,thwd->othw", weights, answers)
    ], answers


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
