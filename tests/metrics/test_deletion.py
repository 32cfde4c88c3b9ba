"""Curves of removal, computed by hand."""

import numpy as np
import pytest

from rgcam.metrics import deletion
from rgcam.metrics.removal import Outcome

RNG = np.random.default_rng
WORTH = np.array([1.0, 6, 3])  # of three frames of one cell each


def remove(frames, cells, shown):
    """Return what the frames that are kept are worth; its logistic as probability."""
    worth = lambda masks: masks.reshape(-1, 3) @ WORTH
    sure = 1 / (1 + np.exp(-worth(np.stack([np.ones_like(shown), shown]))))
    return Outcome(worth(frames), worth(cells), sure)


def of(row):
    maps = np.array(row, float)[:, None, None]
    return deletion.curves(remove, maps, RNG(0))


def test_masks_of_deletion():
    masks = deletion.deletion(np.array([0.1, 0.9, 0.5]), 3, RNG(0))
    assert masks.tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]
    halves = deletion.deletion(np.array([[4.0, 3], [2, 1]]), 2, RNG(0))
    assert halves.tolist() == [[[1, 1], [1, 1]], [[0, 0], [1, 1]], [[0, 0], [0, 0]]]
    equal = np.stack([deletion.deletion(np.zeros(4), 4, RNG(i))[1] for i in range(400)])
    np.testing.assert_allclose(1 - equal.mean(0), 0.25, atol=0.1)  # no hint of time


def test_curves_by_hand():
    found = of([0.1, 0.9, 0.5])
    assert found.deleted.tolist() == [10, 4, 1, 0]
    assert found.inserted.tolist() == [0, 6, 9, 10]
    assert len(found.cells) == deletion.STEPS + 1
    assert set(found.cells) == {10, 4, 1, 0}
    shown = (0.1 * 1 + 0.9 * 6 + 0.5 * 3) / 0.9  # the map over its largest value
    assert found.sure == pytest.approx(1 / (1 + np.exp([-10, -shown])))


def test_gain_and_its_unit():
    random = np.array([[10.0, 9, 6, 0], [10, 7, 1, 0]])  # areas 20 / 3 and 13 / 3
    found = deletion.gain(np.array([10.0, 4, 1, 0]), random)  # area 10 / 3
    assert found == pytest.approx((10 - 16.5) / 3)
    assert deletion.reach([*random, np.array([-2.0, 0])]) == 12
    assert np.isnan(deletion.reach([np.ones(4)]))
    assert np.isnan(deletion.reach([1 + 1e-6 * random[0]]))  # rounding


def test_measures():
    random = [of(RNG(i).random(3)) for i in range(20)]
    right, wrong = (deletion.measures(of(x), random) for x in (WORTH, -WORTH))
    for name in ("deletion", "insertion", "space-time"):
        assert right[name] > 0.05 and wrong[name] < -0.05
    # All of -WORTH is negative: nothing is shown, and both classes are as likely.
    whole = 1 / (1 + np.exp(-10))
    assert wrong["drop"] == pytest.approx((whole - 0.5) / whole)
    assert wrong["increase"] == 0 and set(right) == set(deletion.NAMES)
    everything = deletion.measures(of([1, 1, 1]), random)
    assert everything["drop"] == everything["increase"] == 0
    less = of(WORTH)._replace(sure=np.array([0.4, 0.5]))
    assert deletion.measures(less, random)["increase"] == 1


def test_weights():
    found = deletion.weights(np.array([[[2.0, -1]], [[1, 0]]]))
    assert found.tolist() == [[[1, 0]], [[0.5, 0]]]
    assert not deletion.weights(-np.ones((1, 1, 1))).any()
