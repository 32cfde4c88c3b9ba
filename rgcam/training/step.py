"""Loss, optimizer and the pure steps that train and evaluate a classifier."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from rgcam.data.clips import Batch
from rgcam.models import classifiers
from rgcam.models.backbones import Preprocess
from rgcam.models.cut import in_chunks

OPTIMIZERS = ("adamw", "sgd")
DTYPES = ("float32", "bfloat16")
LOSSES = ("every_step", "last_half", "last_step")


class TrainState(struct.PyTreeNode):
    """All that a run needs to go on.

    Attributes:
        step: () int32, number of steps taken.
        params: what is trained.
        frozen: parameters that the model needs and that are not trained.
        opt_state: the optimizer's.
        key: () random key from which every step's dropout key is folded.
        forward: (variables, one clip's inputs) -> scores; static.
        tx: the optimizer; static.
    """

    step: Any
    params: Any
    frozen: Any
    opt_state: Any
    key: Any
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
    """AdamW or SGD under a warm-up cosine schedule, gradients clipped by global norm.

    Kernels decay, biases do not. SGD has Nesterov momentum 0.9.

    Args:
        config: optimizer ("adamw" or "sgd"), learning_rate (peak), warmup (share of
            the steps), weight_decay, clip_norm, and backbone_rate: the backbone's
            learning rate as a share of the others'.
        steps: total number of steps.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config["learning_rate"], round(config["warmup"] * steps), steps
    )
    decay = {"weight_decay": config["weight_decay"], "mask": _kernels}
    rules = {
        "adamw": lambda: optax.adamw(schedule, **decay),
        "sgd": lambda: optax.chain(
            optax.add_decayed_weights(**decay),
            optax.sgd(schedule, momentum=0.9, nesterov=True),
        ),
    }
    return optax.chain(
        optax.clip_by_global_norm(config["clip_norm"]),
        rules[config["optimizer"]](),
        optax.masked(optax.scale(config["backbone_rate"]), _below_the_cut),
    )


def create_state(
    forward: Callable,
    params: Any,
    tx: optax.GradientTransformation,
    seed: int,
    frozen: Any = None,
) -> TrainState:
    """Make the state at step 0.

    Args:
        forward: from ``scorer``.
        params: what is trained.
        tx: from ``optimizer``.
        seed: of the dropout keys.
        frozen: the parameters that are not trained, if the batches hold the inputs
            of blocks that have any.
    """
    step, key = jnp.int32(0), jax.random.key(seed)
    return TrainState(step, params, frozen or {}, tx.init(params), key, forward, tx)


def scorer(
    module: Any,
    spec: Preprocess,
    *,
    start: int | None = 0,
    chunk: int = 0,
    dtype: str = "float32",
) -> Callable:
    """Make the function (variables, one clip's inputs) -> scores (T, C) of a run.

    Args:
        module: FrameCNN or LRCN.
        spec: how the inputs are normalised where they are frames (uint8).
        start: backbone block that the inputs enter: 0 frames, n the output of block
            n - 1, None the last map A.
        chunk: so many frames of every clip go through the backbone at once, and their
            activations are computed again for the gradient instead of being kept
            (``jax.checkpoint``): memory no longer grows with T. 0: all at once, kept.
        dtype: in which the backbone computes; parameters, head, recurrent state and
            scores stay float32.
    """

    def forward(variables, inputs, *, train=False, rngs=None):
        maps = _prepare(inputs, spec)
        if start is not None:
            seen = maps if start else classifiers.see(maps, module.view)
            maps = below(variables, seen.astype(dtype)).astype(jnp.float32)
        return module.apply(variables, maps, train=train, rngs=rngs, method="classify")

    def below(variables, seen):
        low = {"params": {"backbone": _cast(variables["params"]["backbone"], dtype)}}
        run = lambda x: module.apply(low, x, start=start, method="below")
        return in_chunks(jax.checkpoint(run), seen, chunk) if chunk else run(seen)

    return forward


def merge(tree: Any, other: Any) -> Any:
    """Return the union of two nested dicts of parameters."""
    both = tree.keys() & other.keys()
    return {**tree, **other} | {name: merge(tree[name], other[name]) for name in both}


