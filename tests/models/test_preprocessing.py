"""How frames become the input of a model."""

import numpy as np

from rgcam.models import preprocessing
from rgcam.models.backbones import Preprocess

SPEC = Preprocess(size=8, crop=None, offset=127.5, scale=127.5)


def test_crop_box_is_centred_and_relative_to_the_short_side():
    square = Preprocess(224, 0.875, 0, 1)
    assert preprocessing.crop_box(square, 160, 320) == (10, 90, 150, 230)
    assert preprocessing.crop_box(square, 320, 160) == (90, 10, 230, 150)
    assert preprocessing.crop_box(SPEC, 160, 320) == (0, 0, 160, 320)


def test_the_smallest_crop_has_one_pixel():
    smallest = Preprocess(8, 1e-6, 0, 1)
    assert preprocessing.crop_box(smallest, 100, 200) == (49, 99, 50, 100)
    frames = np.full((2, 100, 200, 3), 7, np.uint8)
    assert (preprocessing.resize(frames, smallest) == 7).all()


def test_resize_shows_the_crop_only():
    frames = np.zeros((2, 16, 32, 3), np.uint8)
    frames[:, :, 8:24] = 200  # the centre crop
    cropped = preprocessing.resize(frames, Preprocess(8, 1.0, 0, 1))
    assert cropped.shape == (2, 8, 8, 3) and (cropped == 200).all()
    whole = preprocessing.resize(frames, SPEC)
    assert whole[0, 0, 0, 0] == 0 and whole[0, 0, 4, 0] > 190


def test_preprocess_maps_the_range():
    frames = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1) * np.ones(
        (1, 8, 8, 3), np.uint8
    )
    made = preprocessing.preprocess(SPEC, frames)
    assert made.dtype == np.float32 and made.shape == (2, 8, 8, 3)
    assert (made[0] == -1).all() and (made[1] == 1).all()


def test_channels_have_their_own_range():
    spec = Preprocess(8, None, (0.0, 1.0, 2.0), (1.0, 2.0, 4.0))
    made = preprocessing.preprocess(spec, np.full((2, 8, 8, 3), 9, np.uint8))
    np.testing.assert_allclose(made[0, 0, 0], [9, 4, 1.75])
