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
    config.data = config_dict.ConfigDict(
        {
            "source": "stickman",
            "train_clips": 4000,
            "test_clips": 550,
            "fps": 7.5,
            "length": 16,  # steps of a clip
            "bucket": 0,
            "augment": {
                "mirror": False,
                "crop": 1.0,
                "colour": 0.0,
                "stride": 1,
                "shake": 0.0,
            },
            "random_labels": False,
            "workers": 0,
            "max_broken": 0.0,
        }
    )
    config.epochs = 8
    config.learning_rate = 2e-3
    config.weight_decay = 1e-4
    config.loss = "every_step"
    config.smoothing = 0.0
    return config
