"""Deletion curves of frames and cells, computed by hand."""

import jax
import numpy as np
import pytest

from rgcam.attribution import perturbation
from rgcam.metrics import deletion
from rgcam.metrics.deletion import RemovalScores
from tests.attribution.test_gradcam import H, K, W, lrcn, random
from tests.conftest import draw_variables, wide_and_strict

RNG = np.random.default_rng
WORTH = np.array([1.0, 6, 3])  # of three frames of one cell each


def remove(frames, cells, shown):
    """Return what the frames that are kept are worth; its logistic as probability."""
    worth = lambda masks: masks.reshape(-1, 3) @ WORTH
    everything = np.ones_like(shown)
    probability = 1 / (1 + np.exp(-worth(np.stack([everything, shown]))))
    return RemovalScores(worth(frames), worth(cells), probability)


def of(row):
    maps = np.array(row, float)[:, None, None]
    return deletion.curves(remove, maps, RNG(0))


def test_curves_by_hand():
    curves = of([0.1, 0.9, 0.5])
    assert curves.deletion.tolist() == [10, 4, 1, 0]
    assert curves.insertion.tolist() == [0, 6, 9, 10]
    assert len(curves.space_time) == deletion.STEPS + 1
    assert set(curves.space_time) == {10, 4, 1, 0}
    shown = (0.1 * 1 + 0.9 * 6 + 0.5 * 3) / 0.9  # the map relative to its maximum
    assert curves.probability == pytest.approx(1 / (1 + np.exp([-10, -shown])))


def test_the_unit_of_areas_is_the_range_of_scores():
    random = np.array([[10.0, 9, 6, 0], [10, 7, 1, 0]])  # areas 20 / 3 and 13 / 3
    assert deletion.score_range([*random, np.array([-2.0, 0])]) == 12
    assert np.isnan(deletion.score_range([np.ones(4)]))
    assert np.isnan(deletion.score_range([1 + 1e-6 * random[0]]))  # rounding


def test_measures_are_above_chance_for_the_true_order_and_below_for_its_inverse():
    random = [of(RNG(i).random(3)) for i in range(20)]
    right, wrong = (deletion.measures(of(x), random) for x in (WORTH, -WORTH))
    assert min(right.deletion, right.insertion, right.space_time) > 0.05
    assert max(wrong.deletion, wrong.insertion, wrong.space_time) < -0.05
    # All of -WORTH is negative: nothing is shown, and both classes are as likely.
    whole = 1 / (1 + np.exp(-10))
    assert wrong.drop == pytest.approx((whole - 0.5) / whole)
    assert wrong.increase == 0
    everything = deletion.measures(of([1, 1, 1]), random)
    assert everything.drop == everything.increase == 0
    less = of(WORTH)._replace(probability=np.array([0.4, 0.5]))
    assert deletion.measures(less, random).increase == 1


def test_the_shown_part_is_relative_to_the_maximum():
    shown = deletion.shown_part(np.array([[[2.0, -1]], [[1, 0]]]))
    assert shown.tolist() == [[[1, 0]], [[0.5, 0]]]
    assert not deletion.shown_part(-np.ones((1, 1, 1))).any()


def test_average_drop_and_increase():
    before, after = np.array([0.8, 0.5]), np.array([0.2, 0.6])
    assert deletion.average_drop(before, after) == pytest.approx(0.75 / 2)
    assert deletion.increase(before, after) == 0.5


T = 5
FEATURES, REPLACEMENT = random((T, H, W, K)), random((T, H, W, K), 1)
FRAMES = np.float32([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
CELLS = np.random.default_rng(0).random((3, T, H, W)).astype(np.float32)


def test_a_frozen_frame_shows_the_last_one_kept():
    values = np.arange(5.0)[:, None] * [1, 10]
    found = deletion.freeze(values, np.array([0, 1, 0, 0, 1.0]))
    assert found.tolist() == [[0, 0], [1, 10], [1, 10], [1, 10], [4, 40]]
    mask = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [0, 0.5]])
    found = deletion.freeze(values, mask)
    assert found.tolist() == [[0, 0], [1, 0], [1, 0], [1, 30], [1, 35]]


@pytest.mark.parametrize("head", ["gap", "fc"])
@pytest.mark.parametrize("frozen", [False, True])
def test_removal_scores_equal_classify_of_replaced_features(head, frozen):
    module = lrcn(head)
    variables = draw_variables(module, FEATURES, "classify")
    last = jax.jit(lambda a: module.apply(variables, a, method="classify")[-1])
    replacement, target = None if frozen else REPLACEMENT, 2
    found = deletion.removal_scores(
        module, variables, FEATURES, replacement, target, FRAMES, CELLS, CELLS[1]
    )

    def replaced(mask):
        mixed = mask * FEATURES + (1 - mask) * REPLACEMENT
        return last(deletion.freeze(FEATURES, mask) if frozen else mixed)

    for masks, row in ((FRAMES[..., None, None], found.frames), (CELLS, found.cells)):
        scores = [replaced(mask)[target] for mask in masks[..., None]]
        np.testing.assert_allclose(row, scores, rtol=1e-4, atol=1e-5)
    shown = replaced(CELLS[1][..., None])
    probability = [jax.nn.softmax(scores)[target] for scores in (last(FEATURES), shown)]
    np.testing.assert_allclose(found.probability, probability, rtol=1e-4)


def test_frames_are_blurred_by_a_gaussian():
    frames = np.zeros((1, 40, 40, 3), np.float32)
    frames[0, 20, 20, 1] = 1
    found = deletion.blur_frames(frames)  # 2 pixels: 1 / (2 pi 2^2) at the middle
    assert found[0, 20, 20, 1] == pytest.approx(1 / (8 * np.pi), rel=1e-3)
    ratio = found[0, 22, 20, 1] / found[0, 20, 20, 1]
    assert ratio == pytest.approx(np.exp(-0.5), rel=1e-4)
    assert not found[..., 0].any()
    np.testing.assert_allclose(
        deletion.blur_frames(np.ones((2, 8, 8, 3))), 1, rtol=1e-6
    )


def test_removals_cost_the_same_in_other_numerics():
    module, shape = lrcn("fc"), (5, 3, 2, 5)
    features = random(shape)
    variables = draw_variables(module, features, "classify")
    frames, cells = np.eye(5, dtype=np.float32), np.ones((2, 5, 3, 2), np.float32)

    def measure():
        losses = perturbation.removal_losses(
            module, variables, features, 1, frames, cells, baseline="mean"
        )
        scores = [
            deletion.removal_scores(
                module, variables, features, with_what, 1, frames, cells, cells[0]
            )
            for with_what in (None, 0 * features)
        ]
        return jax.tree.map(np.asarray, (losses, scores))

    expected = measure()
    with wide_and_strict():
        values = measure()
    for one, other in zip(
        jax.tree.leaves(values), jax.tree.leaves(expected), strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
