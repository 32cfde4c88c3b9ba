"""Randomisation: which parameters it changes, and the similarity of explanations."""

import jax
import numpy as np
import pytest

from rgcam.metrics import randomization

PARAMS = {
    "params": {
        "scores": {"kernel": np.arange(12.0).reshape(3, 4), "bias": np.arange(4.0)},
        "backbone": {"conv": {"kernel": np.arange(8.0).reshape(2, 2, 1, 2)}},
    }
}


def test_only_kernels_of_the_named_parts_are_shuffled():
    randomised = randomization.randomise(PARAMS, ("scores",), jax.random.key(0))[
        "params"
    ]
    kernel = np.asarray(randomised["scores"]["kernel"])
    assert sorted(kernel.ravel()) == list(range(12))
    assert (kernel != PARAMS["params"]["scores"]["kernel"]).any()
    np.testing.assert_array_equal(randomised["scores"]["bias"], np.arange(4))
    backbone = PARAMS["params"]["backbone"]["conv"]["kernel"]
    np.testing.assert_array_equal(randomised["backbone"]["conv"]["kernel"], backbone)


def test_similarity_is_a_rank_correlation():
    a = np.array([[1.0, 0], [2, 5]])
    assert randomization.similarity(a, a**3) == pytest.approx(1)
    assert randomization.similarity(a, -a) == pytest.approx(-1)
    assert randomization.similarity(a, -a, absolute=True) == pytest.approx(1)
    # Ranks 0 1 2 and 1 0 2: 1 - 6 (1 + 1) / (3 * 8).
    assert randomization.similarity(a, np.array([[2.0, 0], [1, 5]])) == pytest.approx(
        0.5
    )
    assert np.isnan(randomization.similarity(0 * a, 0 * a))
