"""The faithfulness check: what it measures, and its verdict."""

import itertools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import explain
from rgcam.attribution.targets import StepClasses
from rgcam.errors import InputError
from rgcam.metrics import selfcheck
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
    return selfcheck.check_faithfulness(
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
        return selfcheck.check_faithfulness(
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
    of = lambda e, method: selfcheck.check_faithfulness(
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
    interventions = selfcheck.intervene(
        module, variables, e.features, TARGET, baseline="previous"
    )
    for values in (maps, np.maximum(maps, 0)):
        checks = selfcheck.judge_each(interventions, values, method="fade")
        assert len(checks) == T
        for step in (3, T - 1):
            alone = selfcheck.check_faithfulness(
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
        everything = selfcheck.check_faithfulness(
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
        interventions = selfcheck.intervene(
            Additive(), {}, FEATURES, 1, baseline="zero", orders=[ranked]
        )
        maps = np.tril(np.ones((8, 8)))[..., None, None] * cells
        check = selfcheck.judge(
            interventions, maps, method="fade", steps=[step], order=0
        )
        best = -np.sort(-importance[visible])
        curve = np.append(best.sum(), best.sum() - np.cumsum(best))
        random = [
            [importance[[t for t in visible if not row[t]]].sum() for row in order]
            for order in interventions.deleted[-selfcheck.ORDERS :]
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
        selfcheck.check_faithfulness(
            module, variables, e.features, e.maps, TARGET, steps=[T - 1], seed=seed
        ).score
        for seed in range(12)
    ]
    assert np.std(scores) < 0.1


def test_random_sets_remove_whole_quarters():
    frames, cells = selfcheck.random_sets(np.random.default_rng(0), (T, 3, 4))
    assert frames.shape == (selfcheck.SETS, T)
    assert cells.shape == (selfcheck.SETS, T, 3, 4)
    assert abs(frames.mean() - 0.4) < 0.1 and abs(cells.mean() - 0.4) < 0.1
    assert (cells[:, :, 0, 0] == cells[:, :, 1, 1]).all()  # a quarter as a whole
