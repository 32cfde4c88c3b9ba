"""Gradient times change against the whole Jacobian, and the sums that it promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import gradients, perturbation
from rgcam.attribution.perturbation import UpperModel
from tests.attribution.test_perturbation import BASELINE, CASES, FEATURES, T, above


@functools.cache
def jacobian(head):
    return jax.jit(jax.jacrev(above(head, plain=True)[0].outputs))


def jacobian_of(head, point):
    """Differentiate classify with respect to every cell: the definition."""
    return np.asarray(jacobian(head)(jnp.asarray(point)))


def test_hand_computed_case():
    # y = a0^2 + a0 a1 from b = 0 to a = (1, 2): dy/da = (2 a0 + a1, a0) = (4, 1);
    # along s (1, 2) it is (4 s, s), in the mean (2, 1/2): in all 2 + 1 = y(a) - y(0).
    inputs = jnp.asarray([1.0, 2.0]).reshape(2, 1, 1, 1)
    outputs = lambda a: (a[0] ** 2 + a[0] * a[1]).reshape(1)
    maps = lambda weights: (weights * inputs).sum(-1)
    none = jnp.zeros_like(inputs)
    upper = perturbation.UpperModel(outputs, inputs, none, maps, None, (2, 1, 1), False)
    np.testing.assert_allclose(gradients.gradient(upper).ravel(), [4, 2])
    np.testing.assert_allclose(gradients.path(upper, 1).ravel(), [2, 1], rtol=1e-6)


@pytest.mark.parametrize("head,plain", CASES)
def test_gradient_equals_the_definition(head, plain):
    expected = (jacobian_of(head, FEATURES) * (FEATURES - BASELINE)).sum(-1)
    found = gradients.gradient(above(head, plain)[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("head,plain", CASES)
def test_path_is_the_integral_and_its_rows_sum_to_the_change(head, plain):
    upper, classify = above(head, plain)
    maps = np.asarray(gradients.path(upper))
    change, total = FEATURES - BASELINE, 0
    for s in (np.arange(100) + 0.5) / 100:  # midpoints
        total = total + jacobian_of(head, BASELINE + s * change) / 100
    expected = (total * change).sum(-1)
    size = np.abs(expected).max()
    np.testing.assert_allclose(maps, expected, atol=0.03 * size)
    whole = classify(FEATURES) - classify(BASELINE)
    error = np.abs(maps.sum((1, 2, 3)) - whole).max()
    assert error <= 0.01 * np.abs(whole).max()


def test_future_is_exactly_zero():
    matrix = np.asarray(gradients.path(above("fc")[0])).sum((2, 3))
    assert (matrix[np.triu_indices(T, 1)] == 0).all()
    assert (matrix[np.tril_indices(T)] != 0).all()


def test_fade_is_the_mean_effect_of_a_frame_among_faded_ones():
    upper, classify = above("gap")
    matrix = np.asarray(gradients.fade(upper, 256)).sum((2, 3))
    rng, change, t = np.random.default_rng(1), FEATURES - BASELINE, 2
    total = np.zeros(T)
    for _ in range(800):
        level = rng.random((T, 1, 1, 1)).astype(np.float32)
        for sign in (1, -1):
            level[t] = sign > 0
            total += sign * classify(BASELINE + level * change) / 800
    size = np.abs(total).max()
    np.testing.assert_allclose(matrix[:, t], total, atol=0.1 * size)


def test_fade_of_a_score_linear_in_each_frame_is_banzhaf_s():
    # y = z0 z1 + 2 z0: removing frame 0 loses z1 + 2, in the mean 2.5; frame 1, z0.
    inputs = jnp.ones((2, 1, 1, 1))
    outputs = lambda a: (a[0] * a[1] + 2 * a[0]).reshape(1)
    maps = lambda weights: weights.sum(-1)
    none = jnp.zeros_like(inputs)
    upper = perturbation.UpperModel(outputs, inputs, none, maps, None, (2, 1, 1), False)
    np.testing.assert_allclose(gradients.fade(upper, 8).ravel(), [2.5, 0.5], rtol=1e-6)


def test_levels_are_a_latin_hypercube():
    levels = gradients.latin_hypercube(4, 3)
    for frame in levels.T:
        assert sorted(frame) == [0.125, 0.375, 0.625, 0.875]
    assert len({tuple(frame) for frame in levels.T}) > 1


def upper_of(function):
    """Return y(s) = function(s) on the line from 0 to 1: one frame, one number."""
    outputs = lambda a: jnp.atleast_1d(function(a[0, 0]))
    one, maps = jnp.ones((1, 1)), lambda weights: weights[..., None]
    return UpperModel(outputs, one, 0 * one, maps, None, (1, 1, 1), False)


def test_even_scores_take_even_steps():
    place = gradients.panel_schedule(upper_of(lambda s: 3 * s))
    u = np.linspace(0, 1, 9)
    np.testing.assert_allclose(place(u), u, atol=1e-6)
    still = gradients.panel_schedule(upper_of(lambda s: 0 * s))
    np.testing.assert_allclose(still(u), u, atol=1e-6)


def test_a_leap_draws_two_thirds_of_the_steps():
    place = gradients.panel_schedule(upper_of(lambda s: jnp.tanh(1e3 * (s - 0.5))))
    levels = np.asarray(place(np.linspace(0, 1, 301)))
    assert (np.diff(levels) > 0).all()
    assert 0.6 < (np.abs(levels - 0.5) < 2 / gradients.FIRST_POINTS).mean() < 0.75


def test_panels_are_midpoints_that_fill_the_line():
    place = lambda u: u**2
    middle, width = gradients.panel(place, jnp.arange(2), 2)
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
    count = int(gradients.panels_needed(upper, gradients.panel_schedule(upper)))
    assert (count > gradients.FIRST_POINTS) == doubled
    total = float(gradients.path(upper).sum())
    change = float(function(1.0) - function(0.0))
    assert total == pytest.approx(change, abs=0.01 * abs(change) + 1e-7)


def test_points_have_an_end(monkeypatch):
    monkeypatch.setattr(gradients, "TOLERANCE", -1.0)
    upper = upper_of(lambda s: s)
    assert (
        gradients.panels_needed(upper, gradients.panel_schedule(upper))
        == gradients.MOST_POINTS
    )
