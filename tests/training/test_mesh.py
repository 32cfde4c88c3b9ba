"""One step on eight devices, or in two processes, is the step of one device."""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from rgcam.data.clips import Batch
from rgcam.errors import InputError
from rgcam.training import mesh
from rgcam.training import step as training
from tests.training.test_step import make_batch, make_state

ROOT = Path(__file__).parents[1]


@functools.cache
def run_steps(devices: int, accumulate: int = 1):
    """Take three steps on so many devices; return losses and final parameters."""
    grid = Mesh(np.array(jax.devices()[:devices]), (mesh.AXIS,))
    state = mesh.repeat(grid, make_state(dropout=0.3))
    step = jax.jit(
        lambda s, b: training.train_step(s, b, accumulate=accumulate),
        donate_argnums=0,
    )
    losses = []
    for seed in range(3):
        batch = make_batch(seed, count=16)._replace(
            lengths=np.arange(16, dtype=np.int32) % 4 + 1
        )
        state, metrics = step(state, mesh.divide(grid, batch))
        losses.append(float(metrics["loss"]))
    found = jax.jit(training.eval_step)(
        state, mesh.divide(grid, make_batch(9, count=16))
    )
    return losses, jax.tree.map(np.asarray, state.params), mesh.gather(found)


def test_eight_devices_equal_one():
    losses, params, found = run_steps(1)
    others = run_steps(8)
    np.testing.assert_allclose(losses, others[0], rtol=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, params, others[1])
    jax.tree.map(close, tuple(found), tuple(others[2]))


def test_accumulation_on_devices_equals_one():
    np.testing.assert_allclose(run_steps(1)[0], run_steps(4, 2)[0], rtol=1e-5)


def test_rows_are_divided_and_parameters_repeated():
    grid = mesh.make()
    rows = mesh.divide(grid, Batch(*(np.arange(16),) * 3)).labels
    assert [s.data.shape for s in rows.addressable_shards] == [(2,)] * 8
    state = mesh.repeat(grid, {"w": jnp.ones(3), "key": jax.random.key(1)})
    assert state["w"].sharding.is_fully_replicated
    assert jax.random.uniform(state["key"]) == jax.random.uniform(jax.random.key(1))


def test_a_batch_that_cannot_be_shared_is_one_sentence():
    mesh.check_batch(mesh.make(), 32, 2)
    with pytest.raises(InputError, match="batch_size is 12, .* choose a multiple of 8"):
        mesh.check_batch(mesh.make(), 12)
    with pytest.raises(InputError, match="multiple of 32"):
        mesh.check_batch(mesh.make(), 16, 4)


def test_numbers_in_the_environment_are_checked(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(InputError, match="JAX_NUM_PROCESSES='two'"):
        mesh.start_distributed("127.0.0.1:1", None, 0)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


PROGRAM = """
from absl import flags
flags.FLAGS.mark_as_parsed()
import jax, numpy as np, sys
from rgcam.training import mesh
from rgcam.training import step as training
mesh.start_distributed()
from tests.training.test_step import make_batch, make_state
grid, me = mesh.make(), jax.process_index()
assert grid.size == 2 and jax.process_count() == 2
state = mesh.repeat(grid, make_state(dropout=0.3))
step = jax.jit(training.train_step, donate_argnums=0)
rows = slice(8 * me, 8 * me + 8)
for seed in range(3):
    batch = make_batch(seed, count=16)._replace(
        lengths=np.arange(16, dtype=np.int32) % 4 + 1
    )
    part = jax.tree.map(lambda x: x[rows], batch)
    state, metrics = step(state, mesh.divide(grid, part))
    print("loss", repr(float(metrics["loss"])))
found = jax.jit(training.eval_step)(state, mesh.divide(grid, part))
print("clips", len(mesh.gather(found).last))
mesh.wait_for_all("end")
"""


@pytest.mark.slow
def test_two_processes_equal_one():
    environment = os.environ | {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=environment | {"JAX_PROCESS_ID": str(i)},
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]
    said = [process.communicate(timeout=180) for process in both]
    expected = run_steps(1)[0]
    for process, (out, err) in zip(both, said, strict=True):
        assert process.returncode == 0, err
        lines = [line.split() for line in out.splitlines()]
        losses = [float(words[1]) for words in lines if words[:1] == ["loss"]]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        assert ["clips", "16"] in lines
