"""The pure steps: losses by hand, masks, learning, and every way to save memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rgcam.data.clips import Batch
from rgcam.models import backbones, captioner, classifiers
from rgcam.models.backbones import Preprocess, SmallCNN
from rgcam.training import fields
from rgcam.training import step as training
from tests.conftest import wide_and_strict

CONFIG = fields.Config(
    optimizer="adamw",
    backbone_rate=1.0,
    learning_rate=1e-2,
    warmup=0.1,
    weight_decay=0.0,
    clip_norm=1.0,
)
SPEC = Preprocess(16, None, 127.5, 127.5)


# The same state for several tests: its functions are static, traced again where they differ.
@functools.cache
def make_state(dropout=0.0, steps=50, kind=classifiers.LRCN):
    module = kind(SmallCNN(), classes=3, dropout=dropout)
    a = jnp.zeros((4, 1, 1, 6))
    params = classifiers.init(module, jax.random.key(0), a, "classify")["params"]
    forward = training.scorer(module, SPEC, start=None)
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


@pytest.mark.parametrize("kind", [classifiers.LRCN, classifiers.FrameCNN])
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


@pytest.mark.parametrize("steps", [1, 2, 100])
def test_a_run_that_warms_up_throughout_has_a_schedule(steps):
    """optax rejects a cosine schedule that never decays."""
    tx = training.optimizer(dataclasses.replace(CONFIG, warmup=1.0), steps)
    params = {"w": jnp.zeros(2)}
    updates, _ = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    assert np.isfinite(updates["w"]).all()


def test_eval_step_by_hand():
    scores = np.log(
        [[[0.6, 0.4], [0.6, 0.4], [0.4, 0.6]], [[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]]]
    ).astype(np.float32)
    state = training.create_state(lambda v, x: x, {}, optax.identity(), seed=0)
    batch = Batch(scores, np.array([0, 1], np.int32), np.array([3, 2], np.int32))
    found = jax.jit(training.eval_step)(state, batch)
    assert found.last.tolist() == [1, 0]  # clip 1 ends at its second step
    # clip 0: log .6*.6*.4 = log .144 > log .4*.4*.6; clip 1: .08 < .18
    assert found.mean.tolist() == [0, 1]
    assert found.correct_steps.tolist() == [2, 1]
    expected = [-np.log(0.6 * 0.6 * 0.4) / 3, -np.log(0.9 * 0.2) / 2]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss, first", [("last_step", lambda n: n - 1), ("last_half", lambda n: n // 2)]
)
def test_loss_counts_the_steps_it_says(loss, first):
    state, batch = make_state(), make_batch()
    batch = batch._replace(lengths=np.array([4, 3, 2, 1, 4, 3, 2, 1], np.int32))
    step = functools.partial(training.train_step, loss=loss)
    _, metrics = jax.jit(step)(state, batch)
    forward = jax.jit(lambda clip: state.forward({"params": state.params}, clip))
    counted = [
        training.step_losses(forward(jnp.asarray(clip)), int(label))[first(n) : n]
        for clip, label, n in zip(*batch[:2], batch.lengths.tolist(), strict=True)
    ]
    expected = np.concatenate(counted).mean()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


def test_broken_rows_count_for_nothing():
    state, batch = make_state(), make_batch()
    empty = batch._replace(
        inputs=np.concatenate([batch.inputs, np.zeros_like(batch.inputs[:2])]),
        labels=np.append(batch.labels, [-1, -1]).astype(np.int32),
        lengths=np.append(batch.lengths, [0, 0]).astype(np.int32),
    )
    step_of = lambda loss: jax.jit(functools.partial(training.train_step, loss=loss))
    steps = {loss: step_of(loss) for loss in fields.LOSSES}
    for step in steps.values():
        one, two = (step(state, rows)[1] for rows in (batch, empty))
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    unlabelled = empty._replace(labels=np.full(10, -1, np.int32))
    _, metrics = steps["every_step"](state, unlabelled)
    assert metrics["loss"] == 0 and metrics["grad_norm"] == 0
    assert np.isfinite(jax.jit(training.eval_step)(state, empty).loss).all()


@pytest.mark.parametrize("loss", ["every_step", "last_step"])
def test_an_accumulated_step_is_the_same_step(loss):
    state, batch = make_state(dropout=0.3), make_batch()
    batch = batch._replace(lengths=np.array([4, 3, 2, 1, 4, 3, 2, 1], np.int32))
    run = lambda n: jax.jit(
        functools.partial(training.train_step, loss=loss, accumulate=n)
    )(state, batch)
    (whole, metrics), (other, found) = run(1), run(4)
    for name in metrics:
        np.testing.assert_allclose(metrics[name], found[name], rtol=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        whole.params,
        other.params,
    )


def take_a_step(state, batch):
    """Return everything that a step and an evaluation compute, as NumPy arrays."""
    step = functools.partial(
        training.train_step, loss="last_half", smoothing=0.1, accumulate=2
    )
    after, metrics = jax.jit(step)(state, batch)
    predictions = jax.jit(training.eval_step)(after, batch)
    kept = after.params, after.opt_state, after.step, metrics, predictions
    return jax.tree.map(np.asarray, kept)


@pytest.mark.parametrize("kind", [classifiers.LRCN, classifiers.FrameCNN])
def test_a_step_is_the_same_under_strict_promotion(kind):
    state, batch = make_state(dropout=0.3, kind=kind), make_batch()
    expected = take_a_step(state, batch)
    with jax.numpy_dtype_promotion("strict"):
        found = take_a_step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, expected, found)


def test_no_constant_of_a_step_takes_its_type_from_the_setting_of_jax():
    """Without dropout, whose mask Flax draws in the type of the setting."""
    state, batch = make_state(kind=classifiers.FrameCNN), make_batch()
    expected = take_a_step(state, batch)
    with wide_and_strict():
        found = take_a_step(state, batch)

    def compare(path, a, b):
        name = jax.tree_util.keystr(path)
        # A predicted class is an index, of the setting's own type.
        assert a.dtype == b.dtype or np.issubdtype(a.dtype, np.integer), name
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)

    jax.tree_util.tree_map_with_path(compare, expected, found)


@functools.cache
def make_frames_state(**options):
    module = classifiers.LRCN(SmallCNN(), classes=3, head="gap", hidden=16, dropout=0.0)
    params = classifiers.init(module, jax.random.key(0), jnp.zeros((2, 16, 16, 3)))[
        "params"
    ]
    forward = training.scorer(module, SPEC, **options)
    return training.create_state(forward, params, optax.sgd(0.1), seed=0)


def frames_batch(steps=5):
    inputs = np.random.default_rng(0).integers(0, 256, (4, steps, 16, 16, 3))
    labels, lengths = np.arange(4) % 3, np.full(4, steps)
    return Batch(
        inputs.astype(np.uint8), labels.astype(np.int32), lengths.astype(np.int32)
    )


def test_frames_are_normalised_on_the_device():
    state, batch = make_frames_state(), frames_batch()
    module = classifiers.LRCN(SmallCNN(), classes=3, head="gap", hidden=16, dropout=0.0)
    clip = backbones.normalize(batch.inputs[0], SPEC)
    expected = jax.jit(module.apply)({"params": state.params}, clip)
    forward = jax.jit(state.forward)
    found = forward({"params": state.params}, jnp.asarray(batch.inputs[0]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("chunk", [2, 8])
def test_rematerialised_chunks_give_the_same_step(chunk):
    whole, metrics = jax.jit(training.train_step)(make_frames_state(), frames_batch())
    state = make_frames_state(chunk=chunk)
    other, found = jax.jit(training.train_step)(state, frames_batch())
    np.testing.assert_allclose(metrics["loss"], found["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], found["grad_norm"], rtol=1e-4)


def test_chunks_need_less_memory():
    def temporary(chunk):
        state, batch = make_frames_state(chunk=chunk), frames_batch(32)
        compiled = jax.jit(training.train_step).lower(state, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(2) < 0.5 * temporary(0)


def test_bfloat16_computes_low_and_keeps_float32():
    state = make_frames_state(dtype="bfloat16")
    after, metrics = jax.jit(training.train_step)(state, frames_batch())
    dtypes = {x.dtype for x in jax.tree.leaves(after.params)}
    assert dtypes == {np.dtype("float32")} and metrics["loss"].dtype == np.float32
    _, exact = jax.jit(training.train_step)(make_frames_state(), frames_batch())
    difference = abs(metrics["grad_norm"] / exact["grad_norm"] - 1)
    assert 0 < difference < 0.05
    text = jax.jit(training.train_step).lower(state, frames_batch()).as_text()
    assert "bf16" in text


def test_frozen_parameters_are_used_and_stay():
    state = make_frames_state()
    backbone = {"backbone": state.params["backbone"]}
    head = {n: p for n, p in state.params.items() if n != "backbone"}
    frozen = training.create_state(
        state.forward, head, optax.sgd(0.1), seed=0, frozen=backbone
    )
    step = jax.jit(training.train_step)
    one, metrics = step(state, frames_batch())
    other, found = step(frozen, frames_batch())
    assert metrics["loss"] == found["loss"] and other.params.keys() == head.keys()
    assert metrics["grad_norm"] > found["grad_norm"]
    jax.tree.map(np.testing.assert_array_equal, other.frozen, backbone)


def test_the_backbone_learns_at_its_own_rate_and_biases_do_not_decay():
    params = {
        n: {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
        for n in ("backbone", "scores")
    }
    for name in fields.OPTIMIZERS:
        config = dataclasses.replace(
            CONFIG,
            optimizer=name,
            backbone_rate=0.25,
            weight_decay=0.5,
            warmup=0.0,
        )
        tx = training.optimizer(config, 10)
        zero = jax.tree.map(jnp.zeros_like, params)
        updates, _ = tx.update(zero, tx.init(params), params)
        low, high = updates["backbone"]["kernel"], updates["scores"]["kernel"]
        np.testing.assert_allclose(low, 0.25 * high, rtol=1e-6)
        assert (high < 0).all() and not updates["scores"]["bias"].any()


def test_merge_is_a_deep_union():
    a, b = {"x": {"p": 1}, "y": 2}, {"x": {"q": 3}, "z": 4}
    assert training.merge(a, b) == {"x": {"p": 1, "q": 3}, "y": 2, "z": 4}


# Sentences.


@functools.cache
def make_captioner_state():
    module = captioner.Captioner(SmallCNN(), classes=7, hidden=16, dropout=0.0)
    a = jnp.zeros((4, 1, 1, 6))
    params = classifiers.init(module, jax.random.key(0), a, "classify")["params"]
    forward = training.scorer(module, SPEC, start=None)
    return training.create_state(
        forward, params, training.optimizer(CONFIG, 60), seed=0
    )


def sentence_batch():
    """Two sentences of each clip: three words, and a question (word 5) with an answer."""
    batch = make_batch()
    first = batch.labels + 2
    ends = np.ones_like(first)
    words = np.stack([np.stack([first, 2 + 0 * first, ends], 1)] * 2, 1)
    words[:, 1] = np.stack([5 * ends, first, ends], 1)
    labels = words.copy()
    labels[:, 1, 0] = -1
    return batch._replace(labels=labels, words=words)


def test_a_captioner_learns_the_words_with_a_label():
    state, batch = make_captioner_state(), sentence_batch()
    step = jax.jit(training.train_step)
    losses = []
    for _ in range(150):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.2 * losses[0]
    found = jax.jit(training.eval_sentences)(state, batch)
    is_label = batch.labels >= 0
    np.testing.assert_array_equal(found.words[is_label], batch.labels[is_label])
    assert found.loss.shape == (8,) and float(found.loss.max()) < 0.6


def test_words_without_a_label_add_nothing_to_the_loss():
    state, batch = make_captioner_state(), sentence_batch()
    step, score_batch = map(jax.jit, (training.train_step, training.score_batch))
    _, metrics = step(state, batch)
    scores = score_batch(state, state.params, batch)
    log_p = np.asarray(jax.nn.log_softmax(scores))
    picked = np.take_along_axis(log_p, np.maximum(batch.labels, 0)[..., None], -1)[
        ..., 0
    ]
    expected = -picked[batch.labels >= 0].mean()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
    of_clip = jax.jit(training.eval_sentences)(state, batch).loss[0]
    is_label = batch.labels[0] >= 0
    assert float(of_clip) == pytest.approx(-picked[0][is_label].mean(), rel=1e-5)
    # Padding after the last frame changes nothing.
    longer = np.pad(batch.inputs, ((0, 0), (0, 3), *[(0, 0)] * 3), constant_values=9)
    padded = score_batch(state, state.params, batch._replace(inputs=longer))
    np.testing.assert_allclose(padded, scores, rtol=1e-5, atol=1e-6)
    # A row that only fills the batch has no label at all.
    empty = batch._replace(labels=np.full_like(batch.labels, -1))
    assert float(step(state, empty)[1]["loss"]) == 0
