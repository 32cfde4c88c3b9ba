"""Train the captioner on drawn clips of two actions in sequence, nothing to download.

    python train.py --config=configs/stickman_captioner.py --workdir=runs/captioner
    rgcam explain --model=runs/captioner

Above the frozen backbone of ``stickman-lrcn``, for captions and answers at once. Expect 65 %
of the captions of 550 fresh clips without an error, and 94 % of the answers.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.base_config()
    config.model.update(kind="captioner", backbone="small", head="fc", width=128)
    config.model.update(hidden=96, dropout=0.1)
    config.init_from = "stickman-lrcn"
    config.finetune = 0
    config.data.update(source="captions", train_clips=6000, test_clips=550)
    config.data.update(length=24, bucket=0, max_broken=0.0)
    config.data.augment.mirror = False  # left and right are words
    config.epochs = 7
    config.batch_size = 16
    config.learning_rate = 4e-3
    config.weight_decay = 1e-4
    config.clip_norm = 1.0
    config.smoothing = 0.0
    return config
