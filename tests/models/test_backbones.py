"""What backbones have in common: convolutions, the small CNN, division into two."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rgcam.models import backbones, efficientnet, resnet
from tests.models.test_efficientnet import random

ALL = {
    "small": backbones.SmallCNN(),
    "lite0": efficientnet.EfficientNetLite(),
    "lite2": efficientnet.EfficientNetLite(1.2, 1.1),
    "resnet18": resnet.ResNet(18),
    "resnet50": resnet.ResNet(50),
}


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2)])
def test_the_convolution_on_patches_equals_linens(kernel, stride, size):
    x = random((2, size, size + 1, 6))
    patches = backbones.Conv(4, kernel, stride)
    v = patches.init(jax.random.key(0), x)
    dense = v["params"]["Dense_0"]
    k = dense["kernel"].reshape(kernel, kernel, 6, 4)
    linen = nn.Conv(4, (kernel, kernel), stride)
    expected = linen.apply({"params": {"kernel": k, "bias": dense["bias"]}}, x)
    np.testing.assert_allclose(patches.apply(v, x), expected, rtol=1e-4, atol=1e-5)


def test_space_to_depth_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    cells = backbones.space_to_depth(x)
    assert cells.shape == (1, 2, 2, 4)
    np.testing.assert_array_equal(cells[0, 0, 1], [2, 3, 6, 7])


def test_small_cnn_by_count_and_scale():
    module, x = backbones.SmallCNN(), random((1, 64, 64, 3))
    a, variables = module.init_with_output(jax.random.key(0), x)
    assert a.shape == (1, 8, 8, 64) and 0.02 < float(a.std()) < 5
    by_hand = (108 * 32 + 32) + (288 * 64 + 64) + (576 * 64 + 64)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == by_hand


def shapes_of(module):
    frames = jnp.zeros((1, 64, 64, 3))
    return jax.eval_shape(module.init, jax.random.key(0), frames)["params"]


@functools.cache
def example(name):
    """Return frames, parameters that keep the scale, and the backbone's output."""
    rng, x = np.random.default_rng(0), random((2, 32, 32, 3))

    def draw(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return rng.normal(0, scale, leaf.shape).astype(np.float32)

    params = jax.tree.map(draw, shapes_of(ALL[name]))
    output = np.asarray(jax.jit(ALL[name].apply)({"params": params}, x))
    assert output.std() > 0
    return x, params, output


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_belongs_to_a_block_or_to_the_head(name):
    module = ALL[name]
    params, last = shapes_of(module), module.block_count
    head = {last} if "head" in params else set()
    assert {module.block_of(n) for n in params} == set(range(last)) | head
    assert backbones.divide(module, params, 0) == ({}, params)
    below, above = backbones.divide(module, params, last)
    assert set(above) == {n for n in params if n == "head"}
    below, above = backbones.divide(module, params, last - 1)
    assert below and above and {**below, **above} == params


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        *[("small", 0), ("small", 1), ("small", 3)],
        *[("lite0", 7), ("lite0", 16)],
        *[("resnet18", 5), ("resnet18", 8), ("resnet50", 15)],
    ],
)
def test_a_divided_backbone_equals_the_whole_one_exactly(name, cut):
    """And each part needs its own parameters alone."""
    module = ALL[name]
    x, params, expected = example(name)
    below, above = backbones.divide(module, params, cut)
    low = jax.jit(functools.partial(module.apply, stop=cut))
    high = jax.jit(functools.partial(module.apply, start=cut))
    output = high({"params": above}, low({"params": below}, x))
    np.testing.assert_array_equal(output, expected)


def test_arrays_are_named_by_their_path():
    params = {"b": {"kernel": np.ones(2)}, "a": {"c": {"bias": np.zeros(1)}}}
    names = backbones.named_arrays(params)
    assert set(names) == {"b/kernel", "a/c/bias"}
    np.testing.assert_array_equal(names["b/kernel"], [1, 1])
