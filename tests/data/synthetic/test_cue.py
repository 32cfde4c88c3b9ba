"""Planted cues: the ground truth is exact and independent of everything else drawn."""

import numpy as np
import pytest

from rgcam.data.synthetic import cue
from rgcam.errors import InputError


@pytest.mark.parametrize(("size", "length"), [(64, 16), (32, 9)])
def test_the_mask_marks_the_frame_of_the_interval(size, length):
    drawn = cue.clip((size, length), size=size, length=length)
    assert drawn.frames.shape == (length, size, size, 3)
    assert drawn.frames.dtype == np.uint8 and drawn.mask.shape == drawn.frames.shape[:3]
    first, last = drawn.interval
    assert last == first + 1 <= length // 2
    assert drawn.mask.any((1, 2)).nonzero()[0].tolist() == [first]


@pytest.mark.parametrize("label", range(4))
def test_the_mask_shows_the_colour_of_the_class_and_other_frames_none(label):
    drawn = cue.clip(5, label=label)
    colour = np.array(cue.COLOURS[cue.CLASSES[label]])
    mean = drawn.frames[drawn.mask].mean(0)
    assert np.abs(mean - colour).max() < 25
    other = cue.clip(5, label=(label + 1) % 4)
    differ = (drawn.frames != other.frames).any(-1)
    assert differ[drawn.mask].all()
    assert differ.any((1, 2)).nonzero()[0].tolist() == [drawn.interval[0]]


def test_a_seed_always_draws_the_same_clip_and_labels_are_uniform():
    np.testing.assert_array_equal(cue.clip((1, 2)).frames, cue.clip((1, 2)).frames)
    clips = [cue.clip((3, n), size=32, length=8) for n in range(160)]
    counts = np.bincount([c.label for c in clips], minlength=4)
    assert (abs(counts - 40) < 20).all()
    times = np.bincount([c.interval[0] for c in clips], minlength=4)
    assert (times > 20).all() and len(times) == 4


def test_every_frame_has_a_disc_elsewhere():
    frames = cue.clip(1).frames.astype(int)
    changed = np.abs(np.diff(frames, axis=0)).max(-1) > 40
    assert (changed.mean((1, 2)) > 0.01).all()


@pytest.mark.parametrize("options", [{"label": 4}, {"size": 31}, {"length": 7}])
def test_bad_arguments_are_named(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name} is"):
        cue.clip(0, **options)
