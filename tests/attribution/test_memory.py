"""Memory that ends: smaller blocks once, then one sentence."""

import jax
import numpy as np
import pytest

from rgcam.attribution import causal, long, memory, padding
from rgcam.attribution.explain import StaticOptions
from rgcam.errors import InputError
from rgcam.models import classifiers, cut
from tests.attribution.test_gradcam import random
from tests.conftest import draw_variables

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
        memory.with_smaller_blocks(run, "nothing")


@pytest.mark.parametrize(
    "statistics, expected",
    [
        (None, 7),
        ({}, 7),
        ({"bytes_limit": 8 * 2**30}, 4 * 2**30),
        ({"bytes_limit": 80 * 2**30}, 16 * 2**30),
    ],
)
def test_the_budget_follows_from_the_memory_of_the_device(
    monkeypatch, statistics, expected
):
    class Device:
        def memory_stats(self):
            return statistics

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert memory.max_bytes(7) == expected
