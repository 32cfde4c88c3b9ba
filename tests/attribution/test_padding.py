"""Padded clips: few lengths, the numbers of the clip alone, few programs; small memory."""

import functools

import jax
import numpy as np
import pytest

from rgcam.attribution import causal, explain, long, padding, perturbation
from rgcam.attribution.explain import StaticOptions
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.metrics import faithfulness
from rgcam.models import classifiers, cut, zoo
from tests.attribution.test_gradcam import random
from tests.conftest import draw_variables


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
        faithfulness.intervene(
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
        faithfulness.intervene(
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
    assert faithfulness.judge(few, maps, method="path").completeness is None


def test_clips_of_one_padded_length_share_every_program(model):
    jax.clear_caches()
    options = StaticOptions(method="gradcam", baseline="zero", relu=False)
    arguments = model.module, model.variables
    counts = []
    for length in (17, 19, 20):
        features = padding.clip_features(*arguments, frames_of(model, length))
        padding.clip_scores(*arguments, features, length)
        padding.explain_class(*arguments, features, length, 3, options=options)
        faithfulness.intervene(*arguments, features, 3, baseline="zero", length=length)
        programs = (
            padding._features,
            padding._scores,
            padding._explain_class,
            perturbation.removal_losses,
        )
        counts.append([program._cache_size() for program in programs])
    assert counts == [[1, 1, 1, 1]] * 3


T = 20
ARCH = {
    "kind": "lrcn",
    "backbone": "small",
    "head": "gap",
    "width": 4,
    "dropout": 0.0,
    "cell": "gru",
    "hidden": 3,
}


def exhausted():
    return jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory allocating 123456789 bytes."
    )


@pytest.fixture(scope="module")
def clip():
    module = classifiers.build(ARCH, 3)
    frames = random((T, 16, 16, 3))
    return module, draw_variables(module, frames), frames


@pytest.fixture
def small_memory(monkeypatch):
    """Let a function raise until it gets as few rows as fit; return the numbers asked."""

    def install(module, name, rows_of, fitting):
        original, asked = getattr(module, name), []

        def stand_in(*args, **kwargs):
            asked.append(rows_of(*args, **kwargs))
            if asked[-1] > fitting:
                raise exhausted()
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, stand_in)
        return asked

    return install


def test_features_are_computed_by_smaller_chunks(clip, small_memory, monkeypatch):
    module, variables, frames = clip
    monkeypatch.setattr(cut, "at_once", lambda pixels: 8)
    expected = padding.clip_features(module, variables, frames)
    rows = lambda module, variables, frames, previous: len(frames)
    asked = small_memory(padding, "_features", rows, fitting=2)
    result = padding.clip_features(module, variables, frames)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert asked == [8, *[2] * (T // 2)]


def test_all_pairs_are_computed_by_smaller_blocks(clip, small_memory):
    module, variables, frames = clip
    features = padding.clip_features(module, variables, frames)
    explain = lambda: padding.explain_class(
        module, variables, features, T, 1, options=StaticOptions(relu=False)
    )
    expected = explain()
    jax.clear_caches()
    block = lambda *args, block, **kwargs: block
    asked = small_memory(causal, "all_pairs", block, fitting=T // 4)
    for one, other in zip(explain(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert asked == [T, T // 4]
    jax.clear_caches()


def test_rows_of_a_long_video_go_back_in_smaller_blocks(clip, small_memory):
    module, variables, frames = clip
    explain = lambda: long.explain_long(module, variables, [frames], 1, window=7)
    expected = explain()
    rows = lambda *args: args[5]
    asked = small_memory(long, "_go_back", rows, fitting=64)
    result = explain()
    np.testing.assert_allclose(result.matrix, expected.matrix, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.dropped, expected.dropped, rtol=1e-4, atol=1e-6)
    assert asked == [256, 64]


@pytest.mark.parametrize("name", ["_features", "_explain_class"])
def test_what_does_not_fit_in_small_blocks_is_one_sentence(clip, small_memory, name):
    module, variables, frames = clip
    asked = small_memory(padding, name, lambda *args, **kwargs: 1, fitting=0)
    with pytest.raises(InputError, match="does not hold .* 20 frames, .*--window"):
        features = padding.clip_features(module, variables, frames)
        padding.explain_class(
            module, variables, features, T, 1, options=StaticOptions()
        )
    assert len(asked) == 2


def test_other_errors_of_the_device_are_passed_on():
    def run(smaller):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        padding.with_smaller_blocks(run, "nothing")
