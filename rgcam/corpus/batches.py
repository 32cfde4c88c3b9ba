"""Clips of any length -> padded batches of a few shapes -> explanations.

A clip is padded to the length of its bucket, and a short batch to one of a few sizes, so
that a whole corpus compiles a few programs. The models are causal and ``length`` masks
the padding: a clip's numbers are those of ``explain`` on the clip alone.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from rgcam.attribution import explain as attribution
from rgcam.attribution import gradcam
from rgcam.attribution.explain import ClassMaps
from rgcam.models import backbones, cut
from rgcam.models.backbones import Preprocess
from rgcam.models.zoo import Model
from rgcam.training import mesh
from rgcam.types import Tensor, Variables

SHORTEST = 16  # frames of the first bucket
MOST = 16  # clips on a device at once
# What XLA holds of a frame at once, as a multiple of the frame itself: measured on CPUs,
# 16 for EfficientNet-Lite0 at 224 px, 7 for the small CNN at 64 px.
ACTIVATIONS = 16


class Outputs(NamedTuple):
    """Which of the large arrays of an explanation are returned.

    Attributes:
        beta: weights of Eq. 1.
        all_maps: maps of all output steps, not of the last one alone.
        classes: number of classes whose signed maps of all pairs are returned: the
            explained one and those with the next highest scores.
    """

    beta: bool = False
    all_maps: bool = False
    classes: int = 0


class ClipArrays(NamedTuple):
    """What is returned of an explanation; of a batch, each has an axis B in front.

    Attributes:
        scores: y (out C), logits.
        target: () int32, index of the explained class.
        maps: L (rows in h w) of the last output step (1 row) or of all.
        matrix: (out in), in logits.
        beta: (out in K), or None.
        class_maps: signed maps of the explained class and others, or None.
    """

    scores: Float[Tensor, "*batch out C"]
    target: Int[Tensor, "*batch"]
    maps: Float[Tensor, "*batch rows in h w"]
    matrix: Float[Tensor, "*batch out in"]
    beta: Float[Tensor, "*batch out in K"] | None
    class_maps: ClassMaps | None


class MemoryLimits(NamedTuple):
    """What fits in a device's memory, from ``memory_limits``.

    Attributes:
        frame: bytes that grow with T, for each frame.
        pair: bytes that grow with T^2, for each pair of frames.
        total: bytes that a batch may take on one device.
        most: clips on a device at once.
    """

    frame: int
    pair: int
    total: int
    most: int = MOST

    @property
    def longest(self) -> int:
        """Return the frames T of the longest clip: pair T^2 + frame T <= total."""
        root = math.sqrt(self.frame**2 + 4 * self.pair * self.total)
        return int((root - self.frame) / (2 * self.pair))

    def bucket(self, length: int) -> int:
        """Return the padded length: 16, 24, 32, 48, 64, 96, ... or the longest."""
        base = SHORTEST
        while length > 1.5 * base:
            base *= 2
        return min(base if length <= base else 3 * base // 2, self.longest)

    def batch_size(self, length: int, devices: int) -> int:
        """Return the clips of a full batch in the bucket ``length``."""
        clip = length * (self.frame + length * self.pair)
        return devices * max(1, min(self.total // clip, self.most))


def memory_limits(model: Model, max_bytes: int, classes: int = 0) -> MemoryLimits:
    """Return what fits of a model's explanations in ``max_bytes`` of every device.

    The estimate counts beta, maps and matrix of all pairs, the signed maps of
    ``classes`` and, for each frame, input, feature map and the backbone's activations.
    """
    size = model.description.preprocess.size
    height, width, channels = _cut_shape(model, size)
    pair = attribution.explanation_bytes(1, 1, height * width, channels)
    pair += 4 * classes * height * width
    pixels = 4 * size * size * 3
    features = 4 * height * width * channels
    most = MOST
    if jax.default_backend() == "cpu":  # fastest with few frames in the backbone
        most = min(MOST, max(1, cut.at_once(size * size) // SHORTEST))
    return MemoryLimits(
        frame=(1 + ACTIVATIONS) * pixels + features,
        pair=pair,
        total=max_bytes,
        most=most,
    )


def padded_size(clips: int, full: int, devices: int, compiled: set[int]) -> int:
    """Return the rows that a batch is padded to, and add them to ``compiled``.

    Args:
        clips: in the batch.
        full: rows of a full batch.
        devices: that share it; the result is a multiple of their number.
        compiled: rows for which a program exists: the fewest that hold the clips are
            taken. If none do, a power of two (times devices) or ``full`` is.
    """
    per_device = 1 << (-(-clips // devices) - 1).bit_length()
    new = min(full, devices * per_device)
    size = min((rows for rows in compiled if rows >= clips), default=new)
    compiled.add(size)
    return size


def explain_batch(
    module: nn.Module,
    variables: Variables,
    clips: Sequence[UInt8[np.ndarray, "_ S S 3"]],
    targets: Int[Tensor, " B"] | None,
    *,
    devices: Mesh,
    preprocess: Preprocess,
    shape: tuple[int, int],
    outputs: Outputs,
) -> ClipArrays:
    """Begin to explain up to B clips on all devices; do not wait for the result.

    Args:
        module: a causal model.
        variables: on every device, by ``mesh.repeat``.
        clips: resized frames; their lengths may differ.
        targets: class index of every row; None: the predicted class of each clip.
        devices: the mesh that shares the batch.
        preprocess: how the frames are normalised.
        shape: (B, T), rows and frames that the clips are padded to.
        outputs: what to return.

    Returns:
        Arrays (B ...) on the devices; ``without_padding`` gives one clip's.
    """
    frames = np.zeros((*shape, *clips[0].shape[1:]), np.float32)
    lengths = np.ones(shape[0], np.int32)  # a row without a clip: one black frame
    for row, clip in enumerate(clips):
        frames[row, : len(clip)] = backbones.normalize(clip, preprocess)
        lengths[row] = len(clip)
    frames, lengths = mesh.divide(devices, (frames, lengths))
    if isinstance(targets, np.ndarray):
        targets = mesh.divide(devices, targets)
    return _explain_batch(module, variables, frames, lengths, targets, outputs)


def without_padding(batch: ClipArrays, row: int, length: int) -> ClipArrays:
    """Return one clip's arrays of a gathered batch, without its padded frames."""
    clip: ClipArrays = jax.tree.map(lambda array: array[row], batch)
    class_maps = clip.class_maps
    if class_maps is not None:
        class_maps = ClassMaps(
            targets=tuple(int(target) for target in class_maps.targets),
            maps=class_maps.maps[:, :length, :length],
        )
    return ClipArrays(
        scores=clip.scores[:length],
        target=clip.target,
        maps=clip.maps[:length, :length],
        matrix=clip.matrix[:length, :length],
        beta=None if clip.beta is None else clip.beta[:length, :length],
        class_maps=class_maps,
    )


