"""Splits: groups are never divided, but for the paper's, which says so."""

from pathlib import Path

import pytest

from rgcam.data import folder, splits
from rgcam.errors import InputError
from tests.data.test_folder import UCF, groups


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("1-3", {"01", "02", "03"}), ("10", {"10"}), ("2, 4-5", {"02", "04", "05"})],
)
def test_named_groups(ucf_tree, wanted, found):
    train, _, test, *_ = splits.split(folder.scan(ucf_tree, UCF)[0], test_groups=wanted)
    assert groups(test) == found
    assert not groups(train) & found
    assert len(train) + len(test) == 40


def test_groups_named_by_words(ucf_tree):
    items = folder.scan(ucf_tree, r"v_(Dive|Swing)_")[0]
    train, _, test, *_ = splits.split(items, test_groups="Dive")
    assert groups(train) == {"Swing"} and groups(test) == {"Dive"}


@pytest.mark.parametrize("seed", range(5))
def test_random_fraction_keeps_groups_whole(ucf_tree, seed):
    items = folder.scan(ucf_tree, UCF)[0]
    train, _, test, *_ = splits.split(items, test_fraction=0.3, seed=seed)
    assert len(groups(test)) == 3 and not groups(train) & groups(test)
    again = splits.split(items, test_fraction=0.3, seed=seed)
    assert (train, test) == (again.train, again.test)


def test_seeds_draw_different_groups(ucf_tree):
    items = folder.scan(ucf_tree, UCF)[0]
    drawn = {
        frozenset(groups(splits.split(items, test_fraction=0.3, seed=s).test))
        for s in range(8)
    }
    assert len(drawn) > 1


def test_list_file(ucf_tree, tmp_path):
    lines = [f"Dive/v_Dive_g01_c0{c}.mp4" for c in (1, 2)]
    lines += [f"v_Swing_g01_c0{c}.mp4  # by name" for c in (1, 2)]
    (tmp_path / "list.txt").write_text("# test\n" + "\n".join(lines) + "\n\n")
    items = folder.scan(ucf_tree, UCF)[0]
    train, _, test, *_ = splits.split(items, test_list=str(tmp_path / "list.txt"))
    assert groups(test) == {"01"} and len(test) == 4 and len(train) == 36


def test_list_that_divides_a_group_is_rejected(ucf_tree, tmp_path):
    (tmp_path / "list.txt").write_text("v_Dive_g01_c01.mp4\n")
    with pytest.raises(InputError, match="divides group '01'"):
        splits.split(
            folder.scan(ucf_tree, UCF)[0], test_list=str(tmp_path / "list.txt")
        )


def test_mistakes_get_one_sentence(ucf_tree, tmp_path):
    items = folder.scan(ucf_tree, UCF)[0]
    with pytest.raises(InputError, match="group '77'"):
        splits.split(items, test_groups="1,77")
    with pytest.raises(InputError, match="leaves no clip to train"):
        splits.split(items, test_groups="1-10")
    with pytest.raises(InputError, match="between 0 and 1"):
        splits.split(items, test_fraction=1.5)
    with pytest.raises(InputError, match="no test list"):
        splits.split(items, test_list="nope.txt")
    (tmp_path / "list.txt").write_text("v_Dive_g99_c01.mp4\n")
    with pytest.raises(InputError, match="no clip of the data"):
        splits.split(items, test_list=str(tmp_path / "list.txt"))
    with pytest.raises(InputError, match="data.split is 'random'"):
        splits.split(items, kind="random")
    with pytest.raises(InputError, match="data.fold is 11"):
        splits.split(items, kind="leave_one_group_out", fold=11)
    with pytest.raises(InputError, match="needs --config.data.test_list"):
        splits.split(items, kind="list")
    with pytest.raises(InputError, match="group '3', or it is the test set's"):
        splits.split(items, test_groups="3", validation_groups="3")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no list of clips"):
        splits.split(items, test_list=str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    "how", [{"validation_groups": "9-10"}, {"validation_fraction": 0.25}]
)
def test_validation_groups_come_from_the_others(ucf_tree, how):
    items = folder.scan(ucf_tree, UCF)[0]
    train, validation, test, *_ = splits.split(items, test_groups="1-2", **how)
    parts = [groups(p) for p in (train, validation, test)]
    assert len(parts[1]) == 2 and set.union(*parts) == groups(items)
    assert sum(map(len, parts)) == 10  # disjoint
    assert len(train) + len(validation) + len(test) == 40


def test_leave_one_group_out_takes_a_number_of_every_class(ucf_tree):
    items = folder.scan(ucf_tree, UCF)[0]
    found = [splits.split(items, kind="leave_one_group_out", fold=k) for k in (1, 10)]
    assert [groups(p.test) for p in found] == [{"01"}, {"10"}]
    assert {i.label for i in found[1].test} == {0, 1}
    assert found[1].name == "leave-one-group-out 10 of 10"


