"""A folder of videos, root/<class>/<clip>: its clips and their groups."""

import re
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from rgcam.errors import InputError

SUFFIXES = frozenset(".mp4 .avi .mpg .mpeg .mov .webm .mkv .gif".split())


@runtime_checkable
class Stored(Protocol):
    """A clip inside a prepared dataset.

    Attributes:
        name: of the video file it was.
        key: other text for other bytes.
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
        label: its class.
        group: its recording.
        place: the file's path below the root, with /: what lists name it by.
    """

    clip: Path | Stored
    label: int
    group: str
    place: str

    @property
    def name(self) -> str:
        """Return the file's name, for messages."""
        return self.clip.name


def scan(root: str | Path, group: str = "") -> tuple[list[Item], tuple[str, ...]]:
    """List the clips below ``root`` and the classes, its sub-folders' sorted names.

    Args:
        root: folder that holds one sub-folder for each class.
        group: regular expression searched in the file name; its first parenthesis
            is the clip's group. Where it is empty or does not match, the clip is a
            group of its own.

    Raises:
        InputError: no such folder, fewer than two classes, a class without clips,
            or a pattern that is no regular expression with a parenthesis.
    """
    root, pattern = Path(root).expanduser(), group_pattern(group)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder of your classes")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    if len(folders) < 2:
        raise InputError(
            f"{root} holds {len(folders)} sub-folders; training needs one for each of "
            "two or more classes, each with its videos"
        )
    items = []
    for label, folder in enumerate(folders):
        clips = sorted(p for p in folder.rglob("*") if _is_clip(p))
        if not clips:
            kinds = " ".join(sorted(SUFFIXES))
            raise InputError(f"class folder {folder} holds no video ({kinds})")
        for path in clips:
            place = path.relative_to(root).as_posix()
            items.append(Item(path, label, group_of(pattern, path.name, place), place))
    return items, tuple(folder.name for folder in folders)


def _is_clip(path: Path) -> bool:
    """Tell a video from other files; ``._x.mpg`` is what macOS leaves beside one."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "."


def group_pattern(group: str) -> re.Pattern | None:
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


def group_of(pattern: re.Pattern | None, name: str, place: str) -> str:
    """Return a clip's group: what the pattern finds in its name, or its own place."""
    match = pattern and pattern.search(name)
    return match[1] if match else place
