"""Explanations that know nothing: what they are."""

import numpy as np
import pytest

from rgcam.evaluation import trivial

FRAMES = np.zeros((3, 4, 6, 3), np.uint8)
FRAMES[1:, 3, 5] = 40  # a pixel below and right lights up between frames 0 and 1
FEATURES = np.arange(36.0).reshape(3, 2, 3, 2)


def of(name):
    return trivial.maps(name, FRAMES, FEATURES)


@pytest.mark.parametrize("name", trivial.NAMES)
def test_frames_not_seen_yet_have_none(name):
    maps = of(name)
    assert maps.shape == (3, 3, 2, 3) and maps.any()
    assert not maps[np.triu_indices(3, 1)].any()
    later = maps[2, 0] / maps[2, 0].max() if maps[2, 0].any() else maps[2, 0]
    first = maps[0, 0] / maps[0, 0].max() if maps[0, 0].any() else maps[0, 0]
    np.testing.assert_allclose(later, first)


def test_values():
    assert (of("uniform")[2] == 1).all()
    assert of("recency")[2, 0, 0, 0] == pytest.approx(np.exp(-2 / 4))
    assert of("activation")[1, 1, 0, 0] == (12 + 13) / 2
    assert of("motion")[2, 1].tolist() == [[0, 0, 0], [0, 0, 40]]
    assert not of("motion")[2, 0].any() and not of("motion")[2, 2].any()
    centre = of("centre")[0, 0]
    assert centre[0, 1] == centre[1, 1] == centre.max()


def test_of_frames():
    maps = trivial.of_frames(np.ones((2, 1, 1)))[..., 0, 0]
    assert maps.tolist() == [[1, 0], [1, 1]]
