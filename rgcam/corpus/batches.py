"""Clips of any length -> batches of a few shapes -> what is kept of explanations.

A clip is padded to the length of its bucket, and a short batch to a few sizes, so that
a whole corpus compiles a few programs. The models are causal and ``length`` masks the
padding: a clip's numbers are those of ``gradcam.explain`` on the clip alone.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, UInt8

from rgcam.attribution import explain as attribution
from rgcam.attribution.explain import ClassMaps
from rgcam.data import clips as data
from rgcam.models import cut as model_cut
from rgcam.models.backbones import Preprocess
from rgcam.models.zoo import Model
from rgcam.training import mesh
from rgcam.types import Tensor

SHORTEST = 16  # frames of the first bucket
MOST = 16  # videos on a device at once
# What XLA keeps of a frame at once, beside its input: measured on CPUs, 16 for
# EfficientNet-Lite0 at 224 px, 7 for the small CNN at 64 px.
ACTIVATIONS = 16


class Kept(NamedTuple):
    """What is kept of an Explanation; a batch's has an axis B in front of each.

    Attributes:
        scores: y (out C), logits.
        target: () int32, the class that is explained.
        maps: L (rows in h w), of the last output step (1 row) or of all.
        matrix: (out in), in logits.
        beta: (out in K), or None.
        shown: signed maps of the target and its rivals, or None.
    """

    scores: Float[Tensor, "out C"]
    target: Int[Tensor, ""]
    maps: Float[Tensor, "rows in h w"]
    matrix: Float[Tensor, "out in"]
    beta: Float[Tensor, "out in K"] | None
    shown: ClassMaps | None = None


class Keep(NamedTuple):
    """Which of the big arrays to keep.

    Attributes:
        beta: of the target.
        all_maps: those of all output steps.
        classes: how many classes' signed maps, the target's and its rivals'.
    """

    beta: bool = False
    all_maps: bool = False
    classes: int = 0


class Limits(NamedTuple):
    """What a device's memory allows, from ``limits``.

    Attributes:
        frame: bytes that grow with T, for each frame.
        pair: bytes that grow with T^2, for each pair of frames.
        total: bytes allowed on one device.
        most: videos on a device at once.
    """

    frame: int
    pair: int
    total: int
    most: int = MOST

    @property
    def longest(self) -> int:
        """Return the frames of the longest clip that fits."""
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


def limits(model: Model, max_bytes: int, classes: int = 0) -> Limits:
    """Return what fits of a model in ``max_bytes`` of every device.

    Counted are beta, maps and matrix of all pairs (``gradcam.explanation_bytes``), the
    signed maps of ``classes``
    and, for each frame, input, feature map and the backbone's activations.
    """
    size = model.description.preprocess.size
    frame = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    cut = functools.partial(model.module.apply, method="features")
    _, height, width, channels = jax.eval_shape(cut, model.variables, frame).shape
    pair = attribution.explanation_bytes(1, 1, height * width, channels)
    pair += 4 * classes * height * width
    pixels = 4 * size * size * 3
    features = 4 * height * width * channels
    frame_bytes = (1 + ACTIVATIONS) * pixels + features
    most = MOST
    if jax.default_backend() == "cpu":  # fastest with few frames in the backbone
        most = min(MOST, max(1, model_cut.at_once(size * size) // SHORTEST))
    return Limits(frame_bytes, pair, max_bytes, most)


def padded_size(clips: int, full: int, devices: int, known: set[int]) -> int:
    """Return the rows that a batch is padded to, and add them to ``known``.

    Args:
        clips: in the batch.
        full: rows of a full one.
        devices: that share it; the result is a multiple.
        known: rows that were compiled for before: the least that hold the clips are
            taken. If none do, a power of two (times devices) is, or ``full``.
    """
    share = 1 << (-(-clips // devices) - 1).bit_length()
    fresh = min(full, devices * share)
    size = min((n for n in known if n >= clips), default=fresh)
    known.add(size)
    return size


def explain(
    module: nn.Module,
    variables: Any,
    devices: Mesh,
    spec: Preprocess,
    clips: Sequence[UInt8[np.ndarray, "_ S S 3"]],
    targets: Int[Tensor, " B"] | None,
    shape: tuple[int, int],
    keep: Keep,
) -> Kept:
    """Begin to explain up to B clips on all devices; do not wait for the result.

    Args:
        module: FrameCNN or LRCN.
        variables: on every device, by ``mesh.repeat``.
        devices: the mesh that shares the batch.
        spec: how the frames are normalised.
        clips: resized frames; T may differ.
        targets: class of every row; None: what each clip's last step decides for.
        shape: (B, T): rows and frames that the clips are padded to.
        keep: what of the result.

    Returns:
        Arrays (B ...) on the devices; ``cut`` gives one clip's.
    """
    frames = np.zeros((*shape, *clips[0].shape[1:]), np.float32)
    lengths = np.ones(shape[0], np.int32)  # a row without a clip: one black frame
    for row, clip in enumerate(clips):
        frames[row, : len(clip)] = data.normalize(clip, spec)
        lengths[row] = len(clip)
    frames, lengths = mesh.divide(devices, (frames, lengths))
    if isinstance(targets, np.ndarray):
        targets = mesh.divide(devices, targets)
    return _explain(module, variables, frames, lengths, targets, keep)


def cut(kept: Kept, row: int, length: int) -> Kept:
    """Return one clip's part (numpy, padding cut off) of a gathered batch."""
    one = jax.tree.map(lambda x: x[row], kept)
    return Kept(
        one.scores[:length],
        one.target,
        one.maps[:length, :length],
        one.matrix[:length, :length],
        None if one.beta is None else one.beta[:length, :length],
        one.shown and _cut_shown(one.shown, length),
    )


def _cut_shown(shown: ClassMaps, length: int) -> ClassMaps:
    targets = tuple(int(target) for target in shown.targets)
    return ClassMaps(targets, shown.maps[:, :length, :length])


@functools.partial(jax.jit, static_argnames=("module", "keep"))
def _explain(module, variables, frames, lengths, targets, keep) -> Kept:
    one = functools.partial(_explain_one, module, keep)
    axes = None, 0, 0, None if targets is None else 0
    return jax.vmap(one, in_axes=axes)(variables, frames, lengths, targets)


def _explain_one(module, keep, variables, frames, length, target) -> Kept:
    e = attribution.explain(
        module, variables, frames, target, length=length, beta=keep.beta
    )
    maps = e.maps if keep.all_maps else e.maps[length - 1][None]
    target = e.scores[length - 1].argmax() if target is None else target
    target = jnp.asarray(target, jnp.int32)
    shown = None
    if keep.classes:
        last = e.scores[length - 1].at[target].set(jnp.inf)
        chosen = jnp.argsort(-last)[: keep.classes].astype(jnp.int32)
        one = functools.partial(attribution.class_maps, module, variables, e.features)
        shown = ClassMaps(chosen, jax.lax.map(lambda c: one(c, length), chosen))
    return Kept(e.scores, target, maps, e.matrix, e.beta, shown)
