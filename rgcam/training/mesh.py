"""The devices of all processes as one mesh: batches are divided, states repeated.

XLA's SPMD partitioner is the distributed engine: a jitted step whose batch lies on the
mesh's one axis computes the same numbers as on one device.
"""

import os
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rgcam.errors import InputError

AXIS = "data"

Tree = TypeVar("Tree")
"""A pytree of arrays; what is returned has the same structure."""


def start_distributed(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
    """Join the other processes; call it before anything that touches a device.

    Args:
        coordinator: HOST:PORT of process 0; default: JAX_COORDINATOR_ADDRESS, or
            what the cluster (TPU pod, SLURM, Open MPI, Kubernetes) says.
        processes: how many there are; default: JAX_NUM_PROCESSES or the cluster's.
        process: number of this one; default: JAX_PROCESS_ID or the cluster's.

    Raises:
        InputError: the processes do not find each other.
    """
    try:
        jax.distributed.initialize(
            coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"),
            processes if processes is not None else _number("JAX_NUM_PROCESSES"),
            process if process is not None else _number("JAX_PROCESS_ID"),
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "the processes of a distributed run did not find each other: give "
            "--coordinator=HOST:PORT --processes=N --process=I to each of them "
            f"({str(error).splitlines()[0]})"
        ) from error


def make() -> Mesh:
    """Return the mesh of every device of every process, one axis, ``data``."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def is_first() -> bool:
    """Tell whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def check_batch(mesh: Mesh, batch_size: int, accumulate: int = 1) -> None:
    """Reject a global batch that the devices cannot share evenly."""
    parts = mesh.size * accumulate
    if batch_size % parts:
        raise InputError(
            f"batch_size is {batch_size}, which {mesh.size} devices and accumulate="
            f"{accumulate} cannot share evenly; choose a multiple of {parts}"
        )


def repeat(mesh: Mesh, tree: Tree) -> Tree:
    """Put the whole of every array on every device."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def put(leaf: jax.Array | np.ndarray) -> jax.Array:
        if _is_key(leaf):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])

    return jax.tree.map(put, tree)


def divide(mesh: Mesh, tree: Tree) -> Tree:
    """Put this process's rows (b, ...) of a global batch (B, ...) on its devices."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def put(rows: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.asarray(rows))

    return jax.tree.map(put, tree)


def gather(tree: Tree) -> Tree:
    """Return a divided tree (B, ...) as numpy arrays, whole, on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def wait_for_all(name: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _number(variable: str) -> int | None:
    text = os.environ.get(variable)
    try:
        return None if text is None else int(text)
    except ValueError as error:
        raise InputError(f"{variable}={text!r} is not a whole number") from error


def _is_key(leaf: object) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
