"""Each measure of faithfulness, computed by hand."""

import numpy as np
import pytest

from rgcam.metrics import faithfulness

MATRIX = np.array([[2.0, 0.0], [1.0, 3.0]])
REMOVED = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])


def test_subset_fidelity_by_hand():
    losses = REMOVED @ np.array([[2.0, 0], [1, 3]]).T
    np.testing.assert_allclose(
        faithfulness.subset_fidelity(MATRIX, REMOVED, losses), [1, 1]
    )
    np.testing.assert_allclose(
        faithfulness.subset_fidelity(-MATRIX, REMOVED, losses), [-1, -1]
    )
    # Row 1 says 0, 1, 3, 4; 0, 1, 1, 0 is lost: cov = (-2)(-.5) + (-1)(.5) + ... = -1
    # ... (1)(.5) + (2)(-.5) = -0: no correlation at all.
    losses[:, 1] = [0, 1, 1, 0]
    fidelity = faithfulness.subset_fidelity(MATRIX, REMOVED, losses)
    np.testing.assert_allclose(fidelity, [1, 0], atol=1e-12)
    assert np.isnan(faithfulness.subset_fidelity(0 * MATRIX, REMOVED, losses)).all()


def test_no_matrix_has_a_higher_subset_fidelity_than_the_fitted_one():
    rng = np.random.default_rng(0)
    removed = (rng.random((50, 4)) < 0.4).astype(float)
    losses = np.stack([removed @ rng.random(4), removed.sum(1) ** 2], 1)
    best = faithfulness.best_fidelity(removed, losses)
    assert best[0] == pytest.approx(1) and 0.9 < best[1] < 1
    for _ in range(20):
        matrix = rng.normal(size=(2, 4))
        fidelity = faithfulness.subset_fidelity(matrix, removed, losses)
        assert (fidelity <= best + 1e-9).all()


def test_infidelity_by_hand():
    losses = REMOVED @ MATRIX.T
    assert faithfulness.infidelity(MATRIX, REMOVED, losses).tolist() == [0, 0]
    assert faithfulness.infidelity(0 * MATRIX, REMOVED, losses).tolist() == [1, 1]
    twice = faithfulness.infidelity(2 * MATRIX, REMOVED, losses)
    assert twice.tolist() == [1, 1]  # unlike a correlation, it depends on the scale


def test_matrix_fidelity_leaves_structural_zeros_out():
    matrix = np.array([[1.0, 0, 0], [2, 3, 0], [4, 5, 6]])
    assert faithfulness.matrix_fidelity(matrix, matrix) == pytest.approx(1)
    opposed = np.where(matrix > 0, 7 - matrix, 0)
    assert faithfulness.matrix_fidelity(matrix, opposed) == pytest.approx(-1)
    bent = np.where(matrix > 0, matrix**3, 0)
    assert faithfulness.matrix_fidelity(matrix, bent) < 0.95
    assert faithfulness.matrix_fidelity(matrix, bent, ranks=True) == pytest.approx(1)


def test_completeness_error_by_hand():
    error = faithfulness.completeness_error(MATRIX, np.array([2.0, 5.0]))
    assert error == pytest.approx(1 / 5)
