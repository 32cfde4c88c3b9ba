"""Synthetic clips by the name of their kind, drawn in memory from a seed."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from rgcam.data.clips import Clips
from rgcam.data.synthetic import cue, stickman


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
