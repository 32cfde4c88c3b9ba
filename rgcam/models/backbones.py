"""The CNN below the cut, frames -> A (..., h, w, K): what all have in common, and a small one.

All keep frames apart: nothing is normalised across a batch, so that the causal zeros of an
LRCN are exact. Batch normalisation of pretrained weights is folded into the convolutions
(``rgcam.models.torch_files``).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.types import Params, Tensor

HE_NORMAL = nn.initializers.he_normal()


class Preprocess(NamedTuple):
    """How frames become a backbone's input, by ``rgcam.models.preprocessing``.

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


class Backbone(nn.Module):
    """A chain of blocks 0 .. ``block_count`` - 1, which can be divided between blocks.

    ``backbone(backbone(x, stop=n), start=n)`` equals ``backbone(x)``. The stem comes before
    block 0 and belongs to it; the head comes after the last block and is computed where
    ``stop`` is None, so it is above every division. A block's parameters are named by its
    number (``block07``), those of the ends ``stem`` and ``head``.
    """

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        raise NotImplementedError

    def apply_stem(self, frames: Float[Array, "*T H W C"]) -> Float[Array, "*T h w K"]:
        """Return the input of block 0."""
        return frames

    def apply_block(
        self, number: int, maps: Float[Array, "*T h w K"]
    ) -> Float[Array, "*T h2 w2 K2"]:
        """Apply one block."""
        raise NotImplementedError

    def apply_head(self, maps: Float[Array, "*T h w K"]) -> Float[Array, "*T h w K2"]:
        """Return the feature map A of what the last block returns."""
        return maps

    def block_of(self, name: str) -> int:
        """Return the block to which the parameters of this name belong."""
        ends = {"stem": 0, "head": self.block_count}
        return ends[name] if name in ends else int(re.sub(r"\D", "", name))

    @nn.compact
    def __call__(
        self,
        inputs: Float[Tensor, "*T H W C"],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Array, "*T h w K"]:
        """Return the feature map A, or what block ``stop`` - 1 returns.

        Args:
            inputs: frames, or with ``start`` what block ``start`` - 1 returned.
            start: first block to apply.
            stop: the block before which to stop; None: apply all, and the head.
        """
        x = jnp.asarray(inputs)
        if start == 0 and stop != 0:
            x = self.apply_stem(x)
        for number in range(self.block_count)[start:stop]:
            x = self.apply_block(number, x)
        return self.apply_head(x) if stop is None else x


class SmallCNN(Backbone):
    """Three convolutions for small images, 9 MFLOP per frame of 64 px.

    2 x 2 pixels become channels, then strides 2, 2, 1: 64 px give A (8, 8, 64), after a
    ReLU, 8 pixels per cell.
    """

    widths: tuple[int, ...] = (32, 64, 64)
    strides: tuple[int, ...] = (2, 2, 1)

    @property
    def block_count(self) -> int:
        """Number of convolutions."""
        return len(self.widths)

    def apply_stem(self, frames: Float[Array, "*T H W C"]) -> Float[Array, "*T h w K"]:
        """Move 2 x 2 pixels into the channels."""
        return space_to_depth(frames)

    def apply_block(
        self, number: int, maps: Float[Array, "*T h w K"]
    ) -> Float[Array, "*T h2 w2 K2"]:
        """Convolve."""
        conv = Conv(self.widths[number], 3, self.strides[number], name=f"Conv_{number}")
        return nn.relu(conv(maps))


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
        return nn.Dense(self.width, kernel_init=HE_NORMAL)(patches)


def divide(backbone: Backbone, params: Params, start: int) -> tuple[Params, Params]:
    """Divide a backbone's parameters: of the blocks below ``start``, and the others.

    Args:
        backbone: whose parameters they are.
        params: its parameters, or some of them.
        start: 0 to ``backbone.block_count``.

    Returns:
        What ``backbone(x, stop=start)`` reads, and what ``backbone(y, start=start)``
        reads.
    """
    below = {n: p for n, p in params.items() if backbone.block_of(n) < start}
    return below, {n: p for n, p in params.items() if n not in below}


def named_arrays(params: Params) -> dict[str, Tensor | jax.ShapeDtypeStruct]:
    """Return the leaves of a tree by their names, such as ``block07/conv2/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return {name(path): leaf for path, leaf in leaves}


def space_to_depth(x: Float[Array, "*T H W K"]) -> Float[Array, "*T h w K4"]:
    """Move each 2 x 2 square of cells into the channels."""
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height // 2, 2, width // 2, 2, channels)
    return jnp.moveaxis(x, -4, -3).reshape(*lead, height // 2, width // 2, 4 * channels)


def shifts(
    x: Float[Array, "*T h w K"], kernel: int, stride: int
) -> Iterator[Float[Array, "*T h2 w2 K"]]:
    """Yield the input of each cell of a kernel, row by row, with 'SAME' padding."""
    pads = [_same_padding(size, kernel, stride) for size in x.shape[-3:-1]]
    rows, columns = (-(-size // stride) for size in x.shape[-3:-1])
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*pads, (0, 0)])
    for i in range(kernel):
        for j in range(kernel):
            down = slice(i, i + (rows - 1) * stride + 1, stride)
            right = slice(j, j + (columns - 1) * stride + 1, stride)
            yield x[..., down, right, :]


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many cells to pad before and after, as TensorFlow's 'SAME' does."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
