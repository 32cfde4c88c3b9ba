"""All pairs (t', t) of a causal model for about the price of its recurrent part.

A causal model is cut inside ``classify`` at its first linear map, which is the same for
every frame (see ``rgcam.models.cut``):

    A (T, h, w, K) --drive--> u (T, D) --advance--> y (T, C)

Theorem 1 (no Jacobian of A). Adding an offset d[t] (K), the same in all cells, to A[t]
adds d[t] @ S to u[t], S the response (K, D). Hence Eq. 1 is

    beta[t', t] = 1/(h w) S G[t', t],    G[t', t] = d y[t', c] / d u[t]   (D,)

exactly; (h, w) and K are no part of the reverse pass, which computes G alone. A pooling
head's S is its first Dense kernel, a flattening head's that kernel summed over (h, w):
h w times less work than differentiating with respect to A.

Theorem 2 (no beta). Eq. 2 before its ReLU is L[t', t, i, j] = G[t', t] . Q[t, i, j]
with Q[t, i, j] = 1/(h w) A[t, i, j] @ S: where beta itself is not requested, D numbers
for each pair are contracted with h w cells instead of K channels, if that is less work.

Theorem 3 (triangle). y[t'] does not depend on frames after t', and on frames before s
only through the carry at s. So output steps go back stretch by stretch, taking the
cotangent of the carry along, and join in where they lie: about half of the pairs are
never computed, and the others are those of one long reverse pass, to the last term.
Up to MAX_BLOCK output steps go together (a block), so that a clip of T <= MAX_BLOCK
frames takes T sequential steps, each one product for all rows that are under way.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.models.cut import Carry, Cut

MAX_BLOCK = 256  # output steps that go back together at most
MAX_STRETCH = (
    32  # frames that they go back at once at most, by ``benchmarks/blocks.py``
)

Combine: TypeAlias = Callable[
    [Float[Array, "R L D"], Float[Array, "L h w X"]], list[Array]
]
"""(G of R output steps and L frames, per-frame values) -> [signed maps] or
[signed maps, beta]."""


def sizes(steps: int, carried: bool) -> tuple[int, int]:
    """Return how many output steps go back together, and how long a stretch is.

    A block has four stretches, and more where they would exceed MAX_STRETCH: more of
    them skip more of the empty half, but make smaller products and compile longer.

    Args:
        steps: T.
        carried: whether anything is carried between frames; if not, only the diagonal
            is computed.
    """
    if not carried:
        # Only the pairs (t, t) differ from 0, but a block computes all of its own pairs:
        # a small one computes few zeros, and still has some rows for each product.
        return min(steps, 8), 8
    block = -(-steps // -(-steps // MAX_BLOCK))  # equal blocks: little is padding
    return block, max(8, min(-(-block // 4), MAX_STRETCH))


def all_pairs(
    cut: Cut,
    features: Float[Array, "T h w K"],
    seed: Float[Array, "*T C"],
    *,
    block: int,
    stretch: int,
    beta: bool = True,
) -> tuple[Float[Array, "T C"], Float[Array, "T T K"] | None, Float[Array, "T T h w"]]:
    """Compute Eq. 1 and Eq. 2 (without its ReLU) for all pairs by blocks.

    Args:
        cut: of these features.
        features: A.
        seed: derivative of the explained scalar with respect to a step's scores, such
            as the unit vector of a class: one for all steps, or one for each.
        block: output steps that go back together; see ``sizes``.
        stretch: frames that they go back at once.
        beta: whether Eq. 1 is requested too.

    Returns:
        Scores (T C), beta (T T K) or None, signed maps (T T h w).
    """
    steps, count = len(features), -(-len(features) // block)
    seeds = jnp.broadcast_to(seed, (steps, seed.shape[-1]))
    # The tensor is a square of count x count blocks: block row = output steps t',
    # block column = frames t. Every pass below fills one of them.
    drives = _split(cut.drive, count)
    combine, frame_values = _combination(cut, features, beta)
    frame_values, seeds = _split(frame_values, count), _split(seeds, count)

    def own_frames(
        carry: Carry,
        drive: Float[Array, "R D"],
        values: Float[Array, "R h w X"],
        seed: Float[Array, "R C"],
    ) -> tuple[Carry, Float[Array, "R C"], Carry, list[Array]]:
        """Take a block's output steps back through the block's own frames."""
        return _through_block(
            cut.advance,
            carry,
            drive,
            values,
            cotangent=None,
            seed=seed,
            stretch=stretch,
            combine=combine,
        )

    if count == 1:  # the block on the diagonal is the whole triangle
        _, scores, _, parts = own_frames(
            cut.begin, drives[0], frame_values[0], seeds[0]
        )
        return scores, parts[1] if beta else None, parts[0]

    def place(
        results: list[Array], parts: list[Array], row: Array, column: Array
    ) -> list[Array]:
        return [
            _write_block(row, column, result, part)
            for result, part in zip(results, parts, strict=True)
        ]

    def diagonal(state, inputs):
        """Scan the blocks forward: scores, and the pairs within each block."""
        number, carry, *results = state
        next_carry, scores, cotangent, parts = own_frames(carry, *inputs)
        results = place(results, parts, number, number)
        # The carry and the cotangent at the block's start are all that ``earlier``
        # needs of it: Theorem 3's "only through the carry at s".
        return (number + 1, next_carry, *results), (carry, scores, cotangent)

    def earlier(state, pair):
        """Take one block's output steps back through the frames of an earlier block."""
        cotangent, *results = state
        row, column = pair
        # The first earlier block continues from the cotangent at the block's own start.
        cotangent = jax.tree.map(
            lambda at_start, carried: jnp.where(
                column == row - 1, at_start[row], carried
            ),
            cotangents,
            cotangent,
        )
        # The earlier block's pullbacks are recomputed from its carry: those of all blocks
        # would take memory of T activations, these take a forward pass of one block.
        carry = jax.tree.map(lambda leaf: leaf[column], carries)
        _, _, cotangent, parts = _through_block(
            cut.advance,
            carry,
            drives[column],
            frame_values[column],
            cotangent=cotangent,
            seed=seeds[column],  # of no effect: no output step joins in there
            stretch=stretch,
            combine=combine,
        )
        return (cotangent, *place(results, parts, row, column)), None

    # No pass writes a block above the diagonal: its pairs t > t' stay exactly 0.
    size = drives.shape[1]
    shapes = [features.shape[1:3], features.shape[3:]][: 1 + beta]
    empty = [
        jnp.zeros((count, size, count, size, *shape), features.dtype)
        for shape in shapes
    ]
    start = (jnp.int32(0), cut.begin, *empty)
    (_, _, *results), (carries, scores, cotangents) = jax.lax.scan(
        diagonal, start, (drives, frame_values, seeds)
    )
    if jax.tree.leaves(cut.begin):  # without a carry no earlier frame is reached
        state = (zero_cotangent(cut.begin, size), *results)
        (_, *results), _ = jax.lax.scan(earlier, state, earlier_pairs(count))
    # The zero frames that fill up the last block come after every real frame, and no
    # y[t'] depends on later ones: to leave out their rows and columns is exact.
    maps, *betas = (_merge_blocks(result, steps) for result in results)
    return scores.reshape(-1, seed.shape[-1])[:steps], betas[0] if beta else None, maps


