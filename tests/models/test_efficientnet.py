"""EfficientNet-Lite against PyTorch's stored numbers, photographs and both namings."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rgcam.errors import InputError
from rgcam.models import (
    backbones,
    description,
    efficientnet,
    torch_files,
)
from tests.conftest import HERE

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(torch_files.PACKAGE.format("efficientnet_lite0")) is None,
    reason="the extra [pretrained] is not installed",
)
IMAGENET = backbones.Preprocess(224, 0.875, 127.0, 128.0)


@pytest.fixture(scope="module")
def lite0():
    state = torch_files.read_weights(torch_files.package_file("efficientnet_lite0"))
    variables, classifier = torch_files.port_efficientnet_lite(state)
    features = jax.jit(efficientnet.EfficientNetLite().apply)
    return state, lambda x: np.asarray(features(variables, x)), classifier


def logits(features, classifier):
    return features.mean((1, 2)) @ classifier["kernel"] + classifier["bias"]


def picture(size=224, seed=0):
    """The picture of make_backbone_reference.py."""
    tiles = -(-size // 8)
    made = np.random.default_rng(seed).uniform(-1, 1, (1, tiles, tiles, 3))
    return made.repeat(8, 1).repeat(8, 2)[:, :size, :size].astype(np.float32)


@pytest.mark.parametrize("name", description.VARIANTS)
def test_port_holds_to_pytorchs_reference(name):
    package = torch_files.PACKAGE.format(name)
    pytest.importorskip(package, reason="the extra [pretrained] is not installed")
    size, depth, width = description.VARIANTS[name]
    state = torch_files.read_weights(torch_files.package_file(name))
    variables, classifier = torch_files.port_efficientnet_lite(state, depth)
    module = efficientnet.EfficientNetLite(depth, width)
    a = np.asarray(jax.jit(module.apply)(variables, picture(size)))
    cells = -(-size // 32)
    assert a.shape == (1, cells, cells, 1280) and 0 <= a.min() and a.max() <= 6
    hint = "the port changed: run tests/make_backbone_reference.py only if it should"
    with np.load(HERE / "reference" / f"{name}.npz") as stored:
        for made, name in (
            (logits(a, classifier), "logits"),
            (a.mean((1, 2)), "pooled"),
            (a.mean(-1), "cells"),
        ):
            np.testing.assert_allclose(made, stored[name], atol=5e-5, err_msg=hint)


@needs_weights
@pytest.mark.parametrize(
    ("photograph", "classes"),
    [
        ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
        ("coffee", {504, 967, 968, 969}),  # coffee mug, espresso, cup, eggnog
    ],
)
def test_sensible_top_5_on_photographs(lite0, photograph, classes):
    skimage = pytest.importorskip("skimage.data")
    _, features, classifier = lite0
    image = getattr(skimage, photograph)()
    x = backbones.preprocess(IMAGENET, image[None])
    best = np.argsort(-logits(features(x), classifier)[0])[:5]
    assert best[0] in classes and len(classes & set(best.tolist())) >= 2


@needs_weights
def test_timms_names_give_the_same_variables(lite0):
    state = lite0[0]
    renamed = {"classifier.weight": state["_fc.weight"]}
    renamed["classifier.bias"] = state["_fc.bias"]
    package = torch_files.efficientnet_layers(1.0, timm=False)
    timm = torch_files.efficientnet_layers(1.0, timm=True)
    for path, layer in package.items():
        timm_names = dict(zip(layer, timm[path], strict=True))
        for key, value in state.items():
            name, _, part = key.rpartition(".")
            if name in timm_names:
                renamed[f"{timm_names[name]}.{part}"] = value
    one, other = (torch_files.port_efficientnet_lite(s)[0] for s in (state, renamed))
    assert "blocks.0.0.conv_dw.weight" in renamed
    assert "blocks.1.0.conv_pwl.weight" in renamed
    jax.tree.map(np.testing.assert_array_equal, one, other)


@needs_weights
def test_other_weights_are_rejected(lite0):
    state = dict(lite0[0])
    with pytest.raises(InputError, match="2 arrays .* another network's"):
        extra = {"_blocks.16.a": np.zeros(1), "_blocks.16.b": np.zeros(1)}
        torch_files.port_efficientnet_lite(state | extra)
    del state["_blocks.3._bn1.weight"]
    with pytest.raises(InputError, match="_blocks.3._bn1.weight is missing"):
        torch_files.port_efficientnet_lite(state)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_own_depthwise_convolution_equals_linens(kernel, stride, size):
    x = random((2, size, size + 1, 6))
    own = efficientnet.Depthwise(kernel, stride)
    v = {"params": {"kernel": random((kernel**2, 6)), "bias": random((6,), 1)}}
    linen = nn.Conv(6, (kernel, kernel), stride, feature_group_count=6)
    k = v["params"]["kernel"].reshape(kernel, kernel, 1, 6)
    expected = linen.apply({"params": {"kernel": k, "bias": v["params"]["bias"]}}, x)
    np.testing.assert_allclose(own.apply(v, x), expected, rtol=1e-4, atol=1e-5)


def test_block_counts_of_the_variants():
    assert [len(efficientnet.blocks(d)) for d in (1.0, 1.1, 1.2)] == [16, 21, 21]
    wide = [b.channels for b in efficientnet.blocks(1.0, 1.1) if b.index == 0]
    assert wide == [16, 24, 48, 88, 120, 208, 352]  # of Lite2's weights
    strides = np.prod([b.stride for b in efficientnet.blocks()])
    assert strides == 16  # and 2 of the stem


def test_random_initialisation_keeps_the_scale():
    x = random((1, 64, 64, 3))
    module = efficientnet.EfficientNetLite(depth=0.3)  # 8 blocks compile faster
    a, _ = jax.jit(module.init_with_output)(jax.random.key(0), x)
    assert 0.02 < float(a.std()) < 5


def test_parameter_counts():
    count = lambda m: sum(
        leaf.size
        for leaf in jax.tree.leaves(
            jax.eval_shape(m.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
        )
    )
    # 4,652,008 published with the classifier (1,281,000), two numbers a BN channel
    # where folding leaves one.
    channels = (
        32
        + 32
        + 16
        + sum(2 * b.expand * prev + b.channels for prev, b in _expanded())
        + 1280
    )
    assert count(efficientnet.EfficientNetLite()) == 4_652_008 - 1_281_000 - channels


def _expanded():
    """Yield (input channels, block) of the blocks that expand."""
    before = 32
    for block in efficientnet.blocks():
        if block.expand > 1:
            yield before, block
        before = block.channels
