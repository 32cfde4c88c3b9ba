"""Frames replaced: against classify itself, frame by frame and cell by cell."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import perturbation
from rgcam.errors import InputError
from tests.attribution.test_gradcam import H, K, W, lrcn, random
from tests.conftest import draw_variables

T, CLASS = 5, 2
FEATURES = random((T, H, W, K))
BASELINE = random((T, H, W, K), 1)


class Plain:
    """A module of which only ``classify`` is known."""

    def __init__(self, module):
        self.module = module

    def apply(self, variables, *inputs, method):
        return self.module.apply(variables, *inputs, method=method)


def above(head, plain=False, target=CLASS, cell="lstm", **kwargs):
    """Return what lies above random features, and classify for the same class."""
    module = lrcn(head, cell, **kwargs)
    variables = draw_variables(module, FEATURES, "classify")
    variables = jax.tree.map(lambda x: x + 0.3 * random(x.shape, x.size), variables)
    classify = jax.jit(functools.partial(module.apply, variables, method="classify"))
    shown = Plain(module) if plain else module
    features, baseline = jnp.asarray(FEATURES), jnp.asarray(BASELINE)
    upper = perturbation.upper_model(shown, variables, features, baseline, target)
    return upper, lambda a: np.asarray(classify(a))[:, CLASS]


CASES = [("gap", False), ("grid", False), ("fc", False), ("fc", True)]


@pytest.mark.parametrize("head,plain", CASES)
def test_kept_equals_classify_of_replaced_features(head, plain):
    upper, classify = above(head, plain)
    masks = np.float32([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0.5, 1, 0.2, 0, 1]])
    found = perturbation.outputs_with_frames(upper, masks)
    for mask, row in zip(masks, found, strict=True):
        mask = mask[:, None, None, None]
        replaced = mask * FEATURES + (1 - mask) * BASELINE
        np.testing.assert_allclose(row, classify(replaced), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head,plain", CASES)
def test_occlusion_replaces_one_frame_and_cells_one_cell(head, plain):
    upper, classify = above(head, plain)
    whole = classify(FEATURES)
    frames, cells = perturbation.occlusion(upper), perturbation.cell_occlusion(upper)
    assert cells.shape == (T, T, H, W)
    for t in range(T):
        without = FEATURES.copy()
        without[t] = BASELINE[t]
        lost = whole - classify(without)
        np.testing.assert_allclose(frames[:, t], lost, rtol=1e-3, atol=1e-5)
        for i, j in np.ndindex(H, W):
            without = FEATURES.copy()
            without[t, i, j] = BASELINE[t, i, j]
            lost = whole - classify(without)
            np.testing.assert_allclose(cells[:, t, i, j], lost, rtol=1e-3, atol=1e-5)
    if not plain:
        assert (np.asarray(frames)[np.triu_indices(T, 1)] == 0).all()


def test_differences_of_features_are_shared_out_too():
    upper, classify = above("gap", differences=True)
    mask = np.float32([0, 1, 0, 0, 1])
    wide = mask[:, None, None, None]
    replaced = wide * FEATURES + (1 - wide) * BASELINE
    found = perturbation.outputs_with_frames(upper, mask[None])[0]
    np.testing.assert_allclose(found, classify(replaced), rtol=1e-4, atol=1e-5)


def test_replacements():
    features = jnp.asarray([1.0, 3.0, 8.0]).reshape(3, 1, 1, 1)
    take = lambda *a: perturbation.baseline_features(features, *a).ravel().tolist()
    assert take("zero") == [0, 0, 0]
    assert take("mean") == pytest.approx([4, 4, 4])
    assert take("mean", 2) == pytest.approx([2, 2, 2])
    assert take("first") == [1, 1, 1]
    assert take("previous") == [1, 1, 3]
    assert take(np.float32([[[7]]])) == [7, 7, 7]
    near, far = np.exp(-1 / 8), np.exp(-4 / 8)  # a Gaussian of 2 frames
    first = (1 + 3 * near + 8 * far) / (1 + near + far)
    assert take("blur")[0] == pytest.approx(first, rel=1e-5)
    assert take("blur", 2)[0] == pytest.approx((1 + 3 * near) / (1 + near), rel=1e-5)


def test_mistakes_get_one_sentence():
    with pytest.raises(
        InputError, match="unknown baseline 'black': choose one of zero"
    ):
        perturbation.check_baseline("black", (T, H, W, K))
    with pytest.raises(InputError, match=r"shape is \(4,\).*\(3, 2, 5\)"):
        perturbation.check_baseline(np.zeros(4), (T, H, W, K))
    for shape in ((T, H, W, K), (H, W, K), (K,)):
        perturbation.check_baseline(np.zeros(shape), (T, H, W, K))


def by_all_orders(upper):
    """Average over every order of the frames: the definition."""
    masks = np.float32(list(itertools.product((0, 1), repeat=T)))
    found = np.asarray(perturbation.outputs_with_frames(upper, masks))
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
    few = np.asarray(perturbation.shapley_values(upper, jax.random.key(0), 8))
    many = np.asarray(perturbation.shapley_values(upper, jax.random.key(0), 400))
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
    found = perturbation.distribute_mass(jnp.asarray([[matrix]]), maps)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


def test_a_map_of_zeros_becomes_uniform():
    found = perturbation.distribute_mass(jnp.asarray([[6.0]]), jnp.zeros((1, 1, 1, 3)))
    np.testing.assert_allclose(found.ravel(), [2, 2, 2])


@pytest.mark.parametrize("baseline", ["zero", "previous"])
def test_removal_losses_are_differences_of_scores(baseline):
    module, features = lrcn("fc"), random((5, H, W, K))
    frames = np.float32([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
    cells = np.random.default_rng(0).random((3, 5, H, W)).astype(np.float32)
    variables = draw_variables(module, features, "classify")
    score = jax.jit(lambda a: module.apply(variables, a, method="classify")[:, 2])
    replacement = perturbation.baseline_features(jnp.asarray(features), baseline)
    losses, cell_losses = perturbation.removal_losses(
        module, variables, features, 2, 1 - frames, 1 - cells, baseline=baseline
    )
    for masks, rows in ((frames[..., None, None], losses), (cells, cell_losses)):
        mixed = [m * features + (1 - m) * replacement for m in masks[..., None]]
        expected = [score(features) - score(a) for a in mixed]
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    frames_only, nothing = perturbation.removal_losses(
        module, variables, features, 2, 1 - frames, baseline=baseline
    )
    assert nothing is None
    np.testing.assert_allclose(frames_only, losses, rtol=1e-5, atol=1e-6)
