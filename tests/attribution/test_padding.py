"""Padded clips: few lengths, the numbers of the clip alone, few compiled programs."""

import functools

import jax
import numpy as np
import pytest

from rgcam.attribution import explain, padding
from rgcam.attribution.explain import StaticOptions
from rgcam.data.synthetic import stickman
from rgcam.metrics import deletion, selfcheck
from rgcam.models import cut, zoo


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


def frames_of(model, length):
    return model.preprocess(stickman.clip((1, 5), length=60).frames[:length])


def test_padded_lengths_are_few_and_at_most_a_quarter_longer():
    lengths = {n: padding.padded_length(n) for n in range(1, 1025)}
    assert all(n <= padded for n, padded in lengths.items())
    assert all(padded < 1.25 * n for n, padded in lengths.items() if n > 16)
    assert len(set(lengths.values())) == 1 + 4 * 6
    assert [lengths[n] for n in (1, 16, 17, 33, 64, 65)] == [16, 16, 20, 40, 64, 80]


def test_a_model_that_is_not_causal_is_not_padded():
    class Module:
        def apply(self, variables, inputs, method):
            """Return anything."""

    assert padding.padded_length(17, Module()) == 17


@pytest.mark.parametrize("length", [5, 17, 32])
def test_features_in_chunks_equal_the_whole_clip_s(model, monkeypatch, length):
    monkeypatch.setattr(cut, "PIXELS", dict.fromkeys(cut.PIXELS, 8 * 64**2))
    frames = frames_of(model, length)
    padded = padding.clip_features(model.module, model.variables, frames)
    whole = model.module.apply(model.variables, frames, method="features")
    assert len(padded) == padding.padded_length(length)
    np.testing.assert_allclose(padded[:length], whole, rtol=1e-5, atol=1e-6)
    assert not np.asarray(padded[length:]).any()


def test_chunks_of_a_model_that_sees_changes_know_the_frame_before(monkeypatch):
    monkeypatch.setattr(cut, "PIXELS", dict.fromkeys(cut.PIXELS, 8 * 64**2))
    trained = zoo.load_model("stickman-cnn")
    module = trained.module.clone(view="difference")
    frames = frames_of(trained, 20)
    padded = padding.clip_features(module, trained.variables, frames)
    whole = module.apply(trained.variables, frames, method="features")
    np.testing.assert_allclose(padded[:20], whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "layercam", "path", "fade", "occlusion"])
def test_a_padded_clip_is_explained_like_the_clip_alone(model, method):
    length = 9
    features = padding.clip_features(
        model.module, model.variables, frames_of(model, length)
    )
    options = StaticOptions(
        method=method, baseline=explain.default_baseline(method, None), relu=False
    )
    arguments = model.module, model.variables
    padded = padding.explain_class(*arguments, features, length, 3, options=options)
    run = functools.partial(explain.explain_features, model.module, options=options)
    alone = jax.jit(run)(model.variables, features[:length], 3)
    for name in ("scores", "maps", "matrix"):
        np.testing.assert_allclose(
            getattr(padded, name), getattr(alone, name), rtol=1e-4, atol=1e-5
        )
    scores = padding.clip_scores(*arguments, features, length)
    np.testing.assert_allclose(scores, alone.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("baseline", ["zero", "mean", "previous"])
def test_a_padded_clip_is_checked_like_the_clip_alone(model, baseline):
    length = 9
    features = padding.clip_features(
        model.module, model.variables, frames_of(model, length)
    )
    order = np.arange(length, dtype=float)
    padded, alone = (
        selfcheck.intervene(
            model.module,
            model.variables,
            array,
            3,
            baseline=baseline,
            orders=[order],
            length=valid,
        )
        for array, valid in ((features, length), (features[:length], None))
    )
    assert padded.deleted.shape == (5, length + 1, length)
    for name, value in alone._asdict().items():
        if name != "baseline":
            np.testing.assert_allclose(
                getattr(padded, name), value, rtol=1e-4, atol=1e-5
            )


def test_without_deletions_the_sets_are_the_same(model):
    features = padding.clip_features(model.module, model.variables, frames_of(model, 9))
    few, all_sets = (
        selfcheck.intervene(
            model.module,
            model.variables,
            features,
            3,
            baseline="zero",
            length=9,
            deletions=deletions,
        )
        for deletions in (False, True)
    )
    np.testing.assert_array_equal(few.frames, all_sets.frames)
    np.testing.assert_allclose(few.frame_losses, all_sets.frame_losses, atol=1e-5)
    assert few.deletion_losses.shape == (0, 10, 9)
    maps = np.zeros((9, 9, 8, 8))
    assert selfcheck.judge(few, maps, method="path").completeness is None


def test_clips_of_one_padded_length_share_every_program(model):
    jax.clear_caches()
    options = StaticOptions(method="gradcam", baseline="zero", relu=False)
    arguments = model.module, model.variables
    counts = []
    for length in (17, 19, 20):
        features = padding.clip_features(*arguments, frames_of(model, length))
        padding.clip_scores(*arguments, features, length)
        padding.explain_class(*arguments, features, length, 3, options=options)
        selfcheck.intervene(*arguments, features, 3, baseline="zero", length=length)
        programs = (
            padding._features,
            padding._scores,
            padding._explain_class,
            deletion.removal_losses,
        )
        counts.append([program._cache_size() for program in programs])
    assert counts == [[1, 1, 1, 1]] * 3