def _cut_shape(model: Model, size: int) -> tuple[int, int, int]:
    """Return (h, w, K) of a frame's feature map."""
    frame = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    features = functools.partial(model.module.apply, method="features")
    return jax.eval_shape(features, model.variables, frame).shape[1:]


@functools.partial(jax.jit, static_argnames=("module", "outputs"))
def _explain_batch(
    module: nn.Module,
    variables: Variables,
    frames: Float[Array, "B T S S 3"],
    lengths: Int[Array, " B"],
    targets: Int[Array, " B"] | None,
    outputs: Outputs,
) -> ClipArrays:
    def explain_clip(
        frames: Float[Array, "T S S 3"],
        length: Int[Array, ""],
        target: Int[Array, ""] | None,
    ) -> ClipArrays:
        return _explain_clip(module, variables, frames, length, target, outputs)

    return jax.vmap(explain_clip, in_axes=(0, 0, None if targets is None else 0))(
        frames, lengths, targets
    )


def _explain_clip(
    module: nn.Module,
    variables: Variables,
    frames: Float[Array, "T S S 3"],
    length: Int[Array, ""],
    target: Int[Array, ""] | None,
    outputs: Outputs,
) -> ClipArrays:
    """Explain the first ``length`` frames of one padded clip."""
    explanation = attribution.explain(
        module, variables, frames, target, length=length, beta=outputs.beta
    )
    scores = explanation.scores
    if target is None:
        target = jnp.asarray(gradcam.predicted_class(scores, length))
    target = target.astype(jnp.int32)
    class_maps = None
    if outputs.classes:
        # The explained class comes first, even where others score higher.
        last = scores[length - 1].at[target].set(jnp.inf)
        indices = jnp.argsort(-last)[: outputs.classes].astype(jnp.int32)
        maps_of = functools.partial(
            attribution.class_maps, module, variables, explanation.features
        )
        # One class after the other: their maps together would take too much memory.
        signed = jax.lax.map(lambda index: maps_of(index, length), indices)
        class_maps = ClassMaps(targets=indices, maps=signed)
    return ClipArrays(
        scores=scores,
        target=target,
        maps=explanation.maps
        if outputs.all_maps
        else explanation.maps[length - 1][None],
        matrix=explanation.matrix,
        beta=explanation.beta,
        class_maps=class_maps,
    )
