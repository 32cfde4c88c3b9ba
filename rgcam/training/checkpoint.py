"""A run's Orbax checkpoints: saved in the background, the latest and the best kept.

A checkpoint holds parameters, optimizer, step and random key. The data need no state
of their own: batch n of a run is a function of its seed and n (``rgcam.data.pipeline``).
"""

import contextlib
import gc
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Sharding, SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

from rgcam.errors import InputError
from rgcam.training.step import TrainState, merge

CHECKPOINTS = "checkpoints"
Writer = ocp.training.Checkpointer


@contextlib.contextmanager
def checkpointer(workdir: Path, *, trains: bool = False) -> Iterator[Writer]:
    """Open a run's checkpoints; the two latest and the best are kept.

    Args:
        workdir: the run's folder.
        trains: this is the run itself: what a killed save left behind is removed.

    Raises:
        InputError: on leaving, where a save in the background failed.
    """
    policies: Any = ocp.training.preservation_policies
    kept = policies.AnyPreservationPolicy(
        [
            policies.LatestN(2),
            policies.BestN(
                get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    folder = (workdir / CHECKPOINTS).absolute()
    with _saving(folder):
        if trains:
            folder.mkdir(parents=True, exist_ok=True)
        writer = Writer(
            str(folder), preservation_policy=kept, cleanup_tmp_directories=trains
        )
    try:
        yield writer
        wait(writer)
    finally:
        with _quiet_threads(), contextlib.suppress(Exception):  # ``wait`` has told
            writer.close()


def save(
    writer: Writer, state: TrainState, metrics: Mapping[str, float] | None = None
) -> None:
    """Begin to save; a step already saved stays as it is.

    Args:
        writer: from ``checkpointer``.
        state: its arrays may be donated as soon as this returns.
        metrics: accuracy and loss of the validation clips, if they were scored.

    Raises:
        InputError: this save, or the one before it, could not be written.
    """
    step = int(state.step)
    with _saving(writer.directory):
        if step not in {c.step for c in writer.checkpoints}:
            scores: Any = dict(metrics) if metrics else None
            items = _saved(state)
            writer.save_checkpointables_async(step, items, force=True, metrics=scores)


def wait(writer: Writer) -> None:
    """Wait for the save under way; InputError where it could not be written."""
    with _saving(writer.directory):
        writer.wait()


def restore(
    writer: Writer, state: TrainState, *, best: bool = False
) -> tuple[TrainState, int]:
    """Return the newest state that can be read and its step, or ``state`` and 0.

    Args:
        writer: from ``checkpointer``.
        state: of the same model; its arrays' devices are those of the result.
        best: take the checkpoint with the best validation accuracy, if there is one.

    Raises:
        InputError: there are checkpoints and none fits this model.
    """
    steps = _steps(writer, best)
    if not steps:
        return state, 0
    step, saved = _first_readable(writer, steps, jax.tree.map(_abstract, _saved(state)))
    key = jax.random.wrap_key_data(saved["progress"]["key"])
    made = state.replace(
        params=_pick(saved["params"], state.params),
        frozen=_pick(saved["params"], state.frozen),
        opt_state=saved["optimizer"],
        step=saved["progress"]["step"],
        key=key,
    )
    return made, step


def read_params(workdir: Path, template: Any) -> Any:
    """Read the parameters of a run's best checkpoint, or of its newest.

    Args:
        workdir: the run's folder.
        template: tree of shapes.

    Raises:
        InputError: no checkpoint, or none that fits.
    """
    if not (workdir / CHECKPOINTS).is_dir():
        raise InputError(
            f"{workdir} has no checkpoint yet: let train.py reach its first"
        )
    abstract = {"params": jax.tree.map(_abstract, template)}
    with checkpointer(workdir) as reader:
        return _first_readable(reader, _steps(reader, True), abstract)[1]["params"]


@contextlib.contextmanager
def _saving(folder: Any) -> Iterator[None]:
    """Say in one sentence that a checkpoint could not be written."""
    with _quiet_threads():
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # the file system's, by way of Orbax or tensorstore
            reason = str(error).strip().splitlines() or [type(error).__name__]
            sentence = (
                f"cannot save a checkpoint in {folder}; the ones before it are kept: "
                f"{reason[0]}"
            )
            _settle()
            raise InputError(sentence) from error


def _settle() -> None:
    """Wait for what Orbax's threads still say of a failure."""
    time.sleep(0.5)  # work on other arrays is still under way
    gc.collect()  # complaints come when they are let go


def _rank(metrics: Any) -> float:
    """Order checkpoints by accuracy; the loss decides between equals."""
    return metrics["accuracy"] - 1e-6 * metrics["loss"]


def _steps(writer: Writer, best: bool) -> list[int]:
    """List the steps to try, in order."""
    found = sorted(writer.checkpoints, key=lambda c: c.step, reverse=True)
    if best:  # those without metrics last; the newest of equals first
        found.sort(key=lambda c: -_rank(c.metrics) if c.metrics else float("inf"))
    return [c.step for c in found]


def _saved(state: TrainState) -> dict[str, Any]:
    progress = {"step": state.step, "key": jax.random.key_data(state.key)}
    params = merge(state.frozen, state.params)
    return {"params": params, "optimizer": state.opt_state, "progress": progress}


def _pick(tree: Any, like: Any) -> Any:
    """Take from a nested dict what another one has."""
    if not isinstance(like, Mapping):
        return tree
    return {name: _pick(tree[name], part) for name, part in like.items()}


def _first_readable(reader, steps, template) -> tuple[int, dict[str, Any]]:
    """Load the first step that is whole: Orbax does not check when it lists them."""
    for step in steps:
        with _quiet_threads():
            found = _load(reader, step, template)
            if found is None:
                _settle()
        if found is not None:
            return step, found
    raise InputError(
        f"no checkpoint in {reader.directory} can be read as this model: they are "
        "damaged or another model's; give another run, or train in an empty folder"
    )


def _load(reader, step, template) -> dict[str, Any] | None:
    try:
        return reader.load_checkpointables(step, template)
    except Exception:  # Orbax and tensorstore raise many kinds
        return None


@contextlib.contextmanager
def _quiet_threads():
    """Keep off the terminal what Orbax's tasks and threads say of a failure."""
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


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    here = SingleDeviceSharding(jax.local_devices()[0])
    sharding: Sharding = getattr(leaf, "sharding", None) or here
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