def earlier_pairs(count: int) -> Int[np.ndarray, "pairs 2"]:
    """List (block, one before it), each block's from the nearest to the first."""
    pairs = [(row, column) for row in range(count) for column in range(row)[::-1]]
    return np.array(pairs, np.int32).reshape(-1, 2)


def zero_cotangent(begin: Carry, rows: int) -> Carry:
    """Return the zero cotangent of the carry for ``rows`` output steps."""
    return jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape), leaf.dtype), begin)


def pull_back(
    pullback: Callable[[tuple[Carry, Array]], tuple[Carry, Array]],
    cotangent: Carry,
    joins: Float[Array, "R L"],
    seed: Float[Array, "*L C"],
) -> tuple[Carry, Float[Array, "R L D"]]:
    """Take R output steps back through L frames.

    Args:
        pullback: of ``jax.vjp(advance, carry before the stretch, its drive)``.
        cotangent: of the carry after the stretch, with a leading axis R.
        joins: 1 where an output step lies at a frame of the stretch, else 0.
        seed: see ``all_pairs``; one for all steps, or one for each of the stretch.

    Returns:
        The cotangent of the carry before the stretch, and G of its frames.
    """

    def one_output_step(
        cotangent: Carry, join: Float[Array, " L"]
    ) -> tuple[Carry, Float[Array, "L D"]]:
        # y[t', c] is one of the stretch's own scores where ``join`` is 1. For frames
        # after the stretch its derivative comes in through the carry.
        return pullback((cotangent, join[:, None] * seed))

    # One product for R rows in each sequential step, where a loop over rows has R.
    return jax.vmap(one_output_step)(cotangent, joins)


def _through_block(
    advance: Callable[[Carry, Array], tuple[Carry, Array]],
    carry: Carry,
    drive: Float[Array, "R D"],
    frame_values: Float[Array, "R h w X"],
    *,
    cotangent: Carry | None,
    seed: Float[Array, "R C"],
    stretch: int,
    combine: Combine,
) -> tuple[Carry, Float[Array, "R C"], Carry, list[Array]]:
    """Take a block's output steps back through a block's frames.

    Without ``cotangent``, through its own frames: output steps join in at the stretch in
    which they lie. With the cotangent of the carry after the frames, through those of an
    earlier block.

    Returns:
        The carry after the frames, their scores, the cotangent of the carry before
        them, and [signed maps] or [signed maps, beta] (R, R, ...).
    """
    size, is_own = len(drive), cotangent is None
    spans = [slice(s, min(s + stretch, size)) for s in range(0, size, stretch)]
    # Forward: the pullback of every stretch.
    scores, pullbacks = [], []
    for span in spans:
        (carry, stretch_scores), pullback = jax.vjp(advance, carry, drive[span])
        scores.append(stretch_scores)
        pullbacks.append(pullback)
    if is_own:
        cotangent = zero_cotangent(carry, 0)  # no output step is under way yet
    # Backward: the last stretch first. Of the block's own frames, the rows under way
    # are those from the stretch's first step on (Theorem 3); they stand at the end.
    parts = []
    for span, pullback in zip(spans[::-1], pullbacks[::-1], strict=True):
        length = span.stop - span.start
        rows = size - span.start if is_own else size
        cotangent = jax.tree.map(functools.partial(_pad_above, rows=rows), cotangent)
        # Own frames: of the rows under way the first ``length`` are this stretch's, row
        # r at frame r. An earlier block's frames hold none of the output steps.
        joins = jnp.eye(rows, length) if is_own else jnp.zeros((rows, length))
        cotangent, weights = pull_back(
            pullback, cotangent, joins.astype(drive.dtype), seed[span]
        )
        parts.append(combine(weights, frame_values[span]))
    return carry, jnp.concatenate(scores), cotangent, _join_spans(parts[::-1], size)


