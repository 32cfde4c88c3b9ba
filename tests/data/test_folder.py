"""A folder of videos: what is found."""

import pytest

from rgcam.data import folder
from rgcam.errors import InputError

UCF = r"_g(\d+)_"


def groups(items):
    return {item.group for item in items}


def test_scan_finds_clips_classes_and_groups(ucf_tree):
    items, classes = folder.scan(ucf_tree, UCF)
    assert classes == ("Dive", "Swing")
    assert len(items) == 40
    assert groups(items) == {f"{g:02}" for g in range(1, 11)}
    assert all(classes[i.label] == i.clip.parent.name for i in items)
    first = items[0]
    assert first.name == "v_Dive_g01_c01.mp4" and first.place == f"Dive/{first.name}"


def test_without_a_pattern_each_clip_is_its_own_group(ucf_tree):
    assert len(groups(folder.scan(ucf_tree)[0])) == 40


def test_every_suffix_in_any_case(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for suffix in (".mp4", ".AVI", ".mpg", ".mov", ".webm", ".mkv", ".Gif"):
            (tmp_path / name / f"clip{suffix}").touch()
    assert len(folder.scan(tmp_path)[0]) == 14


def test_hidden_files_are_no_clips(ucf_tree):
    (ucf_tree / "Dive" / "._v_Dive_g01_c01.mp4").touch()
    assert len(folder.scan(ucf_tree, UCF)[0]) == 40


def test_mistakes_get_one_sentence(ucf_tree):
    with pytest.raises(InputError, match="not a folder"):
        folder.scan(ucf_tree / "nope")
    with pytest.raises(InputError, match="0 sub-folders"):
        folder.scan(ucf_tree / "Dive")
    with pytest.raises(InputError, match="parenthesis"):
        folder.scan(ucf_tree, r"_g\d+_")
    with pytest.raises(InputError, match="group pattern"):
        folder.scan(ucf_tree, r"_g(\d+_")
    (ucf_tree / "Empty").mkdir()
    with pytest.raises(InputError, match="Empty holds no video"):
        folder.scan(ucf_tree)
