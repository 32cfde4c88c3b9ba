"""One frame at a time against the whole clip at once."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from rgcam.attribution import explain, stream
from rgcam.errors import InputError
from rgcam.models import classifiers
from rgcam.models.backbones import SmallCNN
from tests.attribution.test_gradcam import C, lrcn, random, relative
from tests.conftest import draw_variables

STEPS = 11
MODULES = {
    "gap": lrcn(),
    "fc, gru": lrcn("fc", "gru"),
    "changes": lrcn("grid", differences=True, view="rgb+difference"),
    "frame CNN": classifiers.FrameCNN(SmallCNN(), C),
}


@pytest.mark.parametrize(
    ("name", "window"),
    [("gap", 4), ("gap", 16), ("fc, gru", 4), ("changes", 4), ("frame CNN", 16)],
)
def test_rows_equal_the_whole_clip_s(name, window):
    module, frames = MODULES[name], random((STEPS, 16, 16, 3))
    variables = draw_variables(module, frames)
    whole = jax.tree.map(np.asarray, explain.explain(module, variables, frames, 1))
    state = stream.start(module, variables, frames[0], window=window)
    compiled = stream.step._cache_size()
    for t in range(STEPS):
        state, row = stream.step(module, variables, state, frames[t], 1)
        row = jax.tree.map(np.asarray, row)
        np.testing.assert_allclose(row.scores, whole.scores[t], rtol=1e-4, atol=1e-5)
        known = min(window, t + 1)
        for found, expected in zip(
            row[1:], (whole.beta, whole.maps, whole.matrix), strict=True
        ):
            inside = expected[t, t + 1 - known : t + 1]
            atol = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(found[window - known :], inside, atol=atol)
            assert not np.any(found[: window - known])
    assert stream.step._cache_size() == compiled + 1
    assert relative(row.scores, whole.scores[-1]) <= 1e-4


def test_mistakes_get_one_sentence():
    class Other(nn.Module):
        classify = None

    with pytest.raises(InputError, match="Other has no drive"):
        stream.start(Other(), {}, np.zeros((8, 8, 3)))
    with pytest.raises(InputError, match="window is 0"):
        stream.start(lrcn(), {}, np.zeros((8, 8, 3)), window=0)
