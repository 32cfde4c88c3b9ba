"""Aggregation over t' by hand; lags of a decay with a closed form; detached state."""

import math

import jax
import numpy as np
import pytest

import rgcam
from rgcam.attribution import maps as attribution_maps
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError

SCORES = np.array([[0, 1.0], [3, 0], [0, 1], [0, 5], [0, 6]])
MATRIX = np.tril(np.arange(25.0).reshape(5, 5))


def test_steps():
    of = lambda how: attribution_maps.choose_step(SCORES, 1, how)
    assert (of("last"), of("settled"), of("rise")) == (4, 2, 3)
    assert attribution_maps.choose_step(SCORES[:1], 1, "settled") == 0
    assert (
        attribution_maps.choose_step(SCORES + [9, 0], 0, "rise") == 1
    )  # 9 is where it begins
    assert (
        attribution_maps.choose_step(SCORES, None, "rise") == 3
    )  # the predicted class
    with pytest.raises(InputError, match="unknown step 'first': choose one of last"):
        of("first")


def test_aggregations():
    of = lambda how: attribution_maps.aggregate(MATRIX, SCORES, 1, how).tolist()
    assert of("last") == [20, 21, 22, 23, 24]
    assert of("rise") == [15, 16, 17, 18, 0]
    assert of("max") == [20, 21, 22, 23, 24]
    assert of("mean") == [10, (6 + 11 + 16 + 21) / 4, 17, 20.5, 24]
    maps = np.repeat(MATRIX[..., None, None], 2, -1)
    assert attribution_maps.aggregate(maps, SCORES, 1, "mean")[0].tolist() == [[10, 10]]
    with pytest.raises(InputError, match="unknown aggregation 'sum'"):
        of("sum")


def test_the_maximum_of_signed_maps_is_over_the_steps_that_saw_the_frame():
    values = np.array([[-3.0, 0, 0], [2, -5, 0], [-1, -4, -6]])
    assert attribution_maps.aggregate(values, SCORES[:3], 1, "max").tolist() == [
        2,
        -4,
        -6,
    ]
    rectified = attribution_maps.aggregate(np.maximum(values, 0), SCORES[:3], 1, "max")
    assert rectified.tolist() == [2, 0, 0] == np.maximum(values, 0).max(0).tolist()


def test_an_explanation_is_aggregated_as_it_comes():
    model = rgcam.load_model("stickman-lrcn")
    frames = model.preprocess(stickman.clip(4).frames)
    e = rgcam.explain(model.module, model.variables, frames)
    found = rgcam.aggregate(e.maps, e.scores, how="max")
    np.testing.assert_array_equal(found, np.asarray(e.maps).max(0))
    step = rgcam.choose_step(e.scores, None, "settled")
    decided = rgcam.aggregate(e.matrix, e.scores, how="settled")
    np.testing.assert_array_equal(decided, e.matrix[step])


def test_words_tell_the_time():
    times = np.arange(5) / 2
    of = lambda how: attribution_maps.describe(SCORES, 1, how, times)
    assert of("last") == "last step (t' = 2.00 s)"
    assert of("settled") == "step from which the prediction is unchanged (t' = 1.00 s)"
    assert of("rise") == "step at which the score rises most (t' = 1.50 s)"
    assert of("max") == "maximum over all steps" and "mean" in of("mean")
    assert set(attribution_maps.DESCRIPTIONS) == set(attribution_maps.AGGREGATIONS)


