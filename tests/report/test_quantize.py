"""Quantised maps: by hand, the stated error, and the shared basis."""

import numpy as np
import pytest

from rgcam.report import quantize


def low_rank(rank, classes=2, steps=12, side=4):
    """Return causal maps that are combinations of ``rank`` maps of each frame."""
    draw = np.random.default_rng(0).normal
    weights = draw(size=(classes, steps, steps, rank)) * np.tri(steps)[..., None]
    basis = draw(size=(steps, rank, side * side))
    maps = np.einsum("cotr,trx->cotx", weights, basis)
    return maps.reshape(classes, steps, steps, side, side).astype(np.float32)


def test_codes_by_hand():
    maps = np.zeros((1, 2, 2, 1, 2), np.float32)
    maps[0, 1, 0, 0] = 127, -63.4
    maps[0, 1, 1, 0] = 0.5, 0.25
    kept = quantize.factorise(maps)
    assert kept.causal and kept.basis is None
    np.testing.assert_array_equal(kept.codes[0], [[0, 0], [127, -63], [127, 64]])
    np.testing.assert_allclose(kept.scales[0], [0, 1, 0.5 / 127], rtol=1e-6)
    assert kept.error == pytest.approx(0.4 / 127, rel=1e-4)


@pytest.mark.parametrize("budget", [10**6, 2 * 78 * 6])
def test_the_error_is_what_it_says(budget):
    maps = low_rank(5)
    kept = quantize.factorise(maps, budget)
    assert (kept.basis is None) == (budget == 10**6)
    again = quantize.restore(kept, maps.shape)
    worst = np.abs(again - maps).max() / np.abs(maps).max()
    assert kept.error == pytest.approx(worst, rel=1e-5)
    assert worst < 0.02  # rounding: the basis of 6 holds what 5 maps make
    assert not again[:, *np.triu_indices(12, 1)].any()


def test_every_pair_keeps_its_shape_however_faint():
    maps = low_rank(16)
    maps *= np.geomspace(1, 1e-6, 12)[:, None, None, None].astype(np.float32)
    again = quantize.restore(quantize.factorise(maps), maps.shape)
    error = np.abs(again - maps).max((-2, -1))
    assert (error <= 0.51 / 127 * np.abs(maps).max((-2, -1))).all()


def test_what_looks_ahead_is_kept_whole():
    maps = np.random.default_rng(0).normal(size=(1, 3, 5, 2, 2)).astype(np.float32)
    kept = quantize.factorise(maps)
    assert not kept.causal and kept.codes.shape == (1, 15, 4)
    np.testing.assert_allclose(quantize.restore(kept, maps.shape), maps, atol=0.02)
    square = low_rank(2)
    square[0, 0, 1] = 1e-9
    assert not quantize.factorise(square).causal


def test_nothing_is_kept_as_nothing():
    kept = quantize.factorise(np.zeros((1, 4, 4, 2, 2), np.float32))
    assert kept.error == 0 and not quantize.restore(kept, (1, 4, 4, 2, 2)).any()
