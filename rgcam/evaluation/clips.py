"""The clips that methods are measured on: all of one length, with their ground truth."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from rgcam.data import augment, folder
from rgcam.data.synthetic import draw, stickman
from rgcam.data.video import read_clip
from rgcam.errors import InputError
from rgcam.models.zoo import Model, class_index

SEED = 50_000  # of the first drawn clip: none of the training or test clips has it
SHAKE = 3 / 64  # of the side: the largest shift of a hand-held camera
DRAWN = (*draw.KINDS, "handheld")


class EvaluationClip(NamedTuple):
    """One clip with its ground truth.

    Attributes:
        name: unique among the clips.
        group: the recording it was cut from.
        frames: preprocessed, as the model sees them.
        pixels: RGB, as a person sees them.
        target: index of the class to explain; None: the predicted one.
        mask: pixels where the truth is, or None.
        true_frames: frames where the truth is, or None.
    """

    name: str
    group: str
    frames: Float[np.ndarray, "T S S 3"]
    pixels: UInt8[np.ndarray, "T H W 3"]
    target: int | None
    mask: Bool[np.ndarray, "T H W"] | None
    true_frames: Bool[np.ndarray, " T"] | None


def load(
    model: Model,
    *,
    data: str,
    group: str = "",
    clips: int = 60,
    length: int = 16,
    concatenate: bool = False,
) -> Iterator[EvaluationClip]:
    """Yield clips one after the other.

    Args:
        model: that will be explained; it preprocesses the frames.
        data: a folder with one sub-folder per class or, with the ground truth,
            ``stickman``; ``handheld``: the same clips with every frame shifted by up to
            SHAKE of the side, so that all edges move in all frames; ``cue``: one early
            frame determines the class (``rgcam.data.synthetic.cue``).
        group: regular expression that finds the group in a file's name.
        clips: at most this many; those of a folder come in a random order.
        length: frames of each: a file's first ones. Shorter files are skipped.
        concatenate: join two clips of a folder, each of half the length and of another
            class, and explain first one class, then the other; the true frames are
            those of the class's own half.

    Raises:
        InputError: too few clips or frames are asked for, or drawn clips are to be
            concatenated.
    """
    if clips < 1 or length < 8:
        raise InputError("--clips must be 1 or more, and --length 8 or more")
    if data in DRAWN:
        if concatenate:
            raise InputError("--concatenate is for a folder of clips")
        loaded = (_draw(model, data, SEED + n, length) for n in range(clips))
    elif concatenate:
        loaded = _concatenate(_read_folder(model, data, group, length // 2))
    else:
        loaded = _read_folder(model, data, group, length)
    # Lazily, since the frames of all clips together may not fit into memory.
    return (clip for clip, _ in zip(loaded, range(clips), strict=False))


def warning(data: str, group: str) -> str:
    """Return what to keep in mind with intervals over these clips, or ""."""
    if group or data in DRAWN:
        return ""
    pattern = folder.suggest_pattern(folder.scan(data).items)
    return pattern and (
        "warning: by their names, several clips are of one recording, and the intervals "
        f"are too narrow; give --group='{pattern}'"
    )


def _draw(model: Model, kind: str, seed: int, length: int) -> EvaluationClip:
    """Draw a synthetic clip, whose mask and true frames are known."""
    clip = draw.KINDS.get(kind, stickman).clip(seed, length=length)
    pixels, mask = clip.frames, clip.mask
    if kind == "handheld":
        rng, limit = np.random.default_rng(seed), SHAKE * pixels.shape[1]
        # The mask moves along: it stays on the limbs.
        shifts = augment.random_shifts(length, limit, rng)
        pixels, mask = augment.shake(pixels, shifts), augment.shake(mask, shifts)
    true_frames = np.zeros(length, bool)
    true_frames[slice(*clip.interval)] = True
    return EvaluationClip(
        name=f"{kind} {seed}",
        group=f"{kind} {seed}",
        frames=model.preprocess(pixels),
        pixels=pixels,
        target=None,
        mask=mask,
        true_frames=true_frames,
    )


def _read_folder(
    model: Model, data: str, group: str, length: int
) -> Iterator[EvaluationClip]:
    """Read videos in a random order; the class of the sub-folder is explained."""
    items, classes, _ = folder.scan(data, group)
    class_indices = [class_index(model, name) for name in classes]
    for index in np.random.default_rng(0).permutation(len(items)):
        item = items[index]
        pixels = read_clip(item.clip, model.description.fps).frames[:length]
        # All clips have one length, so that everything is compiled once.
        if len(pixels) < length:
            continue
        yield EvaluationClip(
            name=item.place,
            group=f"{classes[item.label]} {item.group}",
            frames=model.preprocess(pixels),
            pixels=pixels,
            target=class_indices[item.label],
            mask=None,
            true_frames=None,
        )


def _concatenate(clips: Iterator[EvaluationClip]) -> Iterator[EvaluationClip]:
    """Join every clip with the next one of another class; explain both classes."""
    # A sliding pair of clips: each clip is the second of one pair, the first of the next.
    first = next(clips)
    for second in clips:
        if first.target == second.target:
            continue
        frames = np.concatenate([first.frames, second.frames])
        pixels = np.concatenate([first.pixels, second.pixels])
        halves = np.arange(len(frames)) // len(first.frames)
        for number, half in enumerate((first, second)):
            yield EvaluationClip(
                name=f"{first.name} + {second.name} {number}",
                group=half.group,
                frames=frames,
                pixels=pixels,
                target=half.target,
                mask=None,
                true_frames=halves == number,
            )
        first = second