def _join_spans(parts: list[list[Array]], size: int) -> list[Array]:
    """Join the stretches' parts (R' L ...), with zeros above those of fewer rows."""
    pad = functools.partial(_pad_above, rows=size)
    return [
        jnp.concatenate([pad(span) for span in spans], 1)
        for spans in zip(*parts, strict=True)
    ]


def _pad_above(rows_below: Float[Array, "R ..."], rows: int) -> Float[Array, "..."]:
    """Put rows of zeros above, so that there are ``rows``."""
    padding = [(rows - len(rows_below), 0)] + [(0, 0)] * (rows_below.ndim - 1)
    return jnp.pad(rows_below, padding)


def _split(values: Float[Array, "T ..."], count: int) -> Float[Array, "count size ..."]:
    """Split T rows into ``count`` blocks, with zeros at the end."""
    size = -(-len(values) // count)
    padding = [(0, count * size - len(values))] + [(0, 0)] * (values.ndim - 1)
    return jnp.pad(values, padding).reshape(count, size, *values.shape[1:])


def _combination(
    cut: Cut, features: Float[Array, "T h w K"], beta: bool
) -> tuple[Combine, Float[Array, "T h w X"]]:
    """Return how G becomes maps and beta, and the per-frame values that this takes.

    By beta the values are A itself (X = K); by Theorem 2 they are Q (X = D).
    """
    steps, height, width, channels = features.shape
    cells = height * width
    response = cut.response / cells  # Eq. 1's 1/(h w), once instead of in every pair

    def by_beta(
        weights: Float[Array, "R L D"], features: Float[Array, "L h w K"]
    ) -> list[Array]:
        beta_rows = jnp.einsum("otd,kd->otk", weights, response)  # Theorem 1
        maps = jnp.einsum("otk,thwk->othw", beta_rows, features)  # Eq. 2
        return [maps, beta_rows] if beta else [maps]

    def by_cells(
        weights: Float[Array, "R L D"], cell_responses: Float[Array, "L h w D"]
    ) -> list[Array]:
        return [jnp.einsum("otd,thwd->othw", weights, cell_responses)]  # Theorem 2

    # About half of the T^2 pairs are computed (Theorem 3).
    if beta or not cheaper_without_beta(
        steps, steps**2 / 2, cells, channels, response.shape[1]
    ):
        return by_beta, features
    cell_responses = jnp.einsum("thwk,kd->thwd", features, response)  # Q
    return by_cells, cell_responses


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
        cell_responses = jnp.einsum("thwk,kd->thwd", features, response)  # Q
        return jnp.einsum("otd,thwd->othw", weights, cell_responses)
    beta = jnp.einsum("otd,kd->otk", weights, response)  # Theorem 1
    return jnp.einsum("otk,thwk->othw", beta, features)  # Eq. 2


def cheaper_without_beta(
    steps: int, pairs: float | int, cells: int, channels: int, width: int
) -> bool:
    """Compare the multiplications of Theorem 2's order with those of beta's."""
    # By beta each pair takes G S^T (D K) and its map (K h w). By Theorem 2 each frame
    # takes Q once (h w K D), and each pair only its map (D h w).
    by_beta = pairs * channels * (width + cells)
    return steps * cells * channels * width + pairs * cells * width < by_beta


def _write_block(
    row: Array, column: Array, blocks: Float[Array, "B R J L ..."], part: Array
) -> Array:
    """Write the part (R, L, ...) of one pair of blocks where it belongs."""
    zero, part = jnp.zeros_like(row), part[None, :, None]  # (1, R, 1, L, ...)
    position = (row, zero, column, *[zero] * (part.ndim - 3))
    return jax.lax.dynamic_update_slice(blocks, part, position)


def _merge_blocks(values: Float[Array, "B R J L ..."], steps: int) -> Array:
    """Make (B, R, J, L, ...) one (T, T, ...)."""
    count, size = values.shape[:2]
    # Neighbouring axes join without a copy: t' = B size + R and t = J size + L.
    square = values.reshape(count * size, count * size, *values.shape[4:])
    return square[:steps, :steps]
