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
        labels: (N,) int32 class numbers.
        names: N names, for messages.
        groups: N names of recordings; clips of one are not independent.
        lengths: (N,) int64 T of each clip.
        mirrored: the same clips flipped left to right, or None where training does
            not use these.
    """

    inputs: Indexed
    labels: Int[np.ndarray, " N"]
    names: Sequence[str]
    groups: Sequence[str]
    lengths: Int[np.ndarray, " N"]
    mirrored: Indexed | None = None


class Batch(NamedTuple):
    """Clips padded to one length.

    Attributes:
        inputs: (B T ...) frames uint8 or features; 0 beyond lengths.
        labels: (B,) int32; -1 marks a row that only fills the batch.
        lengths: (B,) int32 valid steps of each clip.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
