"""Save and restore a run's state: parameters, optimizer, step and random key.

The data need no state of their own: batch n of a run is a function of its seed and n
(``rgcam.data.pipeline``).
"""

from collections.abc import Mapping

import jax
from jaxtyping import PyTree

from rgcam.models.checkpoint_files import (
    CHECKPOINTS,
    Writer,
    abstract,
    checkpointer,
    first_readable,
    ranked_steps,
    saving,
    wait,
)
from rgcam.training.step import TrainState, merge

__all__ = ["CHECKPOINTS", "Writer", "checkpointer", "restore", "save", "wait"]


def save(
    writer: Writer, state: TrainState, metrics: Mapping[str, float] | None = None
) -> None:
    """Begin to save; a step that is already saved stays as it is.

    Args:
        writer: from ``checkpointer``.
        state: its arrays may be donated as soon as this returns.
        metrics: accuracy and loss of the validation clips, if they were scored.

    Raises:
        InputError: this save, or the one before it, could not be written.
    """
    step = int(state.step)
    with saving(writer.directory):
        if step not in {checkpoint.step for checkpoint in writer.checkpoints}:
            writer.save_checkpointables_async(
                step,
                _items(state),
                force=True,
                metrics=dict(metrics) if metrics else None,
            )


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
    steps = ranked_steps(writer, best)
    if not steps:
        return state, 0
    template = jax.tree.map(abstract, _items(state))
    step, items = first_readable(writer, steps, template)
    restored = state.replace(
        params=_select_like(items["params"], state.params),
        frozen=_select_like(items["params"], state.frozen),
        opt_state=items["optimizer"],
        step=items["progress"]["step"],
        key=jax.random.wrap_key_data(items["progress"]["key"]),
    )
    return restored, step


def _items(state: TrainState) -> dict[str, PyTree]:
    """Return what a checkpoint stores of a state, frozen parameters included."""
    return {
        "params": merge(state.frozen, state.params),
        "optimizer": state.opt_state,
        "progress": {"step": state.step, "key": jax.random.key_data(state.key)},
    }


def _select_like(tree: PyTree, like: PyTree) -> PyTree:
    """Select from a nested dict the entries that another one has."""
    if not isinstance(like, Mapping):
        return tree
    return {name: _select_like(tree[name], part) for name, part in like.items()}
