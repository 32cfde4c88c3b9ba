"""Train the LRCN on procedural stickman clips, nothing to download.

    python train.py --config=configs/stickman_lrcn.py --workdir=runs/stickman_lrcn

Expect 99.5 % of 550 fresh clips, 8 min on 2 CPU cores.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.base_config()
    config.model.update(backbone="small", head="fc", width=128, hidden=128, dropout=0.2)
    config.finetune, config.backbone_rate = -1, 1.0
    config.data.update(source="stickman", train_clips=4000, test_clips=550)
    config.data.update(length=16, bucket=0, max_broken=0.0)
    config.data.augment.mirror = False  # left and right tell classes apart
    config.epochs = 8
    config.learning_rate = 2e-3
    config.weight_decay = 1e-4
    config.loss = "every_step"
    config.smoothing = 0.0
    return config
