"""Typed options of a command: one frozen record, from which flags and help are derived.

argparse reads and prints them. What it does not know is put into its words first:
``--noflag``, ``--flag=false``, ``--name -1``, and hyphens for underscores.
"""

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, NoReturn, TypeVar

from rgcam.commands import COMMANDS
from rgcam.errors import InputError
from rgcam.types import Fields

YES, NO = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
WIDTH = 88  # columns of the help

Default = TypeVar("Default")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A record of options, from which the records of all commands inherit.

    Fields made by ``option`` appear on the command line under their own names. Their
    types are str, int, float or bool, each possibly ``| None``, or ``tuple[str, ...]``,
    which is written with commas.
    """


Record = TypeVar("Record", bound=Options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Generic[Record]):
    """A command: what it is called, its options, and the function that takes them.

    Attributes:
        name: of the command, one of ``COMMANDS``.
        usage: the options that one needs first, as a line of the help.
        options: class of the record that ``run`` takes.
        run: does the work and prints its result.
        examples: command lines, for the help.
        has_config: whether ``--config`` and ``--config.FIELD=VALUE`` belong to it; then
            the record has the fields ``config`` (str | None) and ``overrides``
            (tuple[str, ...]), which ``rgcam.commands.config`` reads.
        details: returns more text for the end of the help.
        positional: the option whose value may be given without its name; "": none.
    """

    name: str
    usage: str
    options: type[Record]
    run: Callable[[Record], None]
    examples: str
    has_config: bool = False
    details: Callable[[], str] = lambda: ""
    positional: str = ""


class Option(NamedTuple):
    """How a field of a record of options appears on the command line.

    Attributes:
        help: what it is, with its unit.
        group: heading of the help under which it stands.
        value: what stands for its value in the help, such as FILE.
        choices: the values that it may have; (): any of its type.
        unset: for the help, what is done if it is not given; "": the default is shown.
        old_name: another spelling, kept for old command lines.
        old_values: former names of choices -> current ones, likewise.
    """

    help: str
    group: str
    value: str
    choices: tuple[str, ...]
    unset: str
    old_name: str
    old_values: Mapping[str, str]


class _Flag(NamedTuple):
    """An option, and what its field says: type of the value and default."""

    option: Option
    kind: type
    default: object


def option(
    default: Default,
    help: str,
    *,
    group: str,
    value: str = "",
    choices: Iterable[str] = (),
    unset: str = "",
    old_name: str = "",
    old_values: Mapping[str, str] | None = None,
) -> Default:
    """Return a field of a record of options; see ``Option`` for the arguments."""
    described = Option(
        help=help,
        group=group,
        value=value,
        choices=tuple(choices),
        unset=unset,
        old_name=old_name,
        old_values=old_values or {},
    )
    return dataclasses.field(default=default, metadata={"option": described})


def parse(command: Command[Record], arguments: Sequence[str]) -> Record:
    """Return the record of options that the arguments ask for.

    Accepted are ``--name=value``, ``--name value``, ``--flag``, ``--noflag``,
    ``--flag=false``, and hyphens for underscores.

    Raises:
        InputError: an unknown option, an argument that is none, or an invalid value.
    """
    flags = _flags(command)
    config, overrides = None, ()
    if command.has_config:
        arguments, config, overrides = _split_config(arguments)
    values = vars(_parser(command).parse_args(_canonical(command, flags, arguments)))
    if command.has_config:
        values = values | {"config": config, "overrides": overrides}
    return command.options(**values)


def help_text(command: Command) -> str:
    """Return the help: usage, description, grouped options, examples."""
    return _parser(command).format_help() + command.details()


def to_fields(options: Options) -> Fields:
    """Return a record of options as plain data, as summary.json keeps it."""
    return dataclasses.asdict(options)


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Say which name was probably meant, with the prefix; "": none is near."""
    matches = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"did you mean {prefix}{matches[0]}?" if matches else ""


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises ``InputError`` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))


def _flags(command: Command) -> dict[str, _Flag]:
    """Return the options of a command by name."""
    annotations = typing.get_type_hints(command.options)
    return {
        field.name: _Flag(
            field.metadata["option"], _kind(annotations[field.name]), field.default
        )
        for field in dataclasses.fields(command.options)
        if "option" in field.metadata
    }


