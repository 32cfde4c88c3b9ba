"""Every field of an experiment and its default; the other configs change some."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """Return the fields that every experiment has."""
    return config_dict.ConfigDict(
        {
            "seed": 0,
            "model": {
                "kind": "lrcn",  # or "cnn", frame by frame
                "backbone": "efficientnet_lite0",  # models.BACKBONES
                "head": "gap",  # "grid": of four quarters; "fc": flatten + Dense
                "width": 512,  # of the fc head
                "cell": "lstm",  # or "gru"
                "hidden": 256,
                "dropout": 0.5,
                "differences": False,  # the LRCN also sees each vector's change
                "view": "rgb",  # "difference" from the frame before; "rgb+difference"
            },
            "weights": "",  # .pth or .safetensors of the backbone; "": its own
            "init_from": "",  # run or bundled name to take backbone and head from
            "finetune": 0,  # backbone blocks that are trained: last n; -1: all
            "data": {
                "source": "folder",  # "dataset" (rgcam prepare), "stickman", "cue"
                "root": "",  # folder of the classes, or --data_dir of the dataset
                "fps": 7.5,  # the paper's rate
                "length": 32,  # steps of a training clip, a random window
                "bucket": 16,  # padded lengths are multiples of it; 0: length
                "augment": {  # rgcam.data.augment.Augmentation
                    "mirror": True,
                    "crop": 1.0,
                    "colour": 0.0,
                    "stride": 1,
                    "shake": 0.0,
                },
                "group": "",  # regular expression; (...) is the recording's name
                "groups_per_class": False,  # group 1 of two classes: two recordings
                "split": "group",  # "paper", "leave_one_group_out" or "list"
                "split_seed": 0,
                "fold": 1,  # of leave_one_group_out
                "test_groups": "",  # such as "3-7" or "a,b"
                "test_list": "",  # file with one test clip a line
                "test_fraction": 0.2,  # of the groups, if neither is given
                "validation_groups": "",  # of the training groups; they choose
                "validation_fraction": 0.0,  # the best checkpoint
                "cache": "",  # folder of frames and features; "" is ~/.cache/rgcam
                "random_labels": False,  # in training, for a sanity check
                "workers": 0,  # processes that load batches; 0: threads
                "max_broken": 0.05,  # share of clips that may break during a run
            },
            "epochs": 30,
            "batch_size": 32,  # clips of a step, over all devices
            "accumulate": 1,  # parts that a batch goes through in, to save memory
            "frames_at_once": 0,  # of a clip through the backbone; 0: all
            "dtype": "float32",  # or "bfloat16", of the backbone's computations
            "optimizer": "adamw",  # or "sgd"
            "learning_rate": 1e-3,
            "backbone_rate": 0.1,  # the backbone's, as a share of it
            "warmup": 0.05,  # share of the steps
            "weight_decay": 1e-2,
            "clip_norm": 5.0,
            "loss": "last_step",  # "last_half" or "every_step"
            "smoothing": 0.1,  # of the labels
            "evaluate_every": 1,  # epochs, where there are validation groups
            "checkpoint_steps": 0,  # steps from one to the next; 0: every epoch
        }
    )
