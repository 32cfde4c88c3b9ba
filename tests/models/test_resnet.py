"""ResNets against PyTorch: stored logits of generated weights, and torchvision itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from benchmarks.torchvision_import import import_torchvision
from rgcam.errors import InputError
from rgcam.models import description, resnet, torch_files
from tests import make_resnet_reference as reference


def logits(depth, state, frames):
    variables, head = torch_files.port_resnet(state, depth)
    a = jax.jit(resnet.ResNet(depth).apply)(variables, frames)
    assert a.min() >= 0 and a.shape[-1] == (2048 if depth == 50 else 512)
    return np.asarray(a.mean((1, 2)) @ head["kernel"] + head["bias"])


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_port_holds_to_pytorchs_reference(depth):
    found = logits(depth, reference.weights(depth), reference.picture())
    hint = "the port changed: run tests/make_resnet_reference.py only if it should"
    with np.load(reference.FILE) as stored:
        expected = stored[f"resnet{depth}"]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4, err_msg=hint)


@pytest.mark.parametrize(("stride", "size"), [(1, 5), (2, 5), (2, 6)])
def test_a_1x1_convolution_equals_linens(stride, size):
    x = np.random.default_rng(0).normal(size=(2, size, size + 1, 6)).astype(np.float32)
    x, linen = jnp.asarray(x), nn.Conv(4, (1, 1), stride, padding=[(0, 0)] * 2)
    variables = linen.init(jax.random.key(0), x)
    made = resnet.Pointwise(4, stride).apply(variables, x)
    expected = linen.apply(variables, x)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_the_map_of_224_pixels_has_7_by_7_cells():
    for depth, channels in ((18, 512), (50, 2048)):
        module, frames = resnet.ResNet(depth), np.zeros((2, 224, 224, 3), np.float32)
        made = jax.eval_shape(module.init_with_output, jax.random.key(0), frames)[0]
        assert made.shape == (2, 7, 7, channels)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 50])
def test_names_and_numbers_are_torchvisions(depth):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    try:
        torchvision = import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    model = getattr(torchvision.models, f"resnet{depth}")().eval()
    state = {n: t.numpy() for n, t in model.state_dict().items()}
    with torch.inference_mode():
        frames = torch.tensor(reference.picture()).permute(0, 3, 1, 2)
        expected = model(frames).numpy()
    found = logits(depth, state, reference.picture())
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-3)


def test_other_weights_are_rejected():
    state = reference.weights(18)
    with pytest.raises(InputError, match="not ResNet-34's: layer1.2.conv1.weight"):
        torch_files.port_resnet(state, 34)
    with pytest.raises(InputError, match="arrays that ResNet-18 does not have"):
        torch_files.port_resnet(state | {"layer9.x": np.zeros(1)}, 18)
    del state["bn1.bias"]
    with pytest.raises(InputError, match="bn1.bias is missing"):
        torch_files.port_resnet(state, 18)


def test_the_depths_that_a_description_may_name_are_those_of_the_network():
    depths = description.RESNET_DEPTHS
    assert depths == tuple(resnet.REPEATS) == tuple(resnet.EXPANSION)
