"""Planted cues: the truth is where it is said to be, and chance does not see it."""

import numpy as np
import pytest

from rgcam.data.synthetic import cue
from rgcam.errors import InputError


@pytest.mark.parametrize(("size", "length"), [(64, 16), (32, 9)])
def test_shapes_and_truth(size, length):
    made = cue.clip((size, length), size=size, length=length)
    assert made.frames.shape == (length, size, size, 3)
    assert made.frames.dtype == np.uint8 and made.mask.shape == made.frames.shape[:3]
    first, last = made.interval
    assert last == first + 1 <= length // 2
    assert made.mask.any((1, 2)).nonzero()[0].tolist() == [first]


@pytest.mark.parametrize("label", range(4))
def test_the_mask_shows_the_colour_of_the_class_and_other_frames_none(label):
    made = cue.clip(5, label=label)
    colour = np.array(cue.COLOURS[cue.CLASSES[label]])
    mean = made.frames[made.mask].mean(0)
    assert np.abs(mean - colour).max() < 25
    other = cue.clip(5, label=(label + 1) % 4)
    differ = (made.frames != other.frames).any(-1)
    assert differ[made.mask].all()
    assert differ.any((1, 2)).nonzero()[0].tolist() == [made.interval[0]]


def test_a_seed_always_draws_the_same_clip_and_labels_are_alike():
    np.testing.assert_array_equal(cue.clip((1, 2)).frames, cue.clip((1, 2)).frames)
    made = [cue.clip((3, n), size=32, length=8) for n in range(160)]
    counts = np.bincount([c.label for c in made], minlength=4)
    assert (abs(counts - 40) < 20).all()
    times = np.bincount([c.interval[0] for c in made], minlength=4)
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
