"""Random views: what each does, and that all frames of a clip change alike."""

import numpy as np
import pytest

from rgcam.data import augment
from rgcam.data.augment import Augmentation
from rgcam.errors import InputError


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(steps=3, size=16):
    return rng(1).integers(0, 256, (steps, size, size, 3)).astype(np.uint8)


def test_all_frames_change_alike():
    still = np.repeat(noise(1), 4, axis=0)
    options = Augmentation(crop=0.5, colour=0.4)
    for seed in range(5):
        made = augment.pixels(still, options, rng(seed))
        assert made.shape == still.shape and made.dtype == np.uint8
        assert (made == made[:1]).all() and (made != still).any()


def test_no_augmentation_changes_nothing():
    assert (augment.pixels(noise(), Augmentation(), rng()) == noise()).all()
    assert not augment.changes_pixels(Augmentation(mirror=True, stride=3))
    assert augment.changes_pixels(Augmentation(crop=0.9))
    assert augment.changes_pixels(Augmentation(colour=0.1))
    assert augment.changes_pixels(Augmentation(shake=0.1))


def test_crop_enlarges_the_square():
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    frames[:, 8:, 8:] = 200
    inside = np.s_[:, 3:-3, 3:-3]  # bicubic reads two pixels beyond the square
    assert (augment.crop(frames, 0.5, 0.5, 0.5)[inside] == 200).all()
    assert (augment.crop(frames, 0.0, 0.0, 0.5)[inside] == 0).all()
    np.testing.assert_array_equal(augment.crop(frames, 0.0, 0.0, 1.0), frames)


def test_random_boxes_lie_inside_and_vary():
    boxes = np.array([augment.random_box(0.6, rng(i)) for i in range(200)])
    left, top, side = boxes.T
    assert (side >= 0.6).all() and side.max() > 0.95 and side.min() < 0.65
    assert (boxes >= 0).all() and (left + side <= 1).all() and (top + side <= 1).all()


def test_recolour_by_hand():
    frame = np.array([[100, 50, 200], [60, 60, 60]] * 2, np.uint8).reshape(1, 2, 2, 3)
    brighter = augment.recolour(frame, 1.5, 1.0, 1.0)
    assert brighter[0, 0].tolist() == [[150, 75, 255], [90, 90, 90]]
    grey = augment.recolour(frame, 1.0, 1.0, 0.0)
    luma = round(0.299 * 100 + 0.587 * 50 + 0.114 * 200)
    assert grey[0, 0].tolist() == [[luma] * 3, [60] * 3]
    flat = augment.recolour(frame, 1.0, 0.0, 1.0)
    assert (flat == round((luma + 60) / 2)).all()
    np.testing.assert_array_equal(augment.recolour(frame, 1.0, 1.0, 1.0), frame)


def test_shake_by_hand():
    frames = np.arange(18).reshape(2, 3, 3)
    moved = augment.shake(frames, np.array([[0, 0], [1, -2]]))
    np.testing.assert_array_equal(moved[0], frames[0])
    assert moved[1].tolist() == [[11, 11, 11], [11, 11, 11], [14, 14, 14]]
    colours = augment.shake(noise(), np.zeros((3, 2), int))
    np.testing.assert_array_equal(colours, noise())


def test_every_frame_shakes_by_itself_and_clips_more_or_less():
    still = np.repeat(noise(1), 6, axis=0)
    moved = [augment.pixels(still, Augmentation(shake=0.2), rng(s)) for s in range(9)]
    kinds = [len({frame.tobytes() for frame in clip}) for clip in moved]
    assert max(kinds) > 4 and min(kinds) < max(kinds)
    shifts = augment.random_shifts(500, 2.4, rng())
    assert set(np.unique(shifts)) == {-2, -1, 0, 1, 2}


def test_window_is_contiguous_and_everywhere():
    steps = np.arange(10)
    starts = set()
    for seed in range(100):
        found = augment.window(steps, 4, 1, rng(seed))
        assert (np.diff(found) == 1).all() and len(found) == 4
        starts.add(int(found[0]))
    assert starts == set(range(7))
    assert (augment.window(steps, 20, 1, rng()) == steps).all()


def test_stride_skips_steps_only_where_enough_are_left():
    steps = np.arange(12)
    drawn = {int(np.diff(augment.window(steps, 4, 3, rng(s)))[0]) for s in range(60)}
    assert drawn == {1, 2, 3}
    drawn = {int(np.diff(augment.window(steps, 6, 3, rng(s)))[0]) for s in range(60)}
    assert drawn == {1, 2}
    for seed in range(20):
        assert len(augment.window(steps, 6, 3, rng(seed))) == 6
        assert len(augment.window(steps, 20, 3, rng(seed))) == 12


@pytest.mark.parametrize(
    "fields",
    [
        {"crop": 0},
        {"crop": 1.2},
        {"colour": 1.0},
        {"colour": -1},
        {"stride": 0},
        {"shake": 0.5},
    ],
)
def test_impossible_options_are_one_sentence(fields):
    (name,) = fields
    with pytest.raises(InputError, match=f"data.augment.{name} is .*must be"):
        augment.from_config(fields)
