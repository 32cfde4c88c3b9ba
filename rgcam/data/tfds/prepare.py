"""UCF11 and trees like UCF101's, UCF50's and HMDB51's as tensorflow-datasets, no TF.

    rgcam prepare --dataset=ucf11 --data_dir=DIR      # downloads 1 GB
    rgcam prepare --dataset=tree --source=FOLDER --group='_g([0-9]+)_' ...

``--source`` is a URL, a .rar archive or an extracted folder; once the dataset is made,
DIR/downloads and DIR/extracted can go. Each record holds a clip's encoded bytes as
published, its label, group, name, frame times in seconds, notes on damage and, where
there are .xgtf annotations, boxes. Bytes are exact, leave the frame rate open, and are
small: 44 clips of UCF101 at 224 x 168 take 2.9 MB, as JPEG frames at 7.5 fps (quality
90) 16.8 MB, raw 179 MB. Training reads the dataset with
``--config.data.source=dataset --config.data.root=DIR``.

One TFDS split holds all clips: a group may have any name or be a single clip, of which
no split can be made, and ``splits`` divides by the index alone.
"""

import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rgcam.data import folder
from rgcam.data.tfds import download
from rgcam.errors import InputError

UCF11_URL = "https://www.crcv.ucf.edu/data/UCF11_updated_mpg.rar"
UCF11_GROUP = r"_(\d+)_\d+\.\w+$"  # v_shooting_24_01.mpg is of group 24
INDEX = "clips.json"
UCF11_SIZE = (11, 11 * 25)  # classes, groups
MADE_FROM = "made_from.json"


class Stored:
    """A clip in a prepared dataset: a ``folder.Stored``, picklable."""

    def __init__(self, root: Path, number: int, name: str, key: str):
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
    """Make a dataset from a URL, an archive or a folder; return its folder.

    What is done already is not done again; then the source need not be there.

    Args:
        dataset: ``ucf11`` or ``tree``.
        source: see the module.
        data_dir: the dataset, and what is downloaded, are written below it; a cluster
            must share it, and the source's folder.
        group: of a tree, as in ``folder.scan``.
        workers: threads that read and check clips; 0: one a core.
        beam: a Beam runner that reads them instead, such as DirectRunner.
        beam_options: of its pipeline, as on a command line.

    Raises:
        InputError: what ``download``, ``extract`` and ``folder.scan`` raise, none of
            the clips can be read, or data_dir holds a dataset of another source.
    """
    from rgcam.data.tfds import (
        builders,  # imports tensorflow_datasets, which takes seconds
    )

    data_dir, source = data_dir.expanduser().absolute(), _absolute(source)
    kind = builders.Ucf11 if dataset == "ucf11" else builders.VideoTree
    made_from = [source, UCF11_GROUP if dataset == "ucf11" else group]
    place = data_dir / kind.name / str(kind.VERSION)
    _check_source(place, made_from)
    if (place / INDEX).exists():
        return place
    root = fetch(source, data_dir)
    items, classes = folder.scan(_class_root(root), made_from[1])
    if not place.exists():
        _check_readable(items)
        config = _download_config(beam, beam_options)
        with _making(place, made_from):
            about = {"items": items, "classes": classes, "workers": workers}
            builder = kind(**about, beam=bool(beam), data_dir=str(data_dir))
            builder.download_and_prepare(download_config=config)
    write_index(place, items)
    return place


def fetch(source: str, data_dir: Path) -> Path:
    """Return the folder of a source: downloaded and unpacked where it must be."""
    if source.startswith(("http://", "https://")):
        name = source.rsplit("/", 1)[-1] or "archive.rar"
        source = str(download.download(source, data_dir / "downloads" / name))
    path = Path(source).expanduser()
    if path.is_file():
        return download.extract(path, data_dir / "extracted" / path.stem)
    if not path.is_dir():
        raise InputError(f"there is no archive or folder {path}")
    return path


def scan(root: Path) -> tuple[list[folder.Item], tuple[str, ...]]:
    """List the clips of a prepared dataset and its classes.

    Args:
        root: the dataset's folder, or a --data_dir that holds one dataset.

    Raises:
        InputError: it holds none, or several.
    """
    place = _dataset_in(root)
    listed = read_index(place)
    items = []
    for number, (clip, label, group, key) in enumerate(listed["clips"]):
        stored = Stored(place, number, clip.rsplit("/", 1)[-1], key)
        items.append(folder.Item(stored, label, group, clip))
    return items, tuple(listed["classes"])


