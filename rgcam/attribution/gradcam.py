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
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rgcam.attribution import causal, methods, targets
from rgcam.attribution.targets import Target
from rgcam.errors import InputError
from rgcam.models import chunks
from rgcam.types import Tensor

Classify = Callable[[Float[Array, "in h w K"]], Float[Array, "out C"]]


class Explanation(NamedTuple):
    """What ``explain`` returns; ``jax.vmap`` puts its axes in front of each.

    Attributes:
        scores: y (out C), pre-softmax scores of every class at every output step.
        features: A (in h w K), the last convolutional feature map.
        beta: (out in K), importance weights of Eq. 1, in logits per unit of A; None
            where they were not asked for or the method has none.
        maps: L (out in h w), heat maps of Eq. 2, raw: not normalised, in logits.
        matrix: (out in), mass (sum over cells) of each heat map, in logits.
    """

    scores: Float[Array, "out C"]
    features: Float[Array, "in h w K"]
    beta: Float[Array, "out in K"] | None
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
    target: Target = None,
    *,
    method: str = "gradcam",
    baseline: str | Float[Tensor, "..."] | None = None,
    relu: bool | None = None,
    length: int | Int[Tensor, ""] | None = None,
    beta: bool = True,
) -> Explanation:
    """Explain one video: the whole T' x T tensor in a single jitted call.

    Batches of clips: ``jax.vmap(explain, in_axes=(None, None, 0, 0))``, with
    ``length`` where clips are padded to one shape.

    Args:
        module: Linen module with methods ``features`` (frames -> A) and
            ``classify`` (A -> scores), hashable; see ``rgcam.models.classifiers``. One that has
            ``drive``, ``response``, ``begin`` and ``advance`` too is causal, and
            explained by ``rgcam.attribution.causal`` for much less.
        variables: its variables.
        frames: preprocessed frames (in S S 3), floating point.
        target: class index; None: the class with the highest score at the last
            (valid) step; several indices: beta, maps and matrix of each, in a leading
            axis; or a function of the scores, see ``importance_weights``. A function
            is compiled once for each function object: define it once.
        method: one of ``rgcam.attribution.methods.METHODS``; any but gradcam costs more.
        baseline: what takes a frame's place in methods that compare with one: zero,
            mean, first, previous or blur, or feature maps; see
            ``interventions.replacement``. None: zero for the CAMs, whose it is,
            previous for the others.
        relu: rectify the maps (Eq. 2); False keeps their sign. None: rectify those of
            the CAMs, as published, and keep the sign of the others.
        length: number of valid frames where the end is padding. Rows and columns
            of beta, maps and matrix beyond it are 0. Needs out == in.
        beta: False leaves beta out: T' T K numbers, for long clips most of the memory
            and half of the time. Methods without a weight per channel have none.

    Returns:
        Explanation, computed in float32 or wider whatever the features' dtype.

    Raises:
        InputError: frames that are not (T, S, S, 3) floats, a class index that the
            model does not have, or a method or baseline that there is not.
    """
    _check_frames(frames)
    methods.check(method, baseline)
    pick, index = (target, None) if callable(target) else (None, target)
    index = index if index is None else jnp.asarray(index)
    baseline = methods.baseline_of(method, baseline)
    name, given = (baseline, None) if isinstance(baseline, str) else (None, baseline)
    relu = methods.rectified(method, relu)
    how = How(pick, relu, beta, method, name)
    explanation = _explain(module, variables, frames, index, length, given, how)
    if index is not None:
        targets.check(index, explanation.scores.shape[-1])
    return explanation


def explanation_bytes(
    out: int, steps: int, cells: int, channels: int, beta: bool = True
) -> int:
    """Count the bytes of a float32 Explanation's beta, maps and matrix.

    Args:
        out: T_out, output steps.
        steps: T_in, input frames.
        cells: h * w.
        channels: K.
        beta: whether beta is among them.
    """
    return 4 * out * steps * (channels * beta + cells + 1)


class How(NamedTuple):
    """What of an explanation is compiled, not passed: see ``explain``.

    Attributes:
        pick: function of the scores (out C) -> (out,) that is the target, or None.
        relu: rectify the maps.
        beta: keep beta.
        method: one of ``rgcam.attribution.methods.METHODS``.
        baseline: its name; None: feature maps that are passed.
    """

    pick: Callable | None = None
    relu: bool = True
    beta: bool = True
    method: str = "gradcam"
    baseline: str | None = None


