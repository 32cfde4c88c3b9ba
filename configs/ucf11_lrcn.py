"""Train the paper's LRCN on UCF11, whole sequences, from the frame CNN's weights.

    python train.py --config=configs/ucf11_lrcn.py --workdir=runs/ucf11_lrcn \
        --config.data.root=DIR --config.init_from=runs/ucf11_cnn

The backbone comes from ``ucf11_cnn`` and stays; the recurrent layer learns from the
overall sequence. ``--config.finetune=-1`` trains everything. Not yet run on UCF11
itself: no accuracy is known.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.base_config()
    config.data.source = "dataset"
    config.data.groups_per_class = True
    config.data.validation_fraction = 0.1
    config.init_from = "runs/ucf11_cnn"
    return config
