"""Experiments and the config of a run: every field, its default, and its record.

An experiment is a Python file with ``get_config()``. Those of ``configs/`` travel in the
package, so that a name such as ``stickman_lrcn`` works without a checkout.
"""

import difflib
import importlib.util
import json
from pathlib import Path

from ml_collections import config_dict

from rgcam import files
from rgcam.errors import InputError
from rgcam.types import Fields

CONFIG = "config.json"
PACKAGED = Path(__file__).parent / "experiments"  # of an installed wheel
CHECKOUT = Path(__file__).parents[2] / "configs"
# Fields that may differ from those a run was begun with: they change no number.
FREE = ("data.cache", "data.root", "data.workers", "checkpoint_steps")


def base_config() -> config_dict.ConfigDict:
    """Return every field of an experiment with its default."""
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


def find_experiment(name_or_path: str) -> Path:
    """Return the file of an experiment: a file, or a shipped experiment by its name.

    Args:
        name_or_path: such as ``my_experiment.py`` or ``stickman_lrcn``.

    Raises:
        InputError: there is neither such a file nor such a shipped experiment.
    """
    file = Path(name_or_path).expanduser()
    if file.is_file():
        return file
    folder = PACKAGED if PACKAGED.is_dir() else CHECKOUT
    shipped = sorted(path.stem for path in folder.glob("*.py"))
    if name_or_path in shipped:
        return folder / f"{name_or_path}.py"
    near = difflib.get_close_matches(file.stem, shipped, 1, 0.6)
    suggestion = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"--config={name_or_path} is neither a Python file nor a shipped experiment: "
        f"{suggestion}(shipped are {', '.join(shipped) or 'none'})"
    )


def load_experiment(name_or_path: str) -> config_dict.ConfigDict:
    """Return the config of an experiment, which may change.

    Experiments call this to start from another one; it works in a checkout and in an
    installed package alike.

    Raises:
        InputError: there is no such experiment, or its file fails.
    """
    file = find_experiment(name_or_path)
    # A file without the suffix .py has no spec: it is not Python.
    spec = importlib.util.spec_from_file_location("experiment", file)
    if spec is None or spec.loader is None:
        raise InputError(
            f"--config={name_or_path} is not a Python file with get_config()"
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config()
    except InputError:
        raise
    except Exception as error:  # anything that the user's file raises
        raise InputError(
            f"--config={name_or_path} is not a Python file with get_config(): {error}"
        ) from error


def check(fields: config_dict.ConfigDict) -> config_dict.FrozenConfigDict:
    """Return a config that can be trained and no longer changed.

    Raises:
        InputError: a field has an impossible value.
    """
    from rgcam.training import step  # here, because help needs no optimizer

    config = config_dict.FrozenConfigDict(fields)
    choices = {
        "loss": step.LOSSES,
        "optimizer": step.OPTIMIZERS,
        "dtype": step.DTYPES,
    }
    for field, names in choices.items():
        if config[field] not in names:
            raise InputError(
                f"{field} is {config[field]!r}; choose {' or '.join(names)}"
            )
    return config


def make_folder(workdir: str) -> Path:
    """Return the run's folder, created if missing.

    Raises:
        InputError: it cannot be created.
    """
    folder = Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make --workdir={workdir}: {error}") from error
    return folder


def keep(
    folder: Path, config: config_dict.FrozenConfigDict, *, write: bool = True
) -> None:
    """Write the config beside the run; refuse to go on with another one.

    Args:
        folder: the run's.
        config: the one asked for now.
        write: False in all but one of a run's processes.

    Raises:
        InputError: names the fields that differ.
    """
    file = folder / CONFIG
    fields = json.loads(json.dumps(config.to_dict()))  # tuples are lists in the file
    before = _read(file) if file.exists() else fields
    changes = files.differences(before, fields, FREE)
    if write and not changes:
        try:
            files.write_json(file, fields)
        except OSError as error:
            raise InputError(f"cannot write in {folder}: {error}") from error
    if changes:
        raise InputError(
            f"{folder} was begun with another config ({'; '.join(changes)}): give the "
            "config it was begun with, or another --workdir"
        )


def _read(file: Path) -> Fields:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} is no config of a run: {error}") from error
