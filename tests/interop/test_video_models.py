"""Any cut model with classes and preprocessing: the record of a clip, plain mistakes."""

import numpy as np
import pytest

from rgcam import interop
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.interop.video_models import video_model
from rgcam.models.backbones import Preprocess
from rgcam.report import writer
from rgcam.report.explain import explain_clip
from tests.interop.cases import CASES, SIZE

NAMES = ("walk", "run", "jump")


def test_a_model_of_nnx_is_explained_checked_and_written(tmp_path):
    case = CASES["nnx"]()
    model = video_model(case.module, case.variables, NAMES, size=SIZE, name="mine")
    assert model.feature_map == case.features(np.zeros((1, SIZE, SIZE, 3))).shape[1:]
    pixels = np.random.default_rng(0).integers(0, 255, (6, 20, 30, 3)).astype(np.uint8)
    explained = explain_clip(model, Clip(pixels, np.arange(6) / 5), method="gradcam")
    assert explained.shown.matrix.shape == (6, 6) and explained.shown.checks
    writer.write(tmp_path, explained)
    assert "mine" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "name, values", [("unit", (0, 1)), ("minus_one_one", (-1, 1)), ("none", (0, 255))]
)
def test_pixels_have_the_range_that_is_named(name, values):
    case = CASES["functions"]()
    model = video_model(case.module, case.variables, NAMES, size=SIZE, preprocess=name)
    pixels = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    pixels[1] = 255
    frames = model.preprocess(pixels)
    assert (frames[0] == values[0]).all() and (frames[1] == values[1]).all()


def test_a_preprocess_may_be_given_and_mistakes_are_one_sentence():
    case = CASES["functions"]()
    spec = Preprocess(size=SIZE, crop=0.875, offset=1.0, scale=2.0)
    model = video_model(case.module, case.variables, NAMES, size=SIZE, preprocess=spec)
    assert model.description.preprocess == spec
    with pytest.raises(InputError, match="2 class names for a model of 3 scores"):
        interop.video_model(case.module, case.variables, ("a", "b"), size=SIZE)
    with pytest.raises(InputError, match="unknown preprocessing 'half': choose one of"):
        video_model(case.module, case.variables, NAMES, size=SIZE, preprocess="half")
