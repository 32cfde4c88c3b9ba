"""Loss, optimizer and the pure steps that train and evaluate a classifier."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from rgcam.data import Batch


class TrainState(struct.PyTreeNode):
    """All that a run needs to go on.

    Attributes:
        step: number of steps taken.
        params: what is trained.
        opt_state: the optimizer's.
        key: from which every step's dropout key is folded.
        forward: (variables, one clip's inputs) -> scores; static.
        tx: the optimizer; static.
    """

    step: int | Int[Array, ""]
    params: Any
    opt_state: Any
    key: Array
    forward: Callable = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)


class Predictions(NamedTuple):
    """What ``eval_step`` says of each clip.

    Attributes:
        last: (B,) class with the highest score at the clip's last step.
        mean: (B,) class with the highest mean log-probability over its steps.
        right_steps: (B,) number of valid steps whose own class is the label.
        loss: (B,) mean cross-entropy over the clip's valid steps, in nats.
    """

    last: Int[Array, " B"]
    mean: Int[Array, " B"]
    right_steps: Int[Array, " B"]
    loss: Float[Array, " B"]


def optimizer(config: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
    """AdamW under a warm-up cosine schedule, gradients clipped by global norm.

    Args:
        config: learning_rate (peak), warmup (share of the steps), weight_decay,
            clip_norm.
        steps: total number of steps.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config["learning_rate"], round(config["warmup"] * steps), steps
    )
    return optax.chain(
        optax.clip_by_global_norm(config["clip_norm"]),
        optax.adamw(schedule, weight_decay=config["weight_decay"]),
    )


def create_state(
    forward: Callable, params: Any, tx: optax.GradientTransformation, seed: int
) -> TrainState:
    """Make the state at step 0.

    Args:
        forward: ``module.apply`` of the whole model, or its ``classify`` alone where
            the batches hold features.
        params: what is trained.
        tx: from ``optimizer``.
        seed: of the dropout keys.
    """
    key = jax.random.key(seed)
    return TrainState(jnp.int32(0), params, tx.init(params), key, forward, tx)


def step_losses(
    scores: Float[Array, "T C"], label: int | Int[Array, ""], smoothing: float = 0.0
) -> Float[Array, " T"]:
    """Cross-entropy in nats of every step against the clip's one label."""
    target = optax.smooth_labels(jax.nn.one_hot(label, scores.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(scores, target)


def train_step(
    state: TrainState, batch: Batch, *, smoothing: float = 0.0, last_step: bool = False
) -> tuple[TrainState, dict[str, Array]]:
    """Take one optimizer step on the mean cross-entropy of the clips' steps.

    Pure; jit it with the state donated. Either every valid output step is trained
    towards the clip's label (Donahue et al.; for a FrameCNN this is training frame by
    frame), or with ``last_step`` only the last valid one: the label is then that of
    the whole sequence, and the state must carry what earlier frames showed.

    Returns:
        The next state and the scalars loss, accuracy (last valid step), grad_norm
        and the next param_norm.
    """
    key = jax.random.fold_in(state.key, state.step)
    labels = jnp.asarray(batch.labels)

    def loss_of(params):
        scores = _forward(state, params, batch.inputs, key)
        losses = jax.vmap(step_losses, (0, 0, None))(scores, labels, smoothing)
        counted = _is_last(batch) if last_step else _valid(batch)
        return (losses * counted).sum() / counted.sum(), scores

    (loss, scores), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    accuracy = (_last(scores, batch).argmax(-1) == batch.labels).mean()
    metrics = {
        "loss": loss,
        "accuracy": accuracy,
        "grad_norm": optax.tree.norm(grads),
        "param_norm": optax.tree.norm(params),
    }
    return state.replace(
        step=state.step + 1, params=params, opt_state=opt_state
    ), metrics


def eval_step(state: TrainState, batch: Batch) -> Predictions:
    """Predict every clip of a batch, dropout off."""
    scores = _forward(state, state.params, batch.inputs)
    valid, labels = _valid(batch), jnp.asarray(batch.labels)
    losses = jax.vmap(step_losses)(scores, labels)
    log_probs = jax.nn.log_softmax(scores) * valid[..., None]
    right = (scores.argmax(-1) == batch.labels[:, None]) & valid
    return Predictions(
        _last(scores, batch).argmax(-1),
        log_probs.sum(1).argmax(-1),
        right.sum(1),
        (losses * valid).sum(1) / batch.lengths,
    )


def _forward(state: TrainState, params: Any, inputs, key: Array | None = None):
    """Score a batch (B T ...) clip by clip; with a key, dropout is on."""
    variables = {"params": params}
    if key is None:
        return jax.vmap(lambda x: state.forward(variables, x))(inputs)
    keys = jax.random.split(key, len(inputs))

    def one(clip, key):
        return state.forward(variables, clip, train=True, rngs={"dropout": key})

    return jax.vmap(one)(inputs, keys)


def _valid(batch: Batch) -> Array:
    return jnp.arange(batch.inputs.shape[1]) < batch.lengths[:, None]


def _is_last(batch: Batch) -> Array:
    return jnp.arange(batch.inputs.shape[1]) == batch.lengths[:, None] - 1


def _last(scores, batch: Batch) -> Array:
    return jnp.take_along_axis(scores, batch.lengths[:, None, None] - 1, axis=1)[:, 0]