def _kind(annotation: object) -> type:
    """Return the type of a value: of ``str | None`` str, of ``tuple[str, ...]`` tuple."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (
            part for part in typing.get_args(annotation) if part is not types.NoneType
        )
    kind = typing.get_origin(annotation) or annotation
    assert isinstance(kind, type)
    return kind


def _parser(command: Command) -> _Parser:
    examples = [f"  {line}" for line in command.examples.strip().splitlines()]
    parser = _Parser(
        prog=f"rgcam {command.name}",
        usage=f"rgcam {command.name} {command.usage}",
        description=COMMANDS[command.name],
        epilog="\n".join(["examples:", *examples]),
        formatter_class=_formatter,
        allow_abbrev=False,
        add_help=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, flag in _flags(command).items():
        heading = flag.option.group
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        _add(groups[heading], name, flag)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=WIDTH)


def _add(group: argparse._ArgumentGroup, name: str, flag: _Flag) -> None:
    """Add one option to a group of the parser."""
    default = "" if flag.default in (None, False, "", ()) else flag.default
    if isinstance(default, tuple):
        default = ",".join(default)
    note = flag.option.unset or (f"default: {default}" if default != "" else "")
    text = f"{flag.option.help} ({note})" if note else flag.option.help
    text = text.replace("%", "%%")  # argparse formats it
    if flag.kind is bool:
        action = argparse.BooleanOptionalAction
        group.add_argument(f"--{name}", action=action, default=flag.default, help=text)
        return
    value = flag.option.value or "|".join(flag.option.choices)
    group.add_argument(
        f"--{name}",
        default=flag.default,
        type=lambda text: _convert(text, flag),
        metavar=value or {int: "N", float: "X"}.get(flag.kind, "TEXT"),
        help=text,
    )


def _convert(text: str, flag: _Flag) -> object:
    """Return the value that a text of the command line stands for."""
    text = flag.option.old_values.get(text, text)
    if flag.option.choices and text not in flag.option.choices:
        choices = "|".join(flag.option.choices)
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {choices}")
    if flag.kind is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return flag.kind(text)
    except ValueError:
        number = "a whole number" if flag.kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {number}") from None


def _canonical(
    command: Command, flags: dict[str, _Flag], arguments: Sequence[str]
) -> list[str]:
    """Return the arguments in argparse's words: --name=value, --flag, --no-flag."""
    names = {name: name for name in flags}
    for name, flag in flags.items():
        if flag.option.old_name:
            names[flag.option.old_name] = name
    result, words = [], list(arguments)
    while words:
        word = words.pop(0)
        spelled, assigned, value = word.lstrip("-").partition("=")
        if command.positional and not word.startswith("-"):
            result.append(f"--{command.positional}={word}")
            continue
        if not word.startswith("-") or not spelled:
            raise InputError(
                f"unexpected argument {word!r}: options are written --name=value"
            )
        spelled = spelled.replace("-", "_")
        negated = names.get(spelled.removeprefix("no").removeprefix("_"))
        if spelled in names:
            name, positive = names[spelled], True
        elif negated and spelled.startswith("no") and flags[negated].kind is bool:
            name, positive = negated, False
        else:
            raise InputError(
                f"unknown option --{spelled}: "
                + (nearest(spelled, names, "--") or "choose another")
                + f" (rgcam {command.name} --help lists all)"
            )
        if flags[name].kind is bool:
            if assigned:
                positive = positive == truth(name, value)
            result.append(f"--{name}" if positive else f"--no-{name}")
            continue
        if not assigned and not words:
            raise InputError(f"--{name} needs a value: --{name}=VALUE")
        result.append(f"--{name}={value if assigned else words.pop(0)}")
    return result


def truth(name: str, text: str) -> bool:
    """Return what a text says of a flag."""
    if text.lower() not in (*YES, *NO):
        raise InputError(f"--{name}={text} is neither true nor false")
    return text.lower() in YES


def _split_config(
    arguments: Sequence[str],
) -> tuple[list[str], str | None, tuple[str, ...]]:
    """Separate the config from the other arguments.

    Returns:
        The other arguments, the value of ``--config``, and the arguments that begin with
        ``--config.``, with their values.
    """
    others, config, overrides = [], None, []
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, assigned, value = word.lstrip("-").partition("=")
        is_field = name.removeprefix("no").startswith("config.")
        if not word.startswith("-") or not (is_field or name == "config"):
            others.append(word)
            continue
        # A field that is true or false may stand without a value.
        has_value = not assigned and words and not words[0].startswith("--")
        if is_field:
            overrides.append(word)
            overrides += [words.pop(0)] if has_value else []
        elif assigned or has_value:
            config = value if assigned else words.pop(0)
        else:
            raise InputError("--config needs a value: --config=FILE")
    return others, config, tuple(overrides)
