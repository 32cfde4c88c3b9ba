"""Clips to measure by: their truth, their length, two in sequence."""

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


def test_stickman_clips_have_their_truth():
    first, second = clips.load(MODEL, data="stickman", clips=2)
    assert first.name != second.name and first.frames.shape == (16, 64, 64, 3)
    assert first.mask.any() and (first.mask.any((1, 2)) <= first.true).all()
    assert 4 <= first.true.sum() < 16 and first.target is None


def test_a_camera_in_a_hand_moves_the_truth_along():
    (still,) = clips.load(MODEL, data="stickman", clips=1)
    (moved,) = clips.load(MODEL, data="handheld", clips=1)
    assert (moved.true == still.true).all() and moved.mask.shape == still.mask.shape
    assert (moved.pixels != still.pixels).any((1, 2, 3)).sum() > 10
    reds = [s.pixels[..., 0][s.mask].astype(float).mean() for s in (still, moved)]
    assert abs(reds[0] - reds[1]) < 3  # the limbs' colour
    assert 0.9 < moved.mask.sum() / still.mask.sum() <= 1.05


def test_a_cue_is_one_early_frame():
    (subject,) = clips.load(MODEL, data="cue", clips=1)
    assert subject.true.sum() == 1 and subject.true.argmax() < 8
    assert (subject.mask.any((1, 2)) == subject.true).all()


def test_clips_of_a_folder(folder):
    found = list(clips.load(MODEL, data=folder, group=r"_g(\d)_", length=8))
    assert len(found) == 5  # one is shorter
    assert {s.group for s in found} >= {"kick 1", "wave 0"}
    for subject in found:
        name = stickman.CLASSES[subject.target]
        assert subject.name.startswith(name) and len(subject.frames) == 8
        assert subject.mask is None and subject.true is None


def test_two_classes_in_sequence(folder):
    options = {"data": folder, "length": 8, "concatenate": True, "clips": 2}
    one, two = clips.load(MODEL, **options)
    np.testing.assert_array_equal(one.frames, two.frames)
    assert one.target != two.target and len(one.frames) == 8
    assert one.true.tolist() == [True] * 4 + [False] * 4
    assert (one.true != two.true).all()


def test_mistakes_get_one_sentence():
    with pytest.raises(InputError, match="--concatenate is for a folder"):
        clips.load(MODEL, data="stickman", concatenate=True)
    with pytest.raises(InputError, match="--length 8 or more"):
        clips.load(MODEL, data="stickman", length=4)
