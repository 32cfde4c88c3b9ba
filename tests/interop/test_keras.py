"""Keras models cut at a layer: predictions, gradients, every step, plain mistakes."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam.errors import InputError
from rgcam.interop.keras import load_keras
from rgcam.interop.keras_files import import_keras

try:
    keras = import_keras()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)
L = keras.layers

T, SIZE, CLASSES = 4, 12, 3
FRAMES = np.random.default_rng(0).random((T, SIZE, SIZE, 3)).astype(np.float32)


def tutorial_lrcn(last=None):
    """The LRCN of tutorials: layers in TimeDistributed, the last state alone."""
    wrap = L.TimeDistributed
    return keras.Sequential(
        [
            keras.Input((T, SIZE, SIZE, 3)),
            wrap(L.Conv2D(8, 3, padding="same", activation="relu")),
            wrap(L.MaxPooling2D(4)),
            wrap(L.Dropout(0.25)),
            wrap(L.Flatten()),
            L.LSTM(8),
            last or L.Dense(CLASSES, activation="softmax"),
        ]
    )


def mobile_net_and_bidirectional():
    """Depthwise convolutions with batch normalisation, then a bidirectional LSTM."""
    image = keras.Input((SIZE, SIZE, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    y = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(x)))
    cnn = keras.Model(image, L.Add(name="sum")([x, L.Conv2D(8, 1)(y)]), name="cnn")
    clip = keras.Input((T, SIZE, SIZE, 3))
    x = L.TimeDistributed(cnn, name="frames")(clip)
    x = L.TimeDistributed(L.GlobalAveragePooling2D())(x)
    x = L.Bidirectional(L.LSTM(6))(x)
    return keras.Model(clip, L.Dense(CLASSES, activation="softmax")(x))


def pooling_inside():
    """A CNN whose pooling lies inside TimeDistributed, scores of every step."""
    cnn = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            L.Conv2D(8, 3, strides=2, activation="relu", name="last"),
            L.GlobalAveragePooling2D(),
            L.Dense(8, activation="relu"),
        ]
    )
    clip = keras.Input((None, SIZE, SIZE, 3))
    x = L.GRU(6, return_sequences=True)(L.TimeDistributed(cnn, name="frames")(clip))
    scores = L.TimeDistributed(L.Dense(CLASSES, activation="softmax"))(x)
    return keras.Model(clip, scores)


def convolutional_lstm():
    return keras.Sequential(
        [
            keras.Input((T, SIZE, SIZE, 3)),
            L.ConvLSTM2D(4, 3, return_sequences=True, name="first"),
            L.MaxPooling3D((1, 2, 2), name="pooled"),
            L.ConvLSTM2D(4, 3, return_sequences=True, name="second"),
            L.Flatten(),
            L.Dense(CLASSES),
            L.Softmax(),
        ]
    )


def convolution_3d():
    return keras.Sequential(
        [
            keras.Input((T, SIZE, SIZE, 3)),
            L.Conv3D(8, 3, strides=2, padding="same", activation="relu", name="conv"),
            L.GlobalAveragePooling3D(),
            L.Dense(CLASSES, activation="softmax"),
        ]
    )


def by_layers(model, first, A):
    """Call a Sequential model's layers from number ``first`` on, without softmax."""
    for layer in model.layers[first:-1]:
        A = layer(A, training=False) if "dropout" in layer.name else layer(A)
    last = model.layers[-1]
    if isinstance(last, L.Softmax):
        return A
    return A @ last.kernel.value + last.bias.value


def of_mobile_net(model, A):
    A = model.layers[3](model.layers[2](A[None]))
    return A @ model.layers[4].kernel.value + model.layers[4].bias.value


def of_pooling_inside(model, A):
    inner = model.layers[1].layer
    vectors = inner.layers[2](inner.layers[1](A))
    states, scores = model.layers[2](vectors[None]), model.layers[3].layer
    return states[0] @ scores.kernel.value + scores.bias.value


# Model, layer that is chosen, frames -> A and A -> scores by Keras's own layers.
CASES = {
    "tutorial LRCN": (
        tutorial_lrcn,
        "time_distributed_",  # the last of the dropouts, which passes its input on
        lambda m, x: m.layers[1](m.layers[0](x[None]))[0],
        lambda m, A: by_layers(m, 3, A[None]),
    ),
    "MobileNet and BiLSTM": (
        mobile_net_and_bidirectional,
        "frames",
        lambda m, x: m.layers[1](x[None])[0],
        of_mobile_net,
    ),
    "pooling inside": (
        pooling_inside,
        "frames/last",
        lambda m, x: m.layers[1].layer.layers[0](x),
        of_pooling_inside,
    ),
    "ConvLSTM2D": (
        convolutional_lstm,
        "second",
        lambda m, x: m.layers[2](m.layers[1](m.layers[0](x[None])))[0],
        lambda m, A: by_layers(m, 3, A[None]),
    ),
    "Conv3D": (
        convolution_3d,
        "conv",
        lambda m, x: m.layers[0](x[None])[0],
        lambda m, A: by_layers(m, 1, A[None]),
    ),
}


