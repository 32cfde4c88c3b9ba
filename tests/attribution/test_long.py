"""Rows of a long video, in pieces and within a budget, against the whole at once."""

import jax
import numpy as np
import pytest

from rgcam.attribution import explain as attribution
from rgcam.attribution import long
from rgcam.errors import InputError
from rgcam.models import classifiers
from rgcam.models.backbones import SmallCNN
from tests.attribution.test_gradcam import C, lrcn, random
from tests.conftest import draw_variables, wide_and_strict

STEPS = 21
MODULES = {
    "gap": lrcn(),
    "fc": lrcn("fc", "gru"),
    "changes": lrcn("grid", differences=True, view="rgb+difference"),
    "frame CNN": classifiers.FrameCNN(SmallCNN(), C),
}


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    monkeypatch.setattr(long, "STRETCH", 8)
    monkeypatch.setattr(long, "BLOCK_ROWS", (2, 5))


@pytest.fixture(scope="module", params=MODULES)
def known(request):
    module, frames = MODULES[request.param], random((STEPS, 16, 16, 3))
    variables = draw_variables(module, frames)
    whole = attribution.explain(module, variables, frames, 1)
    signed = attribution.explain(module, variables, frames, 1, relu=False)
    pieces = np.split(frames, [3, 3, 17])
    return (module, variables, pieces), jax.tree.map(np.asarray, (whole, signed))


def close(found, expected, scale):
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(scale).max())


def test_all_rows_equal_those_of_explain(known):
    inputs, (whole, _) = known
    e = long.explain_long(*inputs, 1, maps=True)
    np.testing.assert_allclose(e.scores, whole.scores, rtol=1e-4, atol=1e-5)
    close(e.matrix, whole.matrix, whole.matrix)
    close(e.maps, whole.maps, whole.maps)
    assert e.target == 1 and not e.dropped.any()


@pytest.mark.parametrize("out", [-1, [20, 3, 11], slice(None, None, 7), [0]])
def test_chosen_rows(known, out):
    inputs, (whole, _) = known
    e = long.explain_long(*inputs, 1, out=out)
    rows = np.unique(np.atleast_1d(np.arange(STEPS)[out]))
    np.testing.assert_array_equal(e.out, rows)
    close(e.matrix, whole.matrix[rows], whole.matrix)
    assert e.maps is None


@pytest.mark.parametrize("window", [1, 6, 13, 99])
def test_a_window_and_what_it_leaves_out(known, window):
    inputs, (whole, signed) = known
    e = long.explain_long(*inputs, 1, window=window, maps=True)
    width = min(window, STEPS)
    assert e.matrix.shape == (STEPS, width)
    for t in range(STEPS):
        lags = np.arange(min(width, t + 1))
        close(e.matrix[t, lags], whole.matrix[t, t - lags], whole.matrix)
        close(e.maps[t, lags], whole.maps[t, t - lags], whole.maps)
        assert not e.matrix[t, len(lags) :].any()
        far = signed.maps[t, : max(0, t + 1 - width)].sum()
        np.testing.assert_allclose(
            e.dropped[t], far, atol=1e-5 * np.abs(signed.matrix).sum(1).max()
        )


def test_a_tight_budget_gives_the_same_numbers(known, monkeypatch):
    inputs, (whole, _) = known
    written = []
    append = long.FeatureStore.append
    monkeypatch.setattr(
        long.FeatureStore,
        "append",
        lambda self, maps: (append(self, maps), written.append(self.stretches[-1]))[0],
    )
    e = long.explain_long(*inputs, 1, max_bytes=6000)
    assert any(isinstance(entry, tuple) for entry in written)
    close(e.matrix, whole.matrix, whole.matrix)


def test_no_target_is_the_predicted_class(known):
    inputs, (whole, _) = known
    e = long.explain_long(*inputs, out=-1)
    assert e.target == whole.scores[-1].argmax()


def test_mistakes_get_one_sentence():
    module, frames = lrcn(), random((STEPS, 16, 16, 3))
    variables = draw_variables(module, frames)
    explain = lambda *pieces, **options: long.explain_long(
        module, variables, pieces, **options
    )
    with pytest.raises(InputError, match="no frames"):
        explain()
    with pytest.raises(InputError, match="target 4 is not a class"):
        explain(frames, target=C)
    for out in (21, [0, -22], []):
        with pytest.raises(InputError, match="give some of 0 to 20"):
            explain(frames, out=out)
    with pytest.raises(InputError, match="21 rows of 21 frames take .* give a window"):
        explain(frames, max_bytes=1000)
    with pytest.raises(InputError, match="window is 0"):
        explain(frames, window=0)


def test_a_window_is_the_same_in_other_numerics(known):
    inputs, _ = known
    expected = long.explain_long(*inputs, 1, window=6, maps=True)
    with wide_and_strict():
        e = long.explain_long(*inputs, 1, window=6, maps=True)
    close(e.maps, expected.maps, expected.maps)
    close(e.matrix, expected.matrix, expected.matrix)
    np.testing.assert_allclose(e.dropped, expected.dropped, atol=1e-4)
