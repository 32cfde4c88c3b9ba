"""Shapley values of frames, and how a frame's number is shared out among its cells."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.attribution.perturbation import Upper, kept, structured

PERMUTATIONS = 8


def values(
    upper: Upper, key: Array, permutations: int = PERMUTATIONS
) -> Float[Array, "out T"]:
    """Average what a frame adds to the frames before it in a random order.

    ``M[t', t] = E_order( y[t'](frames up to t in order) - y[t'](frames before t) )``

    Permutation sampling (Castro et al. 2009), every order followed by its reverse:
    antithetic, so that half of the variance cancels where pairs of frames interact.
    ``permutations * (T + 1)`` passes above A; each row sums to
    ``y[t'](A) - y[t'](b)`` exactly.

    Args:
        upper: the model above A.
        key: from ``jax.random.key``.
        permutations: orders; an even number.
    """
    steps = upper.grid[0]
    keys = jax.random.split(key, permutations // 2)
    ranks = jax.vmap(lambda key: jax.random.permutation(key, steps))(keys)
    ranks = jnp.concatenate([ranks, steps - 1 - ranks])
    masks = ranks[:, None, :] < jnp.arange(steps + 1)[:, None]
    found = kept(upper, masks.reshape(-1, steps).astype(upper.inputs.dtype))
    gains = jnp.diff(found.reshape(len(ranks), steps + 1, -1), axis=1)
    own = jax.vmap(lambda gain, rank: gain[rank])(gains, ranks)
    return structured(upper, own.mean(0).T)


def share_out(
    matrix: Float[Array, "out T"], maps: Float[Array, "out T h w"]
) -> Float[Array, "out T h w"]:
    """Change maps so that each has the mass that the matrix says.

    ``L + (M - sum L) |L| / sum |L|``: what is missing is added where a map is strong,
    so that nothing is divided by a mass that may be 0. A map of zeros becomes uniform.

    Args:
        matrix: masses, such as Shapley values.
        maps: signed, such as a path's: where in each frame.
    """
    size = jnp.abs(maps)
    total = size.sum((2, 3), keepdims=True)
    cells = maps.shape[2] * maps.shape[3]
    shares = jnp.where(total > 0, size / jnp.where(total > 0, total, 1), 1 / cells)
    missing = matrix - maps.sum((2, 3))
    return maps + missing[..., None, None] * shares