@pytest.mark.parametrize(
    "name, suffix",
    [
        *((name, "keras") for name in CASES),
        ("tutorial LRCN", "h5"),
        ("MobileNet and BiLSTM", "h5"),
    ],
)
def test_predictions_and_beta_equal_keras_s_own(name, suffix, tmp_path):
    make, layer, features, scores = CASES[name]
    model = make()
    model.save(tmp_path / f"model.{suffix}")
    module, variables = rgcam.from_keras(tmp_path / f"model.{suffix}")
    assert module.layer.startswith(layer)
    e = rgcam.explain(module, variables, FRAMES, 1, relu=False)
    predictions = np.asarray(model(FRAMES[None], training=False))[0]
    probabilities = np.asarray(jax.nn.softmax(e.scores))
    np.testing.assert_allclose(
        probabilities, np.atleast_2d(predictions), atol=1e-5, rtol=1e-5
    )
    A = features(model, FRAMES)
    np.testing.assert_allclose(e.features, A, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda A, step: scores(model, A)[step, 1]))
    slow = np.stack([gradient(A, t).mean((1, 2)) for t in range(len(e.scores))])
    assert np.abs(slow).max() > 1e-4
    np.testing.assert_allclose(e.beta, slow, atol=1e-5 * np.abs(slow).max())


def test_every_step_scores_each_prefix_of_the_clip():
    model = tutorial_lrcn()
    module, variables = rgcam.from_keras(model, every_step=True)
    e = rgcam.explain(module, variables, FRAMES, 1, relu=False)
    assert e.matrix.shape == (T, T)
    own = np.asarray(model(FRAMES[None], training=False))[0]
    probabilities = np.asarray(jax.nn.softmax(e.scores))
    np.testing.assert_allclose(probabilities[-1], own, atol=1e-6)
    beta = np.asarray(e.beta).any(-1)
    assert (beta == np.tri(T, dtype=bool)).all()
    vectors = model.layers[3](model.layers[1](model.layers[0](FRAMES[None])))
    for steps in (1, 3):
        prefix = model.layers[5](model.layers[4](vectors[:, :steps]))[0]
        np.testing.assert_allclose(probabilities[steps - 1], prefix, atol=1e-6)


def test_every_step_is_rejected_where_later_frames_are_read():
    with pytest.raises(InputError, match="runs forward only, and 'bidirectional"):
        rgcam.from_keras(mobile_net_and_bidirectional(), every_step=True)
    with pytest.raises(InputError, match="returns its last state.*has none"):
        rgcam.from_keras(pooling_inside(), every_step=True)
    clip = keras.Input((T, SIZE, SIZE, 3))
    maps = L.Conv3D(2, 3, padding="same", name="conv")(clip)
    ahead = L.Conv3D(2, 3, padding="same")(maps)
    states = L.LSTM(4)(L.TimeDistributed(L.Flatten())(ahead))
    with pytest.raises(InputError, match="a layer of this model reads later ones"):
        rgcam.from_keras(keras.Model(clip, L.Dense(2)(states)), "conv", every_step=True)


def test_a_single_sigmoid_becomes_two_scores_whose_softmax_it_is():
    model = tutorial_lrcn(L.Dense(1, activation="sigmoid"))
    loaded = load_keras(model)
    assert loaded.classes == 2 and loaded.activation == "sigmoid"
    e = rgcam.explain(loaded.module, loaded.variables, FRAMES, 1, relu=False)
    other = rgcam.explain(loaded.module, loaded.variables, FRAMES, 0, relu=False)
    own = float(model(FRAMES[None], training=False)[0, 0])
    np.testing.assert_allclose(jax.nn.softmax(e.scores)[0, 1], own, atol=1e-6)
    np.testing.assert_allclose(e.maps, -other.maps, atol=1e-7)


def test_several_sigmoids_and_linear_scores_keep_their_classes():
    for last, activation in (
        (L.Dense(2, activation="sigmoid"), "sigmoid"),
        (L.Dense(2), ""),
    ):
        loaded = load_keras(tutorial_lrcn(last))
        assert (loaded.classes, loaded.activation) == (2, activation)


