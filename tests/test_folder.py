"""A folder of videos: what is found, and splits that never divide a group."""

import pytest

from rgcam import folder
from rgcam.errors import InputError

UCF = r"_g(\d+)_"


@pytest.fixture
def root(tmp_path):
    for name in ("Dive", "Swing"):
        for group in range(1, 11):
            for clip in (1, 2):
                path = tmp_path / name / f"v_{name}_g{group:02}_c{clip:02}.mp4"
                path.parent.mkdir(exist_ok=True)
                path.touch()
    (tmp_path / "Dive" / "notes.txt").touch()
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def groups(items):
    return {item.group for item in items}


def test_scan_finds_clips_classes_and_groups(root):
    items, classes = folder.scan(root, UCF)
    assert classes == ("Dive", "Swing")
    assert len(items) == 40
    assert groups(items) == {f"{g:02}" for g in range(1, 11)}
    assert all(classes[i.label] == i.path.parent.name for i in items)


def test_without_a_pattern_each_clip_is_its_own_group(root):
    assert len(groups(folder.scan(root)[0])) == 40


def test_every_suffix_in_any_case(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for suffix in (".mp4", ".AVI", ".mpg", ".mov", ".webm", ".mkv", ".Gif"):
            (tmp_path / name / f"clip{suffix}").touch()
    assert len(folder.scan(tmp_path)[0]) == 14


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("1-3", {"01", "02", "03"}), ("10", {"10"}), ("2, 4-5", {"02", "04", "05"})],
)
def test_named_groups(root, wanted, found):
    train, test = folder.split(folder.scan(root, UCF)[0], test_groups=wanted)
    assert groups(test) == found
    assert not groups(train) & found
    assert len(train) + len(test) == 40


def test_groups_named_by_words(root):
    items = folder.scan(root, r"v_(Dive|Swing)_")[0]
    train, test = folder.split(items, test_groups="Dive")
    assert groups(train) == {"Swing"} and groups(test) == {"Dive"}


@pytest.mark.parametrize("seed", range(5))
def test_random_fraction_keeps_groups_whole(root, seed):
    items = folder.scan(root, UCF)[0]
    train, test = folder.split(items, test_fraction=0.3, seed=seed)
    assert len(groups(test)) == 3 and not groups(train) & groups(test)
    assert (train, test) == folder.split(items, test_fraction=0.3, seed=seed)


def test_seeds_draw_different_groups(root):
    items = folder.scan(root, UCF)[0]
    drawn = {
        frozenset(groups(folder.split(items, test_fraction=0.3, seed=s)[1]))
        for s in range(8)
    }
    assert len(drawn) > 1


def test_list_file(root, tmp_path):
    lines = [f"Dive/v_Dive_g01_c0{c}.mp4" for c in (1, 2)]
    lines += [f"v_Swing_g01_c0{c}.mp4  # by name" for c in (1, 2)]
    (tmp_path / "list.txt").write_text("# test\n" + "\n".join(lines) + "\n\n")
    items = folder.scan(root, UCF)[0]
    train, test = folder.split(items, test_list=str(tmp_path / "list.txt"))
    assert groups(test) == {"01"} and len(test) == 4 and len(train) == 36


def test_list_that_divides_a_group_is_refused(root, tmp_path):
    (tmp_path / "list.txt").write_text("v_Dive_g01_c01.mp4\n")
    with pytest.raises(InputError, match="divides group '01'"):
        folder.split(folder.scan(root, UCF)[0], test_list=str(tmp_path / "list.txt"))


def test_mistakes_get_one_sentence(root, tmp_path):
    items = folder.scan(root, UCF)[0]
    with pytest.raises(InputError, match="not a folder"):
        folder.scan(root / "nope")
    with pytest.raises(InputError, match="0 sub-folders"):
        folder.scan(root / "Dive")
    with pytest.raises(InputError, match="parenthesis"):
        folder.scan(root, r"_g\d+_")
    with pytest.raises(InputError, match="group pattern"):
        folder.scan(root, r"_g(\d+_")
    with pytest.raises(InputError, match="test group '77'"):
        folder.split(items, test_groups="1,77")
    with pytest.raises(InputError, match="leaves no clip to train"):
        folder.split(items, test_groups="1-10")
    with pytest.raises(InputError, match="between 0 and 1"):
        folder.split(items, test_fraction=1.5)
    with pytest.raises(InputError, match="no test list"):
        folder.split(items, test_list="nope.txt")
    (tmp_path / "list.txt").write_text("v_Dive_g99_c01.mp4\n")
    with pytest.raises(InputError, match="no clip of the folder"):
        folder.split(items, test_list=str(tmp_path / "list.txt"))
    (root / "Empty").mkdir()
    with pytest.raises(InputError, match="Empty holds no video"):
        folder.scan(root)
