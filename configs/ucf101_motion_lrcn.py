"""Train the LRCN on 11 classes of UCF101 with motion in its input.

    python train.py --config=configs/ucf101_motion_lrcn.py --workdir=RUN \
        --config.data.root=FOLDER

As ``ucf101_lrcn``, but the frozen backbone sees each frame and its change from the one
before, and the loss is that of the last half of the steps. Groups 1-7 are the test set.

Expect 91.9, 91.9 and 91.1 % of 236 clips of groups 3-7 for seeds 0 to 2 (95 % interval
over groups 84 to 98); 10 min on 2 busy CPU cores once the features are on disk.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.load_experiment("ucf101_lrcn")
    config.model.view = "rgb+difference"
    config.data.augment.mirror = False
    config.loss = "last_half"
    config.epochs = 20
    return config
