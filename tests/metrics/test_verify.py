"""The verification passes correct weights, and nothing else."""

import jax
import numpy as np
import pytest

from rgcam.attribution import explain
from rgcam.metrics import verify
from rgcam.models import classifiers, layers
from rgcam.models.backbones import SmallCNN
from tests.attribution.test_gradcam import C, T, lrcn, random


def explained(module):
    frames = random((T, 16, 16, 3))
    variables = classifiers.init(module, jax.random.key(0), frames)
    return module, variables, explain.explain(module, variables, frames, 2)


@pytest.mark.parametrize("head", layers.HEADS)
@pytest.mark.parametrize("kind", ["lstm", "gru", "cnn"])
def test_the_weights_of_explain_are_as_defined(kind, head):
    cnn = classifiers.FrameCNN(SmallCNN(), C, head=head, width=9)
    errors = verify.verify(*explained(cnn if kind == "cnn" else lrcn(head, kind)), 2)
    assert errors.loop <= 1e-5 and errors.differences <= 1e-5
    assert errors.as_defined and errors.rows == 4 and errors.entries == T * 8
    assert errors.sentence.startswith("as defined: error ")


def test_weights_of_another_class_or_with_an_error_are_detected():
    module, variables, e = explained(lrcn())
    other = verify.verify(module, variables, e, 1)
    assert min(other[:2]) > 1e-2
    assert other.sentence.startswith("NOT as defined")
    wrong = np.array(e.beta)
    wrong += 0.01 * np.abs(wrong).max()
    moved = verify.verify(module, variables, e._replace(beta=wrong), 2)
    np.testing.assert_allclose(moved[:2], 0.01, rtol=0.05)
