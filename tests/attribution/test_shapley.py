"""Shapley values against all orders; masses shared out by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import perturbation, shapley
from tests.attribution.test_perturbation import T, above


def by_all_orders(upper):
    """Average over every order of the frames: the definition."""
    masks = np.float32(list(itertools.product((0, 1), repeat=T)))
    found = np.asarray(perturbation.kept(upper, masks))
    scores = {tuple(mask): row for mask, row in zip(masks, found, strict=True)}
    orders, total = list(itertools.permutations(range(T))), np.zeros((T, T))
    for order in orders:
        mask = [0.0] * T
        for t in order:
            before, mask[t] = scores[tuple(mask)], 1.0
            total[:, t] += (scores[tuple(mask)] - before) / len(orders)
    return total


def test_approaches_the_average_over_all_orders():
    upper, classify = above("fc")
    expected = by_all_orders(upper)
    few = np.asarray(shapley.values(upper, jax.random.key(0), 8))
    many = np.asarray(shapley.values(upper, jax.random.key(0), 400))
    size = np.abs(expected).max()
    np.testing.assert_allclose(many, expected, atol=0.05 * size)
    np.testing.assert_allclose(few, expected, atol=0.5 * size)
    assert (few[np.triu_indices(T, 1)] == 0).all()
    whole = upper.outputs(upper.inputs) - upper.outputs(upper.baseline)
    np.testing.assert_allclose(few.sum(1), whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("matrix,expected", [(6.0, [3, -1, 4]), (3.0, [2, -1.5, 2.5])])
def test_masses_are_shared_out_where_a_map_is_strong(matrix, expected):
    # |L| / sum |L| of [2, -1.5, 2.5] is [1/3, 1/4, 5/12]; its mass is 3.
    if matrix == 6:
        expected = [3, -0.75, 3.75]
    maps = jnp.asarray([2, -1.5, 2.5]).reshape(1, 1, 1, 3)
    found = shapley.share_out(jnp.asarray([[matrix]]), maps)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


def test_a_map_of_zeros_becomes_uniform():
    found = shapley.share_out(jnp.asarray([[6.0]]), jnp.zeros((1, 1, 1, 3)))
    np.testing.assert_allclose(found.ravel(), [2, 2, 2])
