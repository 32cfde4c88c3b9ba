"""The verifier passes what is right, and nothing else."""

import jax
import numpy as np
import pytest

from rgcam.attribution import gradcam
from rgcam.metrics import verify
from rgcam.models import classifiers
from rgcam.models.backbones import SmallCNN
from tests.attribution.test_gradcam import C, T, lrcn, random


def explained(module):
    frames = random((T, 16, 16, 3))
    variables = classifiers.init(module, jax.random.key(0), frames)
    return module, variables, gradcam.explain(module, variables, frames, 2)


@pytest.mark.parametrize("head", classifiers.HEADS)
@pytest.mark.parametrize("kind", ["lstm", "gru", "cnn"])
def test_what_explain_returns_is_as_defined(kind, head):
    cnn = classifiers.FrameCNN(SmallCNN(), C, head=head, width=9)
    errors = verify.verify(*explained(cnn if kind == "cnn" else lrcn(head, kind)), 2)
    assert errors.loop <= 1e-5 and errors.differences <= 1e-5
    assert errors.rows == 4 and errors.entries == T * 8
    assert verify.text(errors).startswith("as defined: error ")


def test_another_class_or_a_wrong_entry_is_found():
    module, variables, e = explained(lrcn())
    other = verify.verify(module, variables, e, 1)
    assert min(other[:2]) > 1e-2
    assert verify.text(other).startswith("NOT as defined")
    wrong = np.array(e.beta)
    wrong += 0.01 * np.abs(wrong).max()
    moved = verify.verify(module, variables, e._replace(beta=wrong), 2)
    np.testing.assert_allclose(moved[:2], 0.01, rtol=0.05)
