"""Clips -> train, validation and test: honest splits, and the paper's leaky one."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rgcam.data import folder
from rgcam.data.folder import Item
from rgcam.errors import InputError

KINDS = ("group", "leave_one_group_out", "list", "paper")
PAPER_SHARE = 0.25  # 400 of UCF11's 1,600 clips


class Parts(NamedTuple):
    """The parts of a split.

    Attributes:
        train: clips to train on.
        validation: clips by which the best checkpoint is chosen; may be empty.
        test: clips to test on.
        name: of the split; every accuracy is quoted with it.
        warning: what to keep in mind with an accuracy on this split, or "".
    """

    train: list[Item]
    validation: list[Item]
    test: list[Item]
    name: str
    warning: str = ""


def split(
    items: Sequence[Item],
    *,
    kind: str = "group",
    test_groups: str = "",
    test_list: str = "",
    test_fraction: float = 0.2,
    fold: int = 1,
    seed: int = 0,
    validation_groups: str = "",
    validation_fraction: float = 0.0,
) -> Parts:
    """Divide clips; but for ``paper`` no group is ever in two parts.

    Args:
        items: from ``folder.scan`` or ``prepare.scan``.
        kind: ``group``: whole groups, as the following fields say, or the parts that
            folders called train and test name where none of these is given;
            ``leave_one_group_out``: test on group number ``fold``; ``list``: on the
            clips of ``test_list``; ``paper``: on a quarter of the clips, drawn one by
            one (Yamashita et al.: 1,200 and 400 of UCF11's 1,600), so that clips of
            one recording are on both sides.
        test_groups: groups to test on, separated by commas; whole numbers may be
            ranges: "3-7" is 3, 03, 4, ...
        test_list: text file with one test clip a line, relative to the root or by
            file name, with or without its suffix; # starts a comment unless it is
            part of a clip's name. UCF101's official lists are such files. Fields of
            other kinds are not read.
        test_fraction: share of the groups to test on, drawn by ``seed``, where
            neither groups nor a list is given.
        fold: from 1.
        seed: of what is drawn.
        validation_groups: groups among the others, named like ``test_groups``.
        validation_fraction: or the share of the others that is drawn.

    Raises:
        InputError: an unknown kind, group, fold or listed clip, a name that two clips
            bear, a list that divides a group, a fraction that is none, or no clip left
            to train or test on.
    """
    if kind not in KINDS:
        raise InputError(f"data.split is {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "paper":
        if validation_groups:
            raise InputError(
                "data.split=paper draws clips, not groups: give validation_fraction "
                "in place of validation_groups"
            )
        return _by_clip(items, seed, validation_fraction)
    if kind == "group" and not (test_groups or test_list):
        if any(item.part for item in items):
            return _by_folder(
                items, test_fraction, seed, validation_groups, validation_fraction
            )
    groups, name = _test_groups(
        items, kind, test_groups, test_list, test_fraction, fold, seed
    )
    test = [item for item in items if item.group in groups]
    others = [item for item in items if item.group not in groups]
    train, validation = _without_validation(
        others, validation_groups, validation_fraction, seed
    )
    return _checked(train, validation, test, name)


def _without_validation(
    items: Sequence[Item], groups: str, fraction: float, seed: int
) -> tuple[list[Item], list[Item]]:
    """Divide what is not tested on into clips to train on and validation clips."""
    validation_groups: set[str] = set()
    if groups:
        validation_groups = _named_groups(items, groups)
    elif fraction:
        validation_groups = _drawn_groups(items, fraction, seed, "validation")
    return (
        [item for item in items if item.group not in validation_groups],
        [item for item in items if item.group in validation_groups],
    )


def _by_folder(
    items: Sequence[Item],
    test_fraction: float,
    seed: int,
    validation_groups: str,
    validation_fraction: float,
) -> Parts:
    """Take the parts that the folders name; draw those that they do not."""
    train = [item for item in items if item.part == "train"]
    validation = [item for item in items if item.part == "validation"]
    test = [item for item in items if item.part == "test"]
    name = f"folders ({', '.join(sorted({item.part for item in items}))})"
    if not test:
        test_names = _drawn_groups(train, test_fraction, seed, "test")
        test = [item for item in train if item.group in test_names]
        train = [item for item in train if item.group not in test_names]
        name += f", test groups drawn by seed {seed}"
    if not validation:
        train, validation = _without_validation(
            train, validation_groups, validation_fraction, seed
        )
    shared = {item.group for item in train} & {item.group for item in test}
    warning = ""
    if shared:
        warning = (
            f"{len(shared)} recordings have clips in the training folder and in the "
            f"test folder, such as {min(shared)}: the accuracy says little about new "
            "recordings"
        )
    return _checked(train, validation, test, name, warning)


def _test_groups(
    items: Sequence[Item],
    kind: str,
    test_groups: str,
    test_list: str,
    test_fraction: float,
    fold: int,
    seed: int,
) -> tuple[set[str], str]:
    """Return the groups to test on, and the name of the split."""
    if kind == "leave_one_group_out":
        names = sorted({item.group for item in items}, key=_number_first)
        if not 1 <= fold <= len(names):
            raise InputError(f"data.fold is {fold}; there are groups 1 to {len(names)}")
        return {names[fold - 1]}, f"leave-one-group-out {fold} of {len(names)}"
    if kind == "list" and not test_list:
        raise InputError("data.split=list needs --config.data.test_list=FILE")
    if test_groups and kind == "group":
        return _named_groups(items, test_groups), f"group ({test_groups})"
    if test_list:
        return _listed_groups(items, Path(test_list)), f"list {Path(test_list).name}"
    drawn = _drawn_groups(items, test_fraction, seed, "test")
    return drawn, f"group ({len(drawn)} drawn, seed {seed})"


def _by_clip(items: Sequence[Item], seed: int, validation_fraction: float) -> Parts:
    order = np.random.default_rng(seed).permutation(len(items))
    if validation_fraction:
        _check_fraction(validation_fraction, "validation")
    test_count = round(PAPER_SHARE * len(items))
    validation_count = round(validation_fraction * (len(items) - test_count))
    test, validation, train = np.split(
        order, [test_count, test_count + validation_count]
    )
    warning = (
        "the paper's split divides groups: clips of one recording are on both sides, "
        "so this accuracy says little about new recordings; use --config.data.split="
        "group for one that does"
    )
    return _checked(
        [items[i] for i in sorted(train)],
        [items[i] for i in sorted(validation)],
        [items[i] for i in sorted(test)],
        name=f"paper (random by clip, seed {seed})",
        warning=warning,
    )


def _checked(
    train: list[Item],
    validation: list[Item],
    test: list[Item],
    name: str,
    warning: str = "",
) -> Parts:
    """Raise where a part is empty; warn where a class has no clip to train on."""
    for part, clips in (("train", train), ("test", test)):
        if not clips:
            raise InputError(f"the split leaves no clip to {part}; change the split")
    warnings = [warning] if warning else []
    warnings += _divided_recordings(train, test)
    trained = {item.label for item in train}
    untrained = sorted(
        {
            Path(item.place).parent.name
            for item in (*validation, *test)
            if item.label not in trained
        }
    )
    if untrained:
        warnings.append(
            f"the split leaves no clip to train on for {', '.join(untrained)}: the "
            "model cannot learn these classes"
        )
    return Parts(train, validation, test, name, "; ".join(warnings))


def _divided_recordings(train: Sequence[Item], test: Sequence[Item]) -> Iterator[str]:
    """Yield a sentence if file names tell of recordings with clips on both sides.

    Only clips without a known group are looked at: each is a group of its own.
    """
    alone = [item for item in (*train, *test) if item.group == item.place]
    pattern = folder.suggest_pattern(alone)
    if not pattern:
        return
    tested = {item.place for item in test}
    divided = [
        clips
        for clips in folder.recordings_by(pattern, alone).values()
        if 0 < sum(item.place in tested for item in clips) < len(clips)
    ]
    if divided:
        first = sorted(item.name for item in divided[0])
        yield (
            f"by their names, {len(divided)} recordings have clips on both sides of the "
            f"split, such as {first[0]} and {first[1]}: the accuracy says little about "
            f"new recordings; keep them together by --config.data.group='{pattern}'"
        )


def _named_groups(items: Sequence[Item], text: str) -> set[str]:
    """Return the groups that "1, 3-7, name" stands for; a group's own name first."""
    groups = {item.group for item in items}
    if text in groups:
        return {text}
    named: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        matching = {part} & groups or {g for g in groups if _in_range(part, g)}
        if not matching:
            raise InputError(
                f"no clip belongs to group {part!r}, or it is the test set's already"
            )
        named |= matching
    return named


def _in_range(part: str, group: str) -> bool:
    """Tell whether "3" or "3-7" holds the number of this group."""
    bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
    if not bounds or not group.isdecimal():
        return False
    first = int(bounds[1])
    return first <= int(group) <= int(bounds[2] or first)


def _number_first(group: str) -> tuple[int, str]:
    return (int(group) if group.isdecimal() else 0, group)


def _listed_groups(items: Sequence[Item], file: Path) -> set[str]:
    """Return the groups of the clips that a list names."""
    if not file.is_file():
        raise InputError(f"there is no test list {file}")
    listed = _listed_clips(items, file)
    test = {item.place for item in listed}
    groups = {item.group for item in listed}
    for item in items:
        if item.group in groups and item.place not in test:
            raise InputError(
                f"{file} divides group {item.group!r}: {item.name} is not in it "
                "although other clips of its group are; list whole groups"
            )
    return groups


def _listed_clips(items: Sequence[Item], file: Path) -> list[Item]:
    """Return the clips that a list names, without those of classes that are not here.

    Raises:
        InputError: a line names no clip, or several.
    """
    clips_of_name: dict[str, list[Item]] = {}
    for item in items:
        for name in _names_of(item.place):
            clips_of_name.setdefault(name, []).append(item)
    folders = {part for item in items for part in item.place.split("/")[:-1]}
    listed = {}
    for line in _lines(file):
        name = _clip_name(line, clips_of_name)
        clips = clips_of_name.get(_stem(name), [])
        elsewhere = "/" in name and name.split("/")[0] not in folders
        if not name or (elsewhere and not clips):
            continue
        if not clips:
            raise InputError(f"{file} lists {name!r}, which is no clip of the data")
        if len(clips) > 1:
            raise InputError(
                f"{file} lists {name!r}, which may be {clips[0].place} or "
                f"{clips[1].place}: give it with its folder"
            )
        listed[clips[0].place] = clips[0]
    return list(listed.values())


def _clip_name(line: str, clip_names: Collection[str]) -> str:
    """Return the clip that a line names, without its label or comment; "": none.

    A # may begin a comment or belong to a name, as in some of HMDB51; so may a number
    at the end be a label or not. What is the name of a clip is taken as it stands.
    """
    line = line.strip()
    before_comment = line.split("#")[0].strip()
    readings = (line, _without_label(line), before_comment)
    for reading in readings:
        if reading and _stem(reading) in clip_names:
            return reading
    return _without_label(before_comment)


def _without_label(line: str) -> str:
    return re.sub(r"\s+\d+$", "", line)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no list of clips: {error}") from error


def _names_of(place: str) -> set[str]:
    """Return what a list may call a clip, less the suffix: a/b/c, a/c, b/c or c."""
    parts = _stem(place).split("/")
    ends = parts, parts[:1] + parts[-1:], parts[-2:], parts[-1:]
    return {"/".join(end) for end in ends}


def _stem(place: str) -> str:
    return re.sub(r"\.\w{2,4}$", "", place)


def _drawn_groups(
    items: Sequence[Item], fraction: float, seed: int, part: str
) -> set[str]:
    _check_fraction(fraction, part)
    groups = sorted({item.group for item in items})
    count = max(1, round(fraction * len(groups)))
    drawn = np.random.default_rng(seed).permutation(len(groups))[:count]
    return {groups[i] for i in drawn}


def _check_fraction(fraction: float, part: str) -> None:
    if not 0 < fraction < 1:
        raise InputError(
            f"{part} fraction is {fraction}; give a number between 0 and 1"
        )
