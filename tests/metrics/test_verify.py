"""The verification passes correct weights, and nothing else."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import explain
from rgcam.attribution.targets import StepClasses
from rgcam.errors import InputError
from rgcam.metrics import verify
from rgcam.models import classifiers, layers
from rgcam.models.backbones import SmallCNN
from tests.attribution.test_gradcam import C, T, lrcn, random
from tests.conftest import draw_variables


def explained(module):
    frames = random((T, 16, 16, 3))
    variables = draw_variables(module, frames)
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


def test_weights_of_one_class_for_each_step_are_as_defined():
    module, variables, _ = explained(lrcn())
    classes = StepClasses(np.arange(T) % C)
    e = explain.explain(module, variables, random((T, 16, 16, 3)), classes)
    errors = verify.verify(module, variables, e, classes)
    assert errors.as_defined and errors.differences <= 1e-5
    assert not verify.verify(module, variables, e, 0).as_defined
    with pytest.raises(InputError, match="give one class for each"):
        verify.verify(module, variables, e, StepClasses([0]))


class OwnCarry(nn.Module):
    """A recurrent layer of Flax, which creates its carry in float32."""

    def setup(self):
        self.rnn = nn.RNN(nn.LSTMCell(8))
        self.scores = nn.Dense(C)

    def features(self, frames):
        return frames

    def classify(self, features):
        return self.scores(self.rnn(features.mean((1, 2))))

    def __call__(self, frames):
        return self.classify(self.features(frames))


def test_a_model_that_names_float32_itself_is_verified_in_float64():
    module, frames = OwnCarry(), random((T, 8, 8, 3))
    variables = module.init(jax.random.key(0), frames)
    e = explain.explain(module, variables, frames, 2)
    assert verify.verify(module, variables, e, 2).differences <= 1e-5


def control_flow(x, bias):
    """Every kind of equation that holds another program, and a cast to half precision."""
    x = jax.lax.fori_loop(0, jnp.int32(3), lambda _, y: y * 1.5 + bias, x)
    x = jax.lax.while_loop(lambda y: y.sum() < bias, lambda y: y + bias / 3, x)
    x = jax.lax.switch(jnp.argmax(x) % 2, [lambda y: y * 2, lambda y: y - bias], x)
    x = jax.lax.scan(lambda c, y: (c + y, c * y), jnp.float32(0.5), x, reverse=True)[1]
    x = jax.checkpoint(jnp.sin)(jax.nn.relu(x) + jax.nn.gelu(x))
    return jax.jit(jnp.tanh)(x.astype(jnp.float16)).astype(jnp.float32) / 3


def test_a_traced_program_is_evaluated_in_float64():
    x, bias = jnp.linspace(-1.5, 2, 7), jnp.float32(0.25)
    program = jax.make_jaxpr(control_flow)(x, bias)
    with jax.enable_x64(True):
        (result,) = verify._evaluate(program, [verify._widen(x), verify._widen(bias)])
        assert result.dtype == jnp.float64

        y = np.asarray(x, np.float64)
        for _ in range(3):
            y = y * 1.5 + 0.25
        while y.sum() < 0.25:
            y = y + 0.25 / np.float64(np.float32(3))
        y = y * 2 if np.argmax(y) % 2 == 0 else y - 0.25
        carry, rows = 0.5, np.zeros_like(y)
        for i in range(len(y))[::-1]:
            carry, rows[i] = carry + y[i], carry * y[i]
        gelu = np.asarray(jax.nn.gelu(jnp.asarray(rows)))
        expected = np.tanh(np.sin(np.maximum(rows, 0) + gelu)) / 3
    np.testing.assert_allclose(result, expected, atol=1e-7)
    half = np.abs(np.asarray(control_flow(x, bias)) - expected).max()
    assert half > 1e-5  # what half precision loses is not there
