"""The faithfulness check and its verdict, and each measure computed by hand."""

import itertools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import explain
from rgcam.attribution.targets import StepClasses
from rgcam.errors import InputError
from rgcam.metrics import faithfulness
from tests.attribution.test_explain import TARGET, T, small

WEIGHTS = np.random.default_rng(3).normal(size=(2, 2)).astype(np.float32)


class Additive(nn.Module):
    """A model whose score is a sum over cells seen so far: maps can be perfect."""

    def classify(self, features):
        cells = jnp.einsum("thwk,hw->t", features, WEIGHTS)
        return jnp.stack([0 * cells, jnp.cumsum(cells)], 1)


FEATURES = np.random.default_rng(0).random((8, 2, 2, 3)).astype(np.float32)


def check_of(change, method="fade", **options):
    cells = FEATURES.sum(-1) * WEIGHTS
    maps = np.tril(np.ones((8, 8)))[..., None, None] * cells
    return faithfulness.check_faithfulness(
        Additive(),
        {},
        FEATURES,
        change(maps.astype(np.float32)),
        1,
        method=method,
        baseline="zero",
        **options,
    )


def test_perfect_maps_have_a_score_of_one():
    check = check_of(lambda maps: maps, "path")
    assert check.time == pytest.approx(1, abs=1e-4)
    assert check.space == pytest.approx(1, abs=1e-4)
    assert check.completeness == pytest.approx(0, abs=1e-4)
    assert check.deletion > 0 and check.passed
    assert check.verdict == "PASSED (1.00, threshold 0.65)"


def test_maps_of_one_class_for_each_step_are_checked_by_its_own_score():
    """Class 0 is constant and says nothing; class 1 is what the maps explain."""

    def check(classes):
        cells = FEATURES.sum(-1) * WEIGHTS
        maps = np.tril(np.ones((8, 8)))[..., None, None] * cells
        return faithfulness.check_faithfulness(
            Additive(),
            {},
            FEATURES,
            maps.astype(np.float32),
            StepClasses(classes),
            method="fade",
            baseline="zero",
            steps=[6, 7],
        )

    assert check([0] * 6 + [1, 1]).score == pytest.approx(1, abs=1e-4)
    # The score of class 0 is 0 at all steps: nothing is lost there.
    assert np.isnan(check([1] * 6 + [0, 0]).score)
    with pytest.raises(InputError, match="target of step 0 is 2"):
        check([2] * 8)
    with pytest.raises(InputError, match="holds 3 classes and the model scores 8"):
        check([0, 1, 1])


def test_wrong_maps_fail():
    order = np.random.default_rng(1).permutation(8)
    for change in (np.negative, lambda m: m[:, order], lambda m: m[:, :, ::-1, ::-1]):
        check = check_of(change)
        assert check.score < 0.8  # a perfect one's is 1
    check = check_of(np.negative)
    assert check.score == pytest.approx(-1, abs=1e-4) and check.deletion < 0
    assert not check.passed
    assert check.verdict == "FAILED (-1.00, threshold 0.65)"


def test_maps_that_are_the_same_everywhere_have_no_score():
    check = check_of(lambda maps: np.tril(np.ones((8, 8)))[..., None, None] + 0 * maps)
    assert not check.passed and np.isnan(check.score)
    mixed = check_of(
        lambda maps: maps + 100 * np.tril(np.ones((8, 8)))[..., None, None]
    )
    assert mixed.score == pytest.approx(1, abs=1e-3)  # what is beyond it still counts


def test_maps_of_zeros_fail():
    check = check_of(lambda maps: 0 * maps)
    assert not check.passed and np.isnan(check.score)
    assert check.verdict == "FAILED (no effect, threshold 0.65)"


def test_faithful_methods_score_higher():
    module, variables, frames = small("fc")
    of = lambda e, method: faithfulness.check_faithfulness(
        module, variables, e.features, e.maps, TARGET, method=method
    )
    fade = explain.explain(module, variables, frames, TARGET, method="fade")
    gradient = explain.explain(module, variables, frames, TARGET, method="gradient")
    assert of(fade, "fade").score > of(gradient, "gradient").score
    assert of(fade, "fade").time > 0.8
    assert of(fade, "fade") == of(fade, "fade")  # no chance but the seed's


