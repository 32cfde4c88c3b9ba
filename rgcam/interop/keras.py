"""Models of Keras 3, cut at the output of a layer; files of Keras 2 too."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from rgcam.errors import InputError
from rgcam.interop import keras_files
from rgcam.interop import layer as layers
from rgcam.interop.layer import Exchange, LayerCut, LayerModel, ToMaps
from rgcam.types import Tensor, Variables

if TYPE_CHECKING:
    import keras

ANY_LENGTH = 4  # frames of the clip that checks a model for clips of any length
PREDICTION_ERROR = 1e-5  # of the model's own predictions, at most

Attribute: TypeAlias = tuple[object, str, object]
"""An object, the name of one of its attributes, and a value for the time of a call."""

logger = logging.getLogger("rgcam")


@dataclasses.dataclass(frozen=True)
class KerasModel:
    """A model of Keras and where it is cut.

    Attributes:
        module: cut at ``module.layer``.
        variables: its variables.
        layers: all layers whose output is a map with time and place, in order.
        frames: T of the model's input; None: any.
        size: (H, W, channels) of its input.
        classes: C.
        activation: what was taken off the scores: "softmax", "sigmoid" or "".
        rescales: whether the model scales the pixels itself.
    """

    module: LayerModel
    variables: Variables
    layers: tuple[str, ...]
    frames: int | None
    size: tuple[int, ...]
    classes: int
    activation: str
    rescales: bool


@dataclasses.dataclass(frozen=True)
class KerasRun:
    """The forward pass of a Keras model, with the output of one layer exchanged.

    Attributes:
        model: the model.
        layer: name of the layer; of one inside ``TimeDistributed``, ``outer/inner``.
        every_step: whether the last recurrent layer returns its state at every step,
            each of which then is a clip of its own to the layers above.
    """

    model: "keras.Model"
    layer: str
    every_step: bool = False

    def __call__(
        self, variables: Variables, inputs: PyTree, exchange: Exchange
    ) -> PyTree:
        """Call the model in inference; ``exchange`` gets the layer's output."""
        attributes = _linear(self.model)
        if self.every_step:
            attributes += _returning_sequences(self.model)
        with _distributed_at_once(self.model), _changed(attributes):
            layer = named_layers(self.model).get(self.layer)
            changed = [] if layer is None else [_exchanging(layer, exchange)]
            with _changed(changed):
                return _call(self.model, variables, inputs)


def from_keras(
    model: "str | Path | keras.Model",
    layer: str | None = None,
    *,
    every_step: bool = False,
    frames: Float[Tensor, "T H W K"] | None = None,
    to_maps: ToMaps | None = None,
    check: bool = True,
) -> tuple[LayerModel, Variables]:
    """Cut a Keras model, or a file of one, at a layer: on JAX, without TensorFlow.

    Any model of one input (batch, T, H, W, channels): layers or a whole CNN inside
    ``TimeDistributed``, LSTM, GRU, Bidirectional, ConvLSTM2D, Conv3D; Sequential,
    functional or, as an object, subclassed. A final softmax or sigmoid is taken off:
    scores are logits. The single sigmoid of two classes, z, becomes the two scores -z / 2
    and z / 2, whose softmax it is. Dropout is off and batch normalisation uses its running
    averages. The model is unchanged.

    Args:
        model: ``.keras`` or ``.h5`` file of Keras 3 or of TensorFlow's Keras 2, or a
            model in memory. Files are read in Keras's safe mode.
        layer: whose output is A; of a CNN inside ``TimeDistributed``, ``outer/inner``.
            None: the last one that has time and place; a log message says which.
        every_step: of a model that scores the clip once, from the last state of a
            recurrence: score every step. Row t' is what the model says of the first t'
            frames, and the last row is its own. Only where the recurrence runs forward.
        frames: preprocessed clip by which the cut is checked; None: random numbers of the
            model's input shape.
        to_maps: output of the layer -> A (T, h, w, K), by selection and rearrangement;
            None: the output is A, with or without a batch axis.
        check: compare predictions, scores, and one row of beta with the model itself.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``;
        ``module.layer`` is the layer. Frames are preprocessed as in training.

    Raises:
        InputError: a file that cannot be read, another backend than JAX, no such layer,
            shapes that do not fit, or a cut that differs from the model.
    """
    loaded = load_keras(
        model,
        layer,
        every_step=every_step,
        frames=frames,
        to_maps=to_maps,
        check=check,
    )
    if layer is None:
        logger.warning(
            "cut at layer %r; others that can be given as layer: %s",
            loaded.module.layer,
            layers.listed(loaded.layers[:-1]) or "none",
        )
    return loaded.module, loaded.variables


