"""Train the frame CNN on 11 classes of UCF101: folder_cnn with UCF101's group split.

    python train.py --config=configs/ucf101_cnn.py --workdir=runs/ucf101_cnn \
        --config.data.root=FOLDER

FOLDER holds <Class>/v_<Class>_gGG_cCC.mp4. Groups 1-7 are the test set, 8-25 the
training set, as in UCF101's official split 1.

Expect 89.0 % of 236 clips of groups 3-7 (first 6 s of each, 224 x 168): 35 s on 2 CPU
cores once the features are on disk, which takes 10 ms a frame and view.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.load_experiment("folder_cnn")
    config.data.group = r"_g(\d+)_"
    config.data.groups_per_class = True
    config.data.test_groups = "1-7"
    config.data.validation_fraction = 0.0  # settings were chosen before
    return config
