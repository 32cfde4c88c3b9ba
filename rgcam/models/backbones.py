"""The CNN below the cut, frames -> A (..., h, w, K): its input, its blocks, and a small one.

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
import numpy as np
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.models.layers import Dense
from rgcam.types import Box, Params, Tensor

HE_NORMAL = nn.initializers.he_normal()


class Preprocess(NamedTuple):
    """How frames become a backbone's input: see ``preprocess``.

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


def crop_box(spec: Preprocess, height: int, width: int) -> Box:
    """Return the rectangle of a frame that the model sees, in pixels.

    Returns:
        (top, left, bottom, right); bottom and right are exclusive.
    """
    if spec.crop is None:
        return 0, 0, height, width
    side = max(1, round(spec.crop * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return top, left, top + side, left + side


def resize(frames: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Crop and resize (antialiased bicubic) frames to (T, S, S, 3) uint8.

    Args:
        frames: (T, H, W, 3) uint8, 0..255.
        spec: the model's crop and size.

    Raises:
        InputError: frames of another dtype or shape, or none.
    """
    frames = np.asarray(frames)
    _check_dtype(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(
            f"frames have shape {frames.shape}: give one clip of at least one RGB frame, "
            "(T, H, W, 3)"
        )
    top, left, bottom, right = crop_box(spec, *frames.shape[1:3])
    cropped, size = frames[:, top:bottom, left:right], (spec.size, spec.size)
    if cropped.shape[1:3] == size:
        return cropped
    from PIL import Image  # here, so that the maths of a backbone needs no Pillow

    images = (Image.fromarray(frame) for frame in cropped)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(image.resize(size, bicubic)) for image in images])


def normalize(frames: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Map 0..255 to the backbone's range: (x - offset) / scale, float32.

    Args:
        frames: (..., S, S, 3) uint8, 0..255.
        spec: the model's offset and scale.

    Raises:
        InputError: frames of another dtype.
    """
    _check_dtype(frames)
    offset, scale = (np.asarray(x, np.float32) for x in (spec.offset, spec.scale))
    return (frames.astype(np.float32) - offset) / scale


def preprocess(
    spec: Preprocess,
    frames: np.ndarray,  # validated below, with a sentence
) -> Float[np.ndarray, "T S S 3"]:
    """Crop, resize and normalise a clip's frames to the model's input, float32.

    Args:
        spec: the model's crop, size and range.
        frames: (T, H, W, 3) uint8, 0..255.

    Raises:
        InputError: frames of another dtype or shape, or none.
    """
    return normalize(resize(frames, spec), spec)


def _check_dtype(frames: np.ndarray) -> None:
    """Validate uint8: other ranges would pass for black, or wrap around."""
    if frames.dtype == np.uint8:
        return
    low, high = (frames.min(), frames.max()) if frames.size else (0, 0)
    if frames.dtype.kind == "f" and low < 0:
        advice = "they look preprocessed already, so pass them to explain as they are"
    elif frames.dtype.kind == "b" or (frames.dtype.kind == "f" and high <= 1):
        advice = "convert them by np.uint8(np.round(frames * 255.0))"
    elif frames.dtype == np.uint16:
        advice = "convert 16-bit frames by np.uint8(frames // 257)"
    else:
        advice = "scale them to 0 to 255 and convert them by np.uint8(np.round(frames))"
    raise InputError(
        f"frames are {frames.dtype} from {low:g} to {high:g}, and uint8 from 0 to 255 "
        f"is expected: {advice}"
    )


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
        return Dense(self.width, kernel_init=HE_NORMAL)(patches)


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
