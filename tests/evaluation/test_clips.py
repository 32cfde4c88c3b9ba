"""Clips to measure on: their ground truth, their length, two classes in sequence."""

import numpy as np
import pytest

from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.evaluation import clips
from rgcam.models import zoo
from rgcam.report import writer

MODEL = zoo.load_model("stickman-lrcn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write three clips of each of two classes; one is too short."""
    root = tmp_path_factory.mktemp("clips")
    for name in ("kick", "wave"):
        for number in range(3):
            frames = stickman.clip(number, label=stickman.CLASSES.index(name)).frames
            frames = frames[: 5 if (name, number) == ("kick", 0) else 16]
            path = root / name / f"{name}_g{number}_.mp4"
            path.parent.mkdir(exist_ok=True)
            writer.write_video(path, frames, 7.5)
    return str(root)


def test_stickman_clips_come_with_their_ground_truth():
    first, second = clips.load(MODEL, data="stickman", clips=2)
    assert first.name != second.name and first.frames.shape == (16, 64, 64, 3)
    assert first.mask.any() and (first.mask.any((1, 2)) <= first.true_frames).all()
    assert 4 <= first.true_frames.sum() < 16 and first.target is None


def test_a_hand_held_camera_moves_the_mask_along():
    (still,) = clips.load(MODEL, data="stickman", clips=1)
    (moved,) = clips.load(MODEL, data="handheld", clips=1)
    assert (
        moved.true_frames == still.true_frames
    ).all() and moved.mask.shape == still.mask.shape
    assert (moved.pixels != still.pixels).any((1, 2, 3)).sum() > 10
    reds = [s.pixels[..., 0][s.mask].astype(float).mean() for s in (still, moved)]
    assert abs(reds[0] - reds[1]) < 3  # the limbs' colour
    assert 0.9 < moved.mask.sum() / still.mask.sum() <= 1.05


def test_the_truth_of_a_cue_clip_is_one_early_frame():
    (clip,) = clips.load(MODEL, data="cue", clips=1)
    assert clip.true_frames.sum() == 1 and clip.true_frames.argmax() < 8
    assert (clip.mask.any((1, 2)) == clip.true_frames).all()


def test_clips_of_a_folder_explain_their_own_class(folder):
    loaded = list(clips.load(MODEL, data=folder, group=r"_g(\d)_", length=8))
    assert len(loaded) == 5  # one is too short
    assert {s.group for s in loaded} >= {"kick 1", "wave 0"}
    for clip in loaded:
        name = stickman.CLASSES[clip.target]
        assert clip.name.startswith(name) and len(clip.frames) == 8
        assert clip.mask is None and clip.true_frames is None


def test_each_class_of_two_in_sequence_is_explained(folder):
    options = {"data": folder, "length": 8, "concatenate": True, "clips": 2}
    first, second = clips.load(MODEL, **options)
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.target != second.target and len(first.frames) == 8
    assert first.true_frames.tolist() == [True] * 4 + [False] * 4
    assert (first.true_frames != second.true_frames).all()


def test_impossible_options_are_errors():
    with pytest.raises(InputError, match="--concatenate is for a folder"):
        clips.load(MODEL, data="stickman", concatenate=True)
    with pytest.raises(InputError, match="--length 8 or more"):
        clips.load(MODEL, data="stickman", length=4)


def test_clips_that_share_a_recording_by_name_are_warned_of(tmp_path):
    for name in ("Dive", "Swing"):
        (tmp_path / name).mkdir()
        for group, clip in ((1, 1), (1, 2), (2, 1), (2, 2)):
            file = tmp_path / name / f"v_{name}_g0{group}_c0{clip}.mp4"
            file.write_bytes(f"{name} {group} {clip}".encode())
    assert r"--group='_g(\d+)_'" in clips.warning(str(tmp_path), "")
    assert clips.warning(str(tmp_path), r"_g(\d+)_") == ""
    assert clips.warning("stickman", "") == ""
