"""Other ways to weigh a feature map by its gradient, for all pairs (t', t).

Each takes the gradient ``g = dy[t']/dA[t]`` (h w K) of one pair and that frame's A and
returns what A is multiplied with: a weight for each channel (K), which is beta, or for
each cell and channel (h w K). ``all_pairs`` applies one to every pair; the gradient is
formed for one output step at a time.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.attribution import targets

Weigh = Callable[[Array, Array], Array]


def gradcam_pp(
    gradient: Float[Array, "h w K"], features: Float[Array, "h w K"]
) -> Float[Array, " K"]:
    """Grad-CAM++: cells with a positive gradient count, by closed-form weights.

    ``beta_k = sum_ij a_ijk relu(g_ijk)``,
    ``a_ijk = g_ijk^2 / (2 g_ijk^2 + sum_ab A_abk g_ijk^3)``

    Chattopadhay et al., arXiv:1710.11063, with the score's exponential
    left out, which there multiplies every weight alike. Where the gradient is alike in
    all cells and A >= 0, only channels with a positive gradient are left. It fails the
    sanity check: with a random classifier its maps stay nearly the same (rank
    correlation 0.94 on stickman models, docs/which-method.md).
    """
    square, mass = gradient**2, features.sum((0, 1))
    below = 2 * square + mass * square * gradient
    share = jnp.where(below == 0, 0, square / jnp.where(below == 0, 1, below))
    return (share * jax.nn.relu(gradient)).sum((0, 1))


def xgradcam(
    gradient: Float[Array, "h w K"], features: Float[Array, "h w K"]
) -> Float[Array, " K"]:
    """XGrad-CAM: the gradient averaged with the activation as weight.

    ``beta_k = sum_ij g_ijk A_ijk / sum_ij A_ijk``

    Fu et al., arXiv:2008.02312. Equal to Grad-CAM where the gradient is alike
    in all cells.
    """
    mass = features.sum((0, 1))
    total = (gradient * features).sum((0, 1))
    return jnp.where(mass == 0, 0, total / jnp.where(mass == 0, 1, mass))


def layercam(
    gradient: Float[Array, "h w K"], features: Float[Array, "h w K"]
) -> Float[Array, "h w K"]:
    """LayerCAM: every cell weighs with its own positive gradient, ``relu(g_ijk)``.

    Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for
    Localization (TIP 2021). It leaves negative evidence out before it is summed,
    so that it does not tell for from against, and fails the sanity check: with a random
    classifier its maps stay much the same (rank correlation 0.58 on stickman
    models, docs/which-method.md).
    """
    del features
    return jax.nn.relu(gradient)


def all_pairs(
    weigh: Weigh,
    module: Any,
    variables: Any,
    features: Float[Array, "T h w K"],
    target: Any,
) -> tuple[Array, Array | None]:
    """Compute signed maps and, where there are any, weights per channel.

    Args:
        weigh: one of the functions above.
        module: any with ``classify``; it is gone back through once an output step.
        variables: its variables.
        features: A.
        target: class index or function of the scores.

    Returns:
        Signed maps (out T h w); beta (out T K) or None.
    """
    classify = functools.partial(module.apply, variables, method="classify")
    outputs = lambda features: targets.select(classify(features), target)
    found, pull = jax.vjp(outputs, features)

    def row(seed):
        (gradient,) = pull(seed)
        weights = jax.vmap(weigh)(gradient, features)
        beta = weights if weights.ndim == 2 else None
        wide = weights[:, None, None] if weights.ndim == 2 else weights
        return (wide * features).sum(-1), beta

    return jax.lax.map(row, jnp.eye(len(found), dtype=features.dtype))
