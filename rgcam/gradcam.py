"""Recurrent Grad-CAM: Eq. 1 and 2 for all pairs (t', t), as pure functions.

Everything here is a function of the cut model: the feature map ``A`` and a pure
``classify`` from ``A`` to the scores of every output step. Ordinary Grad-CAM of a
frame CNN is the case in which ``y[t']`` depends on ``A[t']`` alone (beta is
diagonal).

Source: Yamashita et al., "Visually Explaining Videos using Recurrent Neural
Networks with Gradient-Based Localization", Eq. 1 and 2; Selvaraju et al.,
arXiv:1610.02391. One departure: the paper shows t' = T only; here t' is an axis.
"""

import functools
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.errors import InputError

Tensor = Array | np.ndarray
Classify = Callable[[Float[Array, "in h w K"]], Float[Array, "out C"]]
Target = (
    int
    | np.integer
    | Int[Tensor, ""]
    | Callable[[Float[Array, "out C"]], Float[Array, " out"]]
)


class Explanation(NamedTuple):
    """What ``explain`` returns; ``jax.vmap`` puts its axes in front of each.

    Attributes:
        scores: y (out C), pre-softmax scores of every class at every output step.
        features: A (in h w K), the last convolutional feature map.
        beta: (out in K), importance weights of Eq. 1, in logits per unit of A.
        maps: L (out in h w), heat maps of Eq. 2, raw: not normalised, in logits.
        matrix: (out in), mass (sum over cells) of each heat map, in logits.
    """

    scores: Float[Array, "out C"]
    features: Float[Array, "in h w K"]
    beta: Float[Array, "out in K"]
    maps: Float[Array, "out in h w"]
    matrix: Float[Array, "out in"]


def importance_weights(
    classify: Classify, features: Float[Tensor, "in h w K"], target: Target
) -> Float[Array, "out in K"]:
    """Compute the importance weights beta of Eq. 1 for all pairs (t', t) at once.

    ``beta[t', t, k] = 1/(h w) * sum_ij d y[t', c] / d A[t, i, j, k]``

    One reverse pass per output step gives every input step; the passes are batched
    by one ``jax.jacrev``. The (out, in, h, w, K) Jacobian is never formed: the sum
    over (i, j) is the derivative with respect to a zero offset d (in, K) that is
    broadcast over (h, w) and added to A, since then
    ``d y / d d[t, k] = sum_ij d y / d A[t, i, j, k]`` exactly.

    Args:
        classify: pure function A (in h w K) -> scores (out C); out may differ
            from in.
        features: A (in h w K), floating point.
        target: class index (may be traced: one compilation serves all classes),
            or a function scores (out C) -> (out,) to explain instead, such as
            ``lambda y: y[:, 3] - y[:, 5]``, or a log-probability.

    Returns:
        beta (out in K) in the dtype of features. For a causal ``classify``,
        exactly 0 where t > t'. A class index out of range gives NaN
        where another class would give a number.
    """
    scores_of = lambda offset: classify(features + offset[:, None, None, :])
    return _weights_and_scores(scores_of, features, target)[0]


def heatmaps(
    beta: Float[Tensor, "out in K"],
    features: Float[Tensor, "in h w K"],
    relu: bool = True,
) -> Float[Array, "out in h w"]:
    """Combine feature maps into class activation maps, Eq. 2.

    ``L[t', t] = ReLU(sum_k beta[t', t, k] * A[t, :, :, k])``

    Args:
        beta: importance weights (out in K).
        features: A (in h w K).
        relu: keep positive evidence only, as the paper does; False gives signed
            maps.

    Returns:
        L (out in h w), raw: neither normalised nor upsampled.
    """
    maps = jnp.einsum("otk,thwk->othw", beta, features)
    return jax.nn.relu(maps) if relu else maps


def importance_matrix(maps: Float[Tensor, "out in h w"]) -> Float[Array, "out in"]:
    """Sum each heat map over its cells: how much frame t mattered for step t'.

    Take raw maps: normalising them per frame would make every frame equal.
    """
    return maps.sum((-2, -1))


