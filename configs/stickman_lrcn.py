"""Train the LRCN on procedural stickman clips, nothing to download.

    python train.py --config=configs/stickman_lrcn.py --workdir=runs/stickman_lrcn

Expect: TODO
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    return config_dict.ConfigDict(
        {
            "seed": 0,
            "model": {
                "kind": "lrcn",
                "backbone": "small",
                "head": "fc",  # "gap" or "fc"
                "width": 128,  # of the fc head
                "cell": "lstm",  # "lstm" or "gru"
                "hidden": 128,
                "dropout": 0.2,
            },
            "freeze_backbone": False,
            "init_from": "",  # run or bundled name to take backbone and head from
            "data": {
                "source": "stickman",
                "train_clips": 4000,
                "test_clips": 550,
                "length": 16,  # steps of a training clip
            },
            "epochs": 8,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "warmup": 0.05,  # share of the steps
            "weight_decay": 1e-4,
            "clip_norm": 5.0,
            "loss": "every_step",  # or "last_step"
            "smoothing": 0.0,  # of the labels
        }
    )
