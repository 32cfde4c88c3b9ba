"""The clips by which methods are measured: all of one length, truth beside them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from rgcam.data import augment, folder
from rgcam.data import clips as data
from rgcam.data.synthetic import stickman
from rgcam.data.video import read_clip
from rgcam.errors import InputError
from rgcam.models.zoo import Model, class_index

SEED = 50_000  # of the first drawn clip: no training or test clip's
SHAKE = 3 / 64  # of the side, a hand-held camera's largest shift
DRAWN = (*data.DRAWN, "handheld")


class Subject(NamedTuple):
    """A clip to measure by.

    Attributes:
        name: of the clip.
        group: its recording.
        frames: preprocessed (T S S 3).
        pixels: (T H W 3), as the eye sees them.
        target: the class to explain; None: the one decided for.
        mask: (T H W), where the truth is, or None.
        true: (T,), when it is, or None.
    """

    name: str
    group: str
    frames: Float[np.ndarray, "T S S 3"]
    pixels: UInt8[np.ndarray, "T H W 3"]
    target: int | None
    mask: Bool[np.ndarray, "T H W"] | None
    true: Bool[np.ndarray, " T"] | None


def load(
    model: Model,
    *,
    data: str,
    group: str = "",
    clips: int = 60,
    length: int = 16,
    concatenate: bool = False,
) -> Iterator[Subject]:
    """Yield clips one after the other.

    Args:
        model: that will see them.
        data: a folder of classes or, with the truth, ``stickman``; ``handheld``: the
            same clips with every frame moved by up to SHAKE, so that all edges move in
            all frames; ``cue``: one early frame decides (``rgcam.data.synthetic.cue``).
        group: pattern of the groups in file names.
        clips: how many at most; of a folder, in a random order.
        length: frames of each; a file's first, and shorter files are left out.
        concatenate: two clips of a folder in sequence, half the length each, of two
            classes: one after the other is explained, true is its half.

    Raises:
        InputError: too few clips or frames asked for, or drawn clips to concatenate.
    """
    if clips < 1 or length < 8:
        raise InputError("--clips must be 1 or more, and --length 8 or more")
    if data not in DRAWN:
        part = length // 2 if concatenate else length
        found = _from_folder(model, data, group, part)
        found = _joined(found) if concatenate else found
    elif concatenate:
        raise InputError("--concatenate is for a folder of clips")
    else:
        found = (_drawn(model, data, SEED + n, length) for n in range(clips))
    return (subject for subject, _ in zip(found, range(clips), strict=False))


def _drawn(model: Model, kind: str, seed: int, length: int) -> Subject:
    clip = data.DRAWN.get(kind, stickman).clip(seed, length=length)
    pixels, mask = clip.frames, clip.mask
    if kind == "handheld":
        rng, most = np.random.default_rng(seed), SHAKE * pixels.shape[1]
        shifts = augment.random_shifts(length, most, rng)
        pixels, mask = augment.shake(pixels, shifts), augment.shake(mask, shifts)
    true = np.zeros(length, bool)
    true[slice(*clip.interval)] = True
    frames, name = model.preprocess(pixels), f"{kind} {seed}"
    return Subject(name, name, frames, pixels, None, mask, true)


def _from_folder(model: Model, data: str, group: str, length: int) -> Iterator[Subject]:
    items, classes = folder.scan(data, group)
    numbers = [class_index(model, name) for name in classes]
    for index in np.random.default_rng(0).permutation(len(items)):
        item = items[index]
        pixels = read_clip(item.clip, model.description.fps).frames[:length]
        if len(pixels) == length:
            name = f"{classes[item.label]} {item.group}"
            frames = model.preprocess(pixels)
            target = numbers[item.label]
            yield Subject(item.place, name, frames, pixels, target, None, None)


def _joined(found: Iterator[Subject]) -> Iterator[Subject]:
    """Put every clip before the next one of another class; explain both classes."""
    first = next(found)
    for second in found:
        if first.target == second.target:
            continue
        frames, pixels = (
            np.concatenate([getattr(first, n), getattr(second, n)])
            for n in ("frames", "pixels")
        )
        for number, part in enumerate((first, second)):
            true = np.arange(len(frames)) // len(first.frames) == number
            name = f"{first.name} + {second.name} {number}"
            yield Subject(name, part.group, frames, pixels, part.target, None, true)
        first = second
