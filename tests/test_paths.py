"""Gradient times change against the whole Jacobian, and the sums that it promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam import interventions, paths
from tests.test_interventions import BASELINE, CASES, FEATURES, T, above


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
    upper = interventions.Upper(outputs, inputs, none, maps, None, (2, 1, 1), False)
    np.testing.assert_allclose(paths.gradient(upper).ravel(), [4, 2])
    np.testing.assert_allclose(paths.path(upper, 1).ravel(), [2, 1], rtol=1e-6)


@pytest.mark.parametrize("head,plain", CASES)
def test_gradient_equals_the_definition(head, plain):
    expected = (jacobian_of(head, FEATURES) * (FEATURES - BASELINE)).sum(-1)
    found = paths.gradient(above(head, plain)[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("head,plain", CASES)
def test_path_is_the_integral_and_its_rows_sum_to_the_change(head, plain):
    upper, classify = above(head, plain)
    maps = np.asarray(paths.path(upper, 40))
    change, total = FEATURES - BASELINE, 0
    for s in (np.arange(100) + 0.5) / 100:  # midpoints
        total = total + jacobian_of(head, BASELINE + s * change) / 100
    expected = (total * change).sum(-1)
    size = np.abs(expected).max()
    np.testing.assert_allclose(maps, expected, atol=0.03 * size)
    whole = classify(FEATURES) - classify(BASELINE)
    error = np.abs(maps.sum((1, 2, 3)) - whole).max()
    near = 0.05 if head == "fc" else 0.01  # nine ReLUs have kinks
    assert error <= near * np.abs(whole).max()


def test_future_is_exactly_zero():
    matrix = np.asarray(paths.path(above("fc")[0])).sum((2, 3))
    assert (matrix[np.triu_indices(T, 1)] == 0).all()
    assert (matrix[np.tril_indices(T)] != 0).all()


def test_nodes_integrate_polynomials():
    points, weights = paths.nodes(4)
    for power in range(8):
        assert (weights * points**power).sum() == pytest.approx(1 / (power + 1))
