"""Synthetic clips by the name of their kind, drawn in memory from a seed."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from rgcam.data.clips import Clips
from rgcam.data.synthetic import captions, cue, stickman


@runtime_checkable
class SyntheticClip(Protocol):
    """A drawn clip with its ground truth, such as ``stickman.StickmanClip``."""

    @property
    def frames(self) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames."""
        ...

    @property
    def label(self) -> int:
        """Index into the kind's ``CLASSES``."""
        ...

    @property
    def mask(self) -> Bool[np.ndarray, "T H W"]:
        """The pixels that determine the class."""
        ...

    @property
    def interval(self) -> tuple[int, int]:
        """First frame that determines the class, and the first one after it."""
        ...


@runtime_checkable
class Kind(Protocol):
    """A module that draws clips of one kind."""

    CLASSES: tuple[str, ...]

    def clip(
        self,
        seed: int | tuple[int, ...],
        *,
        size: int = 64,
        length: int = 16,
        label: int | None = None,
    ) -> SyntheticClip:
        """Draw the clip that a seed determines."""
        ...


KINDS: dict[str, Kind] = {"stickman": stickman, "cue": cue}
CAPTIONS = "captions"
SOURCES = (*KINDS, CAPTIONS)
"""What is drawn: clips of a class each, and clips with sentences."""

SENTENCES = 1 + len(captions.QUESTIONS), captions.LONGEST
"""Shape (S, L) of the words of a clip: its caption, and the answer to each question."""


def class_names(source: str) -> tuple[str, ...]:
    """Return the classes of drawn clips, or the words of their sentences."""
    return captions.WORDS if source == CAPTIONS else KINDS[source].CLASSES


def draw_clips(
    kind: str, seed: int, count: int, *, size: int = 64, length: int = 16
) -> Clips:
    """Draw ``count`` clips in memory (count * length * size^2 * 3 bytes).

    Clip i is ``clip((seed, i))`` of the module in ``KINDS``, its label uniform over
    the classes. Different seeds give different clips: use one for training and another
    for testing.

    Args:
        kind: a key of ``KINDS``.
        seed: seed of the whole set.
        count: number of clips.
        size: height and width in pixels.
        length: frames per clip.

    Returns:
        The clips; each is a group of its own.
    """
    draw = KINDS[kind].clip
    clips = [draw((seed, i), size=size, length=length) for i in range(count)]
    names = [f"{kind}-{seed}-{i}" for i in range(count)]
    return Clips(
        inputs=[clip.frames for clip in clips],
        labels=np.array([clip.label for clip in clips], np.int32),
        names=names,
        groups=names,
        lengths=np.full(count, length),
    )


def draw_captions(
    seed: int, count: int, *, size: int = 64, length: int = captions.LENGTH
) -> Clips:
    """Draw ``count`` clips with their sentences, as ``draw_clips`` draws clips of a class.

    Args:
        seed: see ``draw_clips``; so are count, size and length.
        count: likewise.
        size: likewise.
        length: likewise, at least ``captions.SHORTEST``.

    Returns:
        The clips, with the words of their captions, questions and answers.

    Raises:
        InputError: size or length is out of range.
    """
    clips = [captions.clip((seed, i), size=size, length=length) for i in range(count)]
    lessons = [captions.lessons(clip) for clip in clips]
    names = [f"{CAPTIONS}-{seed}-{i}" for i in range(count)]
    return Clips(
        inputs=[clip.frames for clip in clips],
        labels=np.stack([lesson.labels for lesson in lessons]),
        names=names,
        groups=names,
        lengths=np.full(count, length),
        words=np.stack([lesson.words for lesson in lessons]),
    )
