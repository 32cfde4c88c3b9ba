"""Loss, optimizer and the pure steps that train and evaluate a classifier or a captioner."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PyTree

from rgcam.data.clips import Batch
from rgcam.models import classifiers
from rgcam.models.backbones import Preprocess
from rgcam.models.cut import in_chunks
from rgcam.training.fields import Config
from rgcam.types import Tensor, Variables

Params: TypeAlias = PyTree
"""Nested dicts of float32 parameters, by the names of a module's parts."""

Forward: TypeAlias = Callable[..., Float[Array, "*steps C"]]
"""(variables, one clip's inputs, *, train=False, rngs=None) -> scores; see ``scorer``."""

FeatureMaps: TypeAlias = Callable[[Variables, Tensor], Float[Array, "T h w K"]]
"""(variables, one clip's inputs) -> A; see ``feature_maps``."""


class TrainState(struct.PyTreeNode):
    """The state of a run after some steps.

    Attributes:
        step: () int32, number of steps taken.
        params: the parameters that are trained.
        frozen: parameters that the model needs and that are not trained.
        opt_state: the optimizer's state.
        key: () random key from which the dropout key of every step is folded.
        forward: (variables, one clip's inputs) -> scores; static.
        tx: the optimizer; static.
    """

    # PyTree and not Array: transformations put other leaves in an array's place.
    step: PyTree
    params: Params
    frozen: Params
    opt_state: optax.OptState
    key: PyTree
    forward: Forward = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)


class Predictions(NamedTuple):
    """What ``eval_step`` computes of each clip.

    Attributes:
        last: (B,) class with the highest score at the clip's last step.
        mean: (B,) class with the highest mean log-probability over its steps.
        correct_steps: (B,) number of valid steps whose predicted class is the label.
        loss: (B,) mean cross-entropy over the clip's valid steps, in nats.
    """

    last: Int[Array, " B"]
    mean: Int[Array, " B"]
    correct_steps: Int[Array, " B"]
    loss: Float[Array, " B"]


class SentencePredictions(NamedTuple):
    """What ``eval_sentences`` computes of each clip.

    Attributes:
        words: (B S L) word with the highest score, given the words before it.
        loss: (B,) mean cross-entropy over the words to predict, in nats.
    """

    words: Int[Array, "B S L"]
    loss: Float[Array, " B"]


def optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """Make AdamW or SGD under a warm-up cosine schedule, gradients clipped by norm.

    Kernels decay, biases do not. SGD has Nesterov momentum 0.9.

    Args:
        config: its fields optimizer, learning_rate (peak), warmup (share of the
            steps), weight_decay, clip_norm, and backbone_rate: the backbone's
            learning rate as a share of the others'.
        steps: total number of steps.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        # At least one step of the schedule decays, as optax requires.
        min(round(config.warmup * steps), steps - 1),
        steps,
    )
    if config.optimizer == "adamw":
        rule = optax.adamw(schedule, weight_decay=config.weight_decay, mask=_kernels)
    else:
        rule = optax.chain(
            optax.add_decayed_weights(config.weight_decay, _kernels),
            optax.sgd(schedule, momentum=0.9, nesterov=True),
        )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        rule,
        optax.masked(optax.scale(config.backbone_rate), _below_the_cut),
    )


def create_state(
    forward: Forward,
    params: Params,
    tx: optax.GradientTransformation,
    seed: int,
    frozen: Params | None = None,
) -> TrainState:
    """Make the state at step 0.

    Args:
        forward: from ``scorer``.
        params: the parameters that are trained.
        tx: from ``optimizer``.
        seed: of the dropout keys.
        frozen: the parameters that are not trained, if the batches hold the inputs
            of blocks that have any.
    """
    return TrainState(
        step=jnp.int32(0),
        params=params,
        frozen=frozen or {},
        opt_state=tx.init(params),
        key=jax.random.key(seed),
        forward=forward,
        tx=tx,
    )


def scorer(
    module: nn.Module,
    spec: Preprocess,
    *,
    start: int | None = 0,
    chunk: int = 0,
    dtype: str = "float32",
) -> Forward:
    """Make the function (variables, one clip's inputs) -> scores (T, C) of a run.

    With ``train=True`` and ``rngs={"dropout": key}`` dropout is on. A captioner's takes the
    words (S, L) of its sentences and the number of frames that are not padding after the
    inputs, and returns the scores (S, L, C) of the words.

    Args:
        module: from ``classifiers.build``.
        spec: see ``feature_maps``; so are start, chunk and dtype.
        start: likewise.
        chunk: likewise.
        dtype: likewise.
    """
    maps_of = feature_maps(module, spec, start=start, chunk=chunk, dtype=dtype)

    def forward(
        variables: Variables,
        inputs: Tensor,
        *sentences: Int[Tensor, "..."],
        train: bool = False,
        rngs: dict[str, Array] | None = None,
    ) -> Float[Array, "*steps C"]:
        # Only with ``mutable`` does ``apply`` return a tuple, as its type allows.
        return module.apply(  # pyrefly: ignore[bad-return]
            variables,
            maps_of(variables, inputs),
            *sentences,
            train=train,
            rngs=rngs,
            method="score_sentences" if sentences else "classify",
        )

    return forward


def feature_maps(
    module: nn.Module,
    spec: Preprocess,
    *,
    start: int | None = 0,
    chunk: int = 0,
    dtype: str = "float32",
) -> FeatureMaps:
    """Make the function (variables, one clip's inputs) -> A (T, h, w, K) of a run.

    Args:
        module: from ``classifiers.build``.
        spec: how the inputs are normalised where they are frames (uint8).
        start: backbone block that the inputs enter: 0 frames, n the output of block
            n - 1, None the last map A.
        chunk: number of frames of a clip that pass through the backbone together; their
            activations are recomputed for the gradient instead of being stored
            (``jax.checkpoint``), so that memory does not grow with T. 0: all frames at
            once, activations stored.
        dtype: in which the backbone computes; parameters, head, recurrent state and
            scores stay float32.
    """

    def maps_of(variables: Variables, inputs: Tensor) -> Float[Array, "T h w K"]:
        maps = _prepare(inputs, spec)
        if start is not None:
            views = maps if start else classifiers.see(maps, module.view)
            maps = below(variables, views.astype(dtype)).astype(jnp.float32)
        return maps

    def below(variables: Variables, views: Array) -> Float[Array, "T h w K"]:
        low = {"params": {"backbone": _cast(variables["params"]["backbone"], dtype)}}

        def run(frames: Array) -> Float[Array, "t h w K"]:
            return module.apply(  # pyrefly: ignore[bad-return]  (as in ``scorer``)
                low, frames, start=start, method="below"
            )

        return in_chunks(jax.checkpoint(run), views, chunk) if chunk else run(views)

    return maps_of


def merge(tree: Params, other: Params) -> Params:
    """Return the union of two nested dicts of parameters."""
    both = tree.keys() & other.keys()
    return {**tree, **other} | {name: merge(tree[name], other[name]) for name in both}


def step_losses(
    scores: Float[Array, "*steps C"],
    label: int | Int[Array, "*labels"],
    smoothing: float = 0.0,
) -> Float[Array, "*steps"]:
    """Cross-entropy in nats of every step against the clip's one label, or against its own."""
    one_hot = jax.nn.one_hot(label, scores.shape[-1], dtype=scores.dtype)
    target = optax.smooth_labels(one_hot, smoothing)
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

    Pure; jit it with the state donated. ``loss`` says which steps are trained towards
    the clip's label: ``every_step`` (Donahue et al.; for a FrameCNN this is training
    frame by frame), ``last_step``, the last valid one: the label is then that of the
    whole sequence, and the state must carry what earlier frames showed; or
    ``last_half`` of the valid ones. Rows with label -1 are ignored. Of sentences, every
    word with a label is trained, given the words before it (teacher forcing).

    With ``accumulate`` n the batch is computed in n parts, one after the other: the
    same step for an nth of the memory (n divides B).

    Returns:
        The next state and the scalars loss, accuracy (last valid step; of sentences, all
        words with a label), grad_norm and the next param_norm.
    """
    keys = jax.random.split(
        jax.random.fold_in(state.key, state.step), len(batch.labels)
    )
    total = jnp.maximum(_trained_steps(batch, loss).sum(dtype=jnp.float32), 1)

    def loss_of(
        params: Params, part: tuple[Batch, Array]
    ) -> tuple[Float[Array, ""], Int[Array, ""]]:
        batch, keys = part
        scores = score_batch(state, params, batch, keys)
        labels = jnp.asarray(batch.labels)
        losses = jax.vmap(step_losses, (0, 0, None))(scores, labels, smoothing)
        mean = jnp.where(_trained_steps(batch, loss), losses, 0).sum() / total
        judged = _last(scores, batch) if batch.words is None else scores
        correct = judged.argmax(-1).astype(labels.dtype) == labels
        return mean, correct.sum(dtype=jnp.int32)

    gradient = jax.value_and_grad(loss_of, has_aux=True)
    (mean, correct), grads = _summed(gradient, state.params, (batch, keys), accumulate)
    # optax computes float ** int32, which strict promotion forbids; its own types are
    # those of the parameters under either.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    count = jnp.maximum(jnp.asarray(batch.labels >= 0).sum(dtype=jnp.int32), 1)
    metrics = {
        "loss": mean,
        "accuracy": correct.astype(jnp.float32) / count.astype(jnp.float32),
        "grad_norm": optax.tree.norm(grads),
        "param_norm": optax.tree.norm(params),
    }
    next_state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return next_state, metrics


def eval_step(state: TrainState, batch: Batch) -> Predictions:
    """Predict every clip of a batch, dropout off."""
    scores = score_batch(state, state.params, batch)
    valid, labels = _valid(batch), jnp.asarray(batch.labels)
    lengths = jnp.maximum(batch.lengths, 1).astype(jnp.float32)
    losses = jax.vmap(step_losses)(scores, labels)
    log_probs = jnp.where(valid[..., None], jax.nn.log_softmax(scores), 0)
    correct = (scores.argmax(-1).astype(labels.dtype) == labels[:, None]) & valid
    return Predictions(
        last=_last(scores, batch).argmax(-1),
        mean=log_probs.sum(1).argmax(-1),
        correct_steps=correct.sum(1, dtype=jnp.int32),
        loss=jnp.where(valid, losses, 0).sum(1) / lengths,
    )


def eval_sentences(state: TrainState, batch: Batch) -> SentencePredictions:
    """Predict the words of every clip's sentences, each given the right ones before it."""
    scores = score_batch(state, state.params, batch)
    labels = jnp.asarray(batch.labels)
    losses = jnp.where(labels >= 0, jax.vmap(step_losses)(scores, labels), 0)
    count = jnp.maximum((labels >= 0).sum((1, 2)), 1).astype(losses.dtype)
    return SentencePredictions(words=scores.argmax(-1), loss=losses.sum((1, 2)) / count)


def score_batch(
    state: TrainState, params: Params, batch: Batch, keys: Array | None = None
) -> Float[Array, "B *steps C"]:
    """Score the clips of a batch, or the words of their sentences; with keys, by dropout."""
    variables = {"params": merge(state.frozen, params)}
    sentences = () if batch.words is None else (batch.words, batch.lengths)

    def score(
        clip: Tensor, key: Array | None, *sentences: Int[Tensor, "..."]
    ) -> Float[Array, "*steps C"]:
        if key is None:
            return state.forward(variables, clip, *sentences)
        rngs = {"dropout": key}
        return state.forward(variables, clip, *sentences, train=True, rngs=rngs)

    return jax.vmap(score)(batch.inputs, keys, *sentences)


def _summed(
    gradient: Callable[[Params, PyTree], PyTree],
    params: Params,
    batch: PyTree,
    parts: int,
) -> PyTree:
    """Add up ``gradient(params, part)`` over interleaved parts of the batch's rows."""
    if parts == 1:
        return gradient(params, batch)
    # Rows n, n + parts, ...: so every device keeps the rows that it has.
    split = lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)
    stacked = jax.tree.map(split, jax.tree.map(jnp.asarray, batch))
    first = jax.tree.map(lambda x: x[0], stacked)
    zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(gradient, params, first))

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, gradient(params, part)), None

    return jax.lax.scan(add, zero, stacked)[0]


