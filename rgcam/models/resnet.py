"""ResNet-18, 34 and 50 below the cut."""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from rgcam.models.backbones import HE_NORMAL, Backbone
from rgcam.models.layers import Conv, GivenParameters

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)
EXPANSION = {18: 1, 34: 1, 50: 4}


class Block(NamedTuple):
    """One residual block.

    Attributes:
        name: of its parameters.
        stage: its stage, from 1 as in PyTorch's names.
        index: its place in the stage, from 0.
        channels: of its 3x3 convolutions.
        stride: of the block.
        skip: whether the skip connection has a convolution.
    """

    name: str
    stage: int
    index: int
    channels: int
    stride: int
    skip: bool


class ResNet(Backbone):
    """ResNet up to its last map: 224 px give A (7, 7, 512), of ResNet-50 2048, after a ReLU.

    He et al., arXiv:1512.03385, as in torchvision: the stride of a bottleneck is that
    of its 3x3 convolution, padding is symmetric. Batch normalisation (running
    averages, eps 1e-5) is folded into the convolutions, exactly: all parameters are
    kernels and biases, and frames never mix.

    1x1 convolutions are matrix products, the others XLA's. On a CPU that makes the
    gradient of ResNet-50 faster than ``nn.Conv`` throughout (2 frames of 224 px: 980
    against 1697 ms; forward 272 against 300) and leaves ResNet-18 as it is. Dense
    layers on patches, as in ``backbones.Conv``, win gradients of ResNet-18 (32 frames
    of 112 px: 4792 against 8112 ms; 8 frames: 583 against 622), but lose forward
    (1509 against 1288 ms), compile 2 to 6 times longer and use up to 2.5 times the
    memory, so they are not used (2 busy cores, jax 0.10.2, the fastest of 3 or 5 runs).
    """

    depth: int = 18  # 18, 34 or 50

    @property
    def block_count(self) -> int:
        """Number of residual blocks: 8, 16 or 16."""
        return sum(REPEATS[self.depth])

    def apply_stem(self, frames: Float[Array, "*T H W C"]) -> Float[Array, "*T h w K"]:
        """Convolve and pool, each with stride 2."""
        return _max_pool(nn.relu(_conv(64, 7, 2, "stem")(frames)))

    def apply_block(
        self, number: int, maps: Float[Array, "*T h w K"]
    ) -> Float[Array, "*T h2 w2 K2"]:
        """Apply one residual block."""
        block = blocks(self.depth)[number]
        return Residual(block, EXPANSION[self.depth], name=block.name)(maps)


class Residual(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, and a skip connection."""

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


class Pointwise(GivenParameters, nn.Module):
    """A 1x1 convolution as a matrix product; parameters as those of ``nn.Conv``."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K2"]:
        """Return the filtered map."""
        kernel = self.param("kernel", HE_NORMAL, (1, 1, x.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return x[..., :: self.stride, :: self.stride, :] @ kernel[0, 0] + bias


def blocks(depth: int) -> list[Block]:
    """List the residual blocks of ResNet-``depth``."""
    positions = [
        (stage, index)
        for stage, repeats in enumerate(REPEATS[depth], 1)
        for index in range(repeats)
    ]
    return [
        Block(
            name=f"block{number:02}",
            stage=stage,
            index=index,
            channels=CHANNELS[stage - 1],
            stride=2 if index == 0 and stage > 1 else 1,
            skip=index == 0 and (stage > 1 or EXPANSION[depth] > 1),
        )
        for number, (stage, index) in enumerate(positions)
    ]


def _conv(width: int, kernel: int, stride: int, name: str) -> nn.Module:
    """Create a convolution with symmetric padding, which is PyTorch's."""
    if kernel == 1:
        return Pointwise(width, stride, name=name)
    sides, padding = (kernel, kernel), [(kernel // 2, kernel // 2)] * 2
    return Conv(width, sides, stride, padding, kernel_init=HE_NORMAL, name=name)


def _max_pool(x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K"]:
    flat = x.reshape(-1, *x.shape[-3:])  # Linen's function has one batch axis
    flat = nn.max_pool(flat, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return flat.reshape(*x.shape[:-3], *flat.shape[1:])
