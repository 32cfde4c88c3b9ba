"""Rivals and their signed maps, from features that are there already."""

import numpy as np
import pytest

from rgcam.attribution import contrast, gradcam
from rgcam.data.synthetic import stickman
from rgcam.models import zoo


def test_rivals_by_hand():
    last = np.array([1.0, 5.0, 3.0, 4.0])
    assert contrast.rivals("abcd", last, 0, 3) == ["a", "b", "d"]
    assert contrast.rivals("abcd", last, 1) == ["b", "d", "c", "a"]


@pytest.mark.parametrize("name", ["stickman-lrcn", "stickman-cnn"])
def test_maps_are_those_of_explain(name):
    m = zoo.load_model(name)
    frames = m.preprocess(stickman.clip(1).frames)
    features = gradcam.explain(m.module, m.variables, frames).features
    found = contrast.signed(m, features, ["kick", "wave"])
    assert found.targets == (m.classes.index("kick"), m.classes.index("wave"))
    expected = gradcam.explain(
        m.module, m.variables, frames, found.targets, relu=False, beta=False
    )
    np.testing.assert_allclose(found.maps, expected.maps, rtol=1e-3, atol=1e-6)
    pair = lambda y: y[:, found.targets[0]] - y[:, found.targets[1]]
    why = gradcam.explain(m.module, m.variables, frames, pair, relu=False)
    np.testing.assert_allclose(
        found.maps[0] - found.maps[1], why.maps, rtol=1e-3, atol=1e-5
    )


def test_a_frame_cnns_maps_of_the_classes_that_it_has():
    m = zoo.load_model("stickman-cnn")
    frames = m.preprocess(stickman.clip(1).frames)
    features = gradcam.explain(m.module, m.variables, frames).features
    found = contrast.diagonals(m, features, ["kick", "wave", "fly", "jump"])
    maps = contrast.signed(m, features, ["kick", "wave"]).maps
    steps = np.arange(len(frames))
    np.testing.assert_array_equal(found, maps[:, steps, steps])
    assert contrast.diagonals(m, features, ["fly"]).shape == (0, 16, 8, 8)
