"""Train the frame CNN on procedural stickman clips, nothing to download.

    python train.py --config=configs/stickman_cnn.py --workdir=runs/stickman_cnn

Expect: TODO
"""

from ml_collections import config_dict

from configs import stickman_lrcn


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = stickman_lrcn.get_config()
    config.model.kind = "cnn"
    return config
