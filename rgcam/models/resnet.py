"""ResNet-18, 34 and 50 below the cut, with their PyTorch weights' names."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from rgcam.models.backbones import Place, port
from rgcam.types import Tensor

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

    1x1 convolutions are matrix products, the others XLA's. On a CPU that makes the
    gradient of ResNet-50 faster than ``nn.Conv`` throughout (2 frames of 224 px: 980
    against 1697 ms; forward 272 against 300) and leaves ResNet-18 as it is. Dense
    layers on patches, as in ``backbones.Conv``, win gradients of ResNet-18 (32 frames
    of 112 px: 4792 against 8112 ms; of 8 frames 583 against 622), but lose forward
    (1509 against 1288 ms), compile 2 to 6 times longer and hold up to 2.5 times the
    memory: not worth it (2 busy cores, jax 0.10.2, the fastest of 3 or 5 runs).
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
        if start == 0 and stop != 0:
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


class Pointwise(nn.Module):
    """A 1x1 convolution as a matrix product; parameters as those of ``nn.Conv``."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K2"]:
        """Return the filtered map."""
        kernel = self.param("kernel", _HE, (1, 1, x.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return x[..., :: self.stride, :: self.stride, :] @ kernel[0, 0] + bias


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
        InputError: a weight is missing, left over, or does not fit those beside it.
    """
    layers, network = dict(_names(depth)), f"ResNet-{depth}"
    params, classifier = port(state, layers, "fc", eps=BN_EPS, network=network)
    return {"params": traverse_util.unflatten_dict(params)}, classifier


_HE = nn.initializers.he_normal()


def _conv(width: int, kernel: int, stride: int, name: str) -> nn.Module:
    """Make a convolution, padded symmetrically as PyTorch's is here."""
    if kernel == 1:
        return Pointwise(width, stride, name=name)
    sides, padding = (kernel, kernel), [(kernel // 2, kernel // 2)] * 2
    return nn.Conv(width, sides, stride, padding, kernel_init=_HE, name=name)


def _max_pool(x: Array) -> Array:
    flat = x.reshape(-1, *x.shape[-3:])  # Linen's takes one batch axis
    flat = nn.max_pool(flat, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return flat.reshape(*x.shape[:-3], *flat.shape[1:])


def _names(depth: int) -> Iterator[tuple[Place, tuple[str, str]]]:
    """Yield place in params -> (convolution, batch norm) as PyTorch names them."""
    yield ("stem",), ("conv1", "bn1")
    for block in blocks(depth):
        at = block.torch
        for number in range(1, 3 if EXPANSION[depth] == 1 else 4):
            place = block.name, f"conv{number}"
            yield place, (f"{at}.conv{number}", f"{at}.bn{number}")
        if block.skip:
            names = f"{at}.downsample.0", f"{at}.downsample.1"
            yield (block.name, "skip"), names
