"""The backbone takes a few frames at a time, and A does not change."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.errors import InputError
from rgcam.models import classifiers, cut, description

ARCH = {
    "kind": "lrcn",
    "backbone": "small",
    "head": "gap",
    "width": 12,
    "cell": "lstm",
    "hidden": 7,
    "dropout": 0.0,
}
FRAMES = np.random.default_rng(0).normal(size=(7, 32, 32, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def three_frames(monkeypatch):
    """Let a chunk hold three pictures."""
    monkeypatch.setattr(cut, "PIXELS", dict.fromkeys(cut.PIXELS, 3 * 32**2))


def built(view="rgb"):
    module = classifiers.build(ARCH | {"view": view}, classes=4)
    return module, classifiers.init(module, jax.random.key(0), FRAMES)


@pytest.mark.parametrize("view", description.VIEWS)
def test_features_are_those_of_all_frames_at_once(view):
    module, variables = built(view)
    whole = module.apply(variables, FRAMES, method="features")
    found = cut.features(module, variables, FRAMES)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    going_on = cut.features(module, variables, FRAMES[4:], FRAMES[3])
    np.testing.assert_allclose(going_on, whole[4:], atol=1e-5)


def test_a_batch_of_clips():
    module, variables = built("difference")
    clips = np.stack([FRAMES, FRAMES[::-1]])
    found = jax.vmap(lambda x: cut.features(module, variables, x))(clips)
    whole = jax.vmap(lambda x: module.apply(variables, x, method="features"))(clips)
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_no_chunk_is_longer_and_little_is_padding():
    seen = []

    def run(x):
        seen.append(x.shape)
        return 2 * x

    rows = jnp.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(cut.in_chunks(run, rows, 4), 2 * rows)
    assert seen == [(3, 2)]
    cut.in_chunks(run, rows, 5)
    assert seen[1:] == [(5, 2)]


def test_features_that_may_mix_frames_see_all_of_them():
    class Mean(nn.Module):
        def features(self, frames):
            return frames - frames.mean(0)

    found = cut.features(Mean(), {}, FRAMES)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)


class Returns(nn.Module):
    """A model whose two functions return what they are made to."""

    maps: tuple[int, ...] = (7, 4, 4, 5)
    scores: object = None

    def features(self, frames):
        return jnp.zeros(self.maps)

    def classify(self, features):
        return self.scores(features)


@pytest.mark.parametrize("shape", [(7, 5), (7, 4, 4), (1, 7, 4, 4, 5), (0, 4, 4, 5)])
def test_a_feature_map_has_four_axes(shape):
    with pytest.raises(
        InputError, match=r"Returns.features returned \(.*for frames \(7"
    ):
        cut.features(Returns(shape), {}, FRAMES)


@pytest.mark.parametrize("shape", [(7, 64, 4, 4), (64, 7, 4, 4)])
def test_channels_first_are_rejected(shape):
    with pytest.raises(InputError, match="channels first.*channels last"):
        cut.features(Returns(shape), {}, FRAMES)


def test_scores_of_the_whole_clip_are_one_output_step():
    features = jnp.ones((7, 4, 4, 5))
    module = Returns(scores=lambda a: a.sum((0, 1, 2)))
    np.testing.assert_array_equal(
        cut.classify(module, {}, features), np.full((1, 5), 112)
    )


@pytest.mark.parametrize(
    ("scores", "returned"),
    [
        (lambda a: a.sum((1, 2))[None], r"float32 \(1, 7, 5\)"),
        (lambda a: a.sum(), r"float32 \(\)"),
        (lambda a: a.sum((1, 2)).astype(int), r"int32 \(7, 5\)"),
        (lambda a: a[:0].sum((1, 2)), r"float32 \(0, 5\)"),
        (lambda a: (a.sum((1, 2)), 0), "tuple"),
    ],
)
def test_classify_returns_scores_of_steps_or_of_the_clip(scores, returned):
    match = rf"Returns.classify returned {returned} for a feature map \(7, 4, 4, 5\)"
    with pytest.raises(InputError, match=match):
        cut.classify(Returns(scores=scores), {}, jnp.ones((7, 4, 4, 5)))
