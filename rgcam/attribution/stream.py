"""Frame by frame: the new score and its row of the matrix, in constant memory.

    state = stream.start(module, variables, frame, window=64)
    for frame in frames:  # preprocessed, (S, S, 3)
        state, row = stream.step(module, variables, state, frame, target)

``step`` is compiled once. The state holds the last W frames' maps and drives, and the
carry before them, so that a row is that of the whole video: equal to the offline
explanation's for the last W frames, whose gradient does not depend on the others.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rgcam.attribution import gradcam, targets
from rgcam.attribution.maps import importance_matrix
from rgcam.errors import InputError
from rgcam.models.cut import PRECISION, Carry, CausalModel, Cut, CutModel, cut, features
from rgcam.types import Tensor, Variables


class Stream(NamedTuple):
    """State between frames.

    Attributes:
        count: () int32, frames so far.
        frame: (S S 3), the last one.
        carry: before the window's first frame.
        features: A (W h w K) of the last W frames; 0 where there were none.
        drive: u (W D) of the same.
    """

    count: Int[Array, ""]
    frame: Float[Array, "S S 3"]
    carry: Carry
    features: Float[Array, "W h w K"]
    drive: Float[Array, "W D"]


class Row(NamedTuple):
    """Row t' of the tensor, which one more frame adds: its newest W frames.

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
    module: CutModel, variables: Variables, frame: Tensor, *, window: int = 64
) -> Stream:
    """Return the state before the first frame.

    Args:
        module: a causal one, see ``rgcam.models.cut``.
        variables: its variables.
        frame: a preprocessed frame (S, S, 3), or anything of its shape and dtype.
        window: W, frames to look back on.

    Raises:
        InputError: a module that cannot continue from a carry, frames of another
            shape, or a window below 1.
    """
    if not isinstance(module, CausalModel):
        raise InputError(
            f"{type(module).__name__} has no drive, response, begin and advance: "
            "streams need a causal model, see rgcam.models.cut"
        )
    if np.ndim(frame) != 3 or window < 1:
        raise InputError(
            f"a frame has shape {np.shape(frame)} and window is {window}: give "
            "(S, S, 3) and at least 1"
        )
    frame = jnp.zeros(np.shape(frame), jnp.float32)
    features_of = functools.partial(features, module)
    shape = jax.eval_shape(features_of, variables, frame[None])
    empty = jnp.zeros((window, *shape.shape[1:]), shape.dtype)
    model = cut(module, variables, empty)
    return Stream(
        count=jnp.int32(0),
        frame=frame,
        carry=model.begin,
        features=empty,
        drive=jnp.zeros_like(model.drive),
    )


@functools.partial(jax.jit, static_argnames=("module", "relu"))
def step(
    module: CausalModel,
    variables: Variables,
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
    with jax.default_matmul_precision(PRECISION):
        frame = jnp.asarray(frame)
        # The first frame has no previous one: it then shows no change.
        previous = jnp.where(state.count > 0, state.frame, frame)
        new_map = features(module, variables, frame[None], previous)
        model = cut(module, variables, new_map)
        # Once the window is full, its first frame leaves it and moves into the carry.
        window = len(state.drive)
        is_full = state.count >= window
        after_first, _ = model.advance(state.carry, state.drive[:1])
        carry = jax.tree.map(
            lambda after, before: jnp.where(is_full, after, before),
            after_first,
            state.carry,
        )
        maps_in_window = jnp.concatenate([state.features[1:], new_map])
        drive = jnp.concatenate([state.drive[1:], model.drive])
        state = Stream(
            count=state.count + 1,
            frame=frame,
            carry=carry,
            features=maps_in_window,
            drive=drive,
        )
        exists = jnp.arange(window) >= window - state.count
        scores, weights = _newest_row(model, carry, drive, exists, target)
        # Theorem 1 of ``causal``, for the newest output step alone.
        cells = maps_in_window.shape[1] * maps_in_window.shape[2]
        beta = weights @ model.response.T / cells
        maps = gradcam.heatmaps(beta[None], maps_in_window, relu)
    matrix = importance_matrix(maps)
    return state, Row(scores=scores, beta=beta, maps=maps[0], matrix=matrix[0])


def _newest_row(
    model: Cut,
    carry: Carry,
    drive: Float[Array, "W D"],
    exists: Bool[Array, " W"],
    target: int | Int[Tensor, ""],
) -> tuple[Float[Array, " C"], Float[Array, "W D"]]:
    """Return the newest frame's scores, and G of all frames in the window."""

    def advance_one(
        carry: Carry, inputs: tuple[Float[Array, " D"], Bool[Array, ""]]
    ) -> tuple[Carry, Float[Array, " C"]]:
        frame_drive, frame_exists = inputs
        after, scores = model.advance(carry, frame_drive[None])
        carry = jax.tree.map(
            lambda new, old: jnp.where(frame_exists, new, old), after, carry
        )
        return carry, scores[0]

    def newest_score(drive: Float[Array, "W D"]) -> tuple[Array, Array]:
        scores = jax.lax.scan(advance_one, carry, (drive, exists))[1][-1]
        return targets.select_target(scores[None], target)[0], scores

    weights, scores = jax.grad(newest_score, has_aux=True)(drive)
    return scores, weights
