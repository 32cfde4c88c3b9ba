"""Each measure of faithfulness, computed by hand."""

import numpy as np
import pytest

from rgcam.metrics import faithfulness

MATRIX = np.array([[2.0, 0.0], [1.0, 3.0]])
REMOVED = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])


def test_subset_fidelity():
    lost = REMOVED @ np.array([[2.0, 0], [1, 3]]).T
    np.testing.assert_allclose(
        faithfulness.subset_fidelity(MATRIX, REMOVED, lost), [1, 1]
    )
    np.testing.assert_allclose(
        faithfulness.subset_fidelity(-MATRIX, REMOVED, lost), [-1, -1]
    )
    # Row 1 says 0, 1, 3, 4; 0, 1, 1, 0 is lost: cov = (-2)(-.5) + (-1)(.5) + ... = -1
    # ... (1)(.5) + (2)(-.5) = -0: no correlation at all.
    lost[:, 1] = [0, 1, 1, 0]
    found = faithfulness.subset_fidelity(MATRIX, REMOVED, lost)
    np.testing.assert_allclose(found, [1, 0], atol=1e-12)
    assert np.isnan(faithfulness.subset_fidelity(0 * MATRIX, REMOVED, lost)).all()


def test_infidelity():
    lost = REMOVED @ MATRIX.T
    assert faithfulness.infidelity(MATRIX, REMOVED, lost).tolist() == [0, 0]
    assert faithfulness.infidelity(0 * MATRIX, REMOVED, lost).tolist() == [1, 1]
    twice = faithfulness.infidelity(2 * MATRIX, REMOVED, lost)
    assert twice.tolist() == [1, 1]  # unlike a correlation, it minds the size


def test_matrix_fidelity_leaves_structural_zeros_out():
    matrix = np.array([[1.0, 0, 0], [2, 3, 0], [4, 5, 6]])
    assert faithfulness.matrix_fidelity(matrix, matrix) == pytest.approx(1)
    opposed = np.where(matrix > 0, 7 - matrix, 0)
    assert faithfulness.matrix_fidelity(matrix, opposed) == pytest.approx(-1)
    bent = np.where(matrix > 0, matrix**3, 0)
    assert faithfulness.matrix_fidelity(matrix, bent) < 0.95
    assert faithfulness.matrix_fidelity(matrix, bent, ranks=True) == pytest.approx(1)


def test_ranks_of_ties_are_their_mean():
    assert faithfulness.rank(np.array([5.0, 1, 5, 7])).tolist() == [1.5, 0, 1.5, 3]


def test_deletion_curve_and_its_area():
    masks = faithfulness.order(np.array([0.1, 0.9, 0.5]))
    assert masks.tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]
    curve = masks @ np.array([1.0, 6, 3])  # 10, 4, 1, 0
    assert faithfulness.area(curve) == pytest.approx((7 + 2.5 + 0.5) / 3)
    random = np.array([[10.0, 9, 6, 0], [10, 7, 1, 0]])  # areas 20 / 3 and 13 / 3
    gain = faithfulness.below_random(curve, random)
    assert gain == pytest.approx((16.5 - 10) / 3 / 10)


def test_average_drop_and_increase():
    before, after = np.array([0.8, 0.5]), np.array([0.2, 0.6])
    assert faithfulness.average_drop(before, after) == pytest.approx(0.75 / 2)
    assert faithfulness.increase(before, after) == 0.5


def test_completeness():
    error = faithfulness.completeness_error(MATRIX, np.array([2.0, 5.0]))
    assert error == pytest.approx(1 / 5)


def test_partial_correlation_by_hand():
    given = np.array([-1.0, 1.0, -1.0, 1.0])
    rest = np.array([1.0, 1.0, -1.0, -1.0])  # not correlated with it
    a, b = 5 * given + rest, 7 * given - 2 * rest
    assert faithfulness.beyond(a, b, given) == pytest.approx(-1)
    assert faithfulness.correlation(a, b) > 0.85
    assert np.isnan(faithfulness.beyond(3 * given, b, given))
    assert faithfulness.beyond(a, a, 0 * given) == pytest.approx(1)