def _prepare(inputs: Tensor, spec: Preprocess) -> Float[Array, "T ..."]:
    """Normalise frames (uint8); features pass, as float32."""
    if inputs.dtype != jnp.uint8:
        return jnp.asarray(inputs, jnp.float32)
    offset, scale = (jnp.asarray(x, jnp.float32) for x in (spec.offset, spec.scale))
    return (jnp.asarray(inputs, jnp.float32) - offset) / scale


def _cast(params: Params, dtype: str) -> Params:
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params)


def _kernels(params: Params) -> PyTree:
    """Mark the parameters that decay."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _below_the_cut(params: Params) -> PyTree:
    """Mark the parameters of the backbone."""
    return {
        name: jax.tree.map(lambda _, name=name: name == "backbone", part)
        for name, part in params.items()
    }


def _valid(batch: Batch) -> Bool[Array, "B T"]:
    """Mark the steps that are not padding."""
    steps = jnp.arange(batch.inputs.shape[1], dtype=jnp.int32)
    return (steps < batch.lengths[:, None]) & (batch.labels >= 0)[:, None]


def _trained_steps(batch: Batch, loss: str) -> Bool[Array, "B *steps"]:
    """Mark the steps, or the words, of which the loss is taken."""
    if batch.words is not None:
        return jnp.asarray(batch.labels) >= 0
    steps = jnp.arange(batch.inputs.shape[1], dtype=jnp.int32)
    lengths = jnp.asarray(batch.lengths)[:, None]
    first = {
        "every_step": jnp.zeros_like(lengths),
        "last_half": lengths // 2,
        "last_step": lengths - 1,
    }
    return _valid(batch) & (steps >= first[loss])


def _last(scores: Float[Array, "B T C"], batch: Batch) -> Float[Array, "B C"]:
    """Return the scores of each clip's last valid step."""
    last = jnp.maximum(jnp.asarray(batch.lengths), 1) - 1
    return jnp.take_along_axis(scores, last[:, None, None], axis=1)[:, 0]
