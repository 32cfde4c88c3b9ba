"""The config of a run: checked, kept beside the run, never silently another one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import config_dict

from rgcam.errors import InputError
from rgcam.training import step

CONFIG = "config.json"
CHOICES = {
    "loss": step.LOSSES,
    "optimizer": step.OPTIMIZERS,
    "dtype": step.DTYPES,
}
# Fields that may differ from those a run was begun with: they change no number.
FREE = ("data.cache", "data.root", "data.workers", "checkpoint_steps")


def check(fields: config_dict.ConfigDict) -> config_dict.FrozenConfigDict:
    """Return a config that can be trained and no longer changed.

    Raises:
        InputError: a field has an impossible value.
    """
    config = config_dict.FrozenConfigDict(fields)
    for field, known in CHOICES.items():
        if config[field] not in known:
            raise InputError(
                f"{field} is {config[field]!r}; choose {' or '.join(known)}"
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


def keep(folder: Path, config: Any, *, write: bool = True) -> None:
    """Write the config beside the run; refuse to go on with another one.

    Args:
        folder: the run's.
        config: the one asked for now.
        write: False in all but one of a run's processes.

    Raises:
        InputError: names the fields that differ.
    """
    file, fields = folder / CONFIG, json.dumps(config.to_dict(), indent=2) + "\n"
    before = _read(file) if file.exists() else None
    other = [] if before is None else differences(before, json.loads(fields))
    if write and not other:
        part = file.with_suffix(".part")
        try:
            part.write_text(fields)
            os.replace(part, file)
        except OSError as error:
            raise InputError(f"cannot write in {folder}: {error}") from error
    if other:
        raise InputError(
            f"{folder} was begun with another config ({'; '.join(other)}): give the "
            "config it was begun with, or another --workdir"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which fields differ, but for those that change no number."""
    old, new = _flat(before), _flat(now)
    names = sorted((old.keys() | new.keys()) - set(FREE))
    return [
        f"{n} {old.get(n)!r} -> {new.get(n)!r}"
        for n in names
        if old.get(n) != new.get(n)
    ]


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} is no config of a run: {error}") from error


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        deeper = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if deeper else {prefix + name: value}
    return flat
