"""The stages of a command on a terminal, each with its time; nothing in a pipe or file."""

import sys
import time
from typing import NamedTuple


class _Stage(NamedTuple):
    name: str
    began: float  # seconds, of time.monotonic


_running: list[_Stage] = []  # at most one


def stage(name: str) -> None:
    """Begin a stage, and end the one before it.

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


def interrupt() -> None:
    """End the line of a stage that did not come to its end, before a message."""
    if _running:
        _running.clear()
        print(file=sys.stderr)
