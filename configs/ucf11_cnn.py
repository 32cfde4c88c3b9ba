"""Train the paper's frame CNN on UCF11, frame by frame, every weight.

    rgcam prepare --dataset=ucf11 --data_dir=DIR
    python train.py --config=configs/ucf11_cnn.py --workdir=runs/ucf11_cnn \
        --config.data.root=DIR

Yamashita et al.: the CNN is trained on frames first; ``ucf11_lrcn`` starts from it.
The split is by group; ``--config.data.split=paper`` is the paper's, random by clip
(1,200 and 400) and leaky. Not yet run on UCF11 itself: no accuracy is known.
"""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields of this experiment."""
    config = experiments.base_config()
    config.model.kind = "cnn"
    config.finetune, config.frames_at_once = -1, 8
    config.data.source = "dataset"
    config.data.groups_per_class = True
    config.data.validation_fraction = 0.1
    config.data.length, config.data.bucket = 16, 0
    config.data.augment.crop = 0.7
    config.data.augment.colour = 0.2
    config.epochs, config.batch_size = 12, 16
    config.loss = "every_step"
    config.dtype = "float32"
    return config
