"""A folder of videos, root/<class>/<clip>: its clips, groups and honest splits."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rgcam.errors import InputError

SUFFIXES = frozenset(".mp4 .avi .mpg .mpeg .mov .webm .mkv .gif".split())


class Item(NamedTuple):
    """One clip on disk: clips of one group were cut from the same recording."""

    path: Path
    label: int
    group: str


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
    root, pattern = Path(root).expanduser(), _compile(group)
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
        clips = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not clips:
            kinds = " ".join(sorted(SUFFIXES))
            raise InputError(f"class folder {folder} holds no video ({kinds})")
        items += [Item(path, label, _group(pattern, path, root)) for path in clips]
    return items, tuple(folder.name for folder in folders)


def split(
    items: Sequence[Item],
    *,
    test_groups: str = "",
    test_list: str = "",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[list[Item], list[Item]]:
    """Divide clips into train and test; a group is never divided.

    The first of these that is given decides:

    Args:
        items: from ``scan``.
        test_groups: groups to test on, separated by commas; whole numbers may be
            ranges: "3-7" is 3, 03, 4, ...
        test_list: text file with one test clip a line, relative to the root or by
            file name; # starts a comment.
        test_fraction: share of the groups to test on, drawn by ``seed``.
        seed: of the random fraction.

    Raises:
        InputError: a group or listed clip that does not exist, a list that divides
            a group, or a part that would be empty.
    """
    if test_groups:
        groups = _named_groups(items, test_groups)
    elif test_list:
        groups = _listed_groups(items, Path(test_list))
    else:
        groups = _drawn_groups(items, test_fraction, seed)
    parts = [], []
    for item in items:
        parts[item.group in groups].append(item)
    for name, part in zip(("train", "test"), parts, strict=True):
        if not part:
            raise InputError(f"the split leaves no clip to {name}; change the split")
    return parts


def _compile(group: str) -> re.Pattern | None:
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


def _group(pattern: re.Pattern | None, path: Path, root: Path) -> str:
    match = pattern and pattern.search(path.name)
    return match[1] if match else str(path.relative_to(root))


def _named_groups(items: Sequence[Item], wanted: str) -> set[str]:
    groups = {item.group for item in items}
    chosen = set()
    for part in filter(None, (p.strip() for p in wanted.split(","))):
        found = {g for g in groups if _names(part, g)}
        if not found:
            raise InputError(f"no clip belongs to test group {part!r}")
        chosen |= found
    return chosen


def _names(part: str, group: str) -> bool:
    """Tell whether "3", "3-7" or a name stands for this group."""
    bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
    if bounds and group.isdigit():
        first = int(bounds[1])
        return first <= int(group) <= int(bounds[2] or first)
    return part == group


def _listed_groups(items: Sequence[Item], file: Path) -> set[str]:
    if not file.is_file():
        raise InputError(f"there is no test list {file}")
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    listed = {line for line in lines if line}
    known = {name: item for item in items for name in _names_of(item)}
    unknown = sorted(listed - known.keys())
    if unknown:
        raise InputError(f"{file} lists {unknown[0]!r}, which is no clip of the folder")
    test = {known[line].path for line in listed}
    groups = {known[line].group for line in listed}
    for item in items:
        if item.group in groups and item.path not in test:
            raise InputError(
                f"{file} divides group {item.group!r}: {item.path.name} is not in it "
                "although other clips of its group are; list whole groups"
            )
    return groups


def _names_of(item: Item) -> tuple[str, str]:
    return f"{item.path.parent.name}/{item.path.name}", item.path.name


def _drawn_groups(items: Sequence[Item], fraction: float, seed: int) -> set[str]:
    if not 0 < fraction < 1:
        raise InputError(f"test fraction is {fraction}; give a number between 0 and 1")
    groups = sorted({item.group for item in items})
    count = max(1, round(fraction * len(groups)))
    drawn = np.random.default_rng(seed).permutation(len(groups))[:count]
    return {groups[i] for i in drawn}
