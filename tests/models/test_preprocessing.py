"""How frames become the input of a model."""

import functools

import numpy as np
import pytest

from rgcam.errors import InputError
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


@pytest.mark.parametrize(
    ("frames", "given", "convert"),
    [
        (np.linspace(0, 1, 192), "float64 from 0 to 1,", lambda x: np.round(x * 255.0)),
        (np.linspace(0, 1, 192) > 0.5, "bool from", lambda x: np.round(x * 255.0)),
        (np.linspace(0, 255, 192), "float64 from 0 to 255,", np.round),
        (np.arange(192, dtype=np.int64), "int64 from 0 to 191,", np.round),
        (
            np.arange(192).astype(np.uint16) * 343,
            "uint16 from 0 to",
            lambda x: x // 257,
        ),
    ],
)
def test_frames_that_are_not_uint8_are_rejected_with_their_conversion(
    frames, given, convert
):
    frames = frames.reshape(1, 8, 8, 3)
    for function in (
        functools.partial(preprocessing.preprocess, SPEC),
        lambda frames: preprocessing.resize(frames, SPEC),
        lambda frames: preprocessing.normalize(frames, SPEC),
    ):
        with pytest.raises(InputError, match=f"frames are {given}.*uint8.*np.uint8"):
            function(frames)
        function(np.uint8(convert(frames)))


def test_frames_that_are_preprocessed_already_are_named_so():
    frames = preprocessing.preprocess(SPEC, np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="from -1 to -1.*preprocessed already"):
        preprocessing.preprocess(SPEC, frames)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (8, 8, 3), (2, 8, 8), (2, 8, 8, 4)])
def test_frames_of_another_shape_are_rejected(shape):
    with pytest.raises(InputError, match=r"frames have shape .*\(T, H, W, 3\)"):
        preprocessing.preprocess(SPEC, np.zeros(shape, np.uint8))
