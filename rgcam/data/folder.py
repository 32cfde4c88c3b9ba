"""Folders of videos: which files are clips, their classes and their groups.

``list_videos`` is the only place that decides what counts as a video file; training,
``--videos`` and the dataset builders all list with it.
"""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from rgcam.errors import InputError

SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .f4v .flv .gif .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg "
    ".mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)
SYSTEM_FOLDERS = frozenset(
    ("lost+found", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information")
)
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


# How data sets name recordings of which they hold several clips: UCF101, UT-Interaction,
# KTH; and what stands before a number at the end (match3_clip02.mp4).
RECORDING_PATTERNS = (
    r"_g(\d+)_",
    r"_seq(\d+)_",
    r"person(\d+)_",
    r"^(.+)[_-](?:c|clip|part|scene|shot|take)?\d+\.\w+$",
)
MIN_MATCHING = 0.9  # share of the names that a suggested pattern matches


@runtime_checkable
class Stored(Protocol):
    """A clip inside a prepared dataset.

    Attributes:
        name: of the video file it was.
        key: differs where the file's bytes differ.
    """

    name: str
    key: str

    def read(self) -> bytes:
        """Return the encoded video."""
        ...


class Item(NamedTuple):
    """One clip; clips of one group were cut from the same recording.

    Attributes:
        clip: its file, or where it is stored.
        label: number of its class.
        group: its recording.
        place: the file's path below the root, with /: what lists name it by.
        part: "train", "validation" or "test" where the folders say it, else "".
    """

    clip: Path | Stored
    label: int
    group: str
    place: str
    part: str = ""

    @property
    def name(self) -> str:
        """Return the file's name, for messages."""
        return self.clip.name


class Listing(NamedTuple):
    """The clips of a folder or a dataset.

    Attributes:
        items: the clips.
        classes: names of the classes.
        notes: one sentence for each kind of thing that was left out or is unusual.
    """

    items: list[Item]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class VideoFiles(NamedTuple):
    """The video files below a folder.

    Attributes:
        paths: sorted.
        left_out: one sentence for each kind of thing that is no video.
    """

    paths: list[Path]
    left_out: tuple[str, ...]


def list_videos(root: Path, exclude: Path | None = None) -> VideoFiles:
    """List all video files below a folder, by their suffixes.

    Links to folders are followed. Left out are hidden files and folders, folders that
    systems make (such as ``lost+found``), links that lead nowhere, pipes, folders that
    have a video's name, and all that has no video's suffix.

    Args:
        root: the folder.
        exclude: a folder below it that is not searched.
    """
    paths: list[Path] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for path, problem in _walk(root, (os.path.realpath(root),)):
        if exclude is not None and path.is_relative_to(exclude):
            continue
        if problem:
            left_out[problem].append(path.relative_to(root).as_posix())
        else:
            paths.append(path)
    sentences = (
        f"left out: {problem} ({len(names)}), such as {min(names)}"
        for problem, names in sorted(left_out.items())
    )
    return VideoFiles(sorted(paths), tuple(sentences))


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield what lies below a folder: (path, "" for a video or why it is left out)."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder, "folders that cannot be read"
        return
    for entry in entries:
        path = folder / entry.name
        named_like_video = path.suffix.lower() in SUFFIXES
        if entry.name.startswith("."):
            yield path, "hidden files or folders"
        elif entry.is_dir():
            if named_like_video:
                yield path, "folders with a video's name"
            elif entry.name in SYSTEM_FOLDERS:
                yield path, "folders of the system"
            elif (target := os.path.realpath(path)) in above:
                yield path, "links to a folder above"
            else:
                yield from _walk(path, (*above, target))
        elif not entry.is_file():
            yield path, "links that lead nowhere, or pipes"
        else:
            yield path, "" if named_like_video else "files without a video's suffix"


def scan(root: str | Path, group: str = "") -> Listing:
    """List the clips below ``root`` and the classes, its sub-folders' sorted names.

    Where the sub-folders are called train and test (or val), the classes are below
    them, and every clip keeps the part that its folder names. Identical files belong to
    one group.

    Args:
        root: folder that holds one sub-folder for each class.
        group: regular expression searched in the file name; its first parenthesis
            is the clip's group. Where it is empty or does not match, the clip is a
            group of its own.

    Raises:
        InputError: no such folder, fewer than two classes, a class without clips, a
            pattern that is no regular expression with a parenthesis, or one that
            matches no file.
    """
    root, pattern = Path(root).expanduser(), group_pattern(group)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder of your classes")
    files = list_videos(root)
    folders = _class_folders(root)
    classes = tuple(sorted({folder.name for folder, _ in folders}))
    if len(classes) < 2:
        raise InputError(
            f"{root} holds {len(classes)} sub-folders; training needs one for each of "
            "two or more classes, each with its videos"
        )
    items = []
    for folder, part in folders:
        clips = [path for path in files.paths if path.is_relative_to(folder)]
        if not clips:
            raise InputError(
                f"class folder {folder} holds no video ({' '.join(sorted(SUFFIXES))})"
            )
        for path in clips:
            place = path.relative_to(root).as_posix()
            items.append(
                Item(
                    clip=path,
                    label=classes.index(folder.name),
                    group=group_of(pattern, path.name, place),
                    place=place,
                    part=part,
                )
            )
    items.sort(key=lambda item: (item.label, item.place))
    notes = [*files.left_out, *_check_pattern(pattern, items)]
    loose = [path for path in files.paths if path.parent == root]
    if loose:
        notes.append(
            f"left out: videos in no class folder ({len(loose)}), such as "
            f"{loose[0].name}"
        )
    items, copies = join_copies(items, _file_keys(items))
    return Listing(items, classes, (*notes, *copies))


def _class_folders(root: Path) -> list[tuple[Path, str]]:
    """Return the folders of classes, each with the part of the split that it names."""
    folders = _visible_folders(root)
    parts = {folder: PART_NAMES.get(folder.name.lower(), "") for folder in folders}
    below = {folder: _visible_folders(folder) for folder in folders}
    if len(folders) > 1 and all(parts.values()) and all(below.values()):
        return [
            (class_folder, parts[folder])
            for folder in folders
            for class_folder in below[folder]
        ]
    return [(folder, "") for folder in folders]


def _visible_folders(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and path.name[0] != "." and path.name not in SYSTEM_FOLDERS
    )


def join_copies(
    items: Sequence[Item], keys: Sequence[str]
) -> tuple[list[Item], tuple[str, ...]]:
    """Put identical clips into the group of the first, so that no split parts them.

    Args:
        items: the clips.
        keys: of each clip, equal where the bytes are; "": differs from all.

    Returns:
        The clips, and one sentence if there are copies.
    """
    first_of: dict[str, Item] = {}
    joined, copies = [], []
    for item, key in zip(items, keys, strict=True):
        first = first_of.setdefault(key, item) if key else item
        if first is not item:
            copies.append((first, item))
        joined.append(item._replace(group=first.group))
    if not copies:
        return joined, ()
    first, copy = copies[0]
    sentence = (
        f"identical clips share a group ({len(copies)} copies), such as {copy.place} "
        f"and {first.place}"
    )
    contradictions = [pair for pair in copies if pair[0].label != pair[1].label]
    if contradictions:
        first, copy = contradictions[0]
        sentence += (
            f"; copies of different classes ({len(contradictions)}), such as "
            f"{copy.place} and {first.place}"
        )
    return joined, (sentence,)


def _file_keys(items: Sequence[Item]) -> list[str]:
    """Return for each file what is equal where the bytes are; "" where none can be."""
    paths = [item.clip for item in items if isinstance(item.clip, Path)]
    sizes = [path.stat().st_size for path in paths]
    files_of_size = Counter(sizes)
    # Only files of equal size are read at all.
    return [
        _digest(path) if size and files_of_size[size] > 1 else ""
        for path, size in zip(paths, sizes, strict=True)
    ]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # reading the clip will say why
        return ""


def group_pattern(group: str) -> re.Pattern[str] | None:
    """Compile a group pattern; InputError where it is none."""
    if not group:
        return None
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise InputError(f"group pattern {group!r}: {error}") from error
    if not pattern.groups:
        raise InputError(
            f"group pattern {group!r} has no parenthesis; put one around the part of "
            r"the file name that names the group, such as _g(\d+)_"
        )
    return pattern


def group_of(pattern: re.Pattern[str] | None, name: str, place: str) -> str:
    """Return a clip's group: what the pattern finds in its name, or its own place."""
    match = pattern and pattern.search(name)
    return match[1] if match and match[1] is not None else place


def suggest_pattern(items: Sequence[Item]) -> str:
    """Return a group pattern by whose look several clips share a recording; "": none.

    Names are evidence, not proof: the pattern is suggested to the user, not applied.
    It matches most names, finds two recordings or more in some class, and several clips
    in at least half of the recordings.
    """
    classes = len({item.label for item in items})
    for pattern in RECORDING_PATTERNS:
        recordings = recordings_by(pattern, items)
        matching = sum(map(len, recordings.values()))
        several = sum(len(clips) > 1 for clips in recordings.values())
        if (
            matching >= MIN_MATCHING * len(items)
            and len(recordings) > classes
            and several >= len(recordings) / 2
        ):
            return pattern
    return ""


def recordings_by(
    pattern: str, items: Sequence[Item]
) -> dict[tuple[int, str], list[Item]]:
    """Return the clips of each recording that a pattern finds, class by class."""
    recordings: dict[tuple[int, str], list[Item]] = defaultdict(list)
    for item in items:
        match = re.search(pattern, item.name)
        if match:
            recordings[item.label, match[1]].append(item)
    return recordings


def _check_pattern(
    pattern: re.Pattern[str] | None, items: Sequence[Item]
) -> Iterator[str]:
    """Yield a sentence if a pattern matches some names only; raise if it matches none."""
    if pattern is None:
        return
    unmatched = [item for item in items if not pattern.search(item.name)]
    if len(unmatched) == len(items):
        raise InputError(
            f"group pattern {pattern.pattern!r} matches no file name, such as "
            f"{items[0].name}: correct it, or leave it out"
        )
    if unmatched:
        yield (
            f"group pattern {pattern.pattern!r} does not match {len(unmatched)} of "
            f"{len(items)} file names, such as {unmatched[0].name}: each of these is a "
            "group of its own"
        )
