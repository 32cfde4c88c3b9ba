"""Clips that begin with nearly the same frame: parts of one recording, whatever their names.

An accuracy on clips of recordings that were trained on says little about new recordings.
Where neither a pattern nor the names tell recordings apart, first frames may: shrunk to 16 x
12 pixels, without their mean, they are compared by correlation.

Measured on UCF101 (11 classes, whose groups are recordings; ``benchmarks/near_duplicates.py``):
of the clips of groups 8-25, by which ALIKE and SHARE were chosen, 35 % begin like another
clip, and 1 % do where one clip of each recording is kept; of groups 3-7, 23 % and 0 %.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

SIZE = 16, 12  # width and height to which frames are shrunk
ALIKE = 0.95  # correlation above which two first frames are nearly the same
SHARE = (
    0.1  # of the clips that must begin like another, to say that recordings are shared
)
MOST = 2000  # clips that are compared, in the order of their names: pairs grow as N^2


def signature(frame: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, " D"]:
    """Return a unit vector whose product with another frame's is their correlation.

    Of a frame of one colour, zeros: it is like no other.
    """
    small = Image.fromarray(frame).resize(SIZE, Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-3)


def closest(
    signatures: Sequence[Float[np.ndarray, " D"]],
    others: Sequence[Float[np.ndarray, " D"]] | None = None,
) -> Int[np.ndarray, " N"]:
    """Return which other first frame is nearly the same as each; -1: none is.

    Args:
        signatures: of N clips.
        others: of the clips to compare them with; None: with each other.
    """
    if not len(signatures) or (others is not None and not len(others)):
        return np.full(len(signatures), -1)
    first = np.stack(signatures)
    correlation = first @ (first if others is None else np.stack(others)).T
    if others is None:
        np.fill_diagonal(correlation, 0)
    best = correlation.argmax(1)
    return np.where(correlation.max(1) > ALIKE, best, -1)


def is_shared(twins: Int[np.ndarray, " N"]) -> bool:
    """Tell whether so many clips begin like another that recordings must be shared."""
    return len(twins) > 0 and float((twins >= 0).mean()) >= SHARE
