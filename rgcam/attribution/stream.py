"""Frame by frame: the new score and its row of the matrix, in constant memory.

    state = stream.start(module, variables, frame, window=64)
    for frame in frames:  # preprocessed, (S, S, 3)
        state, row = stream.step(module, variables, state, frame, target)

``step`` is compiled once. The state holds the last W frames' maps and drives, and the
carry before them, so that a row is that of the whole video: equal to the offline
explanation's for the last W frames, whose gradient does not depend on the others.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.attribution import causal, gradcam, targets
from rgcam.errors import InputError
from rgcam.models import chunks
from rgcam.types import Tensor


class Stream(NamedTuple):
    """What is remembered between frames.

    Attributes:
        count: () int32, frames seen.
        frame: (S S 3), the last one.
        carry: before the window's first frame.
        features: A (W h w K) of the last W frames; 0 where there were none.
        drive: u (W D) of the same.
    """

    count: Int[Array, ""]
    frame: Float[Array, "S S 3"]
    carry: Any
    features: Float[Array, "W h w K"]
    drive: Float[Array, "W D"]


class Row(NamedTuple):
    """What one more frame says: row t' of the tensor, its newest W frames.

    Entry w is of frame t' - W + 1 + w; 0 before the first frame.

    Attributes:
        scores: y[t'] (C,).
        beta: (W K), Eq. 1.
        maps: (W h w), Eq. 2.
        matrix: (W,), mass of each map.
    """

    scores: Float[Array, " C"]
    beta: Float[Array, "W K"]
    maps: Float[Array, "W h w"]
    matrix: Float[Array, " W"]


def start(
    module: nn.Module, variables: Any, frame: Tensor, *, window: int = 64
) -> Stream:
    """Return the state before the first frame.

    Args:
        module: a causal one, see ``rgcam.attribution.causal``.
        variables: its variables.
        frame: a preprocessed frame (S, S, 3), or anything of its shape and dtype.
        window: W, frames to look back on.

    Raises:
        InputError: a module that cannot go on from a carry, frames of another shape,
            or a window below 1.
    """
    if not causal.splits(module):
        raise InputError(
            f"{type(module).__name__} has no drive, response, begin and advance: "
            "streams need a causal model, see rgcam.models.classifiers"
        )
    if np.ndim(frame) != 3 or window < 1:
        raise InputError(
            f"a frame has shape {np.shape(frame)} and window is {window}: give "
            "(S, S, 3) and at least 1"
        )
    frame = jnp.zeros(np.shape(frame), jnp.float32)
    below = functools.partial(chunks.features, module)
    maps = jax.eval_shape(below, variables, frame[None])
    features = jnp.zeros((window, *maps.shape[1:]), maps.dtype)
    cut = causal.cut(module, variables, features)
    nothing = jnp.zeros_like(cut.drive)
    return Stream(jnp.int32(0), frame, cut.begin, features, nothing)


@functools.partial(jax.jit, static_argnames=("module", "relu"))
def step(
    module: nn.Module,
    variables: Any,
    state: Stream,
    frame: Tensor,
    target: int | Int[Tensor, ""],
    *,
    relu: bool = True,
) -> tuple[Stream, Row]:
    """Take one frame; return the next state and the frame's row.

    Args:
        module: as given to ``start``.
        variables: its variables.
        state: from ``start`` or the step before.
        frame: preprocessed, (S, S, 3).
        target: class index; may be traced. One that the model does not have gives NaN.
        relu: rectify the maps.
    """
    frame = jnp.asarray(frame)
    before = jnp.where(state.count > 0, state.frame, frame)  # the first: no change
    new = chunks.features(module, variables, frame[None], before)
    cut = causal.cut(module, variables, new)
    window = len(state.drive)
    full = state.count >= window
    after, _ = cut.advance(state.carry, state.drive[:1])
    carry = jax.tree.map(lambda a, b: jnp.where(full, a, b), after, state.carry)
    features = jnp.concatenate([state.features[1:], new])
    drive = jnp.concatenate([state.drive[1:], cut.drive])
    state = Stream(state.count + 1, frame, carry, features, drive)
    there = jnp.arange(window) >= window - state.count
    scores, weights = _back(cut, carry, drive, there, target)
    beta = weights @ cut.response.T / (features.shape[1] * features.shape[2])
    maps = gradcam.heatmaps(beta[None], features, relu)
    return state, Row(scores, beta, maps[0], gradcam.importance_matrix(maps)[0])


def _back(cut, carry, drive, there, target):
    """Return the newest frame's scores, and G of all frames in the window."""

    def go_on(carry, inputs):
        own, exists = inputs
        after, scores = cut.advance(carry, own[None])
        kept = jax.tree.map(lambda a, b: jnp.where(exists, a, b), after, carry)
        return kept, scores[0]

    def newest(drive):
        scores = jax.lax.scan(go_on, carry, (drive, there))[1][-1]
        return targets.select(scores[None], target)[0], scores

    weights, scores = jax.grad(newest, has_aux=True)(drive)
    return scores, weights
