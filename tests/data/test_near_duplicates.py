"""Clips that begin with nearly the same frame are found, others are not."""

import numpy as np
import pytest

from rgcam.data import near_duplicates
from rgcam.data.synthetic import stickman


def signatures(frames):
    return [near_duplicates.signature(frame) for frame in frames]


@pytest.fixture(scope="module")
def beginnings():
    return [stickman.clip(seed, length=8).frames[0] for seed in range(6)]


def test_the_same_scene_in_other_light_and_noise_is_found(beginnings):
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=6, size=beginnings[0].shape)
    again = [np.uint8(np.clip(0.8 * x + 20 + noise, 0, 255)) for x in beginnings]
    first, others = signatures(beginnings), signatures(again)
    assert near_duplicates.closest(first, others).tolist() == [0, 1, 2, 3, 4, 5]
    twins = near_duplicates.closest([*first, *others])
    assert twins.tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]
    assert near_duplicates.is_shared(twins)


def test_clips_of_their_own_are_not_alike(beginnings):
    twins = near_duplicates.closest(signatures(beginnings))
    assert (twins == -1).all() and not near_duplicates.is_shared(twins)


def test_frames_of_one_colour_are_like_no_other():
    black, grey = (
        np.zeros((2, 9, 9, 3), np.uint8) + np.uint8([0, 90])[:, None, None, None]
    )
    assert (
        near_duplicates.closest(signatures([black, black, grey])).tolist() == [-1] * 3
    )
    assert near_duplicates.closest([]).tolist() == []
    assert near_duplicates.closest(signatures([grey]), []).tolist() == [-1]
    assert not near_duplicates.is_shared(np.array([], int))


def test_a_tenth_of_the_clips_must_begin_like_another():
    assert near_duplicates.is_shared(np.array([1, 0] + [-1] * 18))
    assert not near_duplicates.is_shared(np.array([1, 0] + [-1] * 19))