def step_losses(
    scores: Float[Array, "T C"], label: int | Int[Array, ""], smoothing: float = 0.0
) -> Float[Array, " T"]:
    """Cross-entropy in nats of every step against the clip's one label."""
    target = optax.smooth_labels(jax.nn.one_hot(label, scores.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(scores, target)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    smoothing: float = 0.0,
    loss: str = "every_step",
    accumulate: int = 1,
) -> tuple[TrainState, dict[str, Array]]:
    """Take one optimizer step on the mean cross-entropy of the clips' steps.

    Pure; jit it with the state donated. Which steps are trained towards the clip's
    label, ``loss`` says: ``every_step`` (Donahue et al.; for a FrameCNN this is
    training frame by frame), ``last_step``, the last valid one: the label is then that
    of the whole sequence, and the state must carry what earlier frames showed; or
    ``last_half`` of the valid ones. Rows with label -1 count for nothing.

    With ``accumulate`` n the batch goes through in n parts, one after the other: the
    same step for an nth of the memory (n divides B).

    Returns:
        The next state and the scalars loss, accuracy (last valid step), grad_norm
        and the next param_norm.
    """
    keys = jax.random.split(
        jax.random.fold_in(state.key, state.step), len(batch.labels)
    )
    total = jnp.maximum(_counted(batch, loss).sum(), 1)

    def loss_of(params, part):
        batch, keys = part
        scores = _forward(state, params, batch.inputs, keys)
        labels = jnp.asarray(batch.labels)
        losses = jax.vmap(step_losses, (0, 0, None))(scores, labels, smoothing)
        mean = (losses * _counted(batch, loss)).sum() / total
        return mean, (_last(scores, batch).argmax(-1) == batch.labels).sum()

    gradient = jax.value_and_grad(loss_of, has_aux=True)
    (mean, right), grads = _summed(gradient, state.params, (batch, keys), accumulate)
    updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
        "loss": mean,
        "accuracy": right / jnp.maximum((batch.labels >= 0).sum(), 1),
        "grad_norm": optax.tree.norm(grads),
        "param_norm": optax.tree.norm(params),
    }
    next_state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return next_state, metrics


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
        (losses * valid).sum(1) / jnp.maximum(batch.lengths, 1),
    )


def _forward(state: TrainState, params: Any, inputs, keys: Array | None = None):
    """Score a batch (B T ...) clip by clip; with keys, dropout is on."""
    variables = {"params": merge(state.frozen, params)}
    if keys is None:
        return jax.vmap(lambda x: state.forward(variables, x))(inputs)

    def one(clip, key):
        return state.forward(variables, clip, train=True, rngs={"dropout": key})

    return jax.vmap(one)(inputs, keys)


def _summed(gradient: Callable, params: Any, batch: Any, parts: int) -> Any:
    """Add up ``gradient(params, part)`` over interleaved parts of the batch's rows."""
    if parts == 1:
        return gradient(params, batch)
    # Rows n, n + parts, ...: so every device keeps the rows that it has.
    split = lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)
    stacked = jax.tree.map(split, jax.tree.map(jnp.asarray, batch))
    first = jax.tree.map(lambda x: x[0], stacked)
    zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(gradient, params, first))
    add = lambda total, part: (
        jax.tree.map(jnp.add, total, gradient(params, part)),
        None,
    )
    return jax.lax.scan(add, zero, stacked)[0]


def _prepare(inputs: Array, spec: Preprocess) -> Array:
    """Normalise frames (uint8); features pass, as float32."""
    if inputs.dtype != jnp.uint8:
        return inputs.astype(jnp.float32)
    offset, scale = (jnp.asarray(x, jnp.float32) for x in (spec.offset, spec.scale))
    return (inputs.astype(jnp.float32) - offset) / scale


def _cast(tree: Any, dtype: str) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _below_the_cut(params: Any) -> Any:
    return {
        n: jax.tree.map(lambda _, n=n: n == "backbone", p) for n, p in params.items()
    }


def _valid(batch: Batch) -> Array:
    steps = jnp.arange(batch.inputs.shape[1])
    return (steps < batch.lengths[:, None]) & (batch.labels >= 0)[:, None]


def _counted(batch: Batch, loss: str) -> Array:
    """Tell which steps (B T) the loss is taken of."""
    steps, lengths = jnp.arange(batch.inputs.shape[1]), batch.lengths[:, None]
    first = {"every_step": 0, "last_half": lengths // 2, "last_step": lengths - 1}[loss]
    return _valid(batch) & (steps >= first)


def _last(scores, batch: Batch) -> Array:
    last = jnp.maximum(batch.lengths, 1) - 1
    return jnp.take_along_axis(scores, last[:, None, None], axis=1)[:, 0]
