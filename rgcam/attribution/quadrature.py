"""Where, and how often, to take gradients on the straight line from baseline to clip.

The gradient along the line integrates to ``y(x) - y(b)``, which is known: points are
put where the scores change, and doubled until the sum of every row is right. A fixed
number is not enough where a head bends: of the bundled model with ReLUs 64 points are
right in the median of 40 clips, and some need 512 with baseline mean
(``python benchmarks/completeness.py``).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.attribution.perturbation import Upper

FIRST, MOST = 64, 1024  # points
TOLERANCE = 0.01  # of the largest change of a row
ROWS = 64  # rows, or points, that go through together

Place = Callable[[Any], Array]


def spread(upper: Upper) -> Place:
    """Return u in (0, 1) -> level s of the line ``b + s (x - b)``, rising.

    Equal steps of u change the scores as much as they move along the line: of the
    whole change's length, in the largest row, two thirds; of the line's, one third.
    """
    levels = jnp.linspace(0, 1, FIRST + 1, dtype=upper.inputs.dtype)
    found = jax.lax.map(_scores(upper), levels, batch_size=together(upper))
    step = jnp.abs(jnp.diff(found, axis=0)).max(1)
    step = step / jnp.maximum(step.sum(), jnp.finfo(step.dtype).tiny)
    length = jnp.cumsum(step + 0.5 / FIRST)
    length = jnp.concatenate([jnp.zeros(1, length.dtype), length / length[-1]])
    return lambda u: jnp.interp(u, length, levels)


def enough(upper: Upper, place: Place) -> Array:
    """Return how many points are enough: rows right within TOLERANCE, or MOST.

    The error is found without the rows' gradients: the sum of a row is the scores'
    derivative along the line, one forward-mode pass a point.
    """
    scores = _scores(upper)
    change = scores(1.0) - scores(0.0)
    speed = lambda level: jax.jvp(scores, (level,), (jnp.ones_like(level),))[1]

    def add(chunk, total, count):
        numbers = chunk * FIRST + jnp.arange(FIRST)
        levels, widths = jax.vmap(lambda n: panel(place, n, count))(numbers)
        return total + widths @ jax.lax.map(speed, levels, batch_size=together(upper))

    def wrong(count):
        step = lambda chunk, total: add(chunk, total, count)
        total = jax.lax.fori_loop(0, count // FIRST, step, jnp.zeros_like(change))
        return jnp.abs(total - change).max() > TOLERANCE * jnp.abs(change).max()

    more = lambda count: (count < MOST) & wrong(count)
    return jax.lax.while_loop(more, lambda count: 2 * count, jnp.asarray(FIRST))


def panel(place: Place, number: Any, count: Any) -> tuple[Array, Array]:
    """Return the middle and the width, in s, of one of ``count`` equal steps of u."""
    low, high = place(number / count), place((number + 1) / count)
    return (low + high) / 2, high - low


def together(upper: Upper) -> int:
    """Return how many clips' inputs may be in memory at once: of A itself, one."""
    return ROWS if upper.inputs.ndim == 2 else 1


def _scores(upper: Upper) -> Callable[[Any], Float[Array, " out"]]:
    change = upper.inputs - upper.baseline
    return lambda level: upper.outputs(upper.baseline + level * change)
