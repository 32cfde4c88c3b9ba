"""Points on the line: dense where the scores change, and as many as they need."""

import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import gradients, quadrature
from rgcam.attribution.perturbation import Upper


def upper_of(function):
    """Return y(s) = function(s) on the line from 0 to 1: one frame, one number."""
    outputs = lambda a: jnp.atleast_1d(function(a[0, 0]))
    one, maps = jnp.ones((1, 1)), lambda weights: weights[..., None]
    return Upper(outputs, one, 0 * one, maps, None, (1, 1, 1), False)


def test_even_scores_take_even_steps():
    place = quadrature.spread(upper_of(lambda s: 3 * s))
    u = np.linspace(0, 1, 9)
    np.testing.assert_allclose(place(u), u, atol=1e-6)
    still = quadrature.spread(upper_of(lambda s: 0 * s))
    np.testing.assert_allclose(still(u), u, atol=1e-6)


def test_a_leap_draws_two_thirds_of_the_steps():
    place = quadrature.spread(upper_of(lambda s: jnp.tanh(1e3 * (s - 0.5))))
    levels = np.asarray(place(np.linspace(0, 1, 301)))
    assert (np.diff(levels) > 0).all()
    assert 0.6 < (np.abs(levels - 0.5) < 2 / quadrature.FIRST).mean() < 0.75


def test_panels_are_midpoints_that_fill_the_line():
    place = lambda u: u**2
    middle, width = quadrature.panel(place, jnp.arange(2), 2)
    np.testing.assert_allclose(middle, [0.125, 0.625])
    np.testing.assert_allclose(width, [0.25, 0.75])


@pytest.mark.parametrize(
    ("function", "doubled"),
    [
        (lambda s: s**2, False),
        (lambda s: jnp.tanh(1e4 * (s - 0.377)), True),
        (lambda s: 0 * s, False),
    ],
)
def test_points_double_until_the_sum_is_right(function, doubled):
    upper = upper_of(function)
    count = int(quadrature.enough(upper, quadrature.spread(upper)))
    assert (count > quadrature.FIRST) == doubled
    total = float(gradients.path(upper).sum())
    change = float(function(1.0) - function(0.0))
    assert total == pytest.approx(change, abs=0.01 * abs(change) + 1e-7)


def test_points_have_an_end(monkeypatch):
    monkeypatch.setattr(quadrature, "TOLERANCE", -1.0)
    upper = upper_of(lambda s: s)
    assert quadrature.enough(upper, quadrature.spread(upper)) == quadrature.MOST
