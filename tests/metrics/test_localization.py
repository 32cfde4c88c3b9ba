"""Each measure of localization, computed by hand."""

import numpy as np
import pytest

from rgcam.metrics import localization

MAPS = np.array([[[4.0, 1], [0, -9]], [[2, 0], [3, 0]]])
MASK = np.array([[[1, 0], [0, 1]], [[0, 0], [1, 0]]], bool)


def test_energy_inside_the_mask():
    assert localization.energy(MAPS, MASK) == pytest.approx(7 / 10)
    assert np.isnan(localization.energy(-np.ones((1, 2, 2)), MASK[:1]))


def test_pointing_with_tolerance():
    assert localization.pointing(MAPS, MASK)
    moved = MAPS.copy()
    moved[1, 0, 0] = 5  # one pixel above the mask of its frame
    assert not localization.pointing(moved, MASK)
    assert localization.pointing(moved, MASK, tolerance=1.0)
    assert not localization.pointing(0 * MAPS, np.ones_like(MASK))


def test_best_iou():
    # Above half of 4: the pixels of 4 and 3, both in the mask of three.
    assert localization.best_iou(MAPS, MASK) == pytest.approx(2 / 3)
    assert localization.best_iou(MASK.astype(float), MASK) == 1
    assert localization.best_iou(0 * MAPS, MASK) == 0
    assert localization.best_iou(MAPS, np.zeros_like(MASK)) == 0


def test_best_iou_equals_a_loop_over_thresholds():
    rng = np.random.default_rng(0)
    maps, mask = rng.normal(size=(3, 5, 7)), rng.random((3, 5, 7)) < 0.3
    hot = [maps > level * maps.max() for level in np.linspace(0, 1, 20, endpoint=False)]
    slow = max((h & mask).sum() / (h | mask).sum() for h in hot)
    assert localization.best_iou(maps, mask) == pytest.approx(slow)


def test_average_precision():
    importance = np.array([0.9, 0.8, 0.7, 0.1])
    true = np.array([True, False, True, False])
    # Recall 1/2 at precision 1, recall 1 at precision 2/3.
    precision = localization.average_precision(importance, true)
    assert precision == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert localization.average_precision(np.ones(4), true) == 0.5  # chance
    assert np.isnan(localization.average_precision(importance, ~np.ones(4, bool)))


def test_mass_inside():
    importance = np.array([3.0, -5, 1])
    true = np.array([True, True, False])
    assert localization.mass_inside(importance, true) == 0.75


def test_only_measures_whose_truth_is_known_are_numbers():
    true_frames = MASK.any((1, 2))
    measures = localization.measures(MAPS, MASK, true_frames)
    assert measures.energy == pytest.approx(7 / 10) and measures.pointing == 1
    assert measures.iou == pytest.approx(2 / 3)
    assert measures.moments == measures.inside == 1
    frames_only = localization.measures(MAPS, None, true_frames)
    assert frames_only.moments == frames_only.inside == 1
    assert np.isnan(frames_only[:3]).all()
    assert np.isnan(localization.measures(MAPS, None, None)).all()
    doubled = np.repeat(np.repeat(MASK, 2, 1), 2, 2)  # twice as many pixels a side
    measures = localization.measures(MASK.astype(float), doubled, None)
    assert measures.energy > 0.6 and np.isnan(measures.moments)
