"""The linear map that a frame's feature map meets first."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.gradcam import Tensor

HEADS = ("gap", "grid", "fc")
GRID = {"gap": 1, "grid": 2}  # cells a side that a head reads


def pool(
    maps: Float[Tensor, "*T h w K"], cells: int
) -> Float[Array, "*T {cells} {cells} K"]:
    """Average over a grid of ``cells`` x ``cells``, as equal as h and w allow."""
    for axis in (-3, -2):
        edges = [round(i * maps.shape[axis] / cells) for i in range(cells + 1)]
        parts = [
            jax.lax.slice_in_dim(jnp.asarray(maps), a, b, axis=axis)
            for a, b in itertools.pairwise(edges)
        ]
        means = [part.mean(axis, keepdims=True) for part in parts]
        maps = jnp.concatenate(means, axis)
    return jnp.asarray(maps)


class FrameHead(nn.Module):
    """One vector per frame from its feature map, linearly.

    ``gap``: global average pooling, K numbers. ``grid``: the averages of the map's
    four quarters, 4 K numbers, which tell left from right and up from down. ``fc``:
    flatten and Dense: the fc6 of Donahue et al.'s LRCN (arXiv:1411.4389), which reads
    positions; its ReLU comes after.
    """

    kind: str = "gap"  # HEADS
    width: int = 512  # of fc

    def setup(self):
        """Make the Dense map of fc."""
        if self.kind == "fc":
            self.fc6 = nn.Dense(self.width)

    def __call__(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "T D"]:
        """Return a vector per frame: D is K (gap), 4 K (grid) or width (fc)."""
        if self.kind == "fc":
            return self.fc6(features.reshape(len(features), -1))
        return pool(features, GRID[self.kind]).reshape(len(features), -1)

    def response(self, channels: int) -> Float[Array, "{channels} D"]:
        """Return what fc's vector answers to an offset alike in all cells.

        That is ``sum_hw W`` of its Dense kernel W (h w K, D).
        """
        kernel = self.fc6.variables["params"]["kernel"]
        kernel = kernel.reshape(-1, channels * self.width)
        ones = jnp.ones(len(kernel), kernel.dtype)  # 40 times faster than sum(0)
        return (ones @ kernel).reshape(channels, self.width)