def test_what_is_known_of_a_model():
    loaded = load_keras(tutorial_lrcn())
    assert loaded.frames == T and loaded.size == (SIZE, SIZE, 3)
    assert not loaded.rescales and len(loaded.layers) == 3
    assert load_keras(pooling_inside()).frames is None  # any number of frames
    clip = keras.Input((T, SIZE, SIZE, 3))
    maps = L.TimeDistributed(L.Conv2D(2, 3))(L.Rescaling(1 / 255)(clip))
    pooled = L.LSTM(2)(L.TimeDistributed(L.GlobalAveragePooling2D())(maps))
    assert load_keras(keras.Model(clip, L.Dense(2)(pooled))).rescales


def test_the_model_is_unchanged():
    model = tutorial_lrcn()
    before = np.asarray(model(FRAMES[None], training=False))
    module, variables = rgcam.from_keras(model, every_step=True)
    rgcam.explain(module, variables, FRAMES, 1)
    np.testing.assert_array_equal(model(FRAMES[None], training=False), before)
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    assert model.layers[-1].activation is keras.activations.softmax
    assert not model.layers[4].return_sequences


def test_a_model_of_images_scores_every_frame():
    image = keras.Input((SIZE, SIZE, 3))
    maps = L.Conv2D(4, 3, activation="relu")(image)
    scores = L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(maps))
    module, variables = rgcam.from_keras(keras.Model(image, scores))
    e = rgcam.explain(module, variables, FRAMES, 1)
    assert e.matrix.shape == (T, T) and np.allclose(
        e.matrix, np.diag(np.diag(e.matrix))
    )


def test_the_chosen_layer_is_logged(caplog):
    with caplog.at_level(logging.WARNING, "rgcam"):
        rgcam.from_keras(convolutional_lstm())
        rgcam.from_keras(convolutional_lstm(), "first")
    assert [record.message for record in caplog.records] == [
        "cut at layer 'second'; others that can be given as layer: first, pooled"
    ]


def two_inputs():
    a, b = keras.Input((T, SIZE, SIZE, 3)), keras.Input((2,))
    return keras.Model([a, b], L.Dense(2)(L.Concatenate()([L.Flatten()(a), b])))


def of_features():
    clip = keras.Input((T, 2048))
    return keras.Model(clip, L.Dense(2)(L.GRU(4)(clip)))


def of_any_size():
    clip = keras.Input((T, None, None, 3))
    maps = L.TimeDistributed(L.Conv2D(2, 3))(clip)
    return keras.Model(clip, L.Dense(2)(L.GlobalAveragePooling3D()(maps)))


def without_maps():
    clip = keras.Input((T, SIZE, SIZE, 3))
    return keras.Model(clip, L.Dense(2)(L.Flatten()(clip)))


def of_probabilities():
    clip = keras.Input((T, SIZE, SIZE, 3))
    maps = L.TimeDistributed(L.Conv2D(2, 3))(clip)
    pooled = L.TimeDistributed(L.GlobalAveragePooling2D())(maps)
    rows = L.Dense(2, activation="softmax")(pooled)
    return keras.Model(clip, L.GlobalAveragePooling1D()(rows))


@pytest.mark.parametrize(
    "make, options, message",
    [
        (
            tutorial_lrcn,
            {"layer": "con"},
            "no layer 'con'.*time and place are time_dis",
        ),
        (convolutional_lstm, {"layer": "flatten"}, "no layer 'flatten'|returns no map"),
        (two_inputs, {}, "2 inputs and 1 outputs"),
        (of_features, {}, "features that were computed before has no map"),
        (of_any_size, {}, "frames of any size.*pass frames"),
        (without_maps, {}, "no layer of this Keras model returns a map"),
        (of_probabilities, {}, "returns probabilities"),
    ],
)
def test_mistakes_are_one_sentence(make, options, message):
    with pytest.raises(InputError, match=message):
        rgcam.from_keras(make(), **options)


def test_a_model_of_any_size_or_subclassed_takes_frames():
    module, variables = rgcam.from_keras(of_any_size(), frames=FRAMES)
    assert rgcam.explain(module, variables, FRAMES, 1).maps.shape == (1, T, 10, 10)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.maps, self.top = L.TimeDistributed(L.Conv2D(2, 3)), L.Dense(2)

        def call(self, inputs):
            return self.top(jnp.mean(self.maps(inputs), (1, 2, 3)))

    model = Own()
    model(FRAMES[None])
    with pytest.raises(InputError, match="does not say what its input is: pass frames"):
        rgcam.from_keras(model)
    module, variables = rgcam.from_keras(model, frames=FRAMES)
    assert rgcam.explain(module, variables, FRAMES, 1).maps.shape == (1, T, 10, 10)
