"""Files of Keras models, read by Keras 3: ``.keras`` and ``.h5``, also those of Keras 2.

Keras 3 loads no video model that TensorFlow's Keras 2 wrote: options of its layers have
other names and values. ``mended`` translates them before Keras reads the file; one layer
option changed its meaning instead (``hard_sigmoid``), and is replaced after reading.
"""

import importlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array

from rgcam.errors import InputError

if TYPE_CHECKING:
    import keras

# Options that Keras 3 no longer has, and the only value with which it computes the same.
REMOVED = {"time_major": False, "ragged": False}
# These have no groups in Keras 3, where Keras 2 wrote 1.
WITHOUT_GROUPS = (
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
)
MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras"}
CONFIG, METADATA = "config.json", "metadata.json"  # in a .keras file


def import_keras() -> ModuleType:
    """Import Keras 3 on JAX, without TensorFlow.

    Raises:
        InputError: Keras is not installed, is older, or runs on another backend.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "jax"
    try:
        keras = importlib.import_module("keras")
        importlib.import_module("h5py")
    except ImportError as error:
        raise InputError(
            "from_keras needs Keras 3 and h5py: pip install 'rgcam[keras]'"
        ) from error
    if not keras.__version__.startswith("3."):
        raise InputError(
            f"from_keras needs Keras 3, and {keras.__version__} is installed: pip install "
            "--upgrade keras"
        )
    backend = keras.config.backend()
    if backend != "jax":
        raise InputError(
            f"Keras was imported with the backend {backend}: set the environment variable "
            "KERAS_BACKEND=jax before anything imports keras, or import rgcam.from_keras "
            "and call it first"
        )
    return keras


def load(path: str | Path) -> "keras.Model":
    """Read a model in Keras's safe mode, in which a file cannot run code.

    Args:
        path: ``.keras``, ``.h5`` or ``.hdf5``, of Keras 3 or of Keras 2.

    Raises:
        InputError: no such file, not a whole model, layers that are code, or options that
            Keras 3 does not have.
    """
    keras = import_keras()
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no Keras file {path}")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise InputError(
            f"{path} is not a Keras model: give a .keras or .h5 file, such as "
            "model.save('model.keras') writes"
        )
    try:
        version, config = _read_config(path)
        with tempfile.TemporaryDirectory() as folder:
            file = path
            if version.startswith("2."):
                file = Path(folder) / f"model{path.suffix}"
                _write_config(path, file, mended(config))
            model = keras.models.load_model(file, compile=False, safe_mode=True)
    except InputError:
        raise
    except Exception as error:  # of the file, of Keras, of a layer
        raise InputError(_reason(path, str(error))) from error
    if version.startswith("2."):
        _replace_hard_sigmoid(keras, model)
    return model


def mended(config: object) -> object:
    """Translate the configuration of a model from Keras 2 to Keras 3.

    Args:
        config: of a model or of a part of it, as parsed from JSON.

    Raises:
        InputError: an option without an equivalent, ``time_major=True``.
    """
    if isinstance(config, list):
        return [mended(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    fields = {name: mended(value) for name, value in config.items()}
    name, options = fields.get("class_name"), fields.get("config")
    if not isinstance(name, str) or not isinstance(options, dict):
        return fields
    if name in MODULES:
        fields |= {"module": MODULES[name], "registered_name": name}
    fields["config"] = _mended_options(name, options)
    return fields


def keras2_hard_sigmoid(x: Array) -> Array:
    """Return clip(0.2 x + 0.5, 0, 1), Keras 2's definition; Keras 3's is relu6(x + 3) / 6."""
    return jnp.clip(0.2 * x + 0.5, 0, 1)


def _mended_options(layer: str, options: dict[str, object]) -> dict[str, object]:
    """Translate the options of one layer."""
    for name, neutral in REMOVED.items():
        if options.pop(name, neutral) not in (neutral, None):
            raise InputError(
                f"the layer {options.get('name', layer)!r} has {name}={not neutral}, "
                "which Keras 3 does not have: rebuild the model without it"
            )
    if layer in WITHOUT_GROUPS:
        options.pop("groups", None)
    shape = options.pop("batch_input_shape", None)
    if layer == "InputLayer" and shape is not None:
        options["batch_shape"] = shape
    axis = options.get("axis")
    if layer == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        options["axis"] = axis[0]
    policy = options.get("dtype")
    if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
        options["dtype"] = policy["config"].get("name", "float32")
    for end in ("input_layers", "output_layers"):
        # [["dense", 0, 0]] would make a model that returns a list of one array.
        layers = options.get(end)
        if (
            isinstance(layers, list)
            and len(layers) == 1
            and isinstance(layers[0], list)
        ):
            options[end] = layers[0]
    return options


def _read_config(path: Path) -> tuple[str, object]:
    """Return the version of Keras that wrote a file, and the model's configuration."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(METADATA))
            config = json.loads(archive.read(CONFIG))
        return str(metadata.get("keras_version", "")), config
    import h5py

    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise InputError(
                f"{path} holds weights without their model: save it by model.save, or "
                "build the model, load the weights and pass it to rgcam.from_keras"
            )
        # Keras 3 and 2 write the attribute; 2.0 and 1 had none.
        version = file.attrs.get("keras_version", "2.0")
        return _text(version), json.loads(_text(file.attrs["model_config"]))


def _write_config(path: Path, copy: Path, config: object) -> None:
    """Copy a file with another configuration."""
    text = json.dumps(config)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
            for name in source.namelist():
                target.writestr(name, text if name == CONFIG else source.read(name))
        return
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = text


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _replace_hard_sigmoid(keras: ModuleType, model: "keras.Model") -> None:
    """Give every layer of a model that uses hard_sigmoid Keras 2's definition."""
    for layer in model._flatten_layers():
        # A recurrent layer only repeats the activations of its cell.
        for name in ("activation", "recurrent_activation"):
            if vars(layer).get(name) is keras.activations.hard_sigmoid:
                setattr(layer, name, keras2_hard_sigmoid)


def _reason(path: Path, message: str) -> str:
    """Say in one sentence why Keras did not load a file."""
    if "Lambda" in message or "lambda" in message:
        return (
            f"{path} contains a Lambda layer, which is code that loading would run: build "
            "the model in Python, load its weights and pass it to rgcam.from_keras"
        )
    # Keras repeats the whole configuration before it says what it could not do.
    *_, cause = message.split("Exception encountered:")
    first = next((line for line in cause.splitlines() if line.strip()), "no reason")
    return (
        f"{path} cannot be loaded by Keras 3 ({first.strip()[:200]}): layers of your own "
        "need the model itself, built in Python and passed to rgcam.from_keras"
    )
