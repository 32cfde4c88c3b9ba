"""What the CNNs below the cut share, and the small one: frames -> A (..., h, w, K).

All keep frames apart: nothing is normalised across a batch, so that the causal zeros
of an LRCN are exact. Weights are read by ``rgcam.models.torch_files``; here they are folded.

A backbone is a chain of blocks 0 .. ``block_count`` - 1 that can be cut:
``backbone(backbone(x, stop=n), start=n)`` equals ``backbone(x)``. What comes before
block 0 (a stem) belongs to it; what comes after the last block (a head) runs where
``stop`` is None, and is above every cut.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.types import Tensor

Place = tuple[str, ...]  # of a layer in the parameters: names from the outside in
NORM = ("weight", "bias", "running_mean", "running_var")


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
        x = jnp.asarray(inputs)
        if start == 0 and stop != 0:
            x = space_to_depth(x)
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
    """Part a backbone's parameters: of the blocks below ``start``, and the others.

    Args:
        backbone: SmallCNN, EfficientNetLite or ResNet.
        params: its parameters, or some of them.
        start: 0 to ``backbone.block_count``.

    Returns:
        What ``backbone(x, stop=start)`` reads, and what ``backbone(y, start=start)``
        reads.
    """
    below = {n: p for n, p in params.items() if backbone.block_of(n) < start}
    return below, {n: p for n, p in params.items() if n not in below}


def port(
    state: Mapping[str, np.ndarray],
    layers: Mapping[Place, tuple[str, str]],
    classifier: str,
    *,
    eps: float,
    network: str,
) -> tuple[dict[Place, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Rename PyTorch weights and fold their batch normalisation, exactly.

    ``scale * (conv(x) - mean) / sqrt(variance + eps) + shift`` is itself a convolution.

    Args:
        state: name -> array; names ending in num_batches_tracked are ignored.
        layers: place -> (convolution, batch norm), as PyTorch names them.
        classifier: PyTorch's name of the Dense layer above.
        eps: of the batch norms.
        network: its name, for messages.

    Returns:
        place -> kernel (k, k, in, out) and bias (out,); and the classifier's kernel
        (K, classes) and bias (classes,).

    Raises:
        InputError: a weight is missing, left over, or does not fit those beside it.
    """
    params = {
        place: _fold(state, conv, norm, eps, network)
        for place, (conv, norm) in layers.items()
    }
    kernel = _read(state, f"{classifier}.weight", (None, None), network)
    bias = _read(state, f"{classifier}.bias", kernel.shape[:1], network)
    _refuse_others(state, layers, classifier, network)
    return params, {"kernel": kernel.T, "bias": bias}


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


def _read(
    state: Mapping[str, np.ndarray],
    key: str,
    shape: tuple[int | None, ...],
    network: str,
) -> np.ndarray:
    """Return one weight, of this shape; None stands for any length."""
    if key not in state:
        raise InputError(f"the weights are not {network}'s: {key} is missing")
    found = np.asarray(state[key], np.float32)
    if len(found.shape) != len(shape) or any(
        wanted not in (None, n) for wanted, n in zip(shape, found.shape, strict=True)
    ):
        sides = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(
            f"the weights are not {network}'s: {key} is {found.shape}, not ({sides})"
        )
    return found


def _fold(
    state: Mapping[str, np.ndarray], conv: str, norm: str, eps: float, network: str
) -> dict[str, np.ndarray]:
    weight = _read(state, f"{conv}.weight", (None,) * 4, network)
    channels = weight.shape[:1]
    scale, shift, mean, variance = (
        _read(state, f"{norm}.{part}", channels, network) for part in NORM
    )
    factor = scale / np.sqrt(variance + eps)
    kernel = weight.transpose(2, 3, 1, 0) * factor
    return {"kernel": kernel, "bias": shift - mean * factor}


def _refuse_others(
    state: Mapping[str, Any],
    layers: Mapping[Place, tuple[str, str]],
    classifier: str,
    network: str,
) -> None:
    known = {f"{classifier}.weight", f"{classifier}.bias"}
    for conv, norm in layers.values():
        known |= {f"{conv}.weight", *(f"{norm}.{part}" for part in NORM)}
    extra = sorted(
        k for k in state if k not in known and not k.endswith("num_batches_tracked")
    )
    if extra:
        raise InputError(
            f"the weights hold {len(extra)} arrays that {network} has not, such as "
            f"{extra[0]!r}: they are another network's"
        )
