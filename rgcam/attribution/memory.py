"""The memory of the device: how much an explanation may take, and what if it is too much."""

import logging
from collections.abc import Callable
from typing import TypeVar

import jax

from rgcam.errors import InputError

SHARE = 2  # an explanation may take one half of the device's memory
MOST = 16 * 2**30  # bytes, however large the device is: results lie on the host, too
SMALLER = 4  # by this factor blocks are smaller at the second attempt

Result = TypeVar("Result")


def max_bytes(default: int) -> int:
    """Return the bytes that an explanation may take on this device.

    Args:
        default: where the device does not tell its memory, as a CPU does not.

    Returns:
        Half of the device's memory (``bytes_limit`` of its ``memory_stats``), at most
        16 GiB.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    return min(limit // SHARE, MOST) if limit else default


def is_exhausted(error: BaseException) -> bool:
    """Tell whether the device's memory did not suffice."""
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in str(error)
    )


def with_smaller_blocks(run: Callable[[int], Result], what: str) -> Result:
    """Compute by blocks of the usual size and, where memory ends, once by smaller ones.

    Args:
        run: the number by which the size of blocks is divided -> the result, complete:
            an array that is not waited for would fail later.
        what: is computed, for the message: "the maps of 40 frames".

    Raises:
        InputError: the smaller blocks do not fit either.
    """
    try:
        return run(1)
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
    # Outside of the handler, whose error holds on to the arrays of the first attempt.
    logging.getLogger(__name__).warning(
        "%s did not fit in the device's memory: smaller blocks are tried", what
    )
    try:
        return run(SMALLER)
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
        raise InputError(
            f"the memory of {jax.local_devices()[0]} does not hold {what}, even in small "
            "blocks: explain a part of the video, fewer frames a second, or a window of "
            "frames (--window, explain_long)"
        ) from error