def test_a_decay_has_its_half_life():
    lag = np.arange(9)[:, None] - np.arange(9)
    found = attribution_maps.lag_profile(
        np.where(lag >= 0, -(0.7 ** np.maximum(lag, 0)), 0)
    )
    np.testing.assert_allclose(found.profile, 0.7 ** np.arange(9))
    assert found.half_life == pytest.approx(math.log(2) / -math.log(0.7))
    assert attribution_maps.lag_profile(np.tril(np.ones((3, 3)))).half_life == math.inf
    for steps in (9, 12, 16, 24):  # of some the fitted line falls by rounding
        even = np.tril(np.full((steps, steps), 64.0))
        assert attribution_maps.lag_profile(even).half_life == math.inf
    assert math.isnan(attribution_maps.lag_profile(np.zeros((3, 3))).half_life)
    assert attribution_maps.lag_profile(
        np.tril(np.ones((3, 3)))
    ).recurrent_share == pytest.approx(0.5)


def test_a_former_name_of_an_aggregation_is_accepted():
    values = np.tril(np.arange(9.0).reshape(3, 3))
    for how in ("settled", "decided"):
        assert attribution_maps.choose_step(SCORES, 1, how) == 2
        assert attribution_maps.aggregation_name(how) == "settled"
    np.testing.assert_array_equal(
        attribution_maps.aggregate(values, SCORES[:3], 1, "decided"),
        attribution_maps.aggregate(values, SCORES[:3], 1, "settled"),
    )


def test_normalize_by_hand_on_one_scale_for_the_clip():
    maps = np.array([[[0.0, 1.0], [2.0, -4.0]], [[0.5, 0.0], [0.0, 0.0]]])
    expected = [[[0, 0.25], [0.5, -1]], [[0.125, 0], [0, 0]]]
    np.testing.assert_array_equal(
        attribution_maps.normalize(maps), np.float32(expected)
    )


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-300])
def test_normalize_is_safe_near_zero(value):
    maps = np.full((2, 3, 3), value)
    np.testing.assert_array_equal(attribution_maps.normalize(maps), float(value > 0))
    assert attribution_maps.normalize(maps).dtype == np.float32


def test_upsample_by_hand():
    # centres of 4 pixels over 2 cells: -0.25, 0.25, 0.75, 1.25; the ends clamp
    big = attribution_maps.upsample(np.array([[0.0, 4.0]]), (1, 4))
    np.testing.assert_array_equal(big, np.float32([[0, 1, 3, 4]]))
    constant = attribution_maps.upsample(np.full((2, 4, 3), 0.3), (9, 17))
    np.testing.assert_allclose(constant, np.full((2, 9, 17), 0.3), rtol=1e-6)


@pytest.mark.parametrize("size", [(7, 5), (12, 20), (21, 14)])
def test_upsample_equals_jax_image_resize(size):
    maps = np.random.default_rng(1).normal(size=(2, 3, 7, 5)).astype(np.float32)
    expected = jax.image.resize(maps, (2, 3, *size), "bilinear")
    np.testing.assert_allclose(
        attribution_maps.upsample(maps, size), expected, atol=1e-5
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_normalize_rejects_values_that_are_not_finite(bad):
    maps = np.zeros((2, 3, 3))
    maps[1, 2, 0] = bad
    with pytest.raises(InputError, match="NaN or infinite"):
        attribution_maps.normalize(maps)


def test_one_cell_upsamples_to_a_constant():
    big = attribution_maps.upsample(np.full((2, 1, 1), -3.0), (4, 6))
    np.testing.assert_array_equal(big, np.full((2, 4, 6), -3, np.float32))


def median(values, scores, target):
    """An aggregation of one's own."""
    assert scores.shape == (5, 2)
    return np.median(values, axis=0)


def test_an_aggregation_of_one_s_own_is_given_where_a_name_is():
    of = lambda how: attribution_maps.aggregate(MATRIX, SCORES, 1, how)
    np.testing.assert_array_equal(of(median), np.median(MATRIX, 0))
    assert attribution_maps.aggregation_name(median) == "median"
    times = np.arange(5.0)
    assert attribution_maps.describe(SCORES, 1, median, times) == "median"
    with pytest.raises(
        InputError, match=r"aggregation whole returned \(5, 5\).*\(5,\)"
    ):
        whole = lambda values, scores, target: values
        whole.__name__ = "whole"
        of(whole)
