"""Train a frame CNN on your own videos: root/<class>/<clip>, one sub-folder a class.

    python train.py --config=configs/folder_cnn.py --workdir=runs/mine_cnn \
        --config.data.root=FOLDER

The same data, backbone and split as ``folder_lrcn``; every frame is classified by
itself. Its Grad-CAM is the middle row of the pictures (``explain.py --cnn=RUN``).
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.load_experiment("folder_lrcn")
    config.model.kind = "cnn"
    config.loss = "every_step"
    return config