def test_the_paper_s_split_is_by_clip_and_warns(ucf_tree):
    items = folder.scan(ucf_tree, UCF)[0]
    parts = splits.split(items, kind="paper", seed=3)
    assert (len(parts.train), len(parts.test)) == (30, 10)
    assert not {i.place for i in parts.train} & {i.place for i in parts.test}
    assert groups(parts.train) & groups(parts.test)
    assert "divides groups" in parts.warning and "seed 3" in parts.name
    assert parts.test != splits.split(items, kind="paper", seed=4).test
    three = splits.split(items, kind="paper", validation_fraction=0.1)
    assert [len(p) for p in three[:3]] == [27, 3, 10]


def test_official_lists_with_other_suffixes_labels_and_missing_classes(
    ucf_tree, tmp_path
):
    """UCF101's testlist01.txt names .avi files, also of classes that are not here."""
    lines = [
        f"{name}/v_{name}_g0{g}_c0{c}.avi 1"
        for name in ("Dive", "Swing", "Archery")
        for g in (1, 2)
        for c in (1, 2)
    ]
    (tmp_path / "testlist01.txt").write_text("\n".join(lines))
    items = folder.scan(ucf_tree, UCF)[0]
    parts = splits.split(items, test_list=str(tmp_path / "testlist01.txt"))
    assert groups(parts.test) == {"01", "02"} and len(parts.test) == 8
    assert parts.name == "list testlist01.txt" and not parts.warning


