"""How the scripts meet a person: flags, and errors as one sentence with exit code 2."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from rgcam.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Parse the flags and call ``main``; what a person can put right exits with 2."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every step it takes
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
    except InputError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        _fail(str(error))
    except (AttributeError, KeyError, TypeError) as error:  # from ml_collections
        _fail(f"no such config field: {_plain(error)}")
    if rest[1:]:
        _fail(f"unexpected argument {rest[1]!r}: options are written --name=value")
    return rest


def _plain(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return str(text).strip("'").replace("\\'", "'").replace("\n", " ")


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
