"""UCF11, and folders like UCF101's, UCF50's and HMDB51's, as tensorflow-datasets.

    rgcam prepare --dataset=ucf11 --data_dir=DIR      # downloads 1 GB
    rgcam prepare --dataset=tree --source=FOLDER --group='_g([0-9]+)_' ...

``--source`` is a URL, a .rar archive or an extracted folder. Once the dataset exists,
DIR/downloads and DIR/extracted may be deleted. Each record holds a clip's encoded bytes
as published, its label, group, name, frame times in seconds, notes on damage and, from
.xgtf annotations, boxes. The encoded bytes are exact, do not fix a frame rate, and are
small: 44 clips of UCF101 at 224 x 168 take 2.9 MB; as JPEG frames at 7.5 fps (quality
90) they take 16.8 MB, as raw frames 179 MB. Training reads the dataset with
``--config.data.source=dataset --config.data.root=DIR``. TensorFlow is not needed.

All clips are in one TFDS split; ``rgcam.data.splits`` divides them into training and
test clips by the dataset's index, clips.json.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

import numpy as np
from tqdm import tqdm

from rgcam import files
from rgcam.data import folder
from rgcam.data.tfds import download
from rgcam.errors import InputError

UCF11_URL = "https://www.crcv.ucf.edu/data/UCF11_updated_mpg.rar"
UCF11_GROUP = r"_(\d+)_\d+\.\w+$"  # v_shooting_24_01.mpg belongs to group 24
UCF11_SIZE = (11, 11 * 25)  # classes, groups
INDEX = "clips.json"
SOURCE = "made_from.json"


class StoredRecord(TypedDict):
    """A clip as TFDS reads it; text is encoded as UTF-8.

    Attributes:
        video: the encoded video file.
        label: index of the class.
        group: name of the recording.
        place: path of the file below the source's root.
        times: (T,) float64 seconds of the frames.
        boxes: (N, 5) float32, as ``builders.read_boxes`` returns them.
        notes: on damage or irregularities.
    """

    video: bytes
    label: int
    group: bytes
    place: bytes
    times: np.ndarray
    boxes: np.ndarray
    notes: bytes


class Index(NamedTuple):
    """The index of a dataset, clips.json.

    Attributes:
        classes: names of the classes.
        clips: for each record: the file's path below the source's root, the label, the
            group, and a key that is derived from the bytes.
        skipped: path -> reason, of clips that are not in the dataset.
        without_boxes: path -> reason, of clips whose annotation cannot be read.
        notes: path -> notes on damage or irregularities.
        left_out: one sentence for each kind of thing in the source that is no clip.
    """

    classes: Sequence[str]
    clips: Sequence[tuple[str, int, str, str]]
    skipped: Mapping[str, str]
    without_boxes: Mapping[str, str]
    notes: Mapping[str, str]
    left_out: Sequence[str] = ()


class StoredClip:
    """A clip in a prepared dataset: a ``folder.Stored``, picklable."""

    def __init__(self, root: Path, number: int, name: str, key: str):
        """Refer to a clip.

        Args:
            root: the dataset's folder.
            number: index of the record.
            name: name of the video file.
            key: derived from the bytes.
        """
        self.root, self.number, self.name, self.key = root, number, name, key

    def read(self) -> bytes:
        """Return the encoded video."""
        return records(self.root)[self.number]["video"]


def prepare(
    dataset: str,
    source: str,
    data_dir: Path,
    *,
    group: str = "",
    workers: int = 0,
    beam: str = "",
    beam_options: str = "",
) -> Path:
    """Make a dataset from a URL, an archive or a folder.

    Steps that an earlier call completed are not repeated. A complete dataset does not
    need its source any more.

    Args:
        dataset: ``ucf11`` or ``tree``.
        source: URL, .rar archive or folder; see the module.
        data_dir: the dataset and the downloads are written below it. The workers of a
            cluster need access to it and to the source.
        group: pattern of the groups of a tree, as in ``folder.scan``.
        workers: threads that read and check clips; 0 for one per core.
        beam: a Beam runner that reads the clips instead, such as DirectRunner.
        beam_options: options of its pipeline, as on a command line.

    Returns:
        The folder of the dataset.

    Raises:
        InputError: the source cannot be downloaded, extracted or scanned, none of
            its clips can be read, or data_dir holds a dataset from another source.
    """
    from rgcam.data.tfds import builders

    data_dir, source = data_dir.expanduser().absolute(), _absolute(source)
    builder_class = builders.Ucf11 if dataset == "ucf11" else builders.VideoTree
    pattern = UCF11_GROUP if dataset == "ucf11" else group
    path = data_dir / builder_class.name / str(builder_class.VERSION)
    _check_source(path, source, pattern)
    if (path / INDEX).exists():
        return path
    root = fetch(source, data_dir)
    items, classes, left_out = folder.scan(_class_root(root), pattern)
    # TFDS stores text as UTF-8, which not every file name is.
    classes = tuple(map(files.printable, classes))
    items = [
        item._replace(
            place=files.printable(item.place), group=files.printable(item.group)
        )
        for item in items
    ]
    if not path.exists():
        _check_readable(items)
        config = builders.download_config(beam, beam_options)
        with _recording_source(path, source, pattern):
            builder = builder_class(
                items=items,
                classes=classes,
                workers=workers,
                beam=bool(beam),
                data_dir=str(data_dir),
            )
            builder.download_and_prepare(download_config=config)
    write_index(path, items, left_out)
    return path


def fetch(source: str, data_dir: Path) -> Path:
    """Return the folder of a source, downloaded and extracted if necessary."""
    if source.startswith(("http://", "https://")):
        name = source.rsplit("/", 1)[-1] or "archive.rar"
        source = str(download.download(source, data_dir / "downloads" / name))
    path = Path(source).expanduser()
    if path.is_file():
        return download.extract(path, data_dir / "extracted" / path.stem)
    if not path.is_dir():
        raise InputError(f"there is no archive or folder {path}: check the path")
    return path


def scan(root: Path) -> folder.Listing:
    """List the clips of a prepared dataset and its classes; identical ones share a group.

    Args:
        root: the dataset's folder, or a --data_dir that holds one dataset.

    Raises:
        InputError: there is no dataset below root, there are several, or it is
            incomplete.
    """
    path = _dataset_in(root)
    index = read_index(path)
    items, keys = [], []
    for number, (name, label, group, key) in enumerate(index.clips):
        clip = StoredClip(path, number, name.rsplit("/", 1)[-1], key)
        items.append(folder.Item(clip=clip, label=label, group=group, place=name))
        keys.append(key)
    items, notes = folder.join_copies(items, keys)
    return folder.Listing(items, tuple(index.classes), notes)


def write_index(
    path: Path, items: Sequence[folder.Item], left_out: Sequence[str] = ()
) -> None:
    """Write clips.json of a dataset.

    A clip's key is a hash of its bytes, so that clips of different datasets can share
    a cache.

    Args:
        path: the dataset's folder.
        items: the clips of the source; those without a record are listed as skipped.
        left_out: of the folder's listing.

    Raises:
        InputError: the file cannot be written.
    """
    from rgcam.data.tfds import builders

    clips, notes = [], {}
    for record in tqdm(records(path), "index", unit="clip", disable=None):
        name, note = record["place"].decode(), record["notes"].decode()
        key = hashlib.sha256(record["video"]).hexdigest()[:32]
        clips.append((name, int(record["label"]), record["group"].decode(), key))
        if note:
            notes[name] = note
    recorded = {clip[0] for clip in clips}
    skipped = {
        item.place: problem_of(item) or "it was added after the dataset was made"
        for item in items
        if item.place not in recorded
    }
    without_boxes = {}
    for item in items:
        if isinstance(item.clip, Path) and (reason := builders.boxes_of(item.clip)[1]):
            without_boxes[item.place] = reason
    index = Index(
        classes=_class_names(path),
        clips=clips,
        skipped=skipped,
        without_boxes=without_boxes,
        notes=notes,
        left_out=left_out,
    )
    part = path / f"{INDEX}.part"
    try:
        part.write_text(json.dumps(index._asdict()))
        os.replace(part, path / INDEX)
    except OSError as error:
        raise InputError(
            f"cannot write {part} ({error.strerror}): check the folder's permissions"
        ) from error


def read_index(path: Path) -> Index:
    """Read the index of a dataset.

    Args:
        path: the dataset's folder.

    Raises:
        InputError: the index is missing or incomplete.
    """
    try:
        fields = json.loads((path / INDEX).read_text())
        # The name of this field in datasets that earlier versions made.
        if "skipped" not in fields and "left_out" in fields:
            fields["skipped"] = fields.pop("left_out")
        return Index(**fields)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"the dataset {path} is not complete: run rgcam prepare again ({error})"
        ) from error


def summary(path: Path) -> Iterator[str]:
    """Describe a dataset in lines of text: its size, skipped clips and irregularities."""
    index = read_index(path)
    groups = {(label, group) for _, label, group, _ in index.clips}
    size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    yield (
        f"{len(index.clips)} clips, {len(index.classes)} classes, {len(groups)} groups, "
        f"{size:.1f} MB: {path}"
    )
    counts = (len(index.classes), len(groups))
    if path.parent.name == "ucf11" and counts != UCF11_SIZE:
        yield "the published UCF11 has 1,600 clips and 11 classes of 25 groups"
    for name, reason in index.skipped.items():
        yield f"skipped {name}: {reason}"
    for reason in index.without_boxes.values():
        yield f"no boxes: {reason}"
    for name, note in index.notes.items():
        yield f"note on {name}: {note}"
    yield from index.left_out
    yield f"skipped clips: {len(index.skipped)}"


def problem_of(item: folder.Item) -> str:
    """Return the reason why a clip cannot be read; "" if it can."""
    from rgcam.data.tfds import builders

    try:
        builders.record(item)
    except InputError as error:
        return str(error)
    return ""


@functools.lru_cache(4)
def records(path: Path) -> Sequence[StoredRecord]:
    """Open the records of a dataset, each of which is read when it is indexed."""
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(str(path)).as_data_source(split="all")
    return cast(Sequence[StoredRecord], source)  # one split is one sequence


def _class_names(path: Path) -> list[str]:
    """Return the names of a dataset's classes."""
    import tensorflow_datasets as tfds

    return list(tfds.builder_from_directory(str(path)).info.features["label"].names)


