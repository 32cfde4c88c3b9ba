"""Confusion, accuracies, correlations and intervals, by hand."""

import numpy as np
import pytest

from rgcam.metrics import statistics

LABELS, PREDICTED = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])


def test_confusion_by_hand():
    table = statistics.confusion(LABELS, PREDICTED, 3)
    np.testing.assert_array_equal(table, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])


def test_class_accuracy_by_hand():
    table = statistics.confusion(LABELS, PREDICTED, 3)
    shares = statistics.class_accuracy(table, ("a", "b", "c"))
    assert shares == {"a": 0.5, "b": 2 / 3, "c": None}


def test_confusion_text_names_rows_and_dots_zeros():
    text = statistics.confusion_text(
        statistics.confusion(LABELS, PREDICTED, 2), ("ab", "c")
    )
    assert text.splitlines() == ["     0   1", "ab   1   1", " c   1   2"]
    empty = statistics.confusion_text(np.zeros((1, 1), int), ("a",))
    assert empty.splitlines()[1].endswith(".")


def test_ranks_of_ties_are_their_mean():
    assert statistics.ranks(np.array([5.0, 1, 5, 7])).tolist() == [2.5, 1, 2.5, 4]


def test_spearman_compares_the_order_alone():
    a = np.array([1.0, 2, 5, 9])
    assert statistics.spearman(a, a**3) == pytest.approx(1)
    assert statistics.spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(statistics.spearman(a, np.ones(4)))


def test_partial_correlation_by_hand():
    covariate = np.array([-1.0, 1.0, -1.0, 1.0])
    residue = np.array([1.0, 1.0, -1.0, -1.0])  # not correlated with it
    a, b = 5 * covariate + residue, 7 * covariate - 2 * residue
    assert statistics.partial_correlation(a, b, covariate) == pytest.approx(-1)
    assert statistics.correlation(a, b) > 0.85
    assert np.isnan(statistics.partial_correlation(3 * covariate, b, covariate))
    assert statistics.partial_correlation(a, a, 0 * covariate) == pytest.approx(1)


def test_bootstrap_interval_of_equal_groups_is_a_binomial_one():
    """100 groups of one clip, 80 correct: the normal interval is 0.8 +- 0.0784."""
    correct = np.arange(100) < 80
    groups = [str(i) for i in range(100)]
    low, high = statistics.bootstrap_interval(correct, groups)
    np.testing.assert_allclose([low, high], [0.72, 0.88], atol=0.02)


def test_bootstrap_interval_counts_groups_not_clips():
    """Ten clips of a group that are all correct or all wrong are one observation."""
    correct = np.repeat(np.arange(10) < 8, 10)
    clips = statistics.bootstrap_interval(correct, [str(i) for i in range(100)])
    groups = statistics.bootstrap_interval(correct, [str(i // 10) for i in range(100)])
    assert groups[1] - groups[0] > 2 * (clips[1] - clips[0])
    assert statistics.bootstrap_interval(correct, ["one"] * 100) == (0.8, 0.8)
    assert statistics.bootstrap_interval(np.ones(9, bool), list("abcabcabc")) == (1, 1)


def test_mean_interval_draws_groups():
    """Two groups of means 0 and 1: samples are 0, 1/2 or 1, a quarter each at the ends."""
    interval = statistics.mean_interval(np.array([0, 0, 1, 1.0]), list("aabb"))
    assert interval == (0.5, 0, 1, 4)
    interval = statistics.mean_interval(np.array([1, np.nan, 2]), list("abb"))
    assert interval.mean == 1.5 and interval.clips == 2
    nothing = statistics.mean_interval(np.array([np.nan]), ["a"])
    assert nothing == (None, None, None, 0)


def test_a_clip_measured_by_three_models_is_one_observation():
    values = np.random.default_rng(0).normal(size=30)
    once = statistics.mean_interval(values, [str(i) for i in range(30)])
    thrice = statistics.mean_interval(
        np.repeat(values, 3), [str(i // 3) for i in range(90)]
    )
    np.testing.assert_allclose(thrice[:3], once[:3])
