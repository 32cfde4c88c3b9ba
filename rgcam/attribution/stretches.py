"""Stretches of one length, cut from a long video and kept in bounded memory."""

import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from rgcam.errors import InputError


class Maps:
    """Feature maps of stretches: in memory up to a limit, then in a file."""

    def __init__(self, file, max_bytes: int):
        self.file, self.left = file, max_bytes
        self.kept: list[Any] = []

    def __getitem__(self, place: int) -> np.ndarray:
        """Return stretch ``place``."""
        kept = self.kept[place]
        if isinstance(kept, np.ndarray):
            return kept
        where, shape, dtype = kept
        return np.memmap(self.file, dtype, "r", where, shape)

    def append(self, maps: np.ndarray) -> None:
        """Keep one more stretch."""
        self.left -= maps.nbytes
        if self.left >= 0:
            self.kept.append(maps)
            return
        where = self.file.seek(0, 2)
        try:
            self.file.write(maps.tobytes())
            self.file.flush()
        except OSError as error:
            raise InputError(
                f"cannot keep the feature maps in {tempfile.gettempdir()} "
                f"({error.strerror}): set TMPDIR to a folder with more space"
            ) from error
        self.kept.append((where, maps.shape, maps.dtype))


def stretches(
    pieces: Iterable[np.ndarray], size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Cut pieces of any lengths into stretches, the last one padded; yield counts."""
    held, count = [], 0
    for piece in pieces:
        for frame in piece:
            held.append(frame)
            if len(held) == size:
                yield np.stack(held), size
                held = []
    if count := len(held):
        yield np.stack(held + held[-1:] * (size - count)), count
