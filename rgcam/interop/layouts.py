"""The axes that a model's two functions have, and their change to those of rgcam."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.types import Tensor

FRAMES = "thwc"
MAPS, TOKENS, VECTORS = "thwk", "tnk", "tk"


def _is_layout(letters: str, axes: str) -> bool:
    """Tell whether letters are these axes in any order, with or without a batch axis."""
    return sorted(letters) in (sorted(axes), sorted(f"b{axes}"))


def _arranged(values: Array, axes: str, wanted: str) -> Array:
    """Return values with their axes in another order, and with a batch axis or without."""
    if "b" in axes:
        values, axes = values.squeeze(axes.index("b")), axes.replace("b", "")
    order = [axes.index(axis) for axis in wanted if axis != "b"]
    values = values.transpose(order)
    return jnp.expand_dims(values, wanted.index("b")) if "b" in wanted else values


@dataclasses.dataclass(frozen=True)
class Layout:
    """The axes of the arrays that a model's two functions take and return.

    One letter for each axis: ``b`` batch (of this one clip: 1), ``t`` time, ``h`` rows,
    ``w`` columns, ``c`` colours, ``k`` channels of the feature map, and ``n`` tokens in the
    place of ``h`` and ``w``. ``features="bkthw"`` is the feature map of a 3D CNN of
    PyTorch, ``"btnk"`` that of a video transformer, ``"tk"`` a vector for each frame.

    Class tokens lie nowhere in the frame. Each is kept as K further channels that are the
    same in all cells: what it contributes belongs to its frame and is spread evenly over
    the frame's cells. The first K channels of A and beta are those of the other tokens.

    Attributes:
        frames: axes of the frames that ``features`` takes.
        features: axes of A, as ``features`` returns it and ``classify`` takes it.
        grid: (h, w) of the tokens, row by row; None: a square where their number is one,
            else one row of cells, of which the matrix means something and the maps do not.
        class_tokens: how many of the first tokens of each frame are class tokens.
    """

    frames: str = FRAMES
    features: str = MAPS
    grid: tuple[int, int] | None = None
    class_tokens: int = 0

    def __post_init__(self) -> None:
        """Validate the letters.

        Raises:
            InputError: they are not the axes of frames, or of a feature map.
        """
        if not _is_layout(self.frames, FRAMES):
            raise InputError(
                f"the layout of frames is {self.frames!r}: give t, h, w and c in the order "
                "of the axes, and b for a batch axis"
            )
        if not any(_is_layout(self.features, axes) for axes in (MAPS, TOKENS, VECTORS)):
            raise InputError(
                f"the layout of features is {self.features!r}: give t, h, w and k, or t, n "
                "and k, or t and k, in the order of the axes, and b for a batch axis"
            )

    def frames_in(self, frames: Float[Tensor, "T S S 3"]) -> Float[Array, "..."]:
        """Return frames with the axes that ``features`` takes."""
        return _arranged(jnp.asarray(frames), FRAMES, self.frames)

    def features_out(self, outputs: Float[Tensor, "..."]) -> Float[Array, "T h w K"]:
        """Return A from what ``features`` returned.

        Raises:
            InputError: it has other axes, a batch of several clips, or tokens that do not
                fill the grid.
        """
        axes, shape = self.features, jnp.shape(outputs)
        batch = shape[axes.index("b")] if "b" in axes and len(shape) == len(axes) else 1
        if len(shape) != len(axes) or batch != 1 or 0 in shape:
            expected = ", ".join("1" if axis == "b" else axis.upper() for axis in axes)
            raise InputError(
                f"features returned an array of shape {shape}: expected ({expected}) for "
                "one clip; rgcam.Layout(features=...) says which axes it has"
            )
        if "n" in axes:
            return self._tokens_out(_arranged(jnp.asarray(outputs), axes, TOKENS))
        if "h" in axes:
            return _arranged(jnp.asarray(outputs), axes, MAPS)
        vectors = _arranged(jnp.asarray(outputs), axes, VECTORS)
        return vectors[:, None, None]

    def features_in(self, maps: Float[Tensor, "T h w K"]) -> Float[Array, "..."]:
        """Return A with the axes that ``classify`` takes, the inverse of the above."""
        maps = jnp.asarray(maps)
        if "n" in self.features:
            return _arranged(self._tokens_in(maps), TOKENS, self.features)
        if "h" in self.features:
            return _arranged(maps, MAPS, self.features)
        return _arranged(maps[:, 0, 0], VECTORS, self.features)

    def scores_out(self, scores: object) -> object:
        """Return scores without their batch axis, where they have one."""
        has_batch = isinstance(scores, jax.Array) and scores.shape[:-2] == (1,)
        return scores[0] if has_batch and "b" in self.features else scores

    def _tokens_out(self, tokens: Float[Array, "T n K"]) -> Float[Array, "T h w K2"]:
        steps, count, channels = tokens.shape
        placed = count - self.class_tokens
        side = math.isqrt(max(placed, 0))
        height, width = self.grid or (
            (side, side) if side**2 == placed else (1, placed)
        )
        if placed < 1 or height * width != placed:
            raise InputError(
                f"features returned {count} tokens for each frame, {self.class_tokens} of "
                f"them class tokens: the others do not fill a grid of {height} x {width}; "
                "rgcam.Layout(grid=(h, w), class_tokens=n) says how they lie"
            )
        maps = tokens[:, self.class_tokens :].reshape(steps, height, width, channels)
        beside = tokens[:, : self.class_tokens].reshape(steps, 1, 1, -1)
        beside = jnp.broadcast_to(beside, (*maps.shape[:3], beside.shape[-1]))
        return jnp.concatenate([maps, beside], -1)

    def _tokens_in(self, maps: Float[Array, "T h w K2"]) -> Float[Array, "T n K"]:
        steps, height, width, channels = maps.shape
        channels //= 1 + self.class_tokens
        tokens = maps[..., :channels].reshape(steps, height * width, channels)
        # They are the same in all cells; where single cells are replaced, their mean
        # is replaced in part.
        beside = maps[..., channels:].mean((1, 2)).reshape(steps, -1, channels)
        return jnp.concatenate([beside, tokens], 1)


PLAIN = Layout()
"""The axes that rgcam uses itself."""
