"""Gradient times change, at one point or averaged over many, for all pairs (t', t).

All have the form ``L[t', t] = sum_s w_s dy[t']/dx[t] (z_s) . (x - b)[t]`` with x the
inputs of ``perturbation.UpperModel``, b their baseline and z_s points between the
two. It is linear in the gradient, so gradients are averaged first and then distributed
over a frame's cells once (Theorem 2 of ``causal``, for a position-sensitive head too): a
point costs one forward and one reverse pass above A.

Where the points of ``path`` lie, and how many there are, depends on the scores along
the straight line from baseline to clip, whose derivative integrates to ``y(x) - y(b)``:
points are put where the scores change, and doubled until the sum of every row is right.
A fixed number is not enough where a head is not linear: of the bundled model with ReLUs
64 points are right in the median of 40 clips, and some clips need 512 with baseline mean
(``python benchmarks/completeness.py``).
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.attribution.perturbation import UpperModel, interpolate

FADE_POINTS = 8  # points that ``fade`` averages over
FIRST_POINTS, MOST_POINTS = 64, 1024  # of ``path``
TOLERANCE = 0.01  # of the largest change of a row
ROWS_AT_ONCE = 64  # output steps, or points, that go through the model together

Scalar: TypeAlias = float | Float[Array, "..."]
Count: TypeAlias = int | Int[Array, "..."]
Schedule: TypeAlias = Callable[[Scalar], Float[Array, "..."]]
"""u in (0, 1) -> level s of the line ``b + s (x - b)``, increasing."""


def gradient(model: UpperModel) -> Float[Array, "out T h w"]:
    """Multiply the gradient at the clip by what the clip adds to its baseline.

    ``L[t', t, i, j] = sum_k dy[t']/dA[t, i, j, k] (A - b)[t, i, j, k]``

    What the scores would lose to first order if a cell were replaced. With b = 0 it is
    HiResCAM (Draelos and Carin, arXiv:2011.08891) and, where the gradient is the same in
    all cells (a head that averages over space), Grad-CAM.
    """
    # One point, z = x itself (mask 1 in every frame), with weight 1.
    every_frame = jnp.ones(model.grid[0], model.inputs.dtype)
    return average_gradient(model, lambda _: (every_frame, 1.0), 1)


def path(model: UpperModel, panels: int | None = None) -> Float[Array, "out T h w"]:
    """Integrate the gradient along the straight line from the baseline to the clip.

    ``L[t', t, i, j] = sum_k (A - b) int_0^1 dy[t']/dA (b + s (A - b)) ds``

    Integrated gradients (Sundararajan et al., arXiv:1703.01365) of the feature map; a
    row of the matrix sums to ``y[t'](A) - y[t'](b)``, within 1 % of the largest row's
    unless MOST_POINTS did not suffice. The rule is the midpoint rule, with panels of a
    width such that the scores change equally in each.

    Args:
        model: the model above A.
        panels: how many; None: 64, doubled until the rows are complete.
    """
    schedule = panel_schedule(model)
    count = panels_needed(model, schedule) if panels is None else panels

    # The midpoint rule of the integral over s; all frames are at the same s (a line).
    def point(number: Count) -> tuple[Float[Array, " T"], Scalar]:
        level, width = panel(schedule, number, count)
        return jnp.full(model.grid[0], level), width

    return average_gradient(model, point, count)


def fade(model: UpperModel, points: int = FADE_POINTS) -> Float[Array, "out T h w"]:
    """Average the gradient over clips in which each frame fades independently.

    ``L[t', t, i, j] = sum_k (A - b)[t, i, j, k] E_z( dy[t']/dA[t, i, j, k] )``

    at ``b + z (A - b)``, with z[t] uniform in (0, 1) and independent for each frame. By
    the fundamental theorem of calculus in z[t], a map's mass is

    ``M[t', t] = E_z( y[t'](frame t present) - y[t'](frame t replaced) )``,

    the mean effect of replacing a whole frame while the others are anywhere between
    present and replaced. Its relatives: expected gradients (Erion et al.,
    arXiv:1906.10670), here over independently interpolated frames; Owen's multilinear
    extension (1972), of which M is the mean partial derivative. If y is linear in each
    z[t], M is the Banzhaf value, the linear function of the frames present that fits y
    best over all subsets. Unlike ``path``, a row need not sum to y(A) - y(b). The points
    are a Latin hypercube (McKay et al. 1979), in which every frame takes every level
    once.

    Args:
        model: the model above A.
        points: gradients that are averaged.
    """
    # E_z by equal weights over points z whose frames have levels of their own.
    masks = jnp.asarray(latin_hypercube(points, model.grid[0]), model.inputs.dtype)
    return average_gradient(model, lambda number: (masks[number], 1 / points), points)


def latin_hypercube(
    points: int, steps: int, seed: int = 0
) -> Float[np.ndarray, "{points} {steps}"]:
    """Draw a Latin hypercube: each frame's levels (n + 1/2) / points, shuffled."""
    # Every interval of length 1 / points holds one level of each frame, in its middle:
    # what depends on one frame alone is averaged by the midpoint rule, not by chance.
    rng = np.random.default_rng(seed)
    levels = (np.arange(points) + 0.5) / points
    return np.stack([rng.permutation(levels) for _ in range(steps)], 1)


def average_gradient(
    model: UpperModel,
    point: Callable[[Count], tuple[Float[Array, " T"], Scalar]],
    count: Count,
) -> Float[Array, "out T h w"]:
    """Average the gradient over points and multiply it by x - b, cell by cell.

    Args:
        model: the model above A.
        point: number -> mask (T) of ``b + mask[t] (x - b)[t]``, and the point's weight.
        count: of points.
    """
    rows = jax.eval_shape(model.outputs, model.inputs).shape[0]

    def one_output_step(cotangent: Float[Array, " out"]) -> Float[Array, "T h w"]:
        def add_point(
            number: Count, total: Float[Array, "T ..."]
        ) -> Float[Array, "T ..."]:
            mask, weight = point(number)
            pullback = jax.vjp(model.outputs, interpolate(model, mask))[1]
            return total + weight * pullback(cotangent)[0]

        # sum_s w_s (g_s . (x - b)) = (sum_s w_s g_s) . (x - b): gradients are summed in
        # one array of the inputs' size, and distributed over the cells once.
        zero = jnp.zeros_like(model.inputs)
        return model.to_maps(jax.lax.fori_loop(0, count, add_point, zero))

    cotangents = jnp.eye(rows, dtype=model.inputs.dtype)
    size = min(inputs_at_once(model), rows)
    return jax.lax.map(one_output_step, cotangents, batch_size=size)


def panel_schedule(model: UpperModel) -> Schedule:
    """Return levels of the line such that equal steps of u change the scores equally.

    Of a step's length, the scores' change (in the largest row, as a part of the whole
    change) counts two thirds, and the distance along the line one third.
    """
    levels = jnp.linspace(0, 1, FIRST_POINTS + 1, dtype=model.inputs.dtype)
    outputs = jax.lax.map(
        _outputs_on_line(model), levels, batch_size=inputs_at_once(model)
    )
    # Constant scores have no change to divide by: ``tiny`` makes it 0, not NaN, and
    # only the distance counts.
    change = jnp.abs(jnp.diff(outputs, axis=0)).max(1)
    change = change / jnp.maximum(change.sum(), jnp.finfo(change.dtype).tiny)
    # Changes sum to 1 and distances to 1/2: two thirds and one third of the length.
    length = jnp.cumsum(change + 0.5 / FIRST_POINTS)
    length = jnp.concatenate([jnp.zeros(1, length.dtype), length / length[-1]])
    # The inverse of s -> length(s), by interpolation with the axes exchanged.
    return lambda u: jnp.interp(jnp.asarray(u, levels.dtype), length, levels)


def panels_needed(model: UpperModel, schedule: Schedule) -> Int[Array, ""]:
    """Return the number of panels at which rows are complete, or MOST_POINTS.

    The error is found without the rows' gradients: the sum of a row is the scores'
    derivative along the line, which takes one forward-mode pass for each point.
    """
    # Chain rule: d/ds y(b + s (x - b)) = sum_t g_s[t] . (x - b)[t], the sum of a row of
    # the gradient times change at s. Its integral must be y(x) - y(b).
    outputs = _outputs_on_line(model)
    whole_change = outputs(1.0) - outputs(0.0)
    derivative = lambda level: jax.jvp(outputs, (level,), (jnp.ones_like(level),))[1]

    def add_chunk(
        chunk: Count, total: Float[Array, " out"], count: Count
    ) -> Float[Array, " out"]:
        numbers = chunk * FIRST_POINTS + jnp.arange(FIRST_POINTS)
        levels, widths = jax.vmap(lambda n: panel(schedule, n, count))(numbers)
        size = inputs_at_once(model)
        return total + widths @ jax.lax.map(derivative, levels, batch_size=size)

    def is_incomplete(count: Count) -> Array:
        total = jax.lax.fori_loop(
            0,
            count // FIRST_POINTS,
            lambda chunk, total: add_chunk(chunk, total, count),
            jnp.zeros_like(whole_change),
        )
        error = jnp.abs(total - whole_change).max()
        return error > TOLERANCE * jnp.abs(whole_change).max()

    return jax.lax.while_loop(
        lambda count: (count < MOST_POINTS) & is_incomplete(count),
        lambda count: 2 * count,
        jnp.asarray(FIRST_POINTS),
    )


def panel(
    schedule: Schedule, number: Count, count: Count
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return the middle and the width, in s, of one of ``count`` equal steps of u."""
    low, high = schedule(number / count), schedule((number + 1) / count)
    return (low + high) / 2, high - low


def inputs_at_once(model: UpperModel) -> int:
    """Return how many clips' inputs may be in memory at once: of A itself, one."""
    return ROWS_AT_ONCE if model.inputs.ndim == 2 else 1


def _outputs_on_line(model: UpperModel) -> Callable[[Scalar], Float[Array, " out"]]:
    change = model.inputs - model.baseline
    return lambda level: model.outputs(model.baseline + level * change)
