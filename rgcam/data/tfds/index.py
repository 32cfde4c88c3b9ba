"""clips.json beside a dataset's records: what each one is, and what was left out."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rgcam.data import folder
from rgcam.errors import InputError

INDEX = "clips.json"
UCF11 = (11, 11 * 25)  # classes, groups


def write(place: Path, items: Sequence[folder.Item]) -> None:
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


def read(place: Path) -> dict[str, Any]:
    """Read a dataset's clips.json; InputError where it is not there or not whole."""
    try:
        return json.loads((place / INDEX).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"the dataset {place} is not complete: run rgcam prepare again ({error})"
        ) from error


def summary(place: Path) -> Iterator[str]:
    """Tell what a dataset holds, what was left out, and what is odd."""
    index = read(place)
    clips, classes = index["clips"], index["classes"]
    groups = {(label, group) for _, label, group, _ in clips}
    size = sum(f.stat().st_size for f in place.iterdir()) / 1e6
    yield (
        f"{len(clips)} clips, {len(classes)} classes, {len(groups)} groups, "
        f"{size:.1f} MB: {place}"
    )
    if place.parent.name == "ucf11" and (len(classes), len(groups)) != UCF11:
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
