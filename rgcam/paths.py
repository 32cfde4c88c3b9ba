"""Gradient times change, at one point or averaged over many, for all pairs (t', t).

All have the form ``L[t', t] = sum_s w_s dy[t']/dx[t] (z_s) . (x - b)[t]`` with x the
inputs of ``rgcam.interventions.Upper``, b their baseline and z_s points between the
two. It is linear in the gradient, so that gradients are averaged first and shared out
among a frame's cells once (Theorem 2 of ``rgcam.blocks``, for a head that reads
positions too): a point costs one forward and one reverse pass above A.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgcam.interventions import Upper, between
from rgcam.targets import Tensor

STEPS = 16  # Gauss-Legendre nodes of a path
POINTS = 8  # of fading frames
ROWS = 64  # output steps that go back together


def gradient(upper: Upper) -> Float[Array, "out T h w"]:
    """Multiply the gradient at the clip with what the clip adds to its baseline.

    ``L[t', t, i, j] = sum_k dy[t']/dA[t, i, j, k] (A - b)[t, i, j, k]``

    What the scores would lose to first order if a cell were replaced. With b = 0 it is
    HiResCAM (Draelos and Carin, arXiv:2011.08891) and, where the gradient is alike in
    all cells (a head that averages over space), Grad-CAM.
    """
    steps = upper.grid[0]
    return averaged(upper, jnp.ones((1, steps)), jnp.ones(1))


def path(upper: Upper, steps: int = STEPS) -> Float[Array, "out T h w"]:
    """Integrate the gradient along the straight line from the baseline to the clip.

    ``L[t', t, i, j] = sum_k (A - b) int_0^1 dy[t']/dA (b + s (A - b)) ds``

    by Gauss-Legendre quadrature. Integrated gradients (Sundararajan et al.,
    arXiv:1703.01365) of the feature map; a row of the matrix sums to
    ``y[t'](A) - y[t'](b)``. What quadrature misses of that (in the median 1 to 3 % of
    the largest change by 16 nodes, for the bundled model that has ReLUs) is shared out
    in proportion to ``|L|``: the sum is exact, the parts are as good as the nodes.

    Args:
        upper: the model above A.
        steps: nodes.
    """
    points, shares = nodes(steps)
    masks = np.repeat(points[:, None], upper.grid[0], 1)
    maps = averaged(upper, masks, shares)
    change = upper.outputs(upper.inputs) - upper.outputs(upper.baseline)
    missing = change - maps.sum((1, 2, 3))
    size = jnp.abs(maps)
    total = size.sum((1, 2, 3), keepdims=True)
    parts = size / jnp.where(total > 0, total, 1)
    return maps + missing[:, None, None, None] * parts


def fade(upper: Upper, points: int = POINTS) -> Float[Array, "out T h w"]:
    """Average the gradient over clips each of whose frames has faded by itself.

    ``L[t', t, i, j] = sum_k (A - b)[t, i, j, k] E_z( dy[t']/dA[t, i, j, k] )``

    at ``b + z (A - b)``, z[t] uniform in (0, 1), each frame's by itself. A map's mass
    is, by the fundamental theorem of calculus in z[t],

    ``M[t', t] = E_z( y[t'](frame t there) - y[t'](frame t replaced) )``,

    the mean effect of replacing a whole frame while the others are anywhere between
    there and replaced: no point of a straight line favours all or no frames, which no
    subset of frames is like. If y is linear in each z[t], M is the Banzhaf value, the
    linear function of the frames there that fits y best over all subsets. A row need
    not sum to y(A) - y(b): take ``path`` for that. The points are a Latin hypercube
    (McKay et al. 1979), in which every frame takes every level once.

    Args:
        upper: the model above A.
        points: gradients that are averaged.
    """
    masks = levels(points, upper.grid[0])
    return averaged(upper, masks, np.full(points, 1 / points))


def levels(
    points: int, steps: int, seed: int = 0
) -> Float[np.ndarray, "{points} {steps}"]:
    """Draw a Latin hypercube: each frame's levels (n + 1/2) / points, shuffled."""
    rng = np.random.default_rng(seed)
    middle = (np.arange(points) + 0.5) / points
    return np.stack([rng.permutation(middle) for _ in range(steps)], 1)


def nodes(steps: int) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """Return the points in (0, 1) and the weights of Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (points + 1) / 2, weights / 2


def averaged(
    upper: Upper, masks: Float[Tensor, "S T"], shares: Float[Tensor, " S"]
) -> Float[Array, "out T h w"]:
    """Average the gradient over points and multiply it with x - b, cell by cell.

    Args:
        upper: the model above A.
        masks: the points ``b + mask[t] (x - b)[t]``.
        shares: their weights.
    """
    dtype = upper.inputs.dtype
    masks, shares = jnp.asarray(masks, dtype), jnp.asarray(shares, dtype)
    count = jax.eval_shape(upper.outputs, upper.inputs).shape[0]

    def row(seed):
        def add(total, point):
            mask, share = point
            pull = jax.vjp(upper.outputs, between(upper, mask))[1]
            return total + share * pull(seed)[0], None

        start = jnp.zeros_like(upper.inputs)
        return upper.maps(jax.lax.scan(add, start, (masks, shares))[0])

    together = ROWS if upper.inputs.ndim == 2 else 1
    seeds = jnp.eye(count, dtype=dtype)
    return jax.lax.map(row, seeds, batch_size=min(together, count))
