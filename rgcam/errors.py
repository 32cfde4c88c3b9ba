"""The one exception for what a person can put right."""

import math


class InputError(ValueError):
    """Say in one sentence what was wrong with which input, and what to do.

    The scripts print the message alone and exit with code 2; a notebook sees
    an ordinary ``ValueError``.
    """


def check_rate(fps: float | int) -> None:
    """Validate a number of frames per second.

    Raises:
        InputError: it is not above 0, or not finite.
    """
    if not 0 < fps < math.inf:
        raise InputError(f"fps is {fps:g}; it must be above 0, such as 7.5")
