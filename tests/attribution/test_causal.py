"""The triangle of blocks against the definition: every head, cell, size and order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import causal, explain
from rgcam.models import classifiers, layers
from rgcam.models import cut as model_cut
from rgcam.models.backbones import SmallCNN
from tests.attribution.test_gradcam import (
    C,
    H,
    K,
    T,
    W,
    beta_by_loop,
    lrcn,
    random,
    relative,
)
from tests.conftest import draw_variables


def cut_of(module, steps=T, dtype=np.float32):
    features = jnp.asarray(random((steps, H, W, K), dtype=dtype))
    variables = draw_variables(module, features, "classify")
    variables = jax.tree.map(
        lambda x: (x + 0.3 * random(x.shape, x.size)).astype(dtype), variables
    )
    classify = jax.jit(functools.partial(module.apply, variables, method="classify"))
    return model_cut.cut(module, variables, features), classify, features


def unit(target=2, dtype=np.float32):
    return jnp.asarray(np.eye(C)[target], dtype)


MODULES = [
    lrcn("gap"),
    lrcn("fc"),
    lrcn("grid", "gru"),
    lrcn("gap", differences=True),
    lrcn("fc", "gru", differences=True),
    classifiers.FrameCNN(SmallCNN(), C),
    classifiers.FrameCNN(SmallCNN(), C, head="fc", width=9),
]


def all_pairs(cut, features, **options):
    """Call it as explain does, compiled."""
    run = lambda drive, features: causal.all_pairs(
        cut._replace(drive=drive), features, unit(dtype=features.dtype), **options
    )
    return jax.jit(run)(cut.drive, features)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__ + m.head)
def test_equals_the_loop_over_pairs(module):
    cut, classify, features = cut_of(module)
    expected = beta_by_loop(classify, features, 2)
    signed = np.einsum("otk,thwk->othw", expected, features)
    for block, stretch in ((2, 2), (4, 3), (6, 4)):
        scores, beta, maps = all_pairs(cut, features, block=block, stretch=stretch)
        np.testing.assert_allclose(scores, classify(features), rtol=1e-4, atol=1e-6)
        assert relative(beta, expected) <= 1e-5
        assert relative(maps, signed) <= 1e-5
        assert (np.asarray(beta)[np.triu_indices(T, 1)] == 0).all()


def test_equals_the_loop_in_float64():
    with jax.enable_x64(True):
        cut, classify, features = cut_of(lrcn("fc"), dtype=np.float64)
        _, beta, _ = all_pairs(cut, features, block=4, stretch=2)
        assert beta.dtype == np.float64
        assert relative(beta, beta_by_loop(classify, features, 2)) <= 1e-12


@pytest.mark.parametrize("without", [True, False])
@pytest.mark.parametrize("head", layers.HEADS)
def test_maps_without_beta_are_the_same(monkeypatch, head, without):
    monkeypatch.setattr(causal, "cheaper_without_beta", lambda *_: without)
    cut, _, features = cut_of(lrcn(head), 9)
    _, _, expected = all_pairs(cut, features, block=4, stretch=2)
    _, beta, maps = all_pairs(cut, features, block=4, stretch=2, beta=False)
    assert beta is None
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)


def test_order_by_count_of_multiplications():
    pays = functools.partial(causal.cheaper_without_beta, cells=49, channels=1280)
    assert not pays(16, 16**2 / 2, width=1024)
    assert pays(256, 256**2 / 2, width=1024)


def test_blocks_go_back_through_those_before():
    assert causal.earlier_pairs(3).tolist() == [[1, 0], [2, 1], [2, 0]]
    assert causal.earlier_pairs(1).shape == (0, 2)


@pytest.mark.parametrize("steps", [1, 7, 16, 250, 256, 257, 300, 1000])
def test_sizes_leave_little_padding(steps):
    block, stretch = causal.sizes(steps, True)
    assert 1 <= block <= min(steps, causal.MAX_BLOCK) and stretch <= causal.MAX_STRETCH
    assert -(-block // stretch) <= max(4, -(-block // causal.MAX_STRETCH))
    assert -(-steps // block) * block - steps < steps / block
    assert causal.sizes(steps, False)[0] <= 8


def test_response_is_what_an_offset_adds():
    for module in MODULES:
        cut, _, features = cut_of(module)
        variables = draw_variables(module, features, "classify")
        of = functools.partial(module.apply, variables)
        offset = random((T, K), 1)
        moved = of(features + offset[:, None, None], method="drive")
        expected = of(features, method="drive") + offset @ of(K, method="response")
        np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)


def explained(module, steps, **options):
    frames = random((steps, 32, 32, 3))
    variables = draw_variables(module, frames)
    return explain.explain(module, variables, frames, **options), variables


@pytest.mark.parametrize("rows", [10, 256])
@pytest.mark.parametrize("head", ["gap", "fc"])
def test_explain_of_several_blocks_equals_the_generic_path(head, rows, monkeypatch):
    """A function of the scores goes through one jacrev over all steps."""
    monkeypatch.setattr(causal, "MAX_BLOCK", rows)
    e, _ = explained(lrcn(head), 37, target=1)
    whole, _ = explained(lrcn(head), 37, target=lambda y: y[:, 1])
    for found, expected in zip(jax.tree.leaves(e), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_several_classes_in_one_call():
    several, _ = explained(lrcn(), T, target=[3, 0, 3])
    assert several.beta.shape[:3] == (3, T, T) and several.scores.shape == (T, C)
    for n, target in enumerate((3, 0, 3)):
        one, _ = explained(lrcn(), T, target=target)
        np.testing.assert_allclose(several.maps[n], one.maps, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(several.beta[n], one.beta, rtol=1e-4, atol=1e-7)


def test_no_target_is_the_predicted_class():
    e, variables = explained(lrcn(), T)
    named, _ = explained(lrcn(), T, target=int(e.scores[-1].argmax()))
    np.testing.assert_array_equal(e.matrix, named.matrix)
    frames = random((T, 32, 32, 3))
    cut_off = explain.explain(lrcn(), variables, frames, length=3)
    index = int(cut_off.scores[2].argmax())
    named = explain.explain(lrcn(), variables, frames, index, length=3)
    np.testing.assert_array_equal(cut_off.matrix, named.matrix)


def test_without_beta():
    e, _ = explained(lrcn("fc"), T, target=1)
    less, _ = explained(lrcn("fc"), T, target=1, beta=False)
    assert less.beta is None
    np.testing.assert_allclose(less.maps, e.maps, rtol=1e-4, atol=1e-7)
