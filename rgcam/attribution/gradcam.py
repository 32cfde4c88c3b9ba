"""Recurrent Grad-CAM, Eq. 1 and 2, and related class activation maps, for all pairs.

Everything here is a pure function of the feature map ``A`` and of ``classify``, a pure
function from ``A`` to the scores of every output step. Ordinary Grad-CAM of a frame CNN
is the case in which ``y[t']`` depends on ``A[t']`` alone (beta is diagonal).

Source: Yamashita et al., "Visually Explaining Videos using Recurrent Neural Networks
with Gradient-Based Localization", Eq. 1 and 2; Selvaraju et al., arXiv:1610.02391. One
departure: the paper shows t' = T only; here t' is an axis.

The other class activation maps differ in how they weight the feature map by its gradient.
Each weighting takes the gradient ``g = dy[t']/dA[t]`` (h w K) of one pair and that frame's
A and returns a weight for each channel (K), which is beta, or for each cell and channel
(h w K). ``weighted_maps`` applies one to every pair.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.attribution.targets import (
    ClassIndex,
    ScoreFunction,
    StepClasses,
    select_target,
)
from rgcam.models.cut import as_scores
from rgcam.types import Classify, Tensor

Weighting: TypeAlias = Callable[
    [Float[Array, "h w K"], Float[Array, "h w K"]],
    Float[Array, " K"] | Float[Array, "h w K"],
]


def importance_weights(
    classify: Classify,
    features: Float[Tensor, "in h w K"],
    target: ClassIndex | ScoreFunction | StepClasses,
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
            from in. Scores of the whole clip, (C,), are one output step.
        features: A (in h w K), floating point.
        target: class index (may be traced: one compilation serves all classes), one for
            each output step (``StepClasses``), or a function scores (out C) -> (out,) to explain
            instead, such as ``lambda y: y[:, 3] - y[:, 5]``, or a log-probability.

    Returns:
        beta (out in K) in the dtype of features. For a causal ``classify``,
        exactly 0 where t > t'. A class index out of range gives NaN
        where another class would give a number.

    Raises:
        InputError: ``classify`` returned neither (out C) nor (C,), or a target function
            anything but (out,); another number of classes than output steps.
    """
    if isinstance(target, StepClasses):
        target = jnp.asarray(target.classes)
    return weights_and_scores(classify, features, target)[0]


def weights_and_scores(
    classify: Classify,
    features: Float[Tensor, "in h w K"],
    target: ClassIndex | ScoreFunction,
) -> tuple[Float[Array, "out in K"], Float[Array, "out C"]]:
    """Compute beta as ``importance_weights`` does, and the scores in the same pass."""
    steps, height, width, channels = features.shape
    # Differentiate by the offset d, at d = 0, instead of by A itself. At 0 it changes no
    # value; and as dA[t, i, j, k] / dd[t, k] = 1 in every cell, the chain rule sums
    # dy/dA over the cells inside the reverse pass: pooling costs no Jacobian of A.
    scores_of = lambda offset: as_scores(
        classify(features + offset[:, None, None, :]), "classify", features.shape
    )
    offset = jnp.zeros((steps, channels), features.dtype)
    jacobian, scores = target_jacobian(scores_of, offset, target)
    # Eq. 1: the sum over cells becomes their mean.
    return jacobian / math.prod((height, width)), scores


def target_jacobian(
    scores_of: Callable[[Float[Array, "..."]], Float[Array, "out C"]],
    inputs: Float[Array, "..."],
    target: ClassIndex | ScoreFunction,
) -> tuple[Float[Array, "out ..."], Float[Array, "out C"]]:
    """Differentiate the target at every output step by the inputs, in reverse mode.

    Returns:
        The Jacobian (out, *inputs.shape) and, from the same forward pass, the scores.
    """

    def target_and_scores(
        inputs: Float[Array, "..."],
    ) -> tuple[Float[Array, " out"], Float[Array, "out C"]]:
        scores = scores_of(inputs)
        return select_target(scores, target), scores

    return jax.jacrev(target_and_scores, has_aux=True)(inputs)


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
    # Eq. 2: beta of the pair (t', t) weights the channels of frame t; ReLU comes last.
    maps = jnp.einsum("otk,thwk->othw", beta, features)
    return jax.nn.relu(maps) if relu else maps


