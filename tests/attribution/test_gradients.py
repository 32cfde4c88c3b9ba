"""Gradient times change against the whole Jacobian, and the sums that it promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import gradients, perturbation
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
    upper = perturbation.Upper(outputs, inputs, none, maps, None, (2, 1, 1), False)
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
    matrix = np.asarray(gradients.fade(upper, 64)).sum((2, 3))
    rng, change, t = np.random.default_rng(1), FEATURES - BASELINE, 2
    total = np.zeros(T)
    for _ in range(200):
        level = rng.random((T, 1, 1, 1)).astype(np.float32)
        for sign in (1, -1):
            level[t] = sign > 0
            total += sign * classify(BASELINE + level * change) / 200
    size = np.abs(total).max()
    np.testing.assert_allclose(matrix[:, t], total, atol=0.1 * size)


def test_fade_of_a_score_linear_in_each_frame_is_banzhaf_s():
    # y = z0 z1 + 2 z0: removing frame 0 loses z1 + 2, in the mean 2.5; frame 1, z0.
    inputs = jnp.ones((2, 1, 1, 1))
    outputs = lambda a: (a[0] * a[1] + 2 * a[0]).reshape(1)
    maps = lambda weights: weights.sum(-1)
    none = jnp.zeros_like(inputs)
    upper = perturbation.Upper(outputs, inputs, none, maps, None, (2, 1, 1), False)
    np.testing.assert_allclose(gradients.fade(upper, 8).ravel(), [2.5, 0.5], rtol=1e-6)


def test_levels_are_a_latin_hypercube():
    levels = gradients.levels(4, 3)
    for frame in levels.T:
        assert sorted(frame) == [0.125, 0.375, 0.625, 0.875]
    assert len({tuple(frame) for frame in levels.T}) > 1