def ucf11_items():
    """List UCF11's layout: the clip's name tells another class than its folder."""
    prefixes = {"basketball": "shooting", "biking": "biking"}
    stems = [
        (label, f"{g:02}", f"{name}/v_{prefix}_{g:02}/v_{prefix}_{g:02}_{c:02}.mpg")
        for label, (name, prefix) in enumerate(prefixes.items())
        for g in (1, 2, 3)
        for c in (1, 2)
    ]
    return [folder.Item(Path(place), label, g, place) for label, g, place in stems]


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_lists_of_deeper_trees(tmp_path, cut):
    """A list may name a clip from the root, from its folder or by its file name."""
    items = ucf11_items()
    lines = [i.place.split("/", cut)[-1] for i in items if i.group == "02"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    parts = splits.split(items, test_list=str(tmp_path / "list.txt"))
    assert groups(parts.test) == {"02"} and len(parts.test) == 4


def test_a_name_that_two_clips_bear_is_rejected(tmp_path):
    places = [f"{name}/{n}.mp4" for name in ("Hug", "Kick") for n in range(4)]
    items = [folder.Item(Path(p), p[0] == "K", p, p) for p in places]
    (tmp_path / "list.txt").write_text("Hug/2.mp4\n1.mp4\n")
    with pytest.raises(InputError, match="'1.mp4', which may be Hug/1.mp4 or Kick/1"):
        splits.split(items, test_list=str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("Hug/2.mp4\nKick/1.mp4\n")
    parts = splits.split(items, test_list=str(tmp_path / "list.txt"))
    assert {i.place for i in parts.test} == {"Hug/2.mp4", "Kick/1.mp4"}


def test_a_list_is_read_even_where_a_config_names_groups(tmp_path):
    items = ucf11_items()
    (tmp_path / "list.txt").write_text("\n".join(i.place for i in items[:2]))
    what = {"test_groups": "2", "test_list": str(tmp_path / "list.txt")}
    with pytest.raises(InputError, match="divides group '01'"):
        splits.split(items, kind="list", **what)
    assert groups(splits.split(items, **what).test) == {"02"}


@pytest.mark.parametrize("fraction", [-0.5, 1.0, 1.5])
def test_the_paper_s_validation_is_a_share_too(ucf_tree, fraction):
    items = folder.scan(ucf_tree, UCF)[0]
    with pytest.raises(InputError, match="validation fraction is"):
        splits.split(items, kind="paper", validation_fraction=fraction)
    with pytest.raises(InputError, match="draws clips, not groups"):
        splits.split(items, kind="paper", validation_groups="1")


@pytest.mark.parametrize("suffix", ["avi", "mpg"])
def test_the_official_training_list_has_labels(ucf_tree, tmp_path, suffix):
    lines = [
        f"{name}/v_{name}_g{g:02}_c{c:02}.{suffix} {label}"
        for label, name in enumerate(("Dive", "Swing"), 1)
        for g in range(3, 11)
        for c in (1, 2)
    ]
    (tmp_path / "trainlist01.txt").write_text("\n".join(lines))
    items = folder.scan(ucf_tree, UCF)[0]
    parts = splits.split(items, test_list=str(tmp_path / "trainlist01.txt"))
    assert groups(parts.train) == {"01", "02"} and len(parts.test) == 32


def named_items(*places):
    labels = {
        name: i for i, name in enumerate(sorted({p.split("/")[0] for p in places}))
    }
    return [folder.Item(Path(p), labels[p.split("/")[0]], p, p) for p in places]


def test_a_clip_whose_name_begins_with_a_number_sign_can_be_listed(tmp_path):
    """HMDB51 has such names; a known clip's name is never a comment."""
    items = named_items("hug/#a_1.avi", "hug/b.avi", "kick/#c #2.avi", "kick/d.avi")
    file = tmp_path / "list.txt"
    file.write_text(
        "# a comment\n#a_1.avi 2\n#c #2.avi\n#gone.avi\nb.avi # the third\n"
    )
    parts = splits.split(items, test_list=str(file))
    assert {i.place for i in parts.test} == {
        "hug/#a_1.avi",
        "hug/b.avi",
        "kick/#c #2.avi",
    }


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    items = named_items("hug/a.avi", "hug/b.avi", "kick/c.avi")
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa.avi\r\nc.avi\r\n")
    parts = splits.split(items, test_list=str(file))
    assert {i.place for i in parts.test} == {"hug/a.avi", "kick/c.avi"}


def test_a_name_that_ends_in_a_number_is_no_label(tmp_path):
    items = named_items("hug/take 1.avi", "hug/take 2.avi", "kick/c")
    (tmp_path / "list.txt").write_text("hug/take 1\n")
    parts = splits.split(items, test_list=str(tmp_path / "list.txt"))
    assert {i.place for i in parts.test} == {"hug/take 1.avi"}


def test_a_group_named_like_a_range_is_taken_by_its_name():
    items = [
        folder.Item(Path(f"{g}.mp4"), label, g, f"{'ab'[label]}/{g}.mp4")
        for g in ("3-7", "3", "5", "8")
        for label in (0, 1)
    ]
    assert groups(splits.split(items, test_groups="3-7").test) == {"3-7"}
    assert groups(splits.split(items, test_groups="3-5").test) == {"3", "5"}


def part_items(parts):
    return [
        folder.Item(Path(name), label, name, f"{part}/{'ab'[label]}/{name}", part)
        for part, names in parts.items()
        for label in (0, 1)
        for name in (f"{n}{label}" for n in names)
    ]


def test_folders_called_train_and_test_are_the_split():
    items = part_items({"train": "123", "validation": "4", "test": "56"})
    parts = splits.split(items)
    assert [len(p) for p in parts[:3]] == [6, 2, 4]
    assert {i.part for i in parts.test} == {"test"} and parts.warning == ""
    assert parts.name == "folders (test, train, validation)"
    chosen = splits.split(items, test_groups="10,20")  # groups that are asked for
    assert groups(chosen.test) == {"10", "20"}


def test_a_recording_in_both_folders_is_warned_of():
    parts = splits.split(part_items({"train": "123", "test": "34"}))
    assert parts.warning.startswith("2 recordings have clips in the training folder")


def test_a_missing_test_folder_is_drawn_from_the_training_folder():
    parts = splits.split(part_items({"train": "12345", "validation": "6"}))
    assert {i.part for i in parts.test} == {"train"} and len(parts.test) == 2
    assert not groups(parts.test) & groups(parts.train) and len(parts.validation) == 2


def test_a_class_without_clips_to_train_on_is_reported():
    items = named_items("hug/a.avi", "hug/b.avi", "kick/c.avi")
    parts = splits.split(items, test_groups="kick/c.avi")
    assert parts.warning == (
        "the split leaves no clip to train on for kick: the model cannot learn these "
        "classes"
    )


def test_a_split_of_recordings_that_file_names_show_warns(ucf_tree):
    """Without a group pattern clips of one recording come to both sides: that is said."""
    parts = splits.split(folder.scan(ucf_tree).items, test_fraction=0.3)
    assert "recordings have clips on both sides" in parts.warning
    assert r"--config.data.group='_g(\d+)_'" in parts.warning
    assert "v_Dive_g" in parts.warning or "v_Swing_g" in parts.warning
    grouped = splits.split(folder.scan(ucf_tree, UCF).items, test_fraction=0.3)
    assert grouped.warning == ""


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (
            ["set1_seq01_2", "set1_seq01_4", "set1_seq02_1", "set1_seq02_3"],
            r"_seq(\d+)_",
        ),
        (["person01_d1", "person01_d2", "person02_d1", "person02_d2"], r"person(\d+)_"),
        (["match1_clip1", "match1_clip2", "match2-01", "match2-02"], "^(.+)[_-]"),
        (["walk_1", "walk_2", "walk_3", "walk_4"], ""),  # a number for each clip
        (["monday", "tuesday", "garden", "street"], ""),
        (["a_g01_c1", "b_g02_c1", "c_g03_c1", "d_g04_c1"], ""),  # one clip each
    ],
)
def test_a_pattern_is_suggested_where_names_share_a_recording(names, pattern):
    items = [
        folder.Item(clip=Path(f"{name}.mp4"), label=label, group=name, place=name)
        for label in (0, 1)
        for name in names
    ]
    suggested = folder.suggest_pattern(items)
    assert suggested.startswith(pattern) and bool(suggested) == bool(pattern)