def write_index(place: Path, items: Sequence[folder.Item]) -> None:
    """Write clips.json: what each record is, and why others of ``items`` are missing.

    A clip's key is made of its bytes: no other clip, of whatever dataset, has it.
    """
    from rgcam.data.tfds import builders

    stored = records(place)
    clips, notes = [], {}
    for record in tqdm(stored, "index", unit="clip", disable=None):
        name, group, note = (record[n].decode() for n in ("place", "group", "notes"))
        key = hashlib.sha256(record["video"]).hexdigest()[:32]
        clips.append([name, int(record["label"]), group, key])
        notes |= {name: note} if note else {}
    there = {clip[0] for clip in clips}
    files = [(i.place, i.clip) for i in items if isinstance(i.clip, Path)]
    unboxed = {name: builders.boxes_of(clip)[1] for name, clip in files}
    index = {
        "classes": list(stored.dataset_info.features["label"].names),
        "clips": clips,
        "left_out": {
            i.place: problem_of(i) or "it came after the dataset was made"
            for i in items
            if i.place not in there
        },
        "without_boxes": {name: text for name, text in unboxed.items() if text},
        "notes": notes,
    }
    part = place / f"{INDEX}.part"
    try:
        part.write_text(json.dumps(index))
        os.replace(part, place / INDEX)
    except OSError as error:
        raise InputError(f"cannot write {part}: {error.strerror}") from error


def read_index(place: Path) -> dict[str, Any]:
    """Read a dataset's clips.json; InputError where it is not there or not whole."""
    try:
        return json.loads((place / INDEX).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"the dataset {place} is not complete: run rgcam prepare again ({error})"
        ) from error


def summary(place: Path) -> Iterator[str]:
    """Tell what a dataset holds, what was left out, and what is odd."""
    index = read_index(place)
    clips, classes = index["clips"], index["classes"]
    groups = {(label, group) for _, label, group, _ in clips}
    size = sum(f.stat().st_size for f in place.iterdir()) / 1e6
    yield (
        f"{len(clips)} clips, {len(classes)} classes, {len(groups)} groups, "
        f"{size:.1f} MB: {place}"
    )
    if place.parent.name == "ucf11" and (len(classes), len(groups)) != UCF11_SIZE:
        yield "UCF11 is described as 1,600 clips, 11 classes of 25 groups: compare"
    for name, reason in index["left_out"].items():
        yield f"left out {name}: {reason}"
    for reason in index["without_boxes"].values():
        yield f"no boxes: {reason}"
    for name, note in index["notes"].items():
        yield f"kept {name}: {note}"
    yield f"clips left out: {len(index['left_out'])}"


def problem_of(item: folder.Item) -> str:
    """Say why a clip cannot be read; "": it can."""
    from rgcam.data.tfds import builders

    try:
        builders.record(item)
    except InputError as error:
        return str(error)
    return ""


@functools.lru_cache(4)
def records(place: Path) -> Any:
    """Open a dataset's records; [n] reads one."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(str(place)).as_data_source(split="all")


def _absolute(source: str) -> str:
    web = source.startswith(("http://", "https://"))
    return source if web else str(Path(source).expanduser().absolute())


def _check_source(place: Path, made_from: list[str]) -> None:
    """Make sure that a dataset which is there was made from the same source."""
    try:
        known = json.loads((place.parent / MADE_FROM).read_text())
    except (OSError, ValueError):
        known = ["an unknown source", ""]
    if place.exists() and known != made_from:
        raise InputError(
            f"{place} was made from {known[0]} with group pattern {known[1]!r}: give "
            "another --data_dir, or delete it to make it again"
        )


def _check_readable(items: Sequence[folder.Item]) -> None:
    if all(problem_of(item) for item in items):
        raise InputError(
            f"none of the {len(items)} clips can be read: {problem_of(items[0])}"
        )


@contextlib.contextmanager
def _making(place: Path, made_from: list[str]) -> Iterator[None]:
    """Note what a dataset is made from; keep TFDS quiet, it speaks of downloads."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        (place.parent / MADE_FROM).write_text(json.dumps(made_from))
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except (OSError, AssertionError) as error:
        raise InputError(f"cannot make the dataset {place}: {error}") from error


def _class_root(root: Path) -> Path:
    """Go down where the archive wraps its classes in one folder."""
    inner = _folders(root)
    wrapped = len(inner) == 1 and _folders(inner[0])
    return _class_root(inner[0]) if wrapped else root


def _folders(root: Path) -> list[Path]:
    kept = lambda p: p.is_dir() and p.name[0] != "." and p.name != "__MACOSX"
    return [p for p in root.iterdir() if kept(p)]


def _download_config(runner: str, options: str) -> Any:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()  # ours counts clips
    if not runner:
        return tfds.download.DownloadConfig()
    try:
        beam: Any = importlib.import_module("apache_beam.options.pipeline_options")
    except ImportError as error:
        raise InputError("--beam needs Apache Beam: pip install apache-beam") from error
    return tfds.download.DownloadConfig(
        beam_runner=runner,
        beam_options=beam.PipelineOptions(shlex.split(options)),
    )


def _dataset_in(root: Path) -> Path:
    found = sorted(
        p.parent
        for p in root.rglob("dataset_info.json")
        if not p.parent.name.startswith("incomplete.")  # of a run that was killed
    )
    if len(found) != 1:
        names = ", ".join(str(p) for p in found) or "none"
        raise InputError(
            f"{root} holds {len(found)} datasets ({names}); give the folder of one "
            "that rgcam prepare made"
        )
    return found[0]
