"""Decoded frames and a frozen backbone's features, computed once and kept on disk."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgcam import files
from rgcam.data import video
from rgcam.data.clips import Indexed
from rgcam.data.folder import Stored
from rgcam.errors import InputError
from rgcam.models import backbones
from rgcam.models.backbones import Preprocess

QUALITY = 95  # of the JPEG frames, without chroma subsampling
_LOADING = threading.Lock()  # NumPy parses headers, which breaks threads of old 3.11s


class CacheError(InputError):
    """The cache cannot be written: no fault of the clip that was to be kept."""


class Frames:
    """The frames of many clips, (T, S, S, 3) uint8 each, decoded when first asked for.

    Each clip is one file of JPEG frames already cropped and resized for the model;
    a source that changes, or another rate or size, makes a new one. A clip already
    in the cache can be read when its source has gone.
    """

    def __init__(
        self, clips: Sequence[Path | Stored], spec: Preprocess, fps: float, cache: Path
    ):
        """Describe the frames.

        Args:
            clips: video files, or clips of a prepared dataset.
            spec: crop and size of the frames.
            fps: frames per second to sample.
            cache: folder of the cache.
        """
        self.clips, self.spec, self.fps = list(clips), spec, fps
        self.folder = Path(cache) / "frames"
        self.keys = [_key(clip, fps, spec) for clip in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return clip ``index``; InputError where its file cannot be decoded."""
        arrays = _load(self.decode(index))
        if arrays is None:
            arrays = _load(self.decode(index, replace=True))
        assert arrays is not None
        return _from_jpeg(arrays["jpeg"], arrays["ends"])

    def first(self, index: int) -> UInt8[np.ndarray, "S S 3"]:
        """Return the first frame of clip ``index`` alone."""
        arrays = _load(self.decode(index)) or _load(self.decode(index, replace=True))
        assert arrays is not None
        return _from_jpeg(arrays["jpeg"], arrays["ends"][:1])[0]

    def length(self, index: int) -> int:
        """Return the number of frames of clip ``index``, without reading them."""
        ends = _load(self.decode(index), "ends") or _load(
            self.decode(index, replace=True), "ends"
        )
        assert ends is not None
        return len(ends["ends"])

    def decode(self, index: int, replace: bool = False) -> Path:
        """Make sure that clip ``index`` is in the cache; return its file there."""
        file = self.folder / f"{self.keys[index]}.npz"
        if replace or not file.exists():
            frames = _read(self.clips[index], self.fps)
            save(file, _to_jpeg(backbones.resize(frames, self.spec)))
        return file


class Mirrored:
    """Clips flipped left to right."""

    def __init__(self, frames: Indexed):
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the mirrored clip ``index``."""
        return self.frames[index][:, :, ::-1]


class Features:
    """Features (T h w K) float16 of frozen blocks, one file for each clip.

    Indexing reads what ``make`` has written; InputError where the file is missing.
    """

    def __init__(self, frames: Frames, name: str, mirrored: bool = False):
        """Describe features.

        Args:
            frames: the clips.
            name: identifies the blocks and their weights.
            mirrored: compute them of the clips flipped left to right.
        """
        self.frames: Indexed = Mirrored(frames) if mirrored else frames
        self.spec, self.keys = frames.spec, frames.keys
        kind = f"{name}-mirrored" if mirrored else name
        self.folder = frames.folder.parent / "features" / kind

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the features of clip ``index``."""
        file = self.folder / f"{self.keys[index]}.npz"
        if (arrays := _load(file)) is None:
            raise InputError(f"the features {file} are missing: run the command again")
        return arrays["features"]

    def make(
        self, index: int, blocks: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return the features of clip ``index``, computed if they are not there.

        Args:
            index: which clip.
            blocks: normalised frames (T S S 3) float32 -> features (T h w K).
        """
        file = self.folder / f"{self.keys[index]}.npz"
        if (arrays := _load(file)) is None:
            features = blocks(backbones.normalize(self.frames[index], self.spec))
            arrays = {"features": np.asarray(features, np.float16)}
            save(file, arrays)
        return arrays["features"]


def save(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file that is either complete or absent.

    Raises:
        CacheError: its folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic(file) as temporary, temporary.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **arrays)
    except OSError as error:
        raise CacheError(
            f"cannot write the cache {file.parent} ({error.strerror}): choose another "
            "folder by --config.data.cache=FOLDER"
        ) from error


def _read(clip: Path | Stored, fps: float) -> np.ndarray:
    """Decode a clip from its file, or from its bytes in a dataset."""
    if isinstance(clip, Path):
        return video.read_clip(clip, fps).frames
    return video.read_clip(clip.read(), fps, name=clip.name).frames


def _key(clip: Path | Stored, fps: float, spec: Preprocess) -> str:
    """Identify the frames of a clip: its file's state, the rate and the crop."""
    if isinstance(clip, Path):
        path = clip.resolve()
        stat = path.stat() if path.exists() else None
        source = (str(path), stat and stat.st_size, stat and stat.st_mtime_ns)
    else:
        source = (clip.key,)
    state = (*source, fps, spec[:2])
    return hashlib.sha256(repr(state).encode()).hexdigest()[:32]


def _load(file: Path, *names: str) -> dict[str, np.ndarray] | None:
    """Read some or all arrays of an .npz; None where it is absent or incomplete."""
    try:
        with _LOADING, file.open("rb") as opened, np.load(opened) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _to_jpeg(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Compress frames (T S S 3) to one run of bytes and the end of each frame in it."""
    buffer, ends = io.BytesIO(), []
    for frame in frames:
        image = Image.fromarray(frame)
        image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        ends.append(buffer.tell())
    return {"jpeg": np.frombuffer(buffer.getvalue(), np.uint8), "ends": np.array(ends)}


def _from_jpeg(jpeg: np.ndarray, ends: np.ndarray) -> np.ndarray:
    pieces = np.split(jpeg, ends[:-1])
    return np.stack([np.asarray(Image.open(io.BytesIO(p.tobytes()))) for p in pieces])
