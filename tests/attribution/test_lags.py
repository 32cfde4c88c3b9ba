"""Aggregation over t' by hand; lags of a decay with a closed form; detached state."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam.attribution import gradcam, lags
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.models import recurrent
from tests.attribution.test_gradcam import (
    DetachedCell,
    H,
    K,
    T,
    W,
    head_of,
    lrcn,
    random,
)

SCORES = np.array([[0, 1.0], [3, 0], [0, 1], [0, 5], [0, 6]])
MATRIX = np.tril(np.arange(25.0).reshape(5, 5))


def test_steps():
    of = lambda how: lags.choose_step(SCORES, 1, how)
    assert (of("last"), of("decided"), of("rise")) == (4, 2, 3)
    assert lags.choose_step(SCORES[:1], 1, "decided") == 0
    assert lags.choose_step(SCORES + [9, 0], 0, "rise") == 1  # 9 is where it begins
    assert lags.choose_step(SCORES, None, "rise") == 3  # the class decided for
    with pytest.raises(InputError, match="no step 'first': choose one of last"):
        of("first")


def test_aggregations():
    of = lambda how: lags.aggregate(MATRIX, SCORES, 1, how).tolist()
    assert of("last") == [20, 21, 22, 23, 24]
    assert of("rise") == [15, 16, 17, 18, 0]
    assert of("max") == [20, 21, 22, 23, 24]
    assert of("mean") == [10, (6 + 11 + 16 + 21) / 4, 17, 20.5, 24]
    maps = np.repeat(MATRIX[..., None, None], 2, -1)
    assert lags.aggregate(maps, SCORES, 1, "mean")[0].tolist() == [[10, 10]]
    with pytest.raises(InputError, match="no aggregation 'sum'"):
        of("sum")


def test_the_maximum_of_signed_maps_is_over_the_steps_that_saw_the_frame():
    values = np.array([[-3.0, 0, 0], [2, -5, 0], [-1, -4, -6]])
    assert lags.aggregate(values, SCORES[:3], 1, "max").tolist() == [2, -4, -6]
    rectified = lags.aggregate(np.maximum(values, 0), SCORES[:3], 1, "max")
    assert rectified.tolist() == [2, 0, 0] == np.maximum(values, 0).max(0).tolist()


def test_an_explanation_is_aggregated_as_it_comes():
    model = rgcam.load_model("stickman-lrcn")
    frames = model.preprocess(stickman.clip(4).frames)
    e = rgcam.explain(model.module, model.variables, frames)
    found = rgcam.aggregate(e.maps, e.scores, how="max")
    np.testing.assert_array_equal(found, np.asarray(e.maps).max(0))
    step = rgcam.choose_step(e.scores, None, "decided")
    decided = rgcam.aggregate(e.matrix, e.scores, how="decided")
    np.testing.assert_array_equal(decided, e.matrix[step])


def test_words_tell_the_time():
    times = np.arange(5) / 2
    of = lambda how: lags.words(SCORES, 1, how, times)
    assert of("last") == "last step (t' = 2.00 s)"
    assert of("decided") == "step from which the prediction is unchanged (t' = 1.00 s)"
    assert of("rise") == "step at which the score rises most (t' = 1.50 s)"
    assert of("max") == "maximum over all steps" and "mean" in of("mean")
    assert set(lags.WORDS) == set(lags.AGGREGATIONS)


def test_a_decay_has_its_half_life():
    lag = np.arange(9)[:, None] - np.arange(9)
    found = lags.lags(np.where(lag >= 0, -(0.7 ** np.maximum(lag, 0)), 0))
    np.testing.assert_allclose(found.profile, 0.7 ** np.arange(9))
    assert found.half_life == pytest.approx(math.log(2) / -math.log(0.7))
    assert lags.lags(np.tril(np.ones((3, 3)))).half_life == math.inf
    for steps in (9, 12, 16, 24):  # of some the fitted line falls by rounding
        even = np.tril(np.full((steps, steps), 64.0))
        assert lags.lags(even).half_life == math.inf
    assert math.isnan(lags.lags(np.zeros((3, 3))).half_life)
    assert lags.lags(np.tril(np.ones((3, 3)))).recurrent_share == pytest.approx(0.5)


def test_summary_is_in_seconds():
    lag = np.arange(5)[:, None] - np.arange(5)
    decay = np.where(lag >= 0, 0.5 ** np.maximum(lag, 0), 0)
    times = np.arange(5) / 4 + 1  # a clip that begins at 1 s
    found = lags.summary(decay, SCORES, times)
    share = 1 - 5 / decay.sum()
    assert found == {
        "half_life": 0.25,
        "half_life_frames": 1.0,
        "recurrent_share": round(share, 4),
        "decided_at": 1.5,
    }
    said = lags.sentence(found, 1.0)
    assert (
        said
        == f"a frame's credit halves every 0.25 s; {share:.0%} travelled through time"
    )


def test_summary_of_credit_that_does_not_fall_or_is_not_there():
    times = np.arange(3.0)
    of = lambda matrix: lags.summary(np.tril(matrix), SCORES[:3], times)
    flat, none, own = of(np.ones((3, 3))), of(np.zeros((3, 3))), of(np.eye(3))
    assert flat["half_life"] is None and flat["recurrent_share"] == 0.5
    says = "credit does not halve within the clip; 50% travelled through time"
    assert lags.sentence(flat, 2.0) == says
    assert lags.sentence(flat | {"half_life": 2.1}, 2.0) == says
    assert none["recurrent_share"] is None and lags.sentence(none, 2.0) == ""
    assert lags.sentence(own, 2.0) == "0% travelled through time"
    assert lags.summary(np.ones((1, 1)), SCORES[:1], times[:1])["decided_at"] == 0


def test_detached_state_leaves_the_diagonal(monkeypatch):
    features = jnp.asarray(random((T, H, W, K)))
    of = lambda: np.asarray(
        gradcam.heatmaps(
            gradcam.importance_weights(head_of(lrcn()), features, 0), features, False
        ).sum((2, 3))
    )
    whole = of()
    monkeypatch.setitem(recurrent.CELLS, "lstm", DetachedCell)
    jax.clear_caches()
    detached = of()
    np.testing.assert_allclose(
        detached.diagonal(), whole.diagonal(), rtol=1e-4, atol=1e-7
    )
    assert lags.lags(detached).recurrent_share == 0
    assert lags.lags(whole).recurrent_share > 0.1
