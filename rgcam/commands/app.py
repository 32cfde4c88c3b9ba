"""How the scripts meet a person: flags, and errors as one sentence with exit code 2."""

import hashlib
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from rgcam.data import cache
from rgcam.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Parse the flags and call ``main``; what a person can put right exits with 2."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every step it takes
    remember_programs()
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def remember_programs() -> None:
    """Keep compiled programs from run to run, unless JAX was told where or not to.

    They lie in the cache folder, apart for each kind of processor: a home folder may be
    shared by several. JAX's own settings go first, such as
    JAX_COMPILATION_CACHE_DIR=DIR or JAX_ENABLE_COMPILATION_CACHE=false.
    """
    if getattr(jax.config, "jax_compilation_cache_dir") is not None:  # noqa: B009
        return
    place = cache.default_folder() / "programs" / _processor()
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _processor() -> str:
    """Name this kind of processor, by what it can do where that is told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    told = {x for x in lines if x.startswith(("flags", "Features", "model name"))}
    known = repr(sorted(told or lines[:1]))
    return f"{platform.machine()}-{hashlib.sha256(known.encode()).hexdigest()[:8]}"


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
