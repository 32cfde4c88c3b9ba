"""Frame heads: what they pool."""

import numpy as np

from rgcam import heads


def test_pool_averages_quarters():
    maps = np.arange(9.0).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(heads.pool(maps, 1)[0, :, :, 0], [[4]])
    quarters = heads.pool(maps, 2)[0, :, :, 0]
    np.testing.assert_array_equal(quarters, [[2, 3.5], [6.5, 8]])
    np.testing.assert_array_equal(
        heads.pool(quarters[None, :, :, None], 2)[0, ..., 0], quarters
    )