def load_keras(
    model: "str | Path | keras.Model",
    layer: str | None = None,
    *,
    every_step: bool = False,
    frames: Float[Tensor, "T H W K"] | None = None,
    to_maps: ToMaps | None = None,
    check: bool = True,
) -> KerasModel:
    """Cut a Keras model as ``from_keras`` does, and return what is known of it.

    Args:
        model: file or model.
        layer: whose output is A; None: the last one that has time and place.
        every_step: score every step.
        frames: clip by which the cut is checked; None: random numbers.
        to_maps: output of the layer -> A; None: the output is A.
        check: compare the cut with the model itself.

    Raises:
        InputError: see ``from_keras``.
    """
    keras = keras_files.import_keras()
    if isinstance(model, str | Path):
        model = keras_files.load(model)
    steps, size = _input_shape(model, frames)
    if frames is None:
        shape = steps or ANY_LENGTH, *size
        frames = np.random.default_rng(0).random(shape, np.float32)
    frames = jnp.asarray(frames)
    variables = {
        "trainable": [variable.value for variable in model.trainable_variables],
        "fixed": [variable.value for variable in model.non_trainable_variables],
    }
    to_inputs = layers.batch_of_one if _takes_clips(model) else _frames_as_batch
    maps = map_layers(model, variables, to_inputs(frames))
    if layer is None and not maps:
        raise InputError(
            "no layer of this Keras model returns a map that has time and place: name one "
            f"with to_maps; its layers are {layers.listed(named_layers(model))}"
        )
    layer = maps[-1] if layer is None else layer
    if layer not in named_layers(model):
        raise layers.unknown_layer(layer, maps, "layers that have time and place")
    if layer not in maps and to_maps is None:
        raise InputError(
            f"layer {layer!r} returns no map that has time and place: choose one of "
            f"{layers.listed(maps)}, or pass to_maps"
        )
    activation = _final_activation(model)
    is_binary = activation == "sigmoid" and model.output_shape[-1] == 1
    cut = LayerCut(
        run=KerasRun(model, layer, every_step),
        to_inputs=to_inputs,
        to_maps=to_maps or layers.without_batch,
        to_scores=_scores_of_two if is_binary else layers.default_scores,
        layer=layer,
        frame=size,
    )
    module = layers.cut_at_layer(cut, variables, frames)
    result = layers.own_result(cut, variables, frames)
    layers.check_not_probabilities(jnp.asarray(result.scores))
    if check:
        layers.check_cut(module, variables, frames, result, layer)
        predictions = np.asarray(_call(model, variables, to_inputs(frames)))
        _check_predictions(result.scores, predictions, activation)
    if every_step:
        _check_forward(module, variables, frames)
    return KerasModel(
        module=module,
        variables=variables,
        layers=tuple(maps),
        frames=steps,
        size=size,
        classes=result.scores.shape[-1],
        activation=activation,
        rescales=any(
            isinstance(inner, keras.layers.Rescaling | keras.layers.Normalization)
            for inner in model._flatten_layers()
        ),
    )


def named_layers(model: "keras.Model") -> dict[str, "keras.Layer"]:
    """Return the layers of a model by name, those of models inside it as outer/inner."""
    keras = keras_files.import_keras()
    named = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        is_distributed = isinstance(layer, keras.layers.TimeDistributed)
        inner = layer.layer if is_distributed else layer
        if isinstance(inner, keras.Model):
            for name, sublayer in named_layers(inner).items():
                named[f"{layer.name}/{name}"] = sublayer
        named[layer.name] = layer
    return named


