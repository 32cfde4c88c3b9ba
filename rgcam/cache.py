"""Decoded frames and a frozen backbone's features, kept on disk, made once."""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rgcam import data, video
from rgcam.backbones import Preprocess
from rgcam.errors import InputError

QUALITY = 95  # of the JPEG frames, without chroma subsampling


class Frames:
    """The frames of many clips, (T, S, S, 3) uint8 each, decoded when first asked for.

    Each clip is one file of JPEG frames already cropped and resized for the model;
    a source that changes, or another rate or size, makes a new one.
    """

    def __init__(
        self, paths: Sequence[Path], spec: Preprocess, fps: float, folder: Path
    ):
        self.paths, self.spec, self.fps = list(paths), spec, fps
        self.folder = Path(folder) / "frames"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return clip ``index``; InputError where its file cannot be decoded."""
        arrays = _load(self.decode(index))
        if arrays is None:
            arrays = _load(self.decode(index, again=True))
        assert arrays is not None
        return _from_jpeg(arrays["jpeg"], arrays["ends"])

    def decode(self, index: int, again: bool = False) -> Path:
        """Make sure that clip ``index`` is in the cache; return its file there."""
        file = self.folder / f"{self.key(index)}.npz"
        if again or not file.exists():
            frames = video.read_clip(self.paths[index], self.fps).frames
            save(file, **_to_jpeg(data.resize(frames, self.spec)))
        return file

    def key(self, index: int) -> str:
        """Name what clip ``index`` looks like: its file's state, rate and crop."""
        path = self.paths[index].resolve()
        stat = path.stat()
        state = (str(path), stat.st_size, stat.st_mtime_ns, self.fps, self.spec[:2])
        return hashlib.sha256(repr(state).encode()).hexdigest()[:32]


class Mirrored:
    """Frames seen in a mirror: the same sequence, flipped left to right."""

    def __init__(self, frames: data.Indexed):
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the mirrored clip ``index``."""
        return self.frames[index][:, :, ::-1]


def load_features(
    frames: Frames,
    backbone: Callable[[np.ndarray], np.ndarray],
    name: str,
    index: int,
    mirrored: bool = False,
) -> np.ndarray:
    """Return a clip's features (T h w K) float16, from disk if they were made before.

    Args:
        frames: the clips.
        backbone: normalised frames (T S S 3) float32 -> features (T h w K).
        name: what tells this backbone and its weights from any other.
        index: which clip.
        mirrored: of its mirror image.
    """
    kind = f"{name}-mirrored" if mirrored else name
    file = frames.folder.parent / "features" / kind / f"{frames.key(index)}.npz"
    if (arrays := _load(file)) is None:
        clip = Mirrored(frames)[index] if mirrored else frames[index]
        made = backbone(data.normalize(clip, frames.spec))
        arrays = {"features": np.asarray(made, np.float16)}
        save(file, **arrays)
    return arrays["features"]


def default_folder() -> Path:
    """Return the folder for caches: rgcam in $XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rgcam"


def save(file: Path, **arrays: Any) -> None:
    """Write an .npz that is either whole or not there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
            np.savez(part, **arrays)
        os.replace(part.name, file)
    except OSError as error:
        raise InputError(f"cannot write the cache {file.parent}: {error}") from error


def _load(file: Path) -> dict[str, np.ndarray] | None:
    """Read an .npz; None where it is not there or not whole."""
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _to_jpeg(frames: np.ndarray) -> dict[str, np.ndarray]:
    buffer, ends = io.BytesIO(), []
    for frame in frames:
        image = Image.fromarray(frame)
        image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        ends.append(buffer.tell())
    return {"jpeg": np.frombuffer(buffer.getvalue(), np.uint8), "ends": np.array(ends)}


def _from_jpeg(jpeg: np.ndarray, ends: np.ndarray) -> np.ndarray:
    pieces = np.split(jpeg, ends[:-1])
    return np.stack([np.asarray(Image.open(io.BytesIO(p.tobytes()))) for p in pieces])
