"""Train the LRCN on UT-Interaction: 6 interactions of two people, motion decides.

    python train.py --config=configs/ut_interaction_lrcn.py --workdir=RUN \
        --config.data.root=FOLDER

FOLDER holds <class>/setN_seqSS_I.mp4 (Ryoo and Aggarwal 2010, segmented sets 1 and 2).
Sequences 1-3 and 11-13 are the test set, 36 of 120 clips.

Expect 80.6, 83.3 and 88.9 % for seeds 0 to 2; with --config.model.view=rgb 72.2, 69.4
and 69.4 %.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.load_experiment("folder_lrcn")
    config.data.group = r"_seq(\d+)_"
    config.data.test_groups = "1-3,11-13"
    config.data.validation_fraction = 0.0  # 84 clips are left to train on
    config.model.view = "difference"
    config.epochs, config.batch_size = 60, 16
    config.loss = "last_half"
    return config
