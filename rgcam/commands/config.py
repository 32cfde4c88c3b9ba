"""``--config`` and ``--config.FIELD=VALUE``: the config of an experiment."""

import textwrap
from collections.abc import Mapping, Sequence

from rgcam.commands import options
from rgcam.errors import InputError
from rgcam.training import config as training_config
from rgcam.training import fields
from rgcam.training.fields import Config, Field
from rgcam.types import Fields


def load(experiment: str | None, overrides: Sequence[str]) -> Config:
    """Return the config of an experiment with some fields changed.

    Args:
        experiment: a Python file with ``get_config()``, or a shipped experiment's name.
        overrides: arguments such as ``--config.model.hidden=64``, or two of them, name
            and value; ``--config.data.random_labels`` alone sets a field that is true or
            false, and ``--noconfig.data.random_labels`` clears it.

    Raises:
        InputError: there is no such experiment or field, or a value is of the wrong type
            or out of range.
    """
    if not experiment:
        raise InputError(
            "say what to train: --config=configs/NAME.py, or the name of a shipped experiment"
        )
    values = training_config.load_experiment(experiment).to_dict()
    changes = _parse(overrides)
    # The experiment itself is valid: an error below is about the command line.
    fields.make_config(values)
    for name, value in changes.items():
        values = _changed(values, name.split("."), value)
    return fields.make_config(values)


def fields_text() -> str:
    """Return the fields of a config with defaults and ranges, for the help."""
    groups: dict[str, list[str]] = {}
    for field in fields.every_field():
        prefix, _, name = f"config.{field.name}".rpartition(".")
        allowed = field.rule.range_text()
        details = f"{field.rule.help} ({allowed})" if allowed else field.rule.help
        groups.setdefault(prefix, []).extend(
            textwrap.wrap(
                f"{f'{name}={field.default!r}':<30} {details}",
                options.WIDTH,
                initial_indent="    ",
                subsequent_indent=" " * 35,
            )
        )
    lines = ["", "", "config fields, defaults and ranges (--config.FIELD=VALUE):"]
    for prefix, described in groups.items():
        lines += [f"  --{prefix}.", *described]
    return "\n".join(lines)


def _parse(overrides: Sequence[str]) -> dict[str, object]:
    """Return the changed fields by their dotted names.

    Raises:
        InputError: an unknown field, or a text that is not a value of its type.
    """
    by_name = {field.name: field for field in fields.every_field()}
    changes: dict[str, object] = {}
    words = list(overrides)
    while words:
        word = words.pop(0)
        spelled, assigned, value = word.lstrip("-").partition("=")
        negated = spelled.startswith("noconfig.")
        name = spelled.removeprefix("no").removeprefix("config.")
        if name not in by_name:
            raise _no_field(name, by_name)
        field = by_name[name]
        if field.kind is bool and not assigned and not _is_value(words):
            changes[name] = not negated
            continue
        if negated:
            raise InputError(f"{word}: only a field that is true or false is negated")
        if not assigned and not words:
            raise InputError(f"--config.{name} needs a value: --config.{name}=VALUE")
        changes[name] = _convert(field, value if assigned else words.pop(0))
    return changes


def _is_value(words: Sequence[str]) -> bool:
    return bool(words) and not words[0].startswith("--")


def _no_field(name: str, by_name: Mapping[str, Field]) -> InputError:
    """Return the error of a name that is not a field, or is a group of them."""
    members = [other for other in by_name if other.startswith(f"{name}.")]
    if members:
        return InputError(
            f"config.{name} is a group of fields: set one of them, such as "
            f"--config.{members[0]}=VALUE"
        )
    return fields.unknown_field(name, by_name)


def _convert(field: Field, text: str) -> object:
    """Return the value that a text of the command line stands for."""
    if field.kind is str:
        return text
    if field.kind is bool:
        return options.truth(f"config.{field.name}", text)
    try:
        return int(text) if field.kind is int else float(text)
    except ValueError:
        number = "a whole number" if field.kind is int else "a number"
        raise InputError(f"--config.{field.name}={text} is not {number}") from None


def _changed(values: Fields, path: Sequence[str], value: object) -> dict[str, object]:
    """Return nested fields with the one at ``path`` replaced."""
    name, *below = path
    if not below:
        return {**values, name: value}
    group = values.get(name, {})
    assert isinstance(group, Mapping)  # ``make_config`` has checked it
    return {**values, name: _changed(group, below, value)}
