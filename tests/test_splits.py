"""Splits: groups are never divided, but for the paper's, which says so."""

import pytest

from rgcam import folder, splits
from rgcam.errors import InputError
from tests.test_folder import UCF, groups


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


def test_list_that_divides_a_group_is_refused(ucf_tree, tmp_path):
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
