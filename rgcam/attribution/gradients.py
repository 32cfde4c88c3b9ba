"""Gradient times change, at one point or averaged over many, for all pairs (t', t).

All have the form ``L[t', t] = sum_s w_s dy[t']/dx[t] (z_s) . (x - b)[t]`` with x the
inputs of ``rgcam.attribution.perturbation.Upper``, b their baseline and z_s points between the
two. It is linear in the gradient, so that gradients are averaged first and shared out
among a frame's cells once (Theorem 2 of ``rgcam.attribution.causal``, for a head that reads
positions too): a point costs one forward and one reverse pass above A.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgcam.attribution import quadrature
from rgcam.attribution.perturbation import Upper, between

POINTS = 8  # of fading frames


def gradient(upper: Upper) -> Float[Array, "out T h w"]:
    """Multiply the gradient at the clip with what the clip adds to its baseline.

    ``L[t', t, i, j] = sum_k dy[t']/dA[t, i, j, k] (A - b)[t, i, j, k]``

    What the scores would lose to first order if a cell were replaced. With b = 0 it is
    HiResCAM (Draelos and Carin, arXiv:2011.08891) and, where the gradient is alike in
    all cells (a head that averages over space), Grad-CAM.
    """
    return averaged(upper, lambda _: (jnp.ones(upper.grid[0]), 1.0), 1)


def path(upper: Upper, steps: int | None = None) -> Float[Array, "out T h w"]:
    """Integrate the gradient along the straight line from the baseline to the clip.

    ``L[t', t, i, j] = sum_k (A - b) int_0^1 dy[t']/dA (b + s (A - b)) ds``

    Integrated gradients (Sundararajan et al., arXiv:1703.01365) of the feature map; a
    row of the matrix sums to ``y[t'](A) - y[t'](b)``, within 1 % of the largest row's
    unless ``rgcam.attribution.quadrature`` ran out of points. Midpoints of panels, of a width such
    that the scores change as much in each.

    Args:
        upper: the model above A.
        steps: panels; None: 64, doubled until the rows are right.
    """
    place = quadrature.spread(upper)
    count = quadrature.enough(upper, place) if steps is None else steps

    def point(number):
        level, width = quadrature.panel(place, number, count)
        return jnp.full(upper.grid[0], level), width

    return averaged(upper, point, count)


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
    masks = jnp.asarray(levels(points, upper.grid[0]), upper.inputs.dtype)
    return averaged(upper, lambda number: (masks[number], 1 / points), points)


def levels(
    points: int, steps: int, seed: int = 0
) -> Float[np.ndarray, "{points} {steps}"]:
    """Draw a Latin hypercube: each frame's levels (n + 1/2) / points, shuffled."""
    rng = np.random.default_rng(seed)
    middle = (np.arange(points) + 0.5) / points
    return np.stack([rng.permutation(middle) for _ in range(steps)], 1)


def averaged(upper: Upper, point: Any, count: Any) -> Float[Array, "out T h w"]:
    """Average the gradient over points and multiply it with x - b, cell by cell.

    Args:
        upper: the model above A.
        point: number -> mask (T) of ``b + mask[t] (x - b)[t]``, and its weight.
        count: of points.
    """
    rows = jax.eval_shape(upper.outputs, upper.inputs).shape[0]

    def row(seed):
        def add(number, total):
            mask, share = point(number)
            pull = jax.vjp(upper.outputs, between(upper, mask))[1]
            return total + share * pull(seed)[0]

        start = jnp.zeros_like(upper.inputs)
        return upper.maps(jax.lax.fori_loop(0, count, add, start))

    seeds = jnp.eye(rows, dtype=upper.inputs.dtype)
    size = min(quadrature.together(upper), rows)
    return jax.lax.map(row, seeds, batch_size=size)