def test_one_set_of_interventions_judges_all_maps_and_steps():
    module, variables, frames = small("fc")
    e = explain.explain(module, variables, frames, TARGET, method="fade")
    maps = np.asarray(e.maps)
    interventions = faithfulness.intervene(
        module, variables, e.features, TARGET, baseline="previous"
    )
    for values in (maps, np.maximum(maps, 0)):
        checks = faithfulness.judge_each(interventions, values, method="fade")
        assert len(checks) == T
        for step in (3, T - 1):
            alone = faithfulness.check_faithfulness(
                module,
                variables,
                e.features,
                values,
                TARGET,
                method="fade",
                steps=[step],
            )
            assert checks[step].score == pytest.approx(alone.score, abs=1e-5)
        later = checks[T // 2 :]
        everything = faithfulness.check_faithfulness(
            module, variables, e.features, values, TARGET, method="fade"
        )
        mean = np.nanmean([check.time for check in later])
        assert everything.time == pytest.approx(mean, abs=1e-5)


def test_deletion_at_an_early_step_follows_the_frames_that_it_sees():
    """Only the order of the visible frames matters, however the others are ranked."""
    cells = FEATURES.sum(-1) * WEIGHTS
    importance = cells.sum((1, 2))
    step, visible = 3, np.arange(4)
    for later in (-100, 100):
        ranked = np.where(np.arange(8) <= step, importance, later + importance)
        interventions = faithfulness.intervene(
            Additive(), {}, FEATURES, 1, baseline="zero", orders=[ranked]
        )
        maps = np.tril(np.ones((8, 8)))[..., None, None] * cells
        check = faithfulness.judge(
            interventions, maps, method="fade", steps=[step], order=0
        )
        best = -np.sort(-importance[visible])
        curve = np.append(best.sum(), best.sum() - np.cumsum(best))
        random = [
            [importance[[t for t in visible if not row[t]]].sum() for row in order]
            for order in interventions.deleted[-faithfulness.ORDERS :]
        ]
        # Points at which an invisible frame is removed repeat the last score.
        random = [
            [row[0], *(b for a, b in itertools.pairwise(row) if a != b)]
            for row in random
        ]
        expected = (np.trapezoid(random).mean() - np.trapezoid(curve)) / 4
        assert check.deletion == pytest.approx(
            expected / abs(curve[0] - curve[-1]), abs=1e-4
        )


def test_the_score_of_one_step_hardly_depends_on_the_seed():
    module, variables, frames = small("fc")
    e = explain.explain(module, variables, frames, TARGET, method="gradcam")
    scores = [
        faithfulness.check_faithfulness(
            module, variables, e.features, e.maps, TARGET, steps=[T - 1], seed=seed
        ).score
        for seed in range(12)
    ]
    assert np.std(scores) < 0.1


def test_random_sets_remove_whole_quarters():
    frames, cells = faithfulness.random_sets(np.random.default_rng(0), (T, 3, 4))
    assert frames.shape == (faithfulness.SETS, T)
    assert cells.shape == (faithfulness.SETS, T, 3, 4)
    assert abs(frames.mean() - 0.4) < 0.1 and abs(cells.mean() - 0.4) < 0.1
    assert (cells[:, :, 0, 0] == cells[:, :, 1, 1]).all()  # a quarter as a whole


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


def test_deletion_masks_remove_the_most_important_first():
    masks = faithfulness.deletion_masks(
        np.array([0.1, 0.9, 0.5]), 3, np.random.default_rng(0)
    )
    assert masks.tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]
    halves = faithfulness.deletion_masks(
        np.array([[4.0, 3], [2, 1]]), 2, np.random.default_rng(0)
    )
    assert halves.tolist() == [[[1, 1], [1, 1]], [[0, 0], [1, 1]], [[0, 0], [0, 0]]]
    equal = np.stack(
        [
            faithfulness.deletion_masks(np.zeros(4), 4, np.random.default_rng(i))[1]
            for i in range(400)
        ]
    )
    np.testing.assert_allclose(1 - equal.mean(0), 0.25, atol=0.1)  # no hint of time
    in_order = faithfulness.deletion_masks(np.zeros(3), 3)
    assert in_order.tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_deletion_curve_and_its_area():
    masks = faithfulness.deletion_masks(np.array([0.1, 0.9, 0.5]), 3)
    assert masks.tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]
    curve = masks @ np.array([1.0, 6, 3])  # 10, 4, 1, 0
    assert faithfulness.area(curve) == pytest.approx((7 + 2.5 + 0.5) / 3)
    random = np.array([[10.0, 9, 6, 0], [10, 7, 1, 0]])  # areas 20 / 3 and 13 / 3
    gain = faithfulness.below_random(curve, random)
    assert gain == pytest.approx((16.5 - 10) / 3 / 10)


def test_area_gain_by_hand():
    random = np.array([[10.0, 9, 6, 0], [10, 7, 1, 0]])  # areas 20 / 3 and 13 / 3
    gain = faithfulness.area_gain(np.array([10.0, 4, 1, 0]), random)  # area 10 / 3
    assert gain == pytest.approx((10 - 16.5) / 3)


def test_ranks_of_ties_are_their_mean():
    assert faithfulness.ranks(np.array([5.0, 1, 5, 7])).tolist() == [2.5, 1, 2.5, 4]


def test_spearman_compares_the_order_alone():
    a = np.array([1.0, 2, 5, 9])
    assert faithfulness.spearman(a, a**3) == pytest.approx(1)
    assert faithfulness.spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(faithfulness.spearman(a, np.ones(4)))


def test_partial_correlation_by_hand():
    covariate = np.array([-1.0, 1.0, -1.0, 1.0])
    residue = np.array([1.0, 1.0, -1.0, -1.0])  # not correlated with it
    a, b = 5 * covariate + residue, 7 * covariate - 2 * residue
    assert faithfulness.partial_correlation(a, b, covariate) == pytest.approx(-1)
    assert faithfulness.correlation(a, b) > 0.85
    assert np.isnan(faithfulness.partial_correlation(3 * covariate, b, covariate))
    assert faithfulness.partial_correlation(a, a, 0 * covariate) == pytest.approx(1)


def test_partial_correlation_given_two_covariates_is_that_of_a_regression():
    rng = np.random.default_rng(0)
    first, second, a, b = rng.normal(size=(4, 50))
    second, b = second + first, b + 2 * first - second + 0.5 * a
    given = np.stack([np.ones(50), first, second], 1)
    residuals = [x - given @ np.linalg.lstsq(given, x)[0] for x in (a, b)]
    expected = np.corrcoef(residuals)[0, 1]
    found = faithfulness.partial_correlation(a, b, first, second)
    assert found == pytest.approx(expected)
    # One that the others already say takes nothing more away.
    again = faithfulness.partial_correlation(a, b, first, second, first + second)
    assert again == pytest.approx(expected)
    assert np.isnan(faithfulness.partial_correlation(first - second, b, first, second))