def explain(
    module: nn.Module,
    variables: Any,
    frames: Tensor,  # checked below, with a sentence
    target: Target,
    *,
    relu: bool = True,
    length: int | Int[Tensor, ""] | None = None,
) -> Explanation:
    """Explain one video: the whole T' x T tensor in a single jitted call.

    Batches of clips: ``jax.vmap(explain, in_axes=(None, None, 0, 0))``, with
    ``length`` where clips are padded to one shape.

    Args:
        module: Linen module with methods ``features`` (frames -> A) and
            ``classify`` (A -> scores), hashable; see ``rgcam.models``. If classify
            takes ``offset``, that is used: h * w times less work for an fc head.
        variables: its variables.
        frames: preprocessed frames (in S S 3), floating point.
        target: class index or function of the scores; see ``importance_weights``.
            A function is compiled once for each function object: define it once.
        relu: rectify the maps (Eq. 2); False keeps their sign.
        length: number of valid frames where the end is padding. Rows and columns
            of beta, maps and matrix beyond it are 0. Needs out == in.

    Returns:
        Explanation, computed in float32 or wider whatever the features' dtype.

    Raises:
        InputError: frames that are not (T, S, S, 3) floats, or a class index
            that the model does not have.
    """
    _check_frames(frames)
    pick, index = (target, None) if callable(target) else (None, target)
    explanation = _explain(module, variables, frames, index, length, pick, relu)
    if index is not None:
        _check_index(index, explanation.scores.shape[-1])
    return explanation


def explanation_bytes(out: int, steps: int, cells: int, channels: int) -> int:
    """Count the bytes of a float32 Explanation's beta, maps and matrix.

    Args:
        out: T_out, output steps.
        steps: T_in, input frames.
        cells: h * w.
        channels: K.
    """
    return 4 * out * steps * (channels + cells + 1)


@functools.partial(jax.jit, static_argnames=("module", "pick", "relu"))
def _explain(module, variables, frames, index, length, pick, relu):
    features = module.apply(variables, frames, method="features")
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    scores_of = _scores_of_offset(module, variables, features)
    beta, scores = _weights_and_scores(scores_of, features, pick or index)
    if length is not None:
        valid = jnp.arange(len(features)) < length
        beta = jnp.where(valid[:, None, None] & valid[None, :, None], beta, 0)
    maps = heatmaps(beta, features, relu)
    return Explanation(scores, features, beta, maps, importance_matrix(maps))


def _scores_of_offset(module, variables, features):
    """Return d -> classify(A + d), by the module's own short cut if it has one."""
    classify = functools.partial(module.apply, variables, method="classify")
    if "offset" in inspect.signature(module.classify).parameters:
        return lambda offset: classify(features, offset=offset)
    return lambda offset: classify(features + offset[:, None, None, :])


def _weights_and_scores(scores_of, features, target):
    """Return beta and, from the same forward pass, the scores."""
    steps, height, width, channels = features.shape

    def outputs(offset):
        scores = scores_of(offset)
        return _select(scores, target), scores

    zero = jnp.zeros((steps, channels), features.dtype)
    jacobian, scores = jax.jacrev(outputs, has_aux=True)(zero)
    return jacobian / math.prod((height, width)), scores


def _select(scores, target):
    if callable(target):
        return target(scores)
    exists = (0 <= target) & (target < scores.shape[1])
    return jnp.take(scores, target, axis=1, mode="clip") * jnp.where(exists, 1, jnp.nan)


def _check_frames(frames) -> None:
    shape = jnp.shape(frames)
    if len(shape) != 4 or not jnp.issubdtype(jnp.result_type(frames), jnp.floating):
        raise InputError(
            f"frames are {jnp.result_type(frames)} of shape {shape}; explain takes one "
            "preprocessed clip, floating point (T, S, S, 3): call model.preprocess "
            "first, and jax.vmap for a batch"
        )


def _check_index(index, classes: int) -> None:
    if isinstance(index, jax.core.Tracer):
        return
    if not 0 <= operator.index(index) < classes:
        raise InputError(
            f"target {index} is not a class of this model: it has {classes}, "
            f"numbered 0 to {classes - 1}"
        )
