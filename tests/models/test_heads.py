"""Frame heads: what they pool."""

import numpy as np

from rgcam.models import heads


def test_pool_averages_quarters():
    maps = np.arange(9.0).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(heads.pool(maps, 1)[0, :, :, 0], [[4]])
    quarters = heads.pool(maps, 2)[0, :, :, 0]
    np.testing.assert_array_equal(quarters, [[2, 3.5], [6.5, 8]])
    np.testing.assert_array_equal(
        heads.pool(quarters[None, :, :, None], 2)[0, ..., 0], quarters
    )


def test_shares_are_each_cell_s_part():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    kernels = rng.normal(size=(2, 2, 4, 6)).astype(np.float32)
    shares = heads.share_out(maps, kernels)
    assert shares.shape == (2, 3, 5, 6)
    pooled = heads.pool(maps, 2)
    whole = np.einsum("tijk,ijkd->td", pooled, kernels)
    np.testing.assert_allclose(shares.sum((1, 2)), whole, rtol=1e-4, atol=1e-5)
    alone = np.zeros_like(maps)
    alone[:, 2, 1] = maps[:, 2, 1]  # below and left: 2 of 3 rows, 3 of 5 columns
    part = np.einsum("tijk,ijkd->td", heads.pool(alone, 2), kernels)
    np.testing.assert_allclose(shares[:, 2, 1], part, rtol=1e-4, atol=1e-5)
