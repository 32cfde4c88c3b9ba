"""One small recurrent video classifier for each framework, and its own gradients."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rgcam import interop
from rgcam.interop.functions import FunctionModel

T, SIZE, CLASSES = 6, 16, 3
FRAMES = np.random.default_rng(0).normal(size=(T, SIZE, SIZE, 3)).astype(np.float32)


class Case(NamedTuple):
    """A model as rgcam takes it, and what it is compared with.

    Attributes:
        module: from ``rgcam.interop``.
        variables: from ``rgcam.interop``.
        features: frames -> A by the framework itself.
        gradient: (A, t', class) -> dy[t', class] / dA (T, h, w, K) by the framework's
            own transformation of gradients.
    """

    module: FunctionModel
    variables: object
    features: Callable
    gradient: Callable


class NNXVideo(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (5, 5), strides=4, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.rnn = nnx.RNN(nnx.LSTMCell(8, 16, rngs=rngs))
        self.scores = nnx.Linear(16, CLASSES, rngs=rngs)

    def features(self, frames):
        return nnx.relu(self.norm(self.conv(frames)))

    def classify(self, features):
        vectors = self.drop(features.mean((1, 2)))
        return self.scores(self.rnn(vectors[None])[0])


class EquinoxVideo(eqx.Module):
    conv: eqx.nn.Conv2d
    drop: eqx.nn.Dropout
    cell: eqx.nn.LSTMCell
    scores: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.conv = eqx.nn.Conv2d(3, 8, 5, stride=4, key=keys[0])
        self.drop = eqx.nn.Dropout(0.5)
        self.cell = eqx.nn.LSTMCell(8, 16, key=keys[1])
        self.scores = eqx.nn.Linear(16, CLASSES, key=keys[2])

    def features(self, frames):
        features = jax.vmap(self.conv)(jnp.transpose(frames, (0, 3, 1, 2)))
        return jax.nn.relu(features).transpose(0, 2, 3, 1)

    def classify(self, features):
        def step(carry, vector):
            carry = self.cell(self.drop(vector), carry)
            return carry, self.scores(carry[0])

        start = (jnp.zeros(16), jnp.zeros(16))
        return jax.lax.scan(step, start, features.mean((1, 2)))[1]


def haiku_network(normalise=False):
    """Two functions of Haiku; with batch normalisation they have a state."""
    conv, core, scores = hk.Conv2D(8, 5, stride=4), hk.LSTM(16), hk.Linear(CLASSES)
    norm = hk.BatchNorm(True, True, 0.5) if normalise else None

    def features(frames, is_training=False):
        maps = conv(frames)
        return jax.nn.relu(maps if norm is None else norm(maps, is_training))

    def classify(features):
        start = core.initial_state(None)
        return scores(hk.dynamic_unroll(core, features.mean((1, 2)), start)[0])

    # A state is created in training mode.
    initialise = lambda frames: classify(features(frames, is_training=True))
    return initialise, (features, classify)


def nnx_case():
    model = NNXVideo(nnx.Rngs(0))
    model.eval()

    def gradient(features, step, target):
        score = lambda model, features: model.classify(features)[step, target]
        return nnx.grad(score, argnums=1)(model, features)

    return Case(*interop.from_nnx(model), model.features, gradient)


def equinox_case():
    model = EquinoxVideo(jax.random.key(0))
    evaluated = eqx.nn.inference_mode(model)

    def gradient(features, step, target):
        return eqx.filter_grad(lambda a: evaluated.classify(a)[step, target])(features)

    return Case(*interop.from_equinox(model), evaluated.features, gradient)


def haiku_case():
    transformed = hk.without_apply_rng(hk.multi_transform(haiku_network))
    params = transformed.init(jax.random.key(0), FRAMES)
    features, classify = transformed.apply

    def gradient(maps, step, target):
        return jax.grad(lambda a: classify(params, a)[step, target])(maps)

    module, variables = interop.from_haiku(transformed, params)
    return Case(module, variables, lambda frames: features(params, frames), gradient)


def function_features(weights, frames):
    height = SIZE // 4
    cells = jnp.reshape(frames, (len(frames), height, 4, height, 4, 3)).mean((2, 4))
    return jax.nn.relu(cells @ weights["below"])


def function_classify(weights, features):
    states = jnp.cumsum(jnp.tanh(features.mean((1, 2)) @ weights["state"]), 0)
    return jnp.tanh(states) @ weights["scores"]


def functions_case():
    rng = np.random.default_rng(1)
    shapes = {"below": (3, 8), "state": (8, 16), "scores": (16, CLASSES)}
    weights = {n: jnp.asarray(rng.normal(size=s), "float32") for n, s in shapes.items()}
    module, variables = interop.from_functions(
        function_features, function_classify, weights
    )

    def gradient(features, step, target):
        score = lambda a: function_classify(weights, a)[step, target]
        return jax.grad(score)(features)

    features = lambda frames: function_features(weights, frames)
    return Case(module, variables, features, gradient)


CASES = {
    "nnx": nnx_case,
    "equinox": equinox_case,
    "haiku": haiku_case,
    "functions": functions_case,
}


def check_causal(explanation):
    """Require past frames to count and future ones not to: the models are causal.

    The generic path does not know it: of differences of scores, one per cell, the
    rounding remains.
    """
    matrix = np.asarray(explanation.matrix)
    past, future = (np.tril_indices(len(matrix)), np.triu_indices(len(matrix), 1))
    largest, cells = np.abs(matrix).max(), np.prod(explanation.maps.shape[2:])
    scale = np.abs(explanation.scores).max()
    rounding = 2 * cells * np.finfo(np.float32).eps * scale
    assert np.abs(matrix[past]).max() > 0
    assert np.abs(matrix[future]).max() <= rounding + 1e-6 * largest
    assert rounding < 0.01 * largest
