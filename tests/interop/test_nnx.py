"""Flax NNX: evaluation mode on a copy, methods by name or function, plain mistakes."""

import subprocess
import sys

import flax.linen as nn
import numpy as np
import pytest
from flax import nnx

import rgcam
from rgcam import interop
from rgcam.errors import InputError
from tests.conftest import ROOT
from tests.interop.cases import FRAMES, NNXVideo


def test_a_model_in_training_mode_is_explained_in_evaluation_mode_and_unchanged():
    model = NNXVideo(nnx.Rngs(0))
    model.features(FRAMES)  # updates the running averages
    average = np.asarray(model.norm.mean[...])
    assert np.abs(average).max() > 0
    module, variables = interop.from_nnx(model)
    first, second = (rgcam.explain(module, variables, FRAMES, 1) for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)  # no dropout
    np.testing.assert_array_equal(model.norm.mean[...], average)
    assert not model.drop.deterministic and not model.norm.use_running_average
    model.eval()
    np.testing.assert_allclose(first.features, model.features(FRAMES), atol=1e-5)


def test_methods_may_be_functions_of_the_model():
    model = NNXVideo(nnx.Rngs(0))
    named, variables = interop.from_nnx(model)
    by_function, _ = interop.from_nnx(
        model,
        features=lambda model, frames: 2 * model.features(frames),
        classify=lambda model, features: model.classify(features / 2),
    )
    e = rgcam.explain(named, variables, FRAMES, 1)
    doubled = rgcam.explain(by_function, variables, FRAMES, 1)
    np.testing.assert_allclose(doubled.features, 2 * e.features, rtol=1e-6)
    np.testing.assert_allclose(doubled.beta, e.beta / 2, rtol=1e-4, atol=1e-8)


def test_a_module_as_it_is_names_the_function_that_takes_it():
    """In a process without runtime type checks, which would come first."""
    code = (
        "import rgcam; from tests.interop.cases import FRAMES, NNXVideo, nnx; "
        "rgcam.explain(NNXVideo(nnx.Rngs(0)), {}, FRAMES, 1)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert "InputError: a NNXVideo has no method apply" in run.stderr
    assert "rgcam.from_nnx" in run.stderr.splitlines()[-1]


def test_a_linen_module_and_a_missing_method_are_one_sentence():
    with pytest.raises(InputError, match="takes a flax.nnx.Module, not a Dense"):
        interop.from_nnx(nn.Dense(3))
    with pytest.raises(InputError, match="NNXVideo has no method 'logits'"):
        interop.from_nnx(NNXVideo(nnx.Rngs(0)), classify="logits")
