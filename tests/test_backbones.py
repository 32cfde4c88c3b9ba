"""What backbones share: own convolutions, the small CNN, and cuts between blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rgcam import backbones, efficientnet, resnet
from tests.test_efficientnet import random

ALL = {
    "small": backbones.SmallCNN(),
    "lite0": efficientnet.EfficientNetLite(),
    "resnet18": resnet.ResNet(18),
    "resnet50": resnet.ResNet(50),
}


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2)])
def test_own_convolution_equals_linens(kernel, stride, size):
    x = random((2, size, size + 1, 6))
    own = backbones.Conv(4, kernel, stride)
    v = own.init(jax.random.key(0), x)
    dense = v["params"]["Dense_0"]
    k = dense["kernel"].reshape(kernel, kernel, 6, 4)
    linen = nn.Conv(4, (kernel, kernel), stride)
    expected = linen.apply({"params": {"kernel": k, "bias": dense["bias"]}}, x)
    np.testing.assert_allclose(own.apply(v, x), expected, rtol=1e-4, atol=1e-5)


def test_space_to_depth_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    made = backbones.space_to_depth(x)
    assert made.shape == (1, 2, 2, 4)
    np.testing.assert_array_equal(made[0, 0, 1], [2, 3, 6, 7])


def test_small_cnn_by_count_and_scale():
    module, x = backbones.SmallCNN(), random((1, 64, 64, 3))
    a, variables = module.init_with_output(jax.random.key(0), x)
    assert a.shape == (1, 8, 8, 64) and 0.02 < float(a.std()) < 5
    by_hand = (108 * 32 + 32) + (288 * 64 + 64) + (576 * 64 + 64)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == by_hand


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_belongs_to_a_block(name):
    module = ALL[name]
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    params, last = shapes["params"], module.block_count
    assert {module.block_of(n) for n in params} == set(range(last))
    assert backbones.divide(module, params, 0) == ({}, params)
    assert backbones.divide(module, params, last) == (params, {})
    below, above = backbones.divide(module, params, last - 1)
    assert below and above and {**below, **above} == params


@pytest.mark.parametrize(("name", "cut"), [("small", 1), ("small", 2), ("lite0", 14)])
def test_two_parts_make_the_whole(name, cut):
    module, x = ALL[name], random((2, 32, 32, 3))
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    below, above = backbones.divide(module, params, cut)
    whole = jax.jit(module.apply)({"params": params}, x)
    half = module.apply({"params": below}, x, stop=cut)
    made = module.apply({"params": above}, half, start=cut)
    np.testing.assert_allclose(made, whole, rtol=1e-5, atol=1e-5)
