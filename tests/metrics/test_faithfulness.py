"""Each measure of faithfulness, computed by hand."""

import numpy as np
import pytest

from rgcam.metrics import faithfulness

MATRIX = np.array([[2.0, 0.0], [1.0, 3.0]])
REMOVED = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])


def test_subset_fidelity_by_hand():
    """Three frames, one output step that sees them all, sets of one or two frames.

    Given their number, the sums 1 2 4 | 3 5 6 are -4/3 -1/3 5/3 | -5/3 1/3 4/3 from their
    means; the losses 1 1 2 | 5 7 7 are -1/3 -1/3 2/3 | -4/3 2/3 2/3. The products sum to
    (4 + 1 + 10 + 20 + 2 + 8) / 9 = 5, the squares to 84 / 9 and 30 / 9.
    """
    matrix = np.zeros((3, 3))
    matrix[2] = [1, 2, 4]
    removed = np.array(
        [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]
    )
    losses = np.zeros((6, 3))
    losses[:, 2] = [1, 1, 2, 5, 7, 7]
    fidelity = faithfulness.subset_fidelity(matrix, removed, losses)
    assert fidelity[2] == pytest.approx(5 * 9 / np.sqrt(84 * 30))
    assert np.isnan(fidelity[:2]).all()  # nothing is lost there
    opposite = faithfulness.subset_fidelity(-matrix, removed, losses)
    assert opposite[2] == pytest.approx(-fidelity[2])


def test_the_mere_number_of_removed_frames_says_nothing():
    """The more frames are removed, the more is lost: a matrix of ones says that, too."""
    rng = np.random.default_rng(0)
    removed = (rng.random((200, 8)) < 0.4).astype(float)
    matrix = np.tril(1 + 0.1 * rng.random((8, 8)))
    losses = removed @ matrix.T
    ones = np.tril(np.ones((8, 8)))
    raw = faithfulness.raw_subset_fidelity(ones, removed, losses)[1:]
    assert (raw > 0.99).all()
    assert (faithfulness.subset_fidelity(ones, removed, losses)[1:] == 0).all()
    np.testing.assert_allclose(
        faithfulness.subset_fidelity(matrix, removed, losses)[1:], 1
    )


def test_recency_says_nothing_beyond_itself():
    """A model whose last frames matter most: recency says so, and no more than that."""
    rng = np.random.default_rng(0)
    removed = (rng.random((400, 8)) < 0.4).astype(float)
    recency = np.tril(faithfulness.recency(8, 8))
    assert recency[2].tolist() == [np.exp(-0.5), np.exp(-0.25), 1, 0, 0, 0, 0, 0]
    own = np.tril(rng.normal(size=(8, 8)))
    losses = removed @ (2 * recency + own).T
    of = faithfulness.subset_fidelity
    assert of(recency, removed, losses)[-1] > 0.3
    beyond = of(recency, removed, losses, beyond_recency=True)
    np.testing.assert_allclose(beyond[2:], 0, atol=1e-9)
    genuine = of(2 * recency + own, removed, losses, beyond_recency=True)
    np.testing.assert_allclose(genuine[2:], 1)


def test_frames_that_an_output_step_does_not_see_are_not_counted():
    """At step 1 of 3 two frames count; the third one is removed in every other set."""
    removed = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]])
    matrix = np.array([[0.0, 0, 0], [1, 2, 0], [0, 0, 0]])
    losses = removed @ matrix.T
    assert faithfulness.subset_fidelity(matrix, removed, losses)[1] == pytest.approx(1)
    ones = np.tril(np.ones((3, 3)))
    assert faithfulness.subset_fidelity(ones, removed, losses)[1] == 0


def test_output_steps_lie_at_the_last_frames_or_evenly_between_the_first_and_last():
    distance = lambda out, frames: -4 * np.log(faithfulness.recency(out, frames))
    np.testing.assert_allclose(distance(1, 3), [[2, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(distance(2, 3), [[1, 0, 1], [2, 1, 0]], atol=1e-12)
    more = [[0, 2], [0.5, 1.5], [1, 1], [1.5, 0.5], [2, 0]]
    np.testing.assert_allclose(distance(5, 3)[:, [0, 2]], more, atol=1e-12)


def test_a_score_of_the_whole_clip_sees_all_frames():
    """A linear score: its weights predict all losses, and ones only their number."""
    rng = np.random.default_rng(0)
    removed = (rng.random((60, 6)) < 0.4).astype(float)
    weights = 1 + rng.random((1, 6))
    losses = removed @ weights.T
    of = faithfulness.subset_fidelity
    np.testing.assert_allclose(of(weights, removed, losses), 1)
    np.testing.assert_allclose(faithfulness.best_fidelity(removed, losses), 1)
    assert of(np.ones((1, 6)), removed, losses) == 0
    # Where it sees the first half alone, the rest does not count as removed.
    visible = np.repeat([[1.0, 0.0]], 3, 1)
    first = weights * visible
    np.testing.assert_allclose(
        of(first, removed, removed @ first.T, visible=visible), 1
    )
    assert of(visible, removed, removed @ first.T, visible=visible) == 0


def test_raw_subset_fidelity_by_hand():
    losses = REMOVED @ np.array([[2.0, 0], [1, 3]]).T
    np.testing.assert_allclose(
        faithfulness.raw_subset_fidelity(MATRIX, REMOVED, losses), [1, 1]
    )
    np.testing.assert_allclose(
        faithfulness.raw_subset_fidelity(-MATRIX, REMOVED, losses), [-1, -1]
    )
    # Row 1 says 0, 1, 3, 4; 0, 1, 1, 0 is lost: cov = (-2)(-.5) + (-1)(.5) + ... = -1
    # ... (1)(.5) + (2)(-.5) = -0: no correlation at all.
    losses[:, 1] = [0, 1, 1, 0]
    fidelity = faithfulness.raw_subset_fidelity(MATRIX, REMOVED, losses)
    np.testing.assert_allclose(fidelity, [1, 0], atol=1e-12)
    assert np.isnan(faithfulness.raw_subset_fidelity(0 * MATRIX, REMOVED, losses)).all()


def test_no_matrix_has_a_higher_subset_fidelity_than_the_fitted_one():
    rng = np.random.default_rng(0)
    removed = (rng.random((50, 4)) < 0.4).astype(float)
    losses = np.zeros((50, 4))
    losses[:, 3] = removed @ rng.random(4)
    assert faithfulness.best_fidelity(removed, losses)[3] == pytest.approx(1)
    losses[:, 3] += removed[:, 0] * removed[:, 1]  # what no sum over frames can say
    best = faithfulness.best_fidelity(removed, losses)[3]
    assert 0.5 < best < 1
    for _ in range(20):
        matrix = rng.normal(size=(4, 4))
        fidelity = faithfulness.subset_fidelity(matrix, removed, losses)
        assert fidelity[3] <= best + 1e-9


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
