"""A config's data, made clips: splits, features, and what cannot be read."""

import numpy as np
import pytest

from rgcam.data import sources
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.report.writer import write_video
from rgcam.training.config import base_config
from tests.data.test_cache import SPEC, make_videos


def load(root, tmp_path, frozen=None, **fields):
    config = base_config().data.to_dict()
    config |= {"root": str(root), "cache": str(tmp_path / "cache")}
    config |= {"group": r"_g(\d+)_", "test_groups": "2"} | fields
    return sources.load(config, SPEC, frozen)


@pytest.fixture
def root(tmp_path):
    return make_videos(tmp_path / "root")


def test_folder_source_splits_mirrors_and_reports(root, tmp_path):
    (root / "a" / "v_g4_c1.mp4").write_text("no video")
    source = load(root, tmp_path)
    assert source.classes == ("a", "b") and source.split == "group (2)"
    assert len(source.train.labels) == 4 and len(source.test.labels) == 2
    assert source.test.names == ["v_g2_c1.mp4"] * 2 and source.validation is None
    assert source.train.groups == ["1", "3"] * 2
    assert source.train.lengths.tolist() == [8] * 4
    assert len(source.unreadable) == 1 and "v_g4_c1.mp4" in source.unreadable[0]
    assert source.train.mirrored is not None and source.test.mirrored is None
    assert (source.train.mirrored[0] == source.train.inputs[0][:, :, ::-1]).all()


@pytest.mark.parametrize("held", [True, False])
def test_features_are_held_where_they_fit(root, tmp_path, held, monkeypatch):
    if not held:
        monkeypatch.setattr(sources, "IN_MEMORY", 8 * 3 * 2)
    frozen = sources.Frozen(lambda x: x[:, :1, :1], "f")
    source = load(root, tmp_path, frozen, validation_groups="3")
    assert (
        isinstance(source.train.inputs, list) == held or len(source.train.labels) == 1
    )
    for clips in (source.train, source.validation, source.test):
        assert clips.inputs[1].shape == (8, 1, 1, 3) and len(clips.inputs) == 2
    assert len(source.train.mirrored) == 2
    assert source.validation.mirrored is None


def test_groups_may_be_counted_anew_in_each_class(root, tmp_path):
    source = load(root, tmp_path, groups_per_class=True)
    assert source.train.groups == ["a 1", "a 3", "b 1", "b 3"]


def test_random_labels_change_places_in_training_alone(root, tmp_path):
    right = load(root, tmp_path, source="stickman", train_clips=40, test_clips=5)
    options = {"source": "stickman", "train_clips": 40, "test_clips": 5}
    found = load(root, tmp_path, **options, random_labels=True)
    assert (found.test.labels == right.test.labels).all()
    assert sorted(found.train.labels) == sorted(right.train.labels)
    assert (found.train.labels != right.train.labels).sum() > 20


def test_an_unknown_source_is_one_sentence(root, tmp_path):
    with pytest.raises(InputError, match="folder, dataset, stickman or cue"):
        load(root, tmp_path, source="sticks")


def test_a_dataset_source_is_scanned(root, tmp_path, monkeypatch):
    from rgcam.data import folder
    from rgcam.data.tfds import prepare

    monkeypatch.setattr(prepare, "scan", lambda path: folder.scan(path, r"_g(\d+)_"))
    assert load(root, tmp_path, source="dataset").classes == ("a", "b")


def test_no_readable_clip_and_no_root(root, tmp_path):
    with pytest.raises(InputError, match=r"--config.data.root=FOLDER"):
        load("", tmp_path)
    with pytest.raises(InputError, match="rgcam prepare"):
        load("", tmp_path, source="dataset")
    with pytest.raises(InputError, match="data.source is 'web'"):
        load(root, tmp_path, source="web")
    for file in root.rglob("*.mp4"):
        file.write_text("no video")
    with pytest.raises(InputError, match="none of the 6 clips can be read"):
        load(root, tmp_path)


def test_a_cache_that_cannot_be_written_is_named_not_the_clips(root, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot write the cache .*data.cache=FOLDER"):
        load(root, tmp_path)


def test_what_is_no_clip_is_reported(root, tmp_path):
    (root / "a" / "notes.txt").touch()
    (note,) = load(root, tmp_path).notes
    assert note == "left out: files without a video's suffix (1), such as a/notes.txt"


def parts_of_recordings(root, recordings=6):
    """Write two clips of each drawn scene, which begin alike; no name tells of it."""
    for number in range(recordings):
        frames = stickman.clip(number, length=12).frames
        for part, rest in enumerate((frames[1:6], frames[6:])):
            file = root / "ab"[number % 2] / f"clip{2 * number + part:03}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_video(file, np.concatenate([frames[:1], rest]), 7.5)
    return root


def test_test_clips_that_begin_like_clips_to_train_on_are_reported(tmp_path):
    root = parts_of_recordings(tmp_path / "clips")
    fields = {"group": "", "test_groups": "", "test_fraction": 0.5}
    source = load(root, tmp_path, **fields)
    assert (
        "test clips begin with nearly the same frame as a clip to train on, such as"
        in (source.warning)
    )
    assert "--config.data.group" in source.warning
    for file in list(root.rglob("*.mp4")):
        if int(file.stem.removeprefix("clip")) % 2:  # the second part of a recording
            file.unlink()
    assert "nearly the same frame" not in load(root, tmp_path, **fields).warning