def _absolute(source: str) -> str:
    """Return a URL as it is, and a path as an absolute one."""
    is_url = source.startswith(("http://", "https://"))
    return source if is_url else str(Path(source).expanduser().absolute())


def _check_source(path: Path, source: str, pattern: str) -> None:
    """Raise InputError if a dataset exists that was made from another source."""
    try:
        old_source, old_pattern = json.loads((path.parent / SOURCE).read_text())
    except (OSError, ValueError):
        old_source, old_pattern = "an unknown source", ""
    if path.exists() and (old_source, old_pattern) != (source, pattern):
        raise InputError(
            f"{path} was made from {old_source} with group pattern {old_pattern!r}: "
            "choose another --data_dir, or delete it to make it again"
        )


def _check_readable(items: Sequence[folder.Item]) -> None:
    """Raise InputError if no clip at all can be read."""
    if all(problem_of(item) for item in items):
        raise InputError(
            f"none of the {len(items)} clips can be read: {problem_of(items[0])}"
        )


@contextlib.contextmanager
def _recording_source(path: Path, source: str, pattern: str) -> Generator[None]:
    """Record the source of a dataset, and discard what TFDS prints while making it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / SOURCE).write_text(json.dumps([source, pattern]))
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except (OSError, AssertionError) as error:
        raise InputError(f"cannot make the dataset {path}: {error}") from error


def _class_root(root: Path) -> Path:
    """Return the folder that holds the classes, below any single wrapping folders."""
    folders = _folders(root)
    wrapped = len(folders) == 1 and _folders(folders[0])
    return _class_root(folders[0]) if wrapped else root


def _folders(root: Path) -> list[Path]:
    """Return the sub-folders that are neither hidden nor metadata of macOS."""
    return [
        path
        for path in root.iterdir()
        if path.is_dir() and path.name[0] != "." and path.name != "__MACOSX"
    ]


def _dataset_in(root: Path) -> Path:
    """Return the only dataset in a folder."""
    datasets = sorted(
        path.parent
        for path in root.rglob("dataset_info.json")
        if not path.parent.name.startswith("incomplete.")  # of a run that was killed
    )
    if len(datasets) != 1:
        names = ", ".join(str(path) for path in datasets) or "none"
        raise InputError(
            f"{root} holds {len(datasets)} datasets ({names}); pass the folder of one "
            "that rgcam prepare made"
        )
    return datasets[0]
