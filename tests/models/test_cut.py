"""The backbone takes a few frames at a time, and A does not change."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
