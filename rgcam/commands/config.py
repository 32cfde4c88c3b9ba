"""``--config`` and ``--config.FIELD=VALUE``: the config of an experiment.

ml_collections reads the fields, with flags of its own that no other code sees.
"""

import textwrap
from collections.abc import Sequence

from absl import flags
from ml_collections import config_dict, config_flags

from rgcam.errors import InputError
from rgcam.training import config as training_config
from rgcam.types import Fields


def load(
    experiment: str | None, overrides: Sequence[str]
) -> config_dict.FrozenConfigDict:
    """Return the config of an experiment with some fields changed.

    Args:
        experiment: a Python file with ``get_config()``, or a shipped experiment's name.
        overrides: arguments such as ``--config.model.hidden=64``.

    Raises:
        InputError: there is no such experiment or field, or a value is impossible.
    """
    if not experiment:
        raise InputError(
            "say what to train: --config=configs/NAME.py, or the name of a shipped experiment"
        )
    values = flags.FlagValues()
    arguments = ["rgcam", *overrides]
    try:
        config_flags.DEFINE_config_dict(
            "config",
            training_config.load_experiment(experiment),
            flag_values=values,
            sys_argv=arguments,
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


def fields_text() -> str:
    """Return the fields of a config with their defaults, by group, for the help."""
    config = training_config.base_config().to_dict()
    groups: dict[str, Fields] = {
        "config": {k: v for k, v in config.items() if not isinstance(v, dict)}
    }
    _collect(groups, "config", config)
    lines = ["", "", "config fields and defaults (--config.FIELD=VALUE):"]
    for prefix, values in groups.items():
        words = [f"{name}={value!r}" for name, value in values.items()]
        text = textwrap.fill(
            ", ".join(words), 88, initial_indent="    ", subsequent_indent="    "
        )
        lines += [f"  --{prefix}.", text]
    return "\n".join(lines)


def _collect(groups: dict[str, Fields], prefix: str, fields: Fields) -> None:
    """Add the nested fields of a config to ``groups``, by their dotted prefix."""
    for name, value in fields.items():
        if isinstance(value, dict):
            plain = {k: v for k, v in value.items() if not isinstance(v, dict)}
            groups[f"{prefix}.{name}"] = plain
            _collect(groups, f"{prefix}.{name}", value)


def _plain(error: Exception) -> str:
    """Return the message of ml_collections, whose errors hold errors."""
    text = error.args[0] if error.args else error
    return str(text).strip("'").replace("\\n", ": ").replace("\\'", "'")
