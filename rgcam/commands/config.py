"""``--config`` and ``--config.FIELD=VALUE``: the config of an experiment.

ml_collections reads the fields, with flags of its own that no other code sees.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_dict, config_flags

from rgcam.errors import InputError
from rgcam.training import config as training_config


def load(
    experiment: str | None, overrides: Sequence[str]
) -> config_dict.FrozenConfigDict:
    """Return the config of an experiment with some fields changed.

    Args:
        experiment: a Python file with ``get_config()``.
        overrides: arguments such as ``--config.model.hidden=64``.

    Raises:
        InputError: there is no such experiment or field, or a value is impossible.
    """
    if not experiment:
        raise InputError("say what to train: --config=configs/NAME.py")
    values = flags.FlagValues()
    arguments = ["rgcam", *overrides]
    try:
        config_flags.DEFINE_config_dict(
            "config", _execute(experiment), flag_values=values, sys_argv=arguments
        )
        others = values(arguments)[1:]
    except flags.Error as error:
        raise InputError(str(error)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"no such config field: {_plain(error)}") from error
    if others:
        raise InputError(
            f"unexpected argument {others[0]!r}: options are written --name=value"
        )
    config = values["config"].value
    assert isinstance(config, config_dict.ConfigDict)
    return training_config.check(config)


def _execute(experiment: str) -> config_dict.ConfigDict:
    """Run the Python file of an experiment and return its config."""
    file = Path(experiment)
    spec = importlib.util.spec_from_file_location("experiment", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise InputError(
            f"--config={experiment} is not a Python file with get_config()"
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config()
    except Exception as error:  # anything that the file raises
        raise InputError(
            f"--config={experiment} is not a Python file with get_config(): {error}"
        ) from error


def _plain(error: Exception) -> str:
    """Return the message of ml_collections, whose errors hold errors."""
    text = error.args[0] if error.args else error
    return str(text).strip("'").replace("\\n", ": ").replace("\\'", "'")