def gradcam_pp(
    gradient: Float[Array, "h w K"], features: Float[Array, "h w K"]
) -> Float[Array, " K"]:
    """Weight by Grad-CAM++: positive gradients only, with closed-form coefficients.

    ``beta_k = sum_ij a_ijk relu(g_ijk)``,
    ``a_ijk = g_ijk^2 / (2 g_ijk^2 + sum_ab A_abk g_ijk^3)``

    Chattopadhay et al., arXiv:1710.11063, without the exponential of the score, which
    there multiplies every weight equally. Where the gradient is the same in all cells
    and A >= 0, only channels with a positive gradient remain. It fails the
    sanity check: with a random classifier its maps stay nearly the same (rank
    correlation 0.94 on stickman models, docs/which-method.md).
    """
    # The source differentiates exp(y): its factor exp(y) cancels in a_ijk, and in beta
    # it is the same for all channels and frames, so that it is left out.
    square, mass = gradient**2, features.sum((0, 1))
    denominator = 2 * square + mass * square * gradient
    # 0 / 0 where g is 0, which relu(g) weights by 0 in any case. The inner ``where``
    # keeps NaN out of the branch that is not taken, too.
    is_zero = denominator == 0
    coefficients = jnp.where(is_zero, 0, square / jnp.where(is_zero, 1, denominator))
    return (coefficients * jax.nn.relu(gradient)).sum((0, 1))


def xgradcam(
    gradient: Float[Array, "h w K"], features: Float[Array, "h w K"]
) -> Float[Array, " K"]:
    """Weight by XGrad-CAM: the gradient, averaged in proportion to the activation.

    ``beta_k = sum_ij g_ijk A_ijk / sum_ij A_ijk``

    Fu et al., arXiv:2008.02312. Equal to Grad-CAM where the gradient is the same
    in all cells.
    """
    mass = features.sum((0, 1))
    total = (gradient * features).sum((0, 1))
    # Of A >= 0 only a channel without any activation has no mass, and its map is 0.
    return jnp.where(mass == 0, 0, total / jnp.where(mass == 0, 1, mass))


def layercam(
    gradient: Float[Array, "h w K"], features: Float[Array, "h w K"]
) -> Float[Array, "h w K"]:
    """Weight by LayerCAM: every cell by its own positive gradient, ``relu(g_ijk)``.

    Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for
    Localization (TIP 2021). It drops negative evidence before the sum over channels,
    so that it cannot tell evidence for a class from evidence against it, and fails the
    sanity check: with a random classifier its maps stay much the same (rank correlation
    0.58 on stickman models, docs/which-method.md).
    """
    del features
    return jax.nn.relu(gradient)


WEIGHTINGS = {"gradcam++": gradcam_pp, "xgradcam": xgradcam, "layercam": layercam}


def weighted_maps(
    weighting: Weighting,
    classify: Classify,
    features: Float[Array, "in h w K"],
    target: ClassIndex | ScoreFunction,
) -> tuple[Float[Array, "out in h w"], Float[Array, "out in K"] | None]:
    """Compute signed maps by a weighting and, if it has them, weights per channel.

    Args:
        weighting: one of the functions above.
        classify: pure function A -> scores; differentiated once per output step.
        features: A.
        target: class index or function of the scores.

    Returns:
        Signed maps (out in h w); beta (out in K), or None for weights per cell.
    """
    # These weights are not linear in g, so the sum over cells cannot move inside the
    # reverse pass as it does for beta: each pair's g is needed in full.
    scores_of = lambda features: as_scores(
        classify(features), "classify", features.shape
    )
    outputs, pullback = jax.vjp(
        lambda features: select_target(scores_of(features), target), features
    )

    def one_output_step(
        cotangent: Float[Array, " out"],
    ) -> tuple[Float[Array, "in h w"], Float[Array, "in K"] | None]:
        (gradient,) = pullback(cotangent)
        weights = jax.vmap(weighting)(gradient, features)
        if weights.ndim == 2:  # one weight per channel: broadcast over the cells
            return (weights[:, None, None] * features).sum(-1), weights
        return (weights * features).sum(-1), None

    # One output step at a time: a gradient of A (in h w K) in memory, not out of them.
    return jax.lax.map(one_output_step, jnp.eye(len(outputs), dtype=features.dtype))
