"""The pure steps: losses by hand, masks, learning, accumulation of nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rgcam import models, training
from rgcam.backbones import SmallCNN
from rgcam.data import Batch

CONFIG = {
    "learning_rate": 1e-2,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "clip_norm": 1.0,
}


def make_state(dropout=0.0, steps=50, kind=models.LRCN):
    module = kind(SmallCNN(), classes=3, dropout=dropout)
    a = jnp.zeros((4, 1, 1, 6))
    params = models.init(module, jax.random.key(0), a, "classify")["params"]
    forward = functools.partial(module.apply, method="classify")
    tx = training.optimizer(CONFIG, steps)
    return training.create_state(forward, params, tx, seed=0)


def make_batch(seed=0, count=8, steps=4):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, steps, 1, 1, 6)).astype(np.float32)
    labels = rng.integers(3, size=count).astype(np.int32)
    inputs[np.arange(count), :, 0, 0, labels] += 6
    return Batch(inputs, labels, np.full(count, steps, np.int32))


def test_step_losses_by_hand():
    scores = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    losses = training.step_losses(scores, 1)
    np.testing.assert_allclose(losses, [-np.log(0.25), -np.log(0.8)], rtol=1e-5)
    smooth = training.step_losses(scores, 1, 0.3)
    target = np.array([0.1, 0.8, 0.1])
    np.testing.assert_allclose(smooth, -(np.asarray(scores) @ target), rtol=1e-5)


@pytest.mark.parametrize("kind", [models.LRCN, models.FrameCNN])
def test_learns_a_separable_batch(kind):
    state, batch = make_state(kind=kind), make_batch()
    step = jax.jit(training.train_step)
    losses = []
    for _ in range(50):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.25 < 0.8 < losses[0]
    assert metrics["accuracy"] == 1 and int(state.step) == 50


def test_padding_changes_neither_loss_nor_gradient_nor_prediction():
    state, batch = make_state(), make_batch()
    padded = batch._replace(
        inputs=np.pad(batch.inputs, ((0, 0), (0, 3), *[(0, 0)] * 3))
    )
    garbage = padded.inputs.copy()
    garbage[:, 4:] = 7
    train, evaluate = jax.jit(training.train_step), jax.jit(training.eval_step)
    plain, metrics = train(state, batch)
    for inputs in (padded.inputs, garbage):
        other, same = train(state, padded._replace(inputs=inputs))
        np.testing.assert_allclose(metrics["loss"], same["loss"], rtol=1e-6)
        np.testing.assert_allclose(metrics["grad_norm"], same["grad_norm"], rtol=1e-5)
        assert metrics["accuracy"] == same["accuracy"]
        a = evaluate(state, batch)
        b = evaluate(state, padded._replace(inputs=inputs))
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5)


def test_dropout_key_is_folded_from_the_step():
    state, batch = make_state(dropout=0.5), make_batch()
    train = jax.jit(training.train_step)
    loss = lambda s: float(train(s, batch)[1]["loss"])
    assert loss(state) == loss(state)
    assert loss(state) != loss(state.replace(step=1))


def test_optimizer_warms_up_and_clips():
    tx = training.optimizer(CONFIG, 100)
    params = {"w": jnp.zeros(2)}
    updates, _ = tx.update({"w": jnp.array([1e6, 0.0])}, tx.init(params), params)
    assert optax.tree.norm(updates) == 0  # the rate starts at 0


def test_eval_step_by_hand():
    scores = np.log(
        [[[0.6, 0.4], [0.6, 0.4], [0.4, 0.6]], [[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]]]
    ).astype(np.float32)
    state = training.create_state(lambda v, x: x, {}, optax.identity(), seed=0)
    batch = Batch(scores, np.array([0, 1], np.int32), np.array([3, 2], np.int32))
    found = training.eval_step(state, batch)
    assert found.last.tolist() == [1, 0]  # clip 1 ends at its second step
    # clip 0: log .6*.6*.4 = log .144 > log .4*.4*.6; clip 1: .08 < .18
    assert found.mean.tolist() == [0, 1]
    assert found.right_steps.tolist() == [2, 1]
    expected = [-np.log(0.6 * 0.6 * 0.4) / 3, -np.log(0.9 * 0.2) / 2]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


def test_last_step_loss_counts_the_last_valid_step_only():
    state, batch = make_state(), make_batch()
    batch = batch._replace(lengths=np.array([4, 3, 2, 1, 4, 3, 2, 1], np.int32))
    _, metrics = training.train_step(state, batch, last_step=True)
    forward = lambda clip: state.forward({"params": state.params}, clip)
    expected = [
        training.step_losses(forward(jnp.asarray(clip)), int(label))[length - 1]
        for clip, label, length in zip(*batch[:2], batch.lengths, strict=True)
    ]
    np.testing.assert_allclose(metrics["loss"], np.mean(expected), rtol=1e-5)
