"""ResNet-18, 34 and 50 below the cut, with their PyTorch weights' names."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.gradcam import Tensor

BN_EPS = 1e-5
REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)
EXPANSION = {18: 1, 34: 1, 50: 4}


class Block(NamedTuple):
    """One residual block; ``name`` is that of its parameters, ``torch`` PyTorch's."""

    name: str
    torch: str
    channels: int
    stride: int
    skip: bool  # whether the skip has a convolution


class ResNet(nn.Module):
    """ResNet up to its last map: 224 px give A (7, 7, 512), of ResNet-50 2048, ReLU'd.

    He et al., arXiv:1512.03385, as in torchvision: the stride of a bottleneck is that
    of its 3x3 convolution, padding is symmetric. Batch normalisation (running
    averages, eps 1e-5) is folded into the convolutions, exactly: all parameters are
    kernels and biases, and frames never mix.
    """

    depth: int = 18  # 18, 34 or 50

    @property
    def block_count(self) -> int:
        """Number of residual blocks: 8, 16 or 16."""
        return sum(REPEATS[self.depth])

    def block_of(self, name: str) -> int:
        """Return the block to which the parameters of this name belong."""
        return 0 if name == "stem" else int(name.removeprefix("block"))

    @nn.compact
    def __call__(
        self,
        inputs: Float[Tensor, "*T H W C"],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Array, "*T h w K"]:
        """Return the last convolutional map, or what block ``stop`` - 1 makes.

        With ``start`` the inputs are what block ``start`` - 1 makes.
        """
        x = jnp.asarray(inputs)
        if start == 0:
            x = _max_pool(nn.relu(_conv(64, 7, 2, "stem")(x)))
        for block in list(blocks(self.depth))[start:stop]:
            x = Residual(block, EXPANSION[self.depth], name=block.name)(x)
        return x


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, beside a skip."""

    block: Block
    expansion: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K2"]:
        """Return the next map."""
        width, stride = self.block.channels, self.block.stride
        y = x
        if self.expansion == 1:
            y = nn.relu(_conv(width, 3, stride, "conv1")(y))
            y = _conv(width, 3, 1, "conv2")(y)
        else:
            y = nn.relu(_conv(width, 1, 1, "conv1")(y))
            y = nn.relu(_conv(width, 3, stride, "conv2")(y))
            y = _conv(width * self.expansion, 1, 1, "conv3")(y)
        if self.block.skip:
            x = _conv(width * self.expansion, 1, stride, "skip")(x)
        return nn.relu(x + y)


def blocks(depth: int) -> Iterator[Block]:
    """List the residual blocks of ResNet-``depth``."""
    number = 0
    for stage, (repeats, width) in enumerate(
        zip(REPEATS[depth], CHANNELS, strict=True), 1
    ):
        for index in range(repeats):
            stride = 2 if index == 0 and stage > 1 else 1
            skip = index == 0 and (stage > 1 or EXPANSION[depth] > 1)
            torch = f"layer{stage}.{index}"
            yield Block(f"block{number:02}", torch, width, stride, skip)
            number += 1


def port_resnet(
    state: Mapping[str, np.ndarray], depth: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Rename PyTorch weights and fold their batch normalisation.

    Args:
        state: of torchvision's ``resnet18``, ``resnet34``, ``resnet50`` or timm's
            models of these names: name -> array.
        depth: 18, 34 or 50.

    Returns:
        Variables of ``ResNet``, and the classifier above it: kernel (K, classes) and
        bias (classes,).

    Raises:
        InputError: a weight is missing, left over, or of another shape.
    """
    params, used = {}, {"fc.weight", "fc.bias"}
    for place, conv, norm in _names(depth):
        keys = [f"{conv}.weight", *(f"{norm}.{part}" for part in _NORM)]
        used.update(keys)
        folded = _fold(*(_get(state, key, depth) for key in keys))
        params[(*place, "kernel")], params[(*place, "bias")] = folded
    extra = {k for k in state if not k.endswith("num_batches_tracked")} - used
    if extra:
        raise InputError(
            f"the weights hold {len(extra)} arrays that ResNet-{depth} has not, such "
            f"as {sorted(extra)[0]!r}: they are another network's"
        )
    kernel, bias = (_get(state, f"fc.{part}", depth) for part in ("weight", "bias"))
    variables = {"params": traverse_util.unflatten_dict(params)}
    return variables, {"kernel": kernel.T, "bias": bias}


_NORM = ("weight", "bias", "running_mean", "running_var")


def _max_pool(x: Array) -> Array:
    flat = x.reshape(-1, *x.shape[-3:])  # Linen's takes one batch axis
    flat = nn.max_pool(flat, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return flat.reshape(*x.shape[:-3], *flat.shape[1:])


def _conv(width: int, kernel: int, stride: int, name: str) -> nn.Conv:
    """Make a convolution, padded symmetrically as PyTorch's is here."""
    half = kernel // 2
    padding = [(half, half)] * 2
    he = nn.initializers.he_normal()
    sides = (kernel, kernel)
    return nn.Conv(width, sides, stride, padding, kernel_init=he, name=name)


def _names(depth: int) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield place in params, convolution and batch norm as PyTorch names them."""
    yield ("stem",), "conv1", "bn1"
    for block in blocks(depth):
        for number in range(1, 3 if EXPANSION[depth] == 1 else 4):
            place = (block.name, f"conv{number}")
            yield place, f"{block.torch}.conv{number}", f"{block.torch}.bn{number}"
        if block.skip:
            at = f"{block.torch}.downsample"
            yield (block.name, "skip"), f"{at}.0", f"{at}.1"


def _get(state: Mapping[str, np.ndarray], key: str, depth: int) -> np.ndarray:
    if key not in state:
        raise InputError(f"the weights are no ResNet-{depth}'s: {key} is missing")
    return np.asarray(state[key], np.float32)


def _fold(weight, scale, shift, mean, variance):
    """Fold y = scale * (conv(x) - mean) / sqrt(variance + eps) + shift into conv."""
    factor = scale / np.sqrt(variance + BN_EPS)
    return weight.transpose(2, 3, 1, 0) * factor, shift - mean * factor
