"""What removal makes of the last scores: against classify of replaced features."""

import jax
import numpy as np
import pytest

from rgcam.metrics import removal
from rgcam.models import classifiers
from tests.attribution.test_gradcam import H, K, W, lrcn, random

T = 5
FEATURES, INSTEAD = random((T, H, W, K)), random((T, H, W, K), 1)
FRAMES = np.float32([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
CELLS = np.random.default_rng(0).random((3, T, H, W)).astype(np.float32)


def test_held_shows_the_last_one_kept():
    values = np.arange(5.0)[:, None] * [1, 10]
    found = removal.held(values, np.array([0, 1, 0, 0, 1.0]))
    assert found.tolist() == [[0, 0], [1, 10], [1, 10], [1, 10], [4, 40]]
    mask = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [0, 0.5]])
    found = removal.held(values, mask)
    assert found.tolist() == [[0, 0], [1, 0], [1, 0], [1, 30], [1, 35]]


@pytest.mark.parametrize("head", ["gap", "fc"])
@pytest.mark.parametrize("still", [False, True])
def test_outcomes_equal_classify_of_replaced_features(head, still):
    module = lrcn(head)
    variables = classifiers.init(module, jax.random.key(1), FEATURES, "classify")
    last = lambda a: module.apply(variables, a, method="classify")[-1]
    instead, target = None if still else INSTEAD, 2
    found = removal.outcome(
        *(module, variables, FEATURES, instead, target, FRAMES, CELLS, CELLS[1])
    )

    def replaced(mask):
        mixed = mask * FEATURES + (1 - mask) * INSTEAD
        return last(removal.held(FEATURES, mask) if still else mixed)

    for masks, row in ((FRAMES[..., None, None], found.frames), (CELLS, found.cells)):
        scores = [replaced(mask)[target] for mask in masks[..., None]]
        np.testing.assert_allclose(row, scores, rtol=1e-4, atol=1e-5)
    shown = replaced(CELLS[1][..., None])
    sure = [jax.nn.softmax(scores)[target] for scores in (last(FEATURES), shown)]
    np.testing.assert_allclose(found.sure, sure, rtol=1e-4)


def test_blurred():
    frames = np.zeros((1, 40, 40, 3), np.float32)
    frames[0, 20, 20, 1] = 1
    found = removal.blurred(frames)  # 2 pixels: 1 / (2 pi 2^2) at the middle
    assert found[0, 20, 20, 1] == pytest.approx(1 / (8 * np.pi), rel=1e-3)
    ratio = found[0, 22, 20, 1] / found[0, 20, 20, 1]
    assert ratio == pytest.approx(np.exp(-0.5), rel=1e-4)
    assert not found[..., 0].any()
    np.testing.assert_allclose(removal.blurred(np.ones((2, 8, 8, 3))), 1, rtol=1e-6)
