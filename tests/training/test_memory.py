"""The memory that a run needs, against XLA's own count, and what is rejected before work."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.commands import config as configs
from rgcam.data import sources
from rgcam.errors import InputError
from rgcam.models import classifiers
from rgcam.training import fields, memory
from rgcam.training import run as runs
from rgcam.training import step as training
from tests.training.test_step import frames_batch, make_frames_state, make_state

GIGABYTE = 10**9


def shape_of(batch):
    return jax.ShapeDtypeStruct(batch.inputs.shape, batch.inputs.dtype)


def test_the_memory_of_this_machine_is_found_and_shared_by_its_devices():
    found = memory.present()
    assert GIGABYTE / 4 < found.host < 10**6 * GIGABYTE
    assert found.device == found.host // len(jax.local_devices())


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    whole = memory.present().host
    for text, expected in (("1000000", 10**6), ("max", whole), ("9" * 19, whole)):
        (tmp_path / "memory.max").write_text(f"{text}\n")
        monkeypatch.setattr(memory, "LIMITS", (str(tmp_path / "memory.max"),))
        assert memory.present().host <= expected
        assert (memory.present().host == 10**6) == (text == "1000000")


def test_a_state_by_hand():
    """Parameters, AdamW's two moments and the gradient are four times the parameters."""
    state = make_state()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    assert 4 * size <= memory.state_bytes(state) <= 4 * size + 64


@pytest.mark.parametrize("steps", [4, 16])
def test_the_estimate_is_a_lower_bound_near_what_xla_allocates(steps):
    state, batch = make_frames_state(), frames_batch(steps)
    compiled = jax.jit(training.train_step).lower(state, batch).compile()
    allocated = compiled.memory_analysis().temp_size_in_bytes
    estimate = memory.gradient_bytes(state, shape_of(batch))
    assert 0.4 * allocated < estimate < 1.1 * allocated


def test_the_estimate_grows_with_the_batch_and_shrinks_with_chunks():
    bytes_of = lambda state, steps: memory.gradient_bytes(
        state, shape_of(frames_batch(steps))
    )
    whole = make_frames_state()
    assert bytes_of(whole, 32) > 3 * bytes_of(whole, 8)
    assert bytes_of(make_frames_state(chunk=2), 32) < 0.5 * bytes_of(whole, 32)


def reject(config, monkeypatch, host=16 * GIGABYTE):
    """Return the error of a config, and make sure that no data is read before it."""
    monkeypatch.setattr(memory, "present", lambda: memory.Memory(host, host // 8))
    monkeypatch.setattr(sources, "load", None)
    with pytest.raises(InputError) as error:
        runs.prepare(config)
    return str(error.value)


@pytest.mark.parametrize(
    "override, message",
    [
        ("batch_size=1000000000", "batch_size=1000000000 with data.length=16 needs"),
        ("data.train_clips=1000000000", "data.train_clips=1000000000 .* 196,608 GB"),
        ("data.length=100000", "data.length=100000 frames take 5,591 GB"),
        ("model.hidden=65536", "lower model.hidden=65536 or model.width=128"),
    ],
)
def test_what_cannot_fit_is_rejected_with_its_size_before_data_is_read(
    override, message, monkeypatch
):
    config = configs.load("stickman_lrcn", [f"--config.{override}"])
    error = reject(config, monkeypatch)
    assert re.search(message, error) and re.search(r"[\d,]+ GB and", error)


def test_batches_that_are_loaded_ahead_count(monkeypatch):
    """Features of a frozen backbone need little of the device and much of the host."""
    state = jax.eval_shape(make_state)
    clip = jax.ShapeDtypeStruct((4, 1, 1, 6), jnp.float16)
    config = dataclasses.replace(fields.Config(), batch_size=10**6, accumulate=10**3)
    there = dict(frame_size=64, devices=8, processes=1)
    memory.check(config, state, clip, **there, memory=memory.Memory(GIGABYTE, GIGABYTE))
    with pytest.raises(InputError, match="needs at least 0.19 GB and there are 0.1 GB"):
        memory.check(
            config, state, clip, **there, memory=memory.Memory(GIGABYTE // 10, GIGABYTE)
        )


@pytest.mark.parametrize("name", ["stickman_lrcn", "cue_lrcn", "stickman_cnn"])
def test_shipped_experiments_fit_into_16_gb(name, monkeypatch):
    class Reached(Exception):
        pass

    def load(*_):
        raise Reached

    monkeypatch.setattr(
        memory, "present", lambda: memory.Memory(16 * GIGABYTE, 2 * GIGABYTE)
    )
    monkeypatch.setattr(sources, "load", load)
    with pytest.raises(Reached):
        runs.prepare(configs.load(name, []))


@pytest.mark.parametrize(
    "head, start, cached, shape",
    [
        ("gap", None, True, (16, 1, 1, 512)),
        ("grid", None, True, (16, 2, 2, 512)),
        ("fc", None, True, (16, 7, 7, 512)),
        ("gap", 7, True, (16, 1, 7, 7, 512)),
        ("gap", 0, False, (16, 224, 224, 3)),
        ("gap", None, False, (16, 224, 224, 3)),
    ],
)
def test_the_longest_clip_of_a_resnet18(head, start, cached, shape):
    """Frames, the output of a block for each view, or what the head reads of A."""
    changes = [f"--config.model.{x}" for x in ("backbone=resnet18", f"head={head}")]
    config = configs.load("stickman_lrcn", changes)
    module = classifiers.build(config.model.to_dict(), 1)
    spec = classifiers.preprocess_of(config.model.to_dict())
    clip = runs._longest_clip(config, module, spec, start, cached)
    assert clip.shape == shape
    assert clip.dtype == (np.float16 if cached else np.uint8)
