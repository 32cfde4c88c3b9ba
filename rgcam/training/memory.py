"""The memory that a run needs, estimated from shapes before any data is read.

Nothing is computed: JAX traces the functions of the run on abstract arrays.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from rgcam.data import pipeline
from rgcam.data.clips import Batch
from rgcam.data.synthetic import draw
from rgcam.errors import InputError
from rgcam.training import step as training
from rgcam.training.fields import Config

GIGABYTE = 10**9
# Files in which Linux states the limit of a container.
LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


class Memory(NamedTuple):
    """Memory in bytes.

    Attributes:
        host: of this machine, or of the container that limits it.
        device: of each device; devices that are the CPU share the host's.
    """

    host: int
    device: int


def present() -> Memory:
    """Return the memory that is installed here."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in LIMITS:
        file = Path(name)
        text = file.read_text().strip() if file.is_file() else ""
        if text.isdigit():
            host = min(host, int(text))
    devices = jax.local_devices()
    stats = devices[0].memory_stats() or {}
    return Memory(host, stats.get("bytes_limit", host // len(devices)))


def state_bytes(state: training.TrainState) -> int:
    """Return the size of a state and of the gradient of its parameters.

    Args:
        state: its leaves may be ``jax.ShapeDtypeStruct``.
    """
    arrays = (state.params, state.frozen, state.opt_state)
    return _size(arrays) + _size(state.params)


def gradient_bytes(
    state: training.TrainState,
    inputs: jax.ShapeDtypeStruct,
    words: jax.ShapeDtypeStruct | None = None,
) -> int:
    """Return the size of what the backward pass of a batch reads.

    These are the batch itself and the activations that the forward pass stores. XLA
    needs some temporary memory more: 1.28 times this for the small LRCN on 256 clips.

    Args:
        state: its leaves may be ``jax.ShapeDtypeStruct``.
        inputs: shape (B, T, ...) and dtype of a batch's inputs.
        words: shape (B, S, L) and dtype of its words; None: it has none.
    """
    clips = inputs.shape[0]
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), clips))
    lengths = jax.ShapeDtypeStruct((clips,), np.int32)
    batch = Batch(
        inputs=_empty(inputs),
        labels=_empty(lengths if words is None else words),
        lengths=_empty(lengths),
        words=None if words is None else _empty(words),
    )

    def backward(params: PyTree, batch: Batch, keys: jax.Array) -> PyTree:
        scores = lambda params: training.score_batch(state, params, batch, keys)
        return jax.vjp(scores, params)[1]

    # The leaves of the function that ``vjp`` returns are the arrays that it reads.
    stored = jax.eval_shape(backward, state.params, batch, keys)
    return max(_size(stored) - _size(state.params), 0) + _size(inputs)


def check(
    config: Config,
    state: training.TrainState,
    clip: jax.ShapeDtypeStruct,
    *,
    frame_size: int,
    devices: int,
    processes: int,
    memory: Memory,
) -> None:
    """Reject a config that needs more memory than there is.

    Args:
        config: of the run.
        state: at step 0; its leaves may be ``jax.ShapeDtypeStruct``.
        clip: shape (T, ...) and dtype of the inputs of the longest training clip.
        frame_size: S, pixels.
        devices: number of devices of all processes.
        processes: number of processes.
        memory: that there is.

    Raises:
        InputError: names the fields to change, and the sizes in GB.
    """
    if config.data.source in draw.SOURCES:
        clips = config.data.train_clips + config.data.test_clips
        drawn = clips * config.data.length * frame_size**2 * 3
        if drawn > memory.host:
            raise InputError(
                f"data.train_clips={config.data.train_clips} and data.test_clips="
                f"{config.data.test_clips} of data.length={config.data.length} frames "
                f"take {_gigabytes(drawn)} and this machine has "
                f"{_gigabytes(memory.host)}: draw fewer or shorter clips"
            )
    parameters = state_bytes(state)
    if parameters > memory.device:
        raise InputError(
            f"the parameters, their gradient and the optimizer's state take "
            f"{_gigabytes(parameters)} and a device has {_gigabytes(memory.device)}: "
            f"lower model.hidden={config.model.hidden} or model.width="
            f"{config.model.width}, or train fewer blocks (finetune)"
        )
    # Rows that are computed together, on all devices.
    rows = -(-config.batch_size // config.accumulate)
    batch = jax.ShapeDtypeStruct((rows, *clip.shape), clip.dtype)
    words = None
    if config.data.source == draw.CAPTIONS:
        words = jax.ShapeDtypeStruct((rows, *draw.SENTENCES), np.int32)
    on_device = parameters + gradient_bytes(state, batch, words) // devices
    loaded = pipeline.PREFETCH * config.batch_size * _size(clip) // processes
    for needed, present_bytes in ((on_device, memory.device), (loaded, memory.host)):
        if needed > present_bytes:
            raise InputError(
                f"batch_size={config.batch_size} with data.length="
                f"{config.data.length} needs at least {_gigabytes(needed)} and there "
                f"are {_gigabytes(present_bytes)}: lower batch_size or data.length, or raise "
                "accumulate or set frames_at_once to save activations"
            )


def _empty(array: jax.ShapeDtypeStruct) -> np.ndarray:
    """Return an array of this shape that takes no memory."""
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def _size(tree: PyTree) -> int:
    """Return the bytes of the arrays of a tree."""
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)
    )


def _gigabytes(size: int) -> str:
    """Return a size in GB, rounded to three digits."""
    value = size / GIGABYTE
    return f"{value:,.0f} GB" if value >= 10 else f"{value:.2g} GB"
