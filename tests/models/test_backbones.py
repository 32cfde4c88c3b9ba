"""What backbones share: convolutions, the small CNN, cuts, folding of weights."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rgcam.errors import InputError
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


def shapes_of(module):
    frames = jnp.zeros((1, 64, 64, 3))
    return jax.eval_shape(module.init, jax.random.key(0), frames)["params"]


@functools.cache
def whole(name):
    """Frames, parameters that keep the scale, and what the backbone makes of them."""
    rng, x = np.random.default_rng(0), random((2, 32, 32, 3))

    def draw(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return rng.normal(0, scale, leaf.shape).astype(np.float32)

    params = jax.tree.map(draw, shapes_of(ALL[name]))
    made = np.asarray(jax.jit(ALL[name].apply)({"params": params}, x))
    assert made.std() > 0
    return x, params, made


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
def test_two_parts_make_the_whole_exactly(name, cut):
    """And each part does with its own parameters alone."""
    module = ALL[name]
    x, params, expected = whole(name)
    below, above = backbones.divide(module, params, cut)
    low = jax.jit(functools.partial(module.apply, stop=cut))
    high = jax.jit(functools.partial(module.apply, start=cut))
    made = high({"params": above}, low({"params": below}, x))
    np.testing.assert_array_equal(made, expected)


def layer(**changed):
    """One 1x1 convolution of 2 channels into 3, its batch norm and a classifier."""
    state = {
        "c.weight": np.full((3, 2, 1, 1), 2.0),
        "n.weight": np.full(3, 3.0),
        "n.bias": np.full(3, 5.0),
        "n.running_mean": np.full(3, 1.0),
        "n.running_var": np.full(3, 3.0),
        "n.num_batches_tracked": np.zeros(()),
        "fc.weight": np.arange(12.0).reshape(4, 3),
        "fc.bias": np.arange(4.0),
    }
    return state | {name.replace("__", "."): x for name, x in changed.items()}


def ported(state):
    layers = {("a", "b"): ("c", "n")}
    return backbones.port(state, layers, "fc", eps=1.0, network="this net")


def test_folding_by_hand():
    params, classifier = ported(layer())
    # 3 * (2 x - 1) / sqrt(3 + 1) + 5 = 3 x + 3.5
    np.testing.assert_array_equal(params["a", "b"]["kernel"], np.full((1, 1, 2, 3), 3))
    np.testing.assert_array_equal(params["a", "b"]["bias"], np.full(3, 3.5))
    np.testing.assert_array_equal(classifier["kernel"], np.arange(12).reshape(4, 3).T)
    np.testing.assert_array_equal(classifier["bias"], np.arange(4))


@pytest.mark.parametrize(
    ("key", "shape", "wanted"),
    [
        ("c.weight", (3, 2), "(any, any, any, any)"),
        ("n.weight", (1,), "(3)"),  # would broadcast
        ("n.running_var", (2,), "(3)"),
        ("fc.weight", (4, 3, 1, 1), "(any, any)"),
        ("fc.bias", (5,), "(4)"),
    ],
)
def test_a_weight_of_another_shape_is_named(key, shape, wanted):
    said = f"the weights are not this net's: {key} is {shape}, not {wanted}"
    with pytest.raises(InputError, match=re.escape(said)):
        ported(layer() | {key: np.ones(shape)})


@pytest.mark.parametrize("key", ["c.weight", "n.bias", "n.running_mean", "fc.bias"])
def test_a_missing_weight_is_named(key):
    state = layer()
    del state[key]
    with pytest.raises(InputError, match=f"not this net's: {key} is missing"):
        ported(state)


def test_weights_left_over_are_another_networks():
    with pytest.raises(InputError, match="2 arrays that this net has not.*'d.weight'"):
        ported(layer(d__weight=np.ones(1), e__weight=np.ones(1)))
