"""Clips -> batches: preprocessing, the clips of a split, padding and shuffling."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from rgcam import stickman
from rgcam.backbones import Preprocess


@runtime_checkable
class Indexed(Protocol):
    """Clips by number: a list of arrays, or what reads one when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


class Clips(NamedTuple):
    """The clips of one split, in memory or read when indexed.

    Attributes:
        inputs: clip i is ``inputs[i]``: frames (T S S 3) uint8, or the features
            of a frozen backbone (T h w K) float16. T differs between clips.
        labels: (N,) int32 class numbers.
        names: N names, for messages.
        mirrored: the same clips seen in a mirror, or None where a mirror image
            is no example of its class.
    """

    inputs: Indexed
    labels: Int[np.ndarray, " N"]
    names: Sequence[str]
    mirrored: Indexed | None = None


class Batch(NamedTuple):
    """Clips padded to one length.

    Attributes:
        inputs: (B T ...) float32, normalised frames or features; 0 beyond lengths.
        labels: (B,) int32; -1 marks a row that only fills the batch.
        lengths: (B,) int32 valid steps of each clip.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray


def crop_box(spec: Preprocess, height: int, width: int) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) in pixels of what the model sees of a frame."""
    if spec.crop is None:
        return 0, 0, height, width
    side = round(spec.crop * min(height, width))
    top, left = (height - side) // 2, (width - side) // 2
    return top, left, top + side, left + side


def resize(frames: UInt8[np.ndarray, "T H W 3"], spec: Preprocess) -> np.ndarray:
    """Crop and resize (antialiased bicubic) frames to (T, S, S, 3) uint8."""
    top, left, bottom, right = crop_box(spec, *frames.shape[1:3])
    seen, size = frames[:, top:bottom, left:right], (spec.size, spec.size)
    if seen.shape[1:3] == size:
        return seen
    images = (Image.fromarray(frame) for frame in seen)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(image.resize(size, bicubic)) for image in images])


def normalize(frames: UInt8[np.ndarray, "*T S S 3"], spec: Preprocess) -> np.ndarray:
    """Map 0..255 to the backbone's range: (x - offset) / scale, float32."""
    return (frames.astype(np.float32) - spec.offset) / np.float32(spec.scale)


def preprocess(
    spec: Preprocess, frames: UInt8[np.ndarray, "T H W 3"]
) -> Float[np.ndarray, "T S S 3"]:
    """Make a clip's frames the model's input: crop, resize, normalise; float32."""
    return normalize(resize(frames, spec), spec)


def stickman_clips(seed: int, count: int, *, size: int = 64, length: int = 16) -> Clips:
    """Draw ``count`` stickman clips in memory (count * length * size^2 * 3 bytes).

    Clip i is ``rgcam.stickman.clip((seed, i))``, its label uniform over the classes.
    Different seeds give different clips: take one for training, one for testing.
    """
    clips = [stickman.clip((seed, i), size=size, length=length) for i in range(count)]
    labels = np.array([clip.label for clip in clips], np.int32)
    names = [f"stickman-{seed}-{i}" for i in range(count)]
    return Clips([clip.frames for clip in clips], labels, names)


def training_batches(
    clips: Clips, spec: Preprocess, *, batch_size: int, length: int, seed: int
) -> Iterator[Batch]:
    """Yield shuffled batches without end; batch n is a function of (seed, n).

    Each epoch is a new permutation; a clip longer than ``length`` steps gives a
    random window of it, and with ``clips.mirrored`` half of the clips are mirrored.
    A clip set smaller than a batch is repeated within it.
    """
    step = 0
    while True:
        yield training_batch(
            clips, spec, step, batch_size=batch_size, length=length, seed=seed
        )
        step += 1


def training_batch(
    clips: Clips,
    spec: Preprocess,
    step: int,
    *,
    batch_size: int,
    length: int,
    seed: int,
) -> Batch:
    """Return batch number ``step`` of ``training_batches``, by itself."""
    count = len(clips.labels)
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    orders = {e: _order(seed, e, count) for e in set((places // count).tolist())}
    chosen = [int(orders[p // count][p % count]) for p in places.tolist()]
    rng = np.random.default_rng((seed, 1, step))
    steps = [_window(_view(clips, i, rng), length, rng) for i in chosen]
    return _pad(steps, clips.labels[chosen], spec, length)


def evaluation_batches(
    clips: Clips, spec: Preprocess, *, batch_size: int, multiple: int = 16
) -> Iterator[Batch]:
    """Yield every clip once, whole, in order; the last batch is filled up.

    Lengths are padded to a multiple of ``multiple``, so that few shapes compile.
    """
    for start in range(0, len(clips.labels), batch_size):
        chosen = range(start, min(start + batch_size, len(clips.labels)))
        steps = [clips.inputs[i] for i in chosen]
        longest = max(len(s) for s in steps)
        length = -(-longest // multiple) * multiple
        fill = batch_size - len(steps)
        labels = np.append(clips.labels[list(chosen)], np.full(fill, -1, np.int32))
        yield _pad(steps + [steps[0][:1]] * fill, labels, spec, length)


def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)


def _view(clips: Clips, index: int, rng: np.random.Generator) -> np.ndarray:
    if clips.mirrored is not None and rng.random() < 0.5:
        return clips.mirrored[index]
    return clips.inputs[index]


def _window(steps: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    start = rng.integers(max(len(steps) - length, 0) + 1)
    return steps[start : start + length]


def _pad(
    clips: Sequence[np.ndarray], labels: np.ndarray, spec: Preprocess, length: int
) -> Batch:
    inputs = np.zeros((len(clips), length, *clips[0].shape[1:]), np.float32)
    for row, steps in zip(inputs, clips, strict=True):
        frames = steps.dtype == np.uint8
        row[: len(steps)] = normalize(steps, spec) if frames else steps
    lengths = np.array([len(steps) for steps in clips], np.int32)
    return Batch(inputs, labels.astype(np.int32), lengths)