def map_layers(model: "keras.Model", variables: Variables, inputs: Array) -> list[str]:
    """Return the layers whose output is a map with time and place, in order of calls.

    Args:
        model: the model.
        variables: its variables.
        inputs: a clip, (1, T, H, W, channels), or frames (T, H, W, channels).
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str, output: Array) -> Array:
        shapes.pop(name, None)  # the last call counts
        shapes[name] = output.shape
        return output

    def forward(variables: Variables, inputs: Array) -> PyTree:
        with _distributed_at_once(model):
            attributes = [
                _exchanging(layer, lambda output, name=name: record(name, output))
                for name, layer in named_layers(model).items()
            ]
            with _changed(attributes):
                return _call(model, variables, inputs)

    jax.eval_shape(forward, variables, inputs)
    is_clip = inputs.ndim == 5
    steps = inputs.shape[-4]
    names = []
    for name, shape in shapes.items():
        if len(shape) == 5 and shape[0] == 1:
            shape = shape[1:]
        # Frames are the batch of a model of images, and inside TimeDistributed.
        elif len(shape) != 4 or shape[0] != steps or (is_clip and "/" not in name):
            continue
        if steps % shape[0] == 0 and shape[1] * shape[2] > 1:
            names.append(name)
    return names


def _call(model: "keras.Model", variables: Variables, inputs: PyTree) -> PyTree:
    """Call a model in inference with these variables."""
    options = {"training": False} if model._call_has_training_arg else {}
    outputs, _ = model.stateless_call(
        variables["trainable"], variables["fixed"], inputs, **options
    )
    return outputs


def _frames_as_batch(frames: Array) -> Array:
    """Return frames as they are: a model of images scores each by itself."""
    return frames


def _scores_of_two(outputs: PyTree) -> Float[Array, "out 2"]:
    """Return the two scores whose softmax is a sigmoid and its complement."""
    scores = layers.default_scores(outputs) / 2
    return jnp.concatenate([-scores, scores], -1)


def _input_shape(
    model: "keras.Model", frames: Float[Tensor, "T H W K"] | None
) -> tuple[int | None, tuple[int, ...]]:
    """Return T, or None for any, and (H, W, channels) of a model's input."""
    inputs = getattr(model, "inputs", None)
    if not inputs and frames is not None:
        return None, tuple(frames.shape[1:])
    if not inputs:
        raise InputError(
            "this Keras model does not say what its input is: pass frames, a preprocessed "
            "clip (T, H, W, channels)"
        )
    if len(inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"this Keras model has {len(inputs)} inputs and {len(model.outputs)} outputs: "
            "from_keras takes one of each, such as keras.Model(model.inputs, "
            "model.outputs[0])"
        )
    shape = tuple(inputs[0].shape)
    if len(shape) not in (4, 5):
        raise InputError(
            f"this Keras model takes {shape}: expected clips (batch, T, H, W, channels); "
            "a model of features that were computed before has no map"
        )
    steps, size = (None, shape[1:]) if len(shape) == 4 else (shape[1], shape[2:])
    if frames is not None:
        return steps, tuple(frames.shape[1:])
    if None in size:
        raise InputError(
            f"this Keras model takes frames of any size {size}: pass frames, a "
            "preprocessed clip of the size that it was trained with"
        )
    return steps, size


def _takes_clips(model: "keras.Model") -> bool:
    """Tell a model of clips from one of images."""
    inputs = getattr(model, "inputs", None)
    return not inputs or len(inputs[0].shape) == 5


# Changes to a model for the time of a call.


@contextlib.contextmanager
def _changed(attributes: Sequence[Attribute]) -> Iterator[None]:
    """Set attributes of layers, and set them back."""
    before = [(item, name, vars(item).get(name)) for item, name, _ in attributes]
    try:
        for item, name, value in attributes:
            # Not by the layer itself, which would track the value.
            object.__setattr__(item, name, value)
        yield
    finally:
        for item, name, value in reversed(before):
            if value is None:  # that of the class
                object.__delattr__(item, name)
            else:
                object.__setattr__(item, name, value)


def _exchanging(layer: "keras.Layer", exchange: Exchange) -> Attribute:
    """Return a layer's call with its output, or the first of several, exchanged."""
    call = layer.call

    def exchanged(*arguments: PyTree, **options: PyTree) -> PyTree:
        outputs = call(*arguments, **options)
        if isinstance(outputs, tuple):
            return exchange(outputs[0]), *outputs[1:]
        return exchange(outputs)

    return layer, "call", exchanged


def _distributed_at_once(
    model: "keras.Model",
) -> contextlib.AbstractContextManager[None]:
    """Call what is inside TimeDistributed once, on all frames as a batch.

    Keras calls it frame by frame, where a layer inside returns no map with time.
    """
    keras = keras_files.import_keras()
    distributed = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.TimeDistributed)
    ]
    return _changed([(layer, "call", _at_once(layer)) for layer in distributed])


