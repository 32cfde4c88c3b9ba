"""Write tests/reference/keras2.zip: models as Keras 2 wrote them, and their predictions.

    python tests/make_keras2_reference.py        # needs tensorflow-cpu==2.15.1

The models have what Keras 3 reads differently: time_major, batch_input_shape, lists of one
axis or one output, groups of a depthwise convolution, and the hard_sigmoid of ConvLSTM2D.
"""

import tempfile
import zipfile
from pathlib import Path

import numpy as np

ARCHIVE = Path(__file__).parent / "reference" / "keras2.zip"
STEPS, SIZE, CLASSES = 4, 16, 3
FILES = {"lrcn": ["h5"], "mobile": ["h5", "keras"], "convlstm": ["keras"]}


def frames() -> np.ndarray:
    """Return two clips of noise, 0 to 1; numpy alone makes them."""
    shape = 2, STEPS, SIZE, SIZE, 3
    return np.random.default_rng(0).random(shape).astype(np.float32)


def main():
    import tensorflow as tf
    from tensorflow.keras import Input, Model, Sequential, layers

    distributed = layers.TimeDistributed
    tf.keras.utils.set_random_seed(0)

    def lrcn():
        convolution = layers.Conv2D(8, (3, 3), padding="same", activation="relu")
        return Sequential(
            [
                distributed(convolution, input_shape=(STEPS, SIZE, SIZE, 3)),
                distributed(layers.MaxPooling2D((2, 2))),
                distributed(layers.Dropout(0.25)),
                distributed(
                    layers.Conv2D(8, (3, 3), padding="same", activation="relu")
                ),
                distributed(layers.MaxPooling2D((2, 2))),
                distributed(layers.Flatten()),
                layers.LSTM(8),
                layers.Dense(CLASSES, activation="softmax"),
            ]
        )

    def mobile():
        image = Input((SIZE, SIZE, 3))
        x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        x = layers.Add()([x, layers.Conv2D(8, 1)(y)])
        cnn = Model(image, layers.GlobalAveragePooling2D()(x), name="cnn")
        clip = Input((STEPS, SIZE, SIZE, 3))
        x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(
            distributed(cnn)(clip)
        )
        x = layers.GRU(6, return_sequences=True)(x)
        return Model(clip, distributed(layers.Dense(CLASSES, activation="softmax"))(x))

    def convlstm():
        return Sequential(
            [
                layers.ConvLSTM2D(
                    4,
                    (3, 3),
                    recurrent_dropout=0.2,
                    return_sequences=True,
                    input_shape=(STEPS, SIZE, SIZE, 3),
                ),
                layers.MaxPooling3D((1, 2, 2), padding="same"),
                distributed(layers.Dropout(0.2)),
                layers.ConvLSTM2D(6, (3, 3), return_sequences=True),
                layers.BatchNormalization(),
                layers.MaxPooling3D((1, 2, 2), padding="same"),
                layers.Flatten(),
                layers.Dense(CLASSES, activation="softmax"),
            ]
        )

    def randomise(model):
        rng, weights = np.random.default_rng(1), []
        for weight in model.weights:
            value = weight.numpy()
            if "variance" in weight.name or "gamma" in weight.name:
                value = rng.uniform(0.5, 1.5, value.shape)
            elif any(name in weight.name for name in ("mean", "beta", "bias")):
                value = 0.1 * rng.normal(size=value.shape)
            else:
                value = 1.5 * value
            weights.append(value)
        model.set_weights(weights)

    predictions = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for make in (lrcn, mobile, convlstm):
            model, name = make(), make.__name__
            randomise(model)
            predictions[name] = model.predict(frames(), verbose=0)
            for suffix in FILES[name]:
                file = Path(folder) / f"{name}.{suffix}"
                model.save(file)
                archive.write(file, file.name)
        file = Path(folder) / "predictions.npz"
        np.savez(file, **predictions)
        archive.write(file, file.name)


if __name__ == "__main__":
    main()
