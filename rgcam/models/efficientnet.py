"""EfficientNet-Lite0, 1 and 2 below the cut."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.models.backbones import HE_NORMAL, Backbone, shifts
from rgcam.models.layers import Conv, Dense, GivenParameters


class Stage(NamedTuple):
    """Inverted-residual blocks of one width.

    Attributes:
        repeats: number of blocks before ``description.Variant.depth``.
        kernel: side of the depthwise convolution.
        stride: of the first block; 1 of the others.
        expand: factor by which a block expands its input channels.
        channels: of the output before ``description.Variant.width``.
    """

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, channels=16),
    Stage(repeats=2, kernel=3, stride=2, expand=6, channels=24),
    Stage(repeats=2, kernel=5, stride=2, expand=6, channels=40),
    Stage(repeats=3, kernel=3, stride=2, expand=6, channels=80),
    Stage(repeats=3, kernel=5, stride=1, expand=6, channels=112),
    Stage(repeats=4, kernel=5, stride=2, expand=6, channels=192),
    Stage(repeats=1, kernel=3, stride=1, expand=6, channels=320),
)


class Block(NamedTuple):
    """One inverted-residual block.

    Attributes:
        name: of its parameters.
        stage: its stage, from 0.
        index: its place in the stage, from 0.
        kernel: see ``Stage``, as all that follow.
        stride: of this block.
        expand: see ``Stage``.
        channels: of the output.
    """

    name: str
    stage: int
    index: int
    kernel: int
    stride: int
    expand: int
    channels: int


class EfficientNetLite(Backbone):
    """EfficientNet-Lite up to its last map: S px give A (S/32, S/32, 1280), after a ReLU6.

    7 x 7 cells of 224 px, 8 x 8 of 240 px, 9 x 9 of 260 px.

    Tan and Le, arXiv:1905.11946, in the Lite form: ReLU6, no squeeze-excite, linear
    projections, TensorFlow's 'SAME' padding. Batch normalisation (running averages,
    eps 1e-3) is folded into the convolutions, exactly: all parameters are kernels and
    biases. Depthwise convolutions are written as k*k shifted products, which XLA
    fuses into one loop: on a CPU 26 ms a frame against 240 ms with
    ``feature_group_count`` (2 busy cores, jax 0.10.2, 16 frames of 224 px).
    """

    depth: float = 1.0  # of description.VARIANTS
    width: float = 1.0

    @property
    def block_count(self) -> int:
        """Number of inverted residuals: 16 of Lite0, 21 of Lite1 and Lite2."""
        return len(blocks(self.depth, self.width))

    def apply_stem(self, frames: Float[Array, "*T H W C"]) -> Float[Array, "*T h w K"]:
        """Convolve with stride 2."""
        conv = Conv(32, (3, 3), 2, kernel_init=HE_NORMAL, name="stem")
        return nn.relu6(conv(frames))

    def apply_block(
        self, number: int, maps: Float[Array, "*T h w K"]
    ) -> Float[Array, "*T h2 w2 K2"]:
        """Apply one inverted residual."""
        block = blocks(self.depth, self.width)[number]
        layer = InvertedResidual(
            kernel=block.kernel,
            stride=block.stride,
            expand=block.expand,
            channels=block.channels,
            name=block.name,
        )
        return layer(maps)

    def apply_head(self, maps: Float[Array, "*T h w K"]) -> Float[Array, "*T h w K2"]:
        """Apply the 1x1 convolution to 1280 channels."""
        return nn.relu6(Dense(1280, kernel_init=HE_NORMAL, name="head")(maps))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input where shapes are the same."""

    kernel: int
    stride: int
    expand: int
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K2"]:
        """Return the next map."""
        width, y = x.shape[-1] * self.expand, x
        if self.expand > 1:
            y = nn.relu6(Dense(width, kernel_init=HE_NORMAL, name="expand")(y))
        y = nn.relu6(Depthwise(self.kernel, self.stride, name="depthwise")(y))
        y = Dense(self.channels, name="project")(y)
        return x + y if self.stride == 1 and y.shape == x.shape else y


class Depthwise(GivenParameters, nn.Module):
    """Convolve each channel by itself, 'SAME' padding, as shifted products."""

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K"]:
        """Return the filtered map."""
        shape = self.kernel**2, x.shape[-1]
        weights = self.param("kernel", nn.initializers.normal(1.4 / self.kernel), shape)
        y = jnp.asarray(self.param("bias", nn.initializers.zeros, x.shape[-1:]))
        shifted_inputs = shifts(x, self.kernel, self.stride)
        for weight, shifted in zip(weights, shifted_inputs, strict=True):
            y = y + shifted * weight
        return y


def blocks(depth: float = 1.0, width: float = 1.0) -> list[Block]:
    """List the blocks of a variant; the depth of Lite's first and last stage is fixed."""
    return [
        Block(
            name=f"block{number:02}",
            stage=stage_number,
            index=index,
            kernel=STAGES[stage_number].kernel,
            stride=STAGES[stage_number].stride if index == 0 else 1,
            expand=STAGES[stage_number].expand,
            channels=_rounded(STAGES[stage_number].channels * width),
        )
        for number, (stage_number, index) in enumerate(_positions(depth))
    ]


def _positions(depth: float) -> Iterator[tuple[int, int]]:
    """Yield the stage of each block and its index in the stage."""
    for number, stage in enumerate(STAGES):
        inner = 0 < number < len(STAGES) - 1
        repeats = math.ceil(depth * stage.repeats) if inner else stage.repeats
        for index in range(repeats):
            yield number, index


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, by no more than 10 % down: EfficientNet's rule."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
