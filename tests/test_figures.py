"""The pictures of a story: what is drawn from what."""

import numpy as np

from rgcam import figures


def test_diagonal_of_the_frame_cnn():
    maps = np.arange(18.0).reshape(2, 3, 3, 1, 1)
    np.testing.assert_array_equal(
        figures.diagonal(maps)[..., 0, 0], [[0, 4, 8], [9, 13, 17]]
    )


def test_rate_is_the_times_own():
    assert figures.rate(np.array([0.0, 0.5, 1.0]), 9.0) == 2
    assert figures.rate(np.array([0.0]), 9.0) == 9
