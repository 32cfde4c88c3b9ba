"""A run's Orbax checkpoints on disk: opened, ranked and read.

Training uses it, which also writes them, and so does the model zoo, which reads the
parameters of a finished run. Importing it loads Orbax, which takes a second.
"""

import contextlib
import gc
import logging
import sys
import time
import warnings
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

import jax
from jax.sharding import Sharding, SingleDeviceSharding
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from rgcam.errors import InputError
from rgcam.types import Variables

CHECKPOINTS = "checkpoints"
# Devices that hold copies of an array share the writing of it: each cuts out a slice, by a
# program that has to be compiled. A smaller slice than this is not worth that.
MIN_SLICE_BYTES = 2**20
Writer = ocp.training.Checkpointer


@contextlib.contextmanager
def checkpointer(workdir: Path, *, trains: bool = False) -> Generator[Writer]:
    """Open a run's checkpoints; the two latest and the best are preserved.

    Args:
        workdir: the run's folder.
        trains: this is the run itself: remnants of an interrupted save are removed.

    Raises:
        InputError: on leaving, if a save in the background failed.
    """
    policies = ocp.training.preservation_policies
    policy = policies.AnyPreservationPolicy(
        [
            policies.LatestN(2),
            policies.BestN(
                get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    context = ocp.Context()
    context.array.saving.min_slice_bytes_for_replica_parallel = MIN_SLICE_BYTES
    folder = (workdir / CHECKPOINTS).absolute()
    with saving(folder):
        if trains:
            folder.mkdir(parents=True, exist_ok=True)
        writer = Writer(
            str(folder),
            context=context,
            # Orbax types its own policies as unrelated to its protocol.
            preservation_policy=policy,  # pyrefly: ignore[bad-argument-type]
            cleanup_tmp_directories=trains,
        )
    try:
        yield writer
        wait(writer)
    finally:
        # ``wait`` has reported a failed save already.
        with quiet_threads(), contextlib.suppress(Exception):
            writer.close()


def wait(writer: Writer) -> None:
    """Wait for the save in progress.

    Raises:
        InputError: the checkpoint could not be written.
    """
    with saving(writer.directory):
        writer.wait()


def read_params(workdir: Path, template: Variables) -> Variables:
    """Read the parameters of a run's best checkpoint, or of its newest.

    Args:
        workdir: the run's folder.
        template: shapes of the parameters.

    Returns:
        The parameters, with the structure of ``template``.

    Raises:
        InputError: there is no checkpoint, or none that fits ``template``.
    """
    if not (workdir / CHECKPOINTS).is_dir():
        raise InputError(
            f"{workdir} has no checkpoint yet: let train.py reach its first"
        )
    abstract_params = {"params": jax.tree.map(abstract, template)}
    with checkpointer(workdir) as reader:
        steps = ranked_steps(reader, True)
        return first_readable(reader, steps, abstract_params)[1]["params"]


def rank(metrics: Mapping[str, float] | PyTree) -> float:
    """Return what checkpoints are compared by: accuracy; of equal ones, the smaller loss."""
    return metrics["accuracy"] - 1e-6 * metrics["loss"]


def ranked_steps(writer: Writer, best: bool) -> list[int]:
    """List the steps of a run's checkpoints in the order in which to try them.

    Args:
        writer: the run's checkpoints.
        best: the best comes first, not the newest.
    """
    checkpoints = sorted(writer.checkpoints, key=lambda c: c.step, reverse=True)
    if best:  # those without metrics last; the newest of equals first
        checkpoints.sort(key=lambda c: -rank(c.metrics) if c.metrics else float("inf"))
    return [checkpoint.step for checkpoint in checkpoints]


def first_readable(
    reader: Writer, steps: Iterable[int], template: PyTree
) -> tuple[int, dict[str, PyTree]]:
    """Load the first step that is complete, which Orbax does not check when it lists them.

    Args:
        reader: the run's checkpoints.
        steps: to try, in order.
        template: shapes, by the names of the parts of a checkpoint.

    Returns:
        The step, and the parts of its checkpoint.

    Raises:
        InputError: none can be read.
    """
    for step in steps:
        with quiet_threads():
            try:
                return step, reader.load_checkpointables(step, template)
            except Exception:  # Orbax and tensorstore raise many kinds
                settle()
    raise InputError(
        f"no checkpoint in {reader.directory} can be read as this model: they are "
        "damaged or another model's; give another run, or train in an empty folder"
    )


@contextlib.contextmanager
def saving(folder: object) -> Generator[None]:
    """Report a failure to write a checkpoint in one sentence.

    Raises:
        InputError: the block raised anything.
    """
    with quiet_threads():
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # the file system's, through Orbax or tensorstore
            reason = str(error).strip().splitlines() or [type(error).__name__]
            sentence = (
                f"cannot save a checkpoint in {folder}; earlier ones are kept: "
                f"{reason[0]}"
            )
            settle()
            raise InputError(sentence) from error


@contextlib.contextmanager
def quiet_threads() -> Generator[None]:
    """Keep what Orbax's tasks and threads report of a failure off the terminal."""
    hook, log = sys.unraisablehook, logging.getLogger("asyncio")
    level = log.level
    sys.unraisablehook = lambda _: None
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        sys.unraisablehook = hook
        log.setLevel(level)


def settle() -> None:
    """Wait until Orbax's threads have reported a failure."""
    time.sleep(0.5)  # work on other arrays is still in progress
    gc.collect()  # tasks report when they are released


def abstract(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return a leaf's shape, dtype and sharding, by default on the first device."""
    first_device = SingleDeviceSharding(jax.local_devices()[0])
    sharding: Sharding = getattr(leaf, "sharding", None) or first_device
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
