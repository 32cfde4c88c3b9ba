"""The linear map that a frame's feature map meets first."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.types import Tensor

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


def share_out(
    maps: Float[Tensor, "T h w K"], kernels: Float[Tensor, "g g K D"]
) -> Float[Array, "T h w D"]:
    """Return what each cell adds to ``pool(maps, cells)`` times a kernel per part."""
    cells, maps = len(kernels), jnp.asarray(maps)
    edges = [[round(i * n / cells) for i in range(cells + 1)] for n in maps.shape[1:3]]
    spans = [[slice(*pair) for pair in itertools.pairwise(e)] for e in edges]
    count = lambda part: math.prod(part.shape[1:3])
    rows = [
        [maps[:, a, b] @ kernels[i, j] for j, b in enumerate(spans[1])]
        for i, a in enumerate(spans[0])
    ]
    rows = [jnp.concatenate([p / count(p) for p in row], 2) for row in rows]
    return jnp.concatenate(rows, 1)


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

    def shares(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "T h w D"]:
        """Return what each cell adds to fc's vector, the bias left out."""
        kernel = self.fc6.variables["params"]["kernel"]
        kernel = kernel.reshape(*features.shape[1:], self.width)
        return jnp.einsum("thwk,hwkd->thwd", features, kernel)
