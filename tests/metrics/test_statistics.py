"""Confusion, accuracies and intervals, by hand."""

import numpy as np
import pytest
from scipy import stats

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


def numbered(count, each=1):
    """Name the groups of clips: ``each`` clips of every group."""
    return [str(i // each) for i in range(count * each)]


def test_the_exact_interval_of_46_correct_clips_of_46_reaches_down_to_92_percent():
    """If every clip is right with probability p, all 46 are with p^46: 2.5 % at 0.923."""
    interval = statistics.share_interval(np.ones(46, bool), numbered(46))
    assert interval.mean == interval.high == 1
    assert interval.low == pytest.approx(0.025 ** (1 / 46))
    assert (interval.clips, interval.groups) == (46, 46)
    none = statistics.share_interval(np.zeros(46, bool), numbered(46))
    assert none.bounds == pytest.approx((0, 1 - 0.025 ** (1 / 46)))


def test_the_exact_interval_of_8_of_10_is_that_of_the_tables():
    """Clopper and Pearson's interval, as it is printed in tables: 0.4439 to 0.9748."""
    interval = statistics.share_interval(np.arange(10) < 8, numbered(10))
    assert interval.bounds == pytest.approx((0.4439, 0.9748), abs=5e-5)
    # However few there are: three of three may be a coin.
    few = statistics.share_interval(np.ones(3, bool), numbered(3))
    assert few.bounds == pytest.approx((0.025 ** (1 / 3), 1))


def test_clips_of_one_recording_that_are_all_correct_count_as_one():
    """23 recordings of two clips, all correct: as much is known as of 23 clips."""
    interval = statistics.share_interval(np.ones(46, bool), numbered(23, each=2))
    assert interval.low == pytest.approx(0.025 ** (1 / 23))
    assert (interval.mean, interval.clips, interval.groups) == (1, 46, 23)


def test_the_interval_over_groups_is_that_of_their_equivalent_number_of_clips():
    """Ten groups of two clips, five groups all correct and five all wrong, by hand.

    Residuals of the groups are +-1: the squared error is 10/9 * 10 / 20^2 = 1/36, that of
    0.5 * 0.5 / (1/36) = 9 independent clips. Student's t of 19 and of 9 degrees of
    freedom is 2.093 and 2.262: 9 * (2.093 / 2.262)^2 = 7.70 clips.
    """
    correct = np.repeat(np.arange(10) < 5, 2)
    interval = statistics.share_interval(correct, numbered(10, each=2))
    clips = 9 * (2.09302 / 2.26216) ** 2
    assert interval.low is not None and interval.high is not None
    assert interval.low + interval.high == pytest.approx(1)
    below = stats.beta.cdf(interval.low, clips / 2, clips / 2 + 1)
    assert below == pytest.approx(0.025, abs=1e-5)


def test_groups_widen_an_interval():
    correct = np.repeat(np.arange(20) < 16, 5)
    clips = statistics.share_interval(correct, numbered(100))
    groups = statistics.share_interval(correct, numbered(20, each=5))
    assert clips.mean == groups.mean == 0.8
    width = lambda interval: interval.high - interval.low
    assert width(groups) > 2 * width(clips)


def test_groups_that_are_more_alike_than_chance_count_no_more_than_their_clips():
    """Every group is half right: no error over groups, but that of 20 clips remains."""
    correct = np.arange(20) % 2 == 0
    groups = statistics.share_interval(correct, numbered(10, each=2))
    clips = statistics.share_interval(correct, numbered(20))
    assert groups.low < clips.low < clips.high < groups.high


def test_few_groups_of_several_clips_have_no_interval():
    correct = np.arange(18) < 12
    few = statistics.share_interval(correct, numbered(9, each=2))
    assert few == (pytest.approx(12 / 18), None, None, 18, 9) and few.bounds is None
    assert statistics.interval_text(few.bounds) == "too few groups for an interval"
    enough = statistics.share_interval(np.arange(20) < 12, numbered(10, each=2))
    low, high = enough.bounds
    assert statistics.interval_text(enough.bounds) == (
        f"95 % interval over groups {100 * low:.1f}% to {100 * high:.1f}%"
    )


def test_values_that_are_not_there_count_in_no_interval():
    values = np.array([1, np.nan, 1, 1])
    share = statistics.share_interval(values, list("abbc"))
    assert share == statistics.share_interval(np.ones(3), list("abc"))
    nothing = (None, None, None, 0, 0)
    assert statistics.share_interval(np.array([np.nan]), ["a"]) == nothing
    assert statistics.mean_interval(np.array([np.nan]), ["a"]) == nothing


def test_the_interval_of_a_mean_is_students_by_hand():
    """0 to 9: mean 4.5, standard deviation 3.0277, error 0.95743, t(9) = 2.26216."""
    interval = statistics.mean_interval(np.arange(10.0), numbered(10))
    half = 2.26216 * 0.957427
    assert interval.bounds == pytest.approx((4.5 - half, 4.5 + half), abs=1e-4)
    assert (interval.mean, interval.clips, interval.groups) == (4.5, 10, 10)


def test_an_interval_ends_where_the_values_must():
    values = np.array([1.0] * 19 + [0.5])
    free = statistics.mean_interval(values, numbered(20))
    cut = statistics.mean_interval(values, numbered(20), limits=(0.0, 1.0))
    assert free.high > 1 == cut.high and free.low == cut.low


def test_groups_of_different_sizes_by_hand():
    """Ten groups, the first of two clips: the mean is over 11 clips.

    Values 1 in the first group and 0 elsewhere: mean 2/11, residuals 2 - 4/11 and nine
    times -2/11, their squares sum to (18/11)^2 + 9 (2/11)^2 = 360/121.
    """
    values = np.array([1.0, 1, *[0] * 9])
    interval = statistics.mean_interval(values, ["0", *numbered(10)])
    half = 2.26216 * np.sqrt(10 / 9 * 360 / 121) / 11
    assert interval.bounds == pytest.approx((2 / 11 - half, 2 / 11 + half), abs=1e-4)


def test_a_mean_has_no_interval_where_nothing_varies_or_groups_are_few():
    assert statistics.mean_interval(np.arange(9.0), numbered(9)).bounds is None
    equal = statistics.mean_interval(np.full(30, 0.3), numbered(30))
    assert equal.bounds is None and equal.mean == pytest.approx(0.3)


def test_a_clip_measured_by_three_models_is_one_observation():
    values = np.random.default_rng(0).normal(size=30)
    once = statistics.mean_interval(values, numbered(30))
    thrice = statistics.mean_interval(np.repeat(values, 3), numbered(30, each=3))
    np.testing.assert_allclose(thrice[:3], once[:3])
