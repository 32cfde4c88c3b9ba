"""What an explanation of one clip takes of a device's memory, and the longest that fits."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rgcam.attribution import explain, padding
from rgcam.models.zoo import Model

# What XLA holds of a frame at once, as a multiple of the frame itself: measured on CPUs,
# 16 for EfficientNet-Lite0 at 224 px, 7 for the small CNN at 64 px.
ACTIVATIONS = 16


class ClipMemory(NamedTuple):
    """Bytes that the explanation of a clip of T frames takes: pair T^2 + frame T.

    Attributes:
        frame: bytes for each frame.
        pair: bytes for each pair of frames.
    """

    frame: int
    pair: int

    def longest(self, max_bytes: int) -> int:
        """Return the frames of the longest clip that fits, padded as it will be."""
        root = math.sqrt(self.frame**2 + 4 * self.pair * max_bytes)
        steps = int((root - self.frame) / (2 * self.pair))
        while steps > padding.SHORTEST and padding.padded_length(steps) > steps:
            steps -= 1  # to the next padded length that fits
        return steps


def clip_memory(model: Model, *, classes: int, beta: bool) -> ClipMemory:
    """Return what the explanation of a clip takes.

    It counts maps and matrix of all pairs for ``classes``, beta of one, and, for each
    frame, input, feature map and the backbone's activations.

    Args:
        model: what is explained.
        classes: whose maps are computed.
        beta: whether Eq. 1 is kept.
    """
    height, width, channels = model.feature_map or _cut_shape(model)
    cells, pixels = height * width, 4 * model.description.preprocess.size**2 * 3
    pair = explain.explanation_bytes(1, 1, cells, channels, beta)
    pair += (classes - 1) * explain.explanation_bytes(1, 1, cells, channels, False)
    return ClipMemory(
        frame=(1 + ACTIVATIONS) * pixels + 4 * cells * channels, pair=pair
    )


def _cut_shape(model: Model) -> tuple[int, int, int]:
    """Return (h, w, K) of a frame's feature map."""
    size = model.description.preprocess.size
    frame = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    features = functools.partial(model.module.apply, method="features")
    return jax.eval_shape(features, model.variables, frame).shape[1:]
