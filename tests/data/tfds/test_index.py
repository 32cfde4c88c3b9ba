"""clips.json: what was stored, what was not, and why."""

import pytest

from rgcam.data import folder
from rgcam.data.tfds import builders, index
from rgcam.errors import InputError
from tests.data.tfds.test_prepare import prepare_tree, prepared, tree, ucf11  # noqa: F401


def test_what_was_left_out_and_which_boxes_could_not_be_read(prepared):  # noqa: F811
    found = index.read(prepared)
    ((name, reason),) = found["left_out"].items()
    assert name.endswith("v_shooting_24_01.mpg") and "v_shooting_24_01" in reason
    ((name, reason),) = found["without_boxes"].items()
    assert name.endswith("v_diving_01_01.mpg") and "no ViPER annotation" in reason
    assert not found["notes"]


def test_the_summary_names_every_clip_that_was_left_out(prepared):  # noqa: F811
    said = list(index.summary(prepared))
    assert said[0].startswith("17 clips, 3 classes, 9 groups, ")
    assert "1,600 clips" in said[1] and "v_shooting_24_01" in said[2]
    assert said[-1] == "clips left out: 1"


def test_a_damaged_clip_is_kept_with_a_note(tree, tmp_path):  # noqa: F811
    clip = tree / "Dive" / "v_Dive_g01_c01.mpg"
    clip.write_bytes(clip.read_bytes()[:5000])
    place = prepare_tree(tree, tmp_path / "data")
    ((name, note),) = index.read(place)["notes"].items()
    assert name == "Dive/v_Dive_g01_c01.mpg" and "the file is damaged" in note
    assert f"kept {name}: {note}" in list(index.summary(place))


def test_a_clip_that_came_later_is_told(tree, tmp_path):  # noqa: F811
    place = prepare_tree(tree, tmp_path / "data")
    items, _ = folder.scan(tree)
    later = tree / "Dive" / "later.mpg"
    later.write_bytes(items[0].clip.read_bytes())
    index.write(place, folder.scan(tree)[0])
    assert index.read(place)["left_out"] == {
        "Dive/later.mpg": "it came after the dataset was made"
    }


def test_an_index_that_cannot_be_read_or_written(tree, tmp_path, monkeypatch):  # noqa: F811
    place = prepare_tree(tree, tmp_path / "data")
    (place / index.INDEX).write_text('{"classes": [')
    with pytest.raises(InputError, match="is not complete"):
        index.read(place)
    (place / index.INDEX).unlink()
    (place / index.INDEX).mkdir()
    monkeypatch.setattr(builders, "boxes_of", lambda clip: (None, ""))
    with pytest.raises(InputError, match="cannot write .*clips.json.part"):
        index.write(place, folder.scan(tree)[0])
