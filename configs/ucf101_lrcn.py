"""Train the LRCN on 11 classes of UCF101: folder_lrcn with UCF101's group split.

    python train.py --config=configs/ucf101_lrcn.py --workdir=runs/ucf101_lrcn \
        --config.data.root=FOLDER

FOLDER holds <Class>/v_<Class>_gGG_cCC.mp4. Groups 1-7 are the test set, 8-25 the
training set, as in UCF101's official split 1.

Expect 90.7 % of 236 clips of groups 3-7 (first 6 s of each, 224 x 168): 150 s on 2 CPU
cores once the features are on disk. With ``--config.loss=every_step`` 89.0 %, and the
model looks at the present frame alone: its matrix is a diagonal.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.load_experiment("folder_lrcn")
    config.data.group = r"_g(\d+)_"
    config.data.groups_per_class = True
    config.data.test_groups = "1-7"
    config.data.validation_fraction = 0.0  # settings were chosen before
    return config
