"""Confusion and accuracies, by hand."""

import numpy as np

from rgcam import metrics

LABELS, PREDICTED = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])


def test_confusion_by_hand():
    table = metrics.confusion(LABELS, PREDICTED, 3)
    np.testing.assert_array_equal(table, [[1, 1, 0], [1, 2, 0], [0, 0, 0]])


def test_class_accuracy_by_hand():
    table = metrics.confusion(LABELS, PREDICTED, 3)
    shares = metrics.class_accuracy(table, ("a", "b", "c"))
    assert shares == {"a": 0.5, "b": 2 / 3, "c": None}


def test_confusion_text_names_rows_and_dots_zeros():
    text = metrics.confusion_text(metrics.confusion(LABELS, PREDICTED, 2), ("ab", "c"))
    assert text.splitlines() == ["     0   1", "ab   1   1", " c   1   2"]
    empty = metrics.confusion_text(np.zeros((1, 1), int), ("a",))
    assert empty.splitlines()[1].endswith(".")
