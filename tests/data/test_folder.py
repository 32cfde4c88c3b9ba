"""Folders of videos: what counts as a clip, its class, group and part."""

import os

import pytest

from rgcam.data import folder
from rgcam.errors import InputError

UCF = r"_g(\d+)_"


def groups(items):
    return {item.group for item in items}


def fill(root, *names, content=None):
    """Write one small file for each name, no two alike unless the content is given."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content or f"video {number} {name}".encode())


def test_scan_finds_clips_classes_and_groups(ucf_tree):
    items, classes, _ = folder.scan(ucf_tree, UCF)
    assert classes == ("Dive", "Swing")
    assert len(items) == 40
    assert groups(items) == {f"{g:02}" for g in range(1, 11)}
    assert all(classes[i.label] == i.clip.parent.name for i in items)
    first = items[0]
    assert first.name == "v_Dive_g01_c01.mp4" and first.place == f"Dive/{first.name}"
    assert not any(item.part for item in items)


def test_without_a_pattern_each_clip_is_its_own_group(ucf_tree):
    assert len(groups(folder.scan(ucf_tree)[0])) == 40


@pytest.mark.parametrize(
    "suffix",
    [".mp4", ".AVI", ".mpg", ".mpeg", ".mov", ".webm", ".mkv", ".Gif", ".m4v", ".wmv"]
    + [".flv", ".ts", ".3gp", ".ogv", ".m2ts"],
)
def test_every_readable_suffix_in_any_case_is_a_clip(tmp_path, suffix):
    fill(tmp_path, f"a/clip{suffix}", f"b/clip{suffix}")
    assert len(folder.scan(tmp_path)[0]) == 2


def test_what_is_no_clip_is_left_out_with_its_reason(tmp_path):
    fill(tmp_path, "a/1.mp4", "a/._1.mp4", "a/.ipynb_checkpoints/1.mp4", "b/1.mp4")
    fill(tmp_path, ".Trash-0/x.mp4", "lost+found/x.mp4", "@eaDir/x.mp4", "a/notes.txt")
    fill(tmp_path, "__MACOSX/a/1.mp4", "b/folder.mp4/2.mp4", "loose.mp4")
    (tmp_path / "b" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    items, classes, notes = folder.scan(tmp_path)
    assert classes == ("a", "b")
    assert [item.place for item in items] == ["a/1.mp4", "b/1.mp4"]
    assert set(notes) == {
        "left out: files without a video's suffix (1), such as a/notes.txt",
        "left out: folders with a video's name (1), such as b/folder.mp4",
        "left out: folders of the system (3), such as @eaDir",
        "left out: hidden files or folders (3), such as .Trash-0",
        "left out: links that lead nowhere, or pipes (1), such as b/gone.mp4",
        "left out: links to a folder above (1), such as b/up",
        "left out: videos in no class folder (1), such as loose.mp4",
    }


def test_a_linked_folder_is_followed(tmp_path):
    fill(tmp_path, "store/1.mp4", "data/a/2.mp4", "data/b/deep/3.mp4")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "store")
    items, classes, _ = folder.scan(tmp_path / "data")
    assert classes == ("a", "b", "c")
    places = {item.place for item in items}
    assert places == {"a/2.mp4", "a/more/1.mp4", "b/deep/3.mp4", "c/1.mp4"}


def test_folders_called_train_and_test_are_parts_not_classes(tmp_path):
    for part, count in (("train", 3), ("Test", 1)):
        for name in ("a", "b"):
            fill(tmp_path, *(f"{part}/{name}/{i}.mp4" for i in range(count)))
    items, classes, _ = folder.scan(tmp_path)
    assert classes == ("a", "b")
    assert sorted(i.part for i in items) == ["test"] * 2 + ["train"] * 6
    assert [i.label for i in items] == [0] * 4 + [1] * 4


def test_classes_called_train_are_classes_where_they_hold_the_videos(tmp_path):
    fill(tmp_path, "train/1.mp4", "test/1.mp4")
    assert folder.scan(tmp_path).classes == ("test", "train")


def test_identical_files_share_a_group_and_are_named(tmp_path):
    fill(tmp_path, "a/1.mp4", "a/2.mp4", "b/3.mp4")
    fill(tmp_path, "a/copy.mp4", "b/copy.mp4", content=b"the same bytes")
    items, _, notes = folder.scan(tmp_path)
    assert len(groups(items)) == 4
    copies = [item.group for item in items if "copy" in item.place]
    assert copies == ["a/copy.mp4", "a/copy.mp4"]
    assert notes == (
        "identical clips share a group (1 copies), such as b/copy.mp4 and a/copy.mp4; "
        "copies of different classes (1), such as b/copy.mp4 and a/copy.mp4",
    )


def test_a_pattern_that_matches_some_names_says_which_it_does_not(tmp_path):
    fill(tmp_path, "a/v_g1_1.mp4", "a/x.mp4", "b/v_g2_1.mp4", "b/v_g3_1.mp4")
    items, _, notes = folder.scan(tmp_path, r"_g(\d)_")
    assert groups(items) == {"1", "2", "3", "a/x.mp4"}
    assert notes == (
        r"group pattern '_g(\\d)_' does not match 1 of 4 file names, such as x.mp4: "
        "each of these is a group of its own",
    )
    with pytest.raises(
        InputError, match=r"'G\(.\)' matches no file name, such as v_g1"
    ):
        folder.scan(tmp_path, "G(.)")


def test_all_videos_below_a_folder_are_listed(tmp_path):
    fill(tmp_path, "1.mp4", "deep/er/2.avi", ".hidden/3.mp4", "out/4.mp4", "a.txt")
    paths, left_out = folder.list_videos(tmp_path, exclude=tmp_path / "out")
    assert [os.path.relpath(p, tmp_path) for p in paths] == ["1.mp4", "deep/er/2.avi"]
    assert left_out == (
        "left out: files without a video's suffix (1), such as a.txt",
        "left out: hidden files or folders (1), such as .hidden",
    )


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
