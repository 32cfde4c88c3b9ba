"""A run's checkpoints: in the background, the right ones kept, nothing half-read."""

import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from rgcam.errors import InputError
from rgcam.training import checkpoint, mesh
from rgcam.training import step as training
from tests.models.test_zoo import damage, describe, same, state_of
from tests.training.test_step import make_batch, make_state


def steps_of(writer):
    return [c.step for c in writer.checkpoints]


def put(writer, state, step, accuracy=None, loss=1.0):
    state = state.replace(step=jnp.int32(step))
    scores = None if accuracy is None else {"accuracy": accuracy, "loss": loss}
    checkpoint.save(writer, state, scores)
    checkpoint.wait(writer)
    return state


def test_restore_of_nothing_is_the_given_state(tmp_path):
    state = state_of(describe())
    with checkpoint.checkpointer(tmp_path) as writer:
        assert checkpoint.restore(writer, state) == (state, 0)


def test_the_two_latest_and_the_best_are_kept(tmp_path):
    state = state_of(describe())
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        for step, accuracy in enumerate((0.2, 0.9, 0.5, 0.9, 0.4, None, None), 1):
            put(writer, state, step, accuracy, loss=1.0 if step == 4 else 2.0)
        assert steps_of(writer) == [4, 6, 7]  # of equal accuracy, the lower loss
        assert checkpoint.restore(writer, state, best=True)[1] == 4
        assert checkpoint.restore(writer, state)[1] == 7
    with checkpoint.checkpointer(tmp_path) as reader:  # metrics are on disk
        assert checkpoint.restore(reader, state, best=True)[1] == 4


def test_without_validation_the_newest_is_the_best(tmp_path):
    state = state_of(describe())
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        put(writer, state, 1), put(writer, state, 2)
        assert checkpoint.restore(writer, state, best=True)[1] == 2


def test_everything_comes_back(tmp_path):
    state, step = make_state(dropout=0.5), jax.jit(training.train_step)
    state, _ = step(state.replace(key=jax.random.key(99)), make_batch())
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        checkpoint.save(writer, state)
    fresh = make_state(dropout=0.5)
    with checkpoint.checkpointer(tmp_path) as writer:
        found, number = checkpoint.restore(writer, fresh)
    assert number == 1
    same(found.params, state.params), same(found.opt_state, state.opt_state)
    a, b = step(state, make_batch(1)), step(found, make_batch(1))
    assert a[1]["loss"] == b[1]["loss"]  # the key too: dropout is the same


def test_a_donated_state_is_saved_as_it_was(tmp_path):
    step = jax.jit(training.train_step, donate_argnames="state")
    state = jax.tree.map(jnp.copy, make_state())
    for n in range(3):
        state, _ = step(state, make_batch(n))
    kept = jax.tree.map(np.array, state.params)
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        checkpoint.save(writer, state)
        for n in range(20):  # the save is still under way
            state, _ = step(state, make_batch(n))
    with checkpoint.checkpointer(tmp_path) as writer:
        found, _ = checkpoint.restore(writer, make_state())
    same(found.params, kept)


def test_frozen_parameters_are_saved_and_distinguished(tmp_path):
    state = make_state()
    head = {"scores": state.params["scores"]}
    rest = {n: p for n, p in state.params.items() if n != "scores"}
    make = lambda frozen: training.create_state(
        state.forward, head, state.tx, 0, frozen
    )
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        put(writer, make(rest), 1)
        other = make(jax.tree.map(jnp.zeros_like, rest))
        found, _ = checkpoint.restore(writer, other)
    same(found.frozen, rest), same(found.params, head)


@pytest.mark.parametrize("before, after", [(1, 8), (8, 1), (2, 4)])
def test_restores_on_another_number_of_devices(tmp_path, before, after):
    grids = [Mesh(np.array(jax.devices()[:n]), (mesh.AXIS,)) for n in (before, after)]
    state = mesh.repeat(grids[0], make_state())
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        put(writer, state, 5)
    with checkpoint.checkpointer(tmp_path) as writer:
        found, step = checkpoint.restore(writer, mesh.repeat(grids[1], make_state()))
    assert step == 5
    same(found.params, state.params)
    leaf = jax.tree.leaves(found.params)[0]
    assert len(leaf.sharding.device_set) == after


def test_saving_from_many_devices_compiles_nothing(tmp_path):
    """Orbax would cut small arrays into a slice for each device that holds a copy."""
    state = mesh.repeat(Mesh(np.array(jax.devices()), (mesh.AXIS,)), make_state())
    compiled = []

    def listen(event, _, **__):
        compiled.append(event.endswith("backend_compile_duration"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with checkpoint.checkpointer(tmp_path, trains=True) as writer:
            checkpoint.save(writer, state)
        programs = sum(compiled)
        jax.jit(lambda x: x + 1.25)(3.0)
        assert programs == 0 and sum(compiled) == 1  # the listener hears of programs
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_damaged_newest_step_falls_back_to_the_one_before(tmp_path):
    state = state_of(describe())
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        put(writer, state, 1), put(writer, state, 2)
    damage(tmp_path, 2)
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        assert checkpoint.restore(writer, state)[1] == 1
        put(writer, state, 3)
        assert checkpoint.restore(writer, state)[1] == 3


def test_a_full_disk_is_one_sentence_and_earlier_checkpoints_stay(tmp_path):
    """No file may grow beyond 4 kB: what a full disk or a quota does."""
    state = make_state()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(InputError, match="cannot save a checkpoint in .* are kept"):
        with checkpoint.checkpointer(tmp_path, trains=True) as writer:
            put(writer, state, 1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            try:
                put(writer, state, 2)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with checkpoint.checkpointer(tmp_path) as writer:
        assert checkpoint.restore(writer, state)[1] == 1


def test_a_folder_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(InputError, match="cannot save a checkpoint"):
        with checkpoint.checkpointer(tmp_path, trains=True):
            pass