@functools.partial(jax.jit, static_argnames=("module", "how"))
def _explain(module, variables, frames, index, length, given, how):
    features = chunks.features(module, variables, frames)
    one = functools.partial(explain_features, module, variables, features)
    one = functools.partial(one, how=how, length=length, given=given)
    if index is None or jnp.ndim(index) == 0:
        return one(index)
    axes: Any = (None, None, 0, 0, 0)  # scores and features are everyone's
    return jax.vmap(one, out_axes=Explanation(*axes))(index)


def explain_features(
    module: nn.Module,
    variables: Any,
    features: Float[Array, "in h w K"],
    index: Int[Tensor, ""] | None,
    *,
    how: How,
    length: int | Int[Tensor, ""] | None = None,
    given: Float[Tensor, "..."] | None = None,
) -> Explanation:
    """Explain one class of features that are there already, not jitted.

    Args:
        module: see ``explain``.
        variables: its variables.
        features: A.
        index: class; None: the one decided for, or ``how.pick``.
        how: what else is compiled.
        length: number of valid frames.
        given: the baseline's feature maps where ``how`` names none.
    """
    pick = how.pick
    if how.method != "gradcam":
        baseline = given if how.baseline is None else how.baseline
        options = {"method": how.method, "baseline": baseline, "length": length}
        target = index if pick is None else pick
        found = methods.explain(module, variables, features, target, **options)
    elif not causal.splits(module):
        found = _by_offset(module, variables, features, index, length, pick)
    elif pick:
        found = _by_function(module, variables, features, pick)
    else:
        found = _by_blocks(module, variables, features, index, length, how.beta)
    scores, weights, maps = found
    if length is not None:
        valid = jnp.arange(len(features)) < length
        valid = valid[:, None] & valid
        maps = jnp.where(valid[..., None, None], maps, 0)
        weights = None if weights is None else jnp.where(valid[..., None], weights, 0)
    maps = jax.nn.relu(maps) if how.relu else maps
    weights = weights if how.beta else None
    return Explanation(scores, features, weights, maps, importance_matrix(maps))


def _by_offset(module, variables, features, index, length, pick):
    """Take any ``classify``: the derivative by an offset, all rows in one jacrev."""
    classify = functools.partial(module.apply, variables, method="classify")
    scores_of = lambda offset: classify(features + offset[:, None, None, :])
    if pick is None and index is None:
        pick = lambda scores: jnp.take(scores, targets.decided(scores, length), axis=1)
    beta, scores = _weights_and_scores(scores_of, features, pick or index)
    return scores, beta, heatmaps(beta, features, relu=False)


def _by_function(module, variables, features, pick):
    """Take any function of the scores: rows may mix, so that none is left out."""
    cut = causal.cut(module, variables, features)
    scores_of = lambda drive: cut.advance(cut.begin, drive)[1]
    weights, scores = _jacobian(scores_of, cut.drive, pick)
    cells = math.prod(features.shape[1:3])
    beta = jnp.einsum("otd,kd->otk", weights, cut.response / cells)
    return scores, beta, heatmaps(beta, features, relu=False)


def _by_blocks(module, variables, features, index, length, beta):
    cut = causal.cut(module, variables, features)
    if index is None:
        index = targets.decided(cut.advance(cut.begin, cut.drive)[1], length)
    classes = jax.eval_shape(cut.advance, cut.begin, cut.drive)[1].shape[1]
    seed = targets.existing(index, classes) * jax.nn.one_hot(
        index, classes, dtype=features.dtype
    )
    block, stretch = causal.sizes(len(features), bool(jax.tree.leaves(cut.begin)))
    sizes = {"block": block, "stretch": stretch}
    return causal.all_pairs(cut, features, seed, **sizes, beta=beta)


def _weights_and_scores(scores_of, features, target):
    """Return beta and, from the same forward pass, the scores."""
    steps, height, width, channels = features.shape
    zero = jnp.zeros((steps, channels), features.dtype)
    jacobian, scores = _jacobian(scores_of, zero, target)
    return jacobian / math.prod((height, width)), scores


def _jacobian(scores_of, inputs, target):
    def outputs(inputs):
        scores = scores_of(inputs)
        return targets.select(scores, target), scores

    return jax.jacrev(outputs, has_aux=True)(inputs)


def _check_frames(frames) -> None:
    shape = jnp.shape(frames)
    if len(shape) != 4 or not jnp.issubdtype(jnp.result_type(frames), jnp.floating):
        raise InputError(
            f"frames are {jnp.result_type(frames)} of shape {shape}; explain takes one "
            "preprocessed clip, floating point (T, S, S, 3): call model.preprocess "
            "first, and jax.vmap for a batch"
        )
