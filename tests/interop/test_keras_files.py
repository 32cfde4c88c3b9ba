"""Files of Keras: what Keras 2 wrote predicts the same; plain mistakes."""

import os
import subprocess
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.errors import InputError
from rgcam.interop import keras_files
from tests.conftest import ROOT
from tests.make_keras2_reference import ARCHIVE, FILES, frames

try:
    keras_files.import_keras()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

NAMES = [f"{name}.{suffix}" for name, suffixes in FILES.items() for suffix in suffixes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras2")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_keras_2_predicts_what_keras_2_predicted(folder, name):
    model = keras_files.load(folder / name)
    expected = np.load(folder / "predictions.npz")[name.split(".")[0]]
    predictions = model(frames(), training=False)
    np.testing.assert_allclose(predictions, expected, atol=1e-6)


def test_hard_sigmoid_has_keras_2_s_definition_in_its_files_alone(folder):
    keras = keras_files.import_keras()
    x = jnp.linspace(-4, 4, 9)
    values = keras_files.keras2_hard_sigmoid(x)
    np.testing.assert_allclose(values, [0, 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, 1], atol=1e-6)
    assert np.abs(values - keras.activations.hard_sigmoid(x)).max() > 0.05
    old = keras_files.load(folder / "convlstm.keras")
    assert old.layers[0].cell.recurrent_activation is keras_files.keras2_hard_sigmoid
    new = keras.Sequential(
        [
            keras.Input((2, 4, 4, 3)),
            keras.layers.ConvLSTM2D(2, 3, recurrent_activation="hard_sigmoid"),
        ]
    )
    new.save(folder / "new.keras")
    cell = keras_files.load(folder / "new.keras").layers[0].cell
    assert cell.recurrent_activation is keras.activations.hard_sigmoid


def test_options_of_keras_2_are_translated():
    layer = lambda kind, **options: {"class_name": kind, "config": options}
    mended = keras_files.mended(
        {
            "class_name": "Functional",
            "module": "keras.src.engine.functional",
            "config": {
                "layers": [
                    layer("InputLayer", batch_input_shape=[None, 4], ragged=False),
                    layer("LSTM", units=3, time_major=False),
                    layer("DepthwiseConv2D", groups=1),
                    layer("Conv2D", groups=2),
                    layer("BatchNormalization", axis=[3]),
                    layer("Dense", dtype=layer("Policy", name="mixed_float16")),
                ],
                "input_layers": [["x", 0, 0]],
                "output_layers": [["a", 0, 0], ["b", 0, 0]],
            },
        }
    )
    assert mended["module"] == "keras.src.models.functional"
    configs = [entry["config"] for entry in mended["config"]["layers"]]
    assert configs == [
        {"batch_shape": [None, 4]},
        {"units": 3},
        {},
        {"groups": 2},
        {"axis": 3},
        {"dtype": "mixed_float16"},
    ]
    assert mended["config"]["input_layers"] == ["x", 0, 0]
    assert mended["config"]["output_layers"] == [["a", 0, 0], ["b", 0, 0]]
    with pytest.raises(InputError, match="'rnn' has time_major=True"):
        keras_files.mended(layer("GRU", name="rnn", time_major=True))


def test_a_file_that_is_code_is_one_sentence(folder):
    keras = keras_files.import_keras()
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Lambda(lambda x: 2 * x, output_shape=(3,))]
    )
    model.save(folder / "code.keras")
    with pytest.raises(InputError, match="contains a Lambda layer, which is code"):
        keras_files.load(folder / "code.keras")


def test_layers_of_one_s_own_and_damaged_files_are_one_sentence(folder):
    keras = keras_files.import_keras()

    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    keras.Sequential([keras.Input((3,)), Own()]).save(folder / "own.keras")
    with pytest.raises(InputError, match="Own.*layers of your own need the model") as e:
        keras_files.load(folder / "own.keras")
    assert "\n" not in str(e.value)
    (folder / "damaged.keras").write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged.keras cannot be loaded"):
        keras_files.load(folder / "damaged.keras")
    with pytest.raises(InputError, match="there is no Keras file .*absent.h5"):
        keras_files.load(folder / "absent.h5")
    with pytest.raises(InputError, match="predictions.npz is not a Keras model"):
        keras_files.load(folder / "predictions.npz")


def test_weights_without_their_model_are_one_sentence(folder):
    import h5py

    with h5py.File(folder / "alone.h5", "w") as file:
        file.create_group("lstm")
    with pytest.raises(InputError, match="weights without their model"):
        keras_files.load(folder / "alone.h5")


def test_other_backends_and_versions_are_one_sentence(monkeypatch):
    keras = keras_files.import_keras()
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(InputError, match="imported with the backend torch: set"):
        keras_files.import_keras()
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(InputError, match="needs Keras 3, and 2.15.0 is installed"):
        keras_files.import_keras()
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(InputError, match=r"pip install 'rgcam\[keras\]'"):
        keras_files.import_keras()


def test_keras_runs_on_jax_whatever_the_environment_says():
    code = (
        "from rgcam.interop import keras_files; keras_files.import_keras(); import sys"
    )
    code += (
        "; print(sys.modules['keras'].backend.backend(), 'tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.split() == ["jax", "False"], run.stderr
