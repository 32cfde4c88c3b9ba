"""Clips -> train, validation and test: honest splits, and the paper's leaky one."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
        warning: what the split makes of an accuracy, or "".
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
        items: from ``folder.scan`` or ``datasets.scan``.
        kind: ``group``: whole groups, as the following fields say;
            ``leave_one_group_out``: test on group number ``fold``; ``list``: on the
            clips of ``test_list``; ``paper``: on a quarter of the clips, drawn one by
            one (Yamashita et al.: 1,200 and 400 of UCF11's 1,600), so that clips of
            one recording are on both sides.
        test_groups: groups to test on, separated by commas; whole numbers may be
            ranges: "3-7" is 3, 03, 4, ...
        test_list: text file with one test clip a line, relative to the root or by
            file name, with or without its suffix; # starts a comment. UCF101's
            official lists are such files. Fields of other kinds are not read.
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
    groups, name = _test_groups(
        items, kind, test_groups, test_list, test_fraction, fold, seed
    )
    rest = [item for item in items if item.group not in groups]
    chosen = set()
    if validation_groups:
        chosen = _named_groups(rest, validation_groups)
    elif validation_fraction:
        chosen = _drawn_groups(rest, validation_fraction, seed, "validation")
    return _checked(
        [item for item in rest if item.group not in chosen],
        [item for item in rest if item.group in chosen],
        [item for item in items if item.group in groups],
        name,
    )


def _test_groups(
    items, kind, test_groups, test_list, test_fraction, fold, seed
) -> tuple[set[str], str]:
    if kind == "leave_one_group_out":
        names = sorted({item.group for item in items}, key=_numerically)
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


def _by_clip(items: Sequence[Item], seed: int, validation: float) -> Parts:
    order = np.random.default_rng(seed).permutation(len(items))
    if validation:
        _check_fraction(validation, "validation")
    count = round(PAPER_SHARE * len(items))
    kept = round(validation * (len(items) - count))
    test, chosen, train = np.split(order, [count, count + kept])
    pick = lambda numbers: [items[i] for i in sorted(numbers)]
    name = f"paper (random by clip, seed {seed})"
    warning = (
        "the paper's split divides groups: clips of one recording are on both sides, "
        "so this accuracy says little about new recordings; use --config.data.split="
        "group for one that does"
    )
    return _checked(pick(train), pick(chosen), pick(test), name, warning)


def _checked(train, validation, test, name: str, warning: str = "") -> Parts:
    for part, clips in (("train", train), ("test", test)):
        if not clips:
            raise InputError(f"the split leaves no clip to {part}; change the split")
    return Parts(train, validation, test, name, warning)


def _named_groups(items: Sequence[Item], wanted: str) -> set[str]:
    groups = {item.group for item in items}
    chosen = set()
    for part in filter(None, (p.strip() for p in wanted.split(","))):
        found = {g for g in groups if _names(part, g)}
        if not found:
            raise InputError(
                f"no clip belongs to group {part!r}, or it is the test set's already"
            )
        chosen |= found
    return chosen


def _names(part: str, group: str) -> bool:
    """Tell whether "3", "3-7" or a name stands for this group."""
    bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
    if bounds and group.isdigit():
        first = int(bounds[1])
        return first <= int(group) <= int(bounds[2] or first)
    return part == group


def _numerically(group: str) -> tuple[int, str]:
    return (int(group) if group.isdigit() else 0, group)


def _listed_groups(items: Sequence[Item], file: Path) -> set[str]:
    if not file.is_file():
        raise InputError(f"there is no test list {file}")
    found = _find(items, _listed(file), file)
    test, groups = {item.place for item in found}, {item.group for item in found}
    for item in items:
        if item.group in groups and item.place not in test:
            raise InputError(
                f"{file} divides group {item.group!r}: {item.name} is not in it "
                "although other clips of its group are; list whole groups"
            )
    return groups


def _find(items: Sequence[Item], listed: Collection[str], file: Path) -> list[Item]:
    """Return the clips that a list means, but for those of classes not here.

    Raises:
        InputError: a name is no clip's, or several clips'.
    """
    known, classes = {}, {item.place.split("/")[0] for item in items}
    for item in items:
        for name in _names_of(item.place):
            known.setdefault(name, []).append(item)
    elsewhere = lambda name: "/" in name and name.split("/")[0] not in classes
    here = sorted(n for n in listed if _stem(n) in known or not elsewhere(n))
    for name in here:
        meant = known.get(_stem(name), [])
        if not meant:
            raise InputError(f"{file} lists {name!r}, which is no clip of the data")
        if len(meant) > 1:
            raise InputError(
                f"{file} lists {name!r}, which may be {meant[0].place} or "
                f"{meant[1].place}: give it with its folder"
            )
    return [known[_stem(name)][0] for name in here]


def _listed(file: Path) -> set[str]:
    """Read a list without its comments and labels."""
    plain = lambda line: re.sub(r"\s+\d+$", "", line.split("#")[0].strip())
    return set(filter(None, map(plain, _lines(file))))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
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
