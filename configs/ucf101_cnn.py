"""Train the cnn on 11 classes of UCF101: folder_cnn with UCF101's group split.

    python train.py --config=configs/ucf101_cnn.py --workdir=runs/ucf101_cnn \
        --config.data.root=FOLDER

FOLDER holds <Class>/v_<Class>_gGG_cCC.mp4. Groups 1-7 are the test set, 8-25 the
training set, as in UCF101's official split 1.
"""

from ml_collections import config_dict

from configs import folder_cnn


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = folder_cnn.get_config()
    config.data.group = r"_g(\d+)_"
    config.data.test_groups = "1-7"
    return config
