"""Run a command: report InputError in one sentence, exit code 2; show its stages."""

import hashlib
import importlib
import io
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rgcam.commands import COMMANDS, options
from rgcam.errors import InputError

HELP = ("-h", "--help")


class _Stage(NamedTuple):
    name: str
    began: float  # seconds, of time.monotonic


_running: list[_Stage] = []  # at most one


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: name of the command and its options; None: those of the process.

    Returns:
        0; 2 where an input was wrong, with one sentence on stderr; 130 after Ctrl-C;
        141 where nobody reads the output any more.
    """
    _prepare_process()
    name, *options_given = (sys.argv[1:] if arguments is None else arguments) or HELP
    try:
        if name in HELP:
            print(_overview())
        elif name == "--version":
            print(f"rgcam {importlib.import_module('rgcam').__version__}")
        else:
            _run(name, options_given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has ended, such as ``head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _interrupt_stage()
        print("stopped", file=sys.stderr)
        return 130
    except Exception:
        missing = _missing_platform()
        if not missing:
            raise
        return _fail(missing)
    return 0


def command_line() -> list[str]:
    """Return the words by which this process was started, for the record."""
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.name != "__main__.py":
        return ["python", *sys.argv]
    return ["rgcam", *sys.argv[1:]]


def cache_compiled_programs() -> None:
    """Keep compiled programs between runs, unless JAX is configured otherwise.

    They lie in the cache folder, one sub-folder for each kind of processor, because a
    home folder may be shared by several. JAX's own settings take precedence, such as
    JAX_COMPILATION_CACHE_DIR=DIR or JAX_ENABLE_COMPILATION_CACHE=false.
    """
    import jax  # here, so that the help of the program is there at once

    from rgcam import files, programs

    if getattr(jax.config, "jax_compilation_cache_dir") is not None:  # noqa: B009
        return
    try:
        folder = files.default_cache_folder() / "programs" / _processor()
        folder.mkdir(parents=True, exist_ok=True)
        files.check_writable(folder)
    except (OSError, InputError):  # such as a home folder that is read-only
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    programs.keep_in(folder / "traced")


def stage(name: str) -> None:
    """Begin a stage, and end the one before it, on a terminal; do nothing elsewhere.

    Args:
        name: what is done, such as "decode"; "" ends the last stage.
    """
    if not sys.stderr.isatty():
        return
    if _running:
        last = _running.pop()
        seconds = time.monotonic() - last.began
        print(f"\r{last.name}: {seconds:.1f} s", file=sys.stderr)
    if name:
        _running.append(_Stage(name, time.monotonic()))
        print(f"{name} ...", end="", file=sys.stderr, flush=True)


def _interrupt_stage() -> None:
    """End the line of a stage that did not come to its end, before a message."""
    if _running:
        _running.clear()
        print(file=sys.stderr)


def _run(name: str, arguments: Sequence[str]) -> None:
    """Run the command of that name, or print its help."""
    if name not in COMMANDS:
        near = options.nearest(name, COMMANDS)
        raise InputError(
            f"unknown command {name!r}: {near or 'choose another'} "
            f"(the commands are {', '.join(COMMANDS)})"
        )
    asks_for_help = bool(set(HELP).intersection(arguments))
    if name == "explain" and not asks_for_help:
        stage("load rgcam and JAX")  # which takes seconds, so that is said first
    command = importlib.import_module(f"rgcam.commands.{name}").COMMAND
    if asks_for_help:
        print(options.help_text(command))
        return
    record = options.parse(command, arguments)
    from absl import logging

    logging.set_verbosity(logging.WARNING)  # Orbax logs each of its steps
    cache_compiled_programs()
    command.run(record)


def _prepare_process() -> None:
    """Make the process independent of the terminal and of a notebook around it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What the terminal's encoding does not have is escaped, not an error.
            stream.reconfigure(errors="backslashreplace")
    # Figures are drawn without a backend. A notebook sets one for its own process.
    os.environ.pop("MPLBACKEND", None)


def _missing_platform() -> str:
    """Say that JAX does not have the platform that was asked for; "": it does."""
    import jax

    platforms = getattr(jax.config, "jax_platforms")  # noqa: B009
    try:
        jax.devices()
    except (RuntimeError, AssertionError):
        return (
            f"JAX cannot use the platform {platforms!r} of JAX_PLATFORMS: install JAX "
            "for it, or unset JAX_PLATFORMS"
        )
    return ""


def _fail(message: str) -> int:
    _interrupt_stage()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _overview() -> str:
    """Return the help of the program: its commands."""
    lines = [f"  {name:<10}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: rgcam COMMAND [options]",
            "",
            "Recurrent Grad-CAM: which frames and regions drove a video model's "
            "prediction.",
            "",
            "commands:",
            *lines,
            "",
            "rgcam COMMAND --help lists the options of a command.",
        ]
    )


def _processor() -> str:
    """Name this kind of processor by its instruction sets, where they are known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    names = ("flags", "Features", "model name")
    features = sorted({line for line in lines if line.startswith(names)})
    text = repr(features or lines[:1])
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
