"""Experiments by name or file, and the record of the config of a run.

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
from rgcam.training import fields
from rgcam.training.fields import Config

CONFIG = "config.json"
PACKAGED = Path(__file__).parent / "experiments"  # of an installed wheel
CHECKOUT = Path(__file__).parents[2] / "configs"
# Fields that may differ from those a run was begun with: they change no number.
FREE = (
    "data.cache",
    "data.root",
    "data.workers",
    "checkpoint_steps",
    "explain_every",
    "explain_clips",
)


def base_config() -> config_dict.ConfigDict:
    """Return every field of an experiment with its default."""
    return config_dict.ConfigDict(fields.Config().to_dict())


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
        config = module.get_config()
    except InputError:
        raise
    except Exception as error:  # anything that the user's file raises
        reason = error.args[0] if error.args else type(error).__name__
        raise InputError(
            f"--config={name_or_path} is not a Python file with get_config(): {reason}"
        ) from error
    if not isinstance(config, config_dict.ConfigDict):
        raise InputError(
            f"--config={name_or_path}: get_config() returns {type(config).__name__}; "
            "it must return a ConfigDict, such as rgcam.training.config.base_config()"
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


def keep(folder: Path, config: Config, *, write: bool = True) -> None:
    """Write the config beside the run; reject to go on with another one.

    Fields that did not exist when the run was begun have their defaults.

    Args:
        folder: the run's.
        config: the one asked for now.
        write: False in all but one of a run's processes.

    Raises:
        InputError: names the fields that differ.
    """
    file = folder / CONFIG
    before = _read(file) if file.exists() else config
    changes = files.differences(before.to_dict(), config.to_dict(), FREE)
    if changes:
        raise InputError(
            f"{folder} was begun with another config ({'; '.join(changes)}): give the "
            "config it was begun with, or another --workdir"
        )
    if write:
        try:
            files.write_json(file, config.to_dict())
        except OSError as error:
            raise InputError(f"cannot write in {folder}: {error}") from error


def _read(file: Path) -> Config:
    try:
        return fields.make_config(dict(json.loads(file.read_text())))
    except (OSError, ValueError, TypeError) as error:  # InputError is a ValueError
        raise InputError(f"{file} is not the config of a run: {error}") from error
