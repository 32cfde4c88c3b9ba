"""What backbones have in common: convolutions, the small CNN, division into two."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rgcam.errors import InputError
from rgcam.models import backbones, efficientnet, resnet
from rgcam.models.backbones import Preprocess
from tests.conftest import draw
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
    make = jax.jit(module.init_with_output)
    a, variables = make(jax.random.key(0), x)
    assert a.shape == (1, 8, 8, 64) and 0.02 < float(a.std()) < 5
    by_hand = (108 * 32 + 32) + (288 * 64 + 64) + (576 * 64 + 64)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == by_hand


@functools.cache
def shapes_of(module):
    frames = jnp.zeros((1, 64, 64, 3))
    return jax.eval_shape(module.init, jax.random.key(0), frames)["params"]


@functools.cache
def example(name):
    """Return frames, parameters that keep the scale, and the backbone's output."""
    x, params = random((2, 32, 32, 3)), draw(shapes_of(ALL[name]))
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


# From frames to a backbone's input.

SPEC = Preprocess(size=8, crop=None, offset=127.5, scale=127.5)


def test_crop_box_is_centred_and_relative_to_the_short_side():
    square = Preprocess(224, 0.875, 0, 1)
    assert backbones.crop_box(square, 160, 320) == (10, 90, 150, 230)
    assert backbones.crop_box(square, 320, 160) == (90, 10, 230, 150)
    assert backbones.crop_box(SPEC, 160, 320) == (0, 0, 160, 320)


def test_the_smallest_crop_has_one_pixel():
    smallest = Preprocess(8, 1e-6, 0, 1)
    assert backbones.crop_box(smallest, 100, 200) == (49, 99, 50, 100)
    frames = np.full((2, 100, 200, 3), 7, np.uint8)
    assert (backbones.resize(frames, smallest) == 7).all()


def test_resize_shows_the_crop_only():
    frames = np.zeros((2, 16, 32, 3), np.uint8)
    frames[:, :, 8:24] = 200  # the centre crop
    cropped = backbones.resize(frames, Preprocess(8, 1.0, 0, 1))
    assert cropped.shape == (2, 8, 8, 3) and (cropped == 200).all()
    whole = backbones.resize(frames, SPEC)
    assert whole[0, 0, 0, 0] == 0 and whole[0, 0, 4, 0] > 190


def test_preprocess_maps_the_range():
    frames = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1) * np.ones(
        (1, 8, 8, 3), np.uint8
    )
    made = backbones.preprocess(SPEC, frames)
    assert made.dtype == np.float32 and made.shape == (2, 8, 8, 3)
    assert (made[0] == -1).all() and (made[1] == 1).all()


def test_channels_have_their_own_range():
    spec = Preprocess(8, None, (0.0, 1.0, 2.0), (1.0, 2.0, 4.0))
    made = backbones.preprocess(spec, np.full((2, 8, 8, 3), 9, np.uint8))
    np.testing.assert_allclose(made[0, 0, 0], [9, 4, 1.75])


@pytest.mark.parametrize(
    ("frames", "given", "convert"),
    [
        (np.linspace(0, 1, 192), "float64 from 0 to 1,", lambda x: np.round(x * 255.0)),
        (np.linspace(0, 1, 192) > 0.5, "bool from", lambda x: np.round(x * 255.0)),
        (np.linspace(0, 255, 192), "float64 from 0 to 255,", np.round),
        (np.arange(192, dtype=np.int64), "int64 from 0 to 191,", np.round),
        (
            np.arange(192).astype(np.uint16) * 343,
            "uint16 from 0 to",
            lambda x: x // 257,
        ),
    ],
)
def test_frames_that_are_not_uint8_are_rejected_with_their_conversion(
    frames, given, convert
):
    frames = frames.reshape(1, 8, 8, 3)
    for function in (
        functools.partial(backbones.preprocess, SPEC),
        lambda frames: backbones.resize(frames, SPEC),
        lambda frames: backbones.normalize(frames, SPEC),
    ):
        with pytest.raises(InputError, match=f"frames are {given}.*uint8.*np.uint8"):
            function(frames)
        function(np.uint8(convert(frames)))


def test_frames_that_are_preprocessed_already_are_named_so():
    frames = backbones.preprocess(SPEC, np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="from -1 to -1.*preprocessed already"):
        backbones.preprocess(SPEC, frames)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (8, 8, 3), (2, 8, 8), (2, 8, 8, 4)])
def test_frames_of_another_shape_are_rejected(shape):
    with pytest.raises(InputError, match=r"frames have shape .*\(T, H, W, 3\)"):
        backbones.preprocess(SPEC, np.zeros(shape, np.uint8))
