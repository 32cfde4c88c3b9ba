"""The CNNs below the cut: frames (..., S, S, 3) -> A (..., h, w, K).

Both keep frames apart: nothing is normalised across a batch, so that the causal zeros
of an LRCN are exact. Weights are read by ``rgcam.weights``; here they are renamed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.gradcam import Tensor


class Preprocess(NamedTuple):
    """How frames become a backbone's input; ``rgcam.data.preprocess`` does it.

    Attributes:
        size: S, pixels.
        crop: side of the centre crop as a share of the frame's short side (0.875 for
            ImageNet), or None: the whole frame, squeezed to S x S.
        offset: x -> (x - offset) / scale, on 0..255; one number, or one for each of
            red, green and blue.
        scale: see offset.
    """

    size: int
    crop: float | None
    offset: float | tuple[float, float, float]
    scale: float | tuple[float, float, float]


class SmallCNN(nn.Module):
    """Three convolutions for small pictures, 9 MFLOP a 64 px frame.

    2 x 2 pixels become channels, then strides 2, 2, 1: 64 px give A (8, 8, 64),
    ReLU'd, 8 pixels a cell.
    """

    widths: tuple[int, ...] = (32, 64, 64)
    strides: tuple[int, ...] = (2, 2, 1)

    @property
    def block_count(self) -> int:
        """Number of blocks: convolutions."""
        return len(self.widths)

    def block_of(self, name: str) -> int:
        """Return the block to which the parameters of this name belong."""
        return int(name.removeprefix("Conv_"))

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
        x = jnp.asarray(inputs) if start else space_to_depth(jnp.asarray(inputs))
        for number in range(start, self.block_count if stop is None else stop):
            width, stride = self.widths[number], self.strides[number]
            x = nn.relu(Conv(width, 3, stride, name=f"Conv_{number}")(x))
        return x


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
        patches = jnp.concatenate(list(shifts(x, self.kernel, self.stride)), -1)
        return nn.Dense(self.width, kernel_init=_HE)(patches)


def divide(
    backbone: Any, params: Mapping[str, Any], start: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a backbone's parameters: of the blocks below ``start``, and the others."""
    below = {n: p for n, p in params.items() if backbone.block_of(n) < start}
    return below, {n: p for n, p in params.items() if n not in below}


def space_to_depth(x: Float[Array, "*T H W K"]) -> Float[Array, "*T h w K4"]:
    """Move each 2 x 2 square of cells into the channels."""
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height // 2, 2, width // 2, 2, channels)
    return jnp.moveaxis(x, -4, -3).reshape(*lead, height // 2, width // 2, 4 * channels)


_HE = nn.initializers.he_normal()


def shifts(x: Array, kernel: int, stride: int) -> Iterator[Array]:
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
