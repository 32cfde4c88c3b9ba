"""Synthetic clips by the name of their kind, drawn in memory from a seed."""

from typing import Any

import numpy as np

from rgcam.data.clips import Clips
from rgcam.data.synthetic import cue, stickman

KINDS: dict[str, Any] = {"stickman": stickman, "cue": cue}


def draw_clips(
    kind: str, seed: int, count: int, *, size: int = 64, length: int = 16
) -> Clips:
    """Draw ``count`` clips in memory (count * length * size^2 * 3 bytes).

    Clip i is ``clip((seed, i))`` of the module in ``KINDS``, its label uniform over
    the classes. Different seeds give different clips: take one for training, one for
    testing.

    Args:
        kind: of ``KINDS``.
        seed: of all.
        count: of clips.
        size: pixels a side.
        length: frames.
    """
    draw = KINDS[kind].clip
    clips = [draw((seed, i), size=size, length=length) for i in range(count)]
    labels = np.array([clip.label for clip in clips], np.int32)
    names = [f"{kind}-{seed}-{i}" for i in range(count)]
    lengths = np.full(count, length)
    return Clips([clip.frames for clip in clips], labels, names, names, lengths)