def _at_once(layer: "keras.layers.TimeDistributed") -> Callable[..., PyTree]:
    """Return the call of a TimeDistributed layer with frames as a batch."""
    inner = layer.layer

    def call(
        inputs: Array, training: bool | None = None, mask: Array | None = None
    ) -> PyTree:
        lead = inputs.shape[:2]
        flat = lambda array: jnp.reshape(array, (-1, *array.shape[2:]))
        options: dict[str, PyTree] = {}
        if inner._call_has_training_arg:
            options["training"] = training
        if inner._call_has_mask_arg and mask is not None:
            options["mask"] = flat(mask)
        outputs = inner(flat(inputs), **options)
        return jax.tree.map(lambda x: jnp.reshape(x, (*lead, *x.shape[1:])), outputs)

    return call


def _final_layer(model: "keras.Model") -> "keras.Layer | None":
    """Return the innermost layer that makes a model's output; None if unknown."""
    keras = keras_files.import_keras()
    if not getattr(model, "outputs", None):
        return None
    layer = model.outputs[0]._keras_history.operation
    while isinstance(layer, keras.layers.TimeDistributed):
        layer = layer.layer
    return _final_layer(layer) if isinstance(layer, keras.Model) else layer


def _final_activation(model: "keras.Model") -> str:
    """Return "softmax", "sigmoid" or "" of the layer that makes a model's output."""
    keras = keras_files.import_keras()
    layer = _final_layer(model)
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    return name if name in ("softmax", "sigmoid") else ""


def _linear(model: "keras.Model") -> list[Attribute]:
    """Return what takes a final softmax or sigmoid off."""
    keras = keras_files.import_keras()
    layer = _final_layer(model)
    if layer is None or not _final_activation(model):
        return []
    if isinstance(layer, keras.layers.Softmax):
        return [(layer, "call", lambda inputs, mask=None: inputs)]
    return [(layer, "activation", keras.activations.linear)]


def _returning_sequences(model: "keras.Model") -> list[Attribute]:
    """Return what makes the last recurrent layer return its state at every step.

    The steps become clips of a batch, so that any layers above score each of them.

    Raises:
        InputError: there is no such layer, or a recurrence runs backwards.
    """
    keras = keras_files.import_keras()
    recurrent = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Bidirectional) or (
            isinstance(layer, keras.layers.RNN) and layer.go_backwards
        ):
            raise InputError(
                f"every_step needs a recurrence that runs forward only, and {layer.name!r} "
                "also reads later frames: leave every_step out"
            )
        if isinstance(layer, keras.layers.RNN):
            recurrent.append(layer)
    if not recurrent or recurrent[-1].return_sequences:
        raise InputError(
            "every_step is for a model whose last recurrent layer returns its last state "
            "(return_sequences=False), and this one has none: leave every_step out"
        )
    last = recurrent[-1]
    return [
        (last, "return_sequences", True),
        _exchanging(last, lambda output: output[0]),
    ]


def _check_predictions(
    scores: Float[np.ndarray, "out C"], predictions: np.ndarray, activation: str
) -> None:
    """Compare the last scores, after their activation, with what the model predicts."""
    last = jnp.asarray(scores[-1])
    expected = predictions.reshape(-1, predictions.shape[-1])[-1]
    if activation == "sigmoid" and expected.shape[-1] == 1:
        values = jax.nn.softmax(last)[1:]
    elif activation:
        function = jax.nn.softmax if activation == "softmax" else jax.nn.sigmoid
        values = function(last)
    else:
        values = last
    scale = max(1.0, float(np.abs(expected).max()))
    error = float(np.abs(np.asarray(values) - expected).max()) / scale
    if not error <= PREDICTION_ERROR:
        raise InputError(
            f"the cut model predicts {np.round(values, 5).tolist()} where Keras predicts "
            f"{np.round(expected, 5).tolist()}: an unusual layer depends on how it is called; "
            "cut at another layer"
        )


def _check_forward(module: LayerModel, variables: Variables, frames: Array) -> None:
    """Raise InputError if a score of every_step depends on a later step of A."""
    features = module.apply(variables, frames, method="features")
    other = features.at[-1].add(1.0)
    classify = jax.jit(lambda a: module.apply(variables, a, method="classify"))
    scores, changed = np.asarray(classify(features)), np.asarray(classify(other))
    if len(scores) > 1 and not np.allclose(scores[:-1], changed[:-1], atol=1e-5):
        raise InputError(
            "every_step needs scores that depend on earlier frames only, and a layer of "
            "this model reads later ones: leave every_step out"
        )
