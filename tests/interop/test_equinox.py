"""Equinox: inference mode, state as part of a pytree, and plain mistakes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam import interop
from rgcam.errors import InputError
from tests.interop.cases import FRAMES, EquinoxVideo


def test_dropout_is_off_and_other_weights_share_the_compiled_program():
    first, variables = interop.from_equinox(EquinoxVideo(jax.random.key(0)))
    second, others = interop.from_equinox(EquinoxVideo(jax.random.key(1)))
    assert first == second and hash(first) == hash(second)
    one, other = (rgcam.explain(first, v, FRAMES, 1) for v in (variables, others))
    assert np.abs(np.asarray(one.scores - other.scores)).max() > 1e-3


class Normalised(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    scores: eqx.nn.Linear

    def __init__(self, key):
        a, b = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(3, 4, 5, stride=4, key=a)
        self.norm = eqx.nn.BatchNorm(4, axis_name="frames", mode="batch")
        self.scores = eqx.nn.Linear(4, 3, key=b)


def features(model_and_state, frames):
    model, state = model_and_state

    def one(frame):
        return model.norm(model.conv(frame), state)[0]

    maps = jax.vmap(one, axis_name="frames")(jnp.transpose(frames, (0, 3, 1, 2)))
    return jax.nn.relu(maps).transpose(0, 2, 3, 1)


def classify(model_and_state, maps):
    return jax.vmap(model_and_state[0].scores)(jnp.cumsum(maps.mean((1, 2)), 0))


def test_a_model_with_state_is_a_pytree_with_functions():
    model, state = eqx.nn.make_with_state(Normalised)(jax.random.key(0))
    # One step of training, so that the running averages are not those of the start.
    _, state = jax.vmap(
        lambda frame, state: model.norm(model.conv(frame), state),
        axis_name="frames",
        in_axes=(0, None),
        out_axes=(0, None),
    )(jnp.transpose(FRAMES, (0, 3, 1, 2)), state)
    module, variables = interop.from_equinox(
        (model, state), features=features, classify=classify
    )
    e = rgcam.explain(module, variables, FRAMES, 2, relu=False)
    # By hand: y[t'] = W sum_{t <= t'} mean A[t] + b, so beta = W / (h w) for t <= t'.
    cells = e.maps.shape[2] * e.maps.shape[3]
    expected = np.tril(np.ones((6, 6)))[..., None] * np.asarray(model.scores.weight[2])
    np.testing.assert_allclose(e.beta, expected / cells, rtol=1e-5, atol=1e-8)
    alone = rgcam.explain(module, variables, FRAMES[:1], 2)
    np.testing.assert_allclose(alone.features[0], e.features[0], atol=1e-6)


def test_a_missing_method_and_package_are_one_sentence(monkeypatch):
    model = EquinoxVideo(jax.random.key(0))
    with pytest.raises(InputError, match="EquinoxVideo has no method 'cut'"):
        interop.from_equinox(model, features="cut")
    monkeypatch.setitem(__import__("sys").modules, "equinox", None)
    with pytest.raises(InputError, match="needs Equinox: pip install equinox"):
        interop.from_equinox(model)
