"""The clips of one part of a split, and batches of them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int


@runtime_checkable
class Indexed(Protocol):
    """Clips by number: a list of arrays, or an object that reads one when indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


class Clips(NamedTuple):
    """The clips of one split, in memory or read when indexed.

    Attributes:
        inputs: clip i is ``inputs[i]``: frames (T S S 3) uint8, or features of
            frozen backbone blocks (T h w K) float16. T differs between clips.
        labels: (N,) int32 class numbers; of clips with sentences (N S L) the words to
            predict, -1 where none is, as in a question and beyond the end.
        names: N names, for messages.
        groups: N names of recordings; clips of one are not independent.
        lengths: (N,) int64 T of each clip.
        mirrored: the same clips flipped left to right, or None where training does
            not use these.
        words: (N S L) int32, the words of S sentences of each clip, questions included,
            for a captioner; None where a clip has one class.
    """

    inputs: Indexed
    labels: Int[np.ndarray, "N *sentences"]
    names: Sequence[str]
    groups: Sequence[str]
    lengths: Int[np.ndarray, " N"]
    mirrored: Indexed | None = None
    words: Int[np.ndarray, "N S L"] | None = None


class Batch(NamedTuple):
    """Clips padded to one length.

    Attributes:
        inputs: (B T ...) frames uint8 or features; 0 beyond lengths.
        labels: (B,) or (B S L) int32, as of ``Clips``; -1 marks a row that only fills the
            batch.
        lengths: (B,) int32 valid steps of each clip; 0 of a row that only fills it.
        words: (B S L) int32 or None, as of ``Clips``.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    words: np.ndarray | None = None
