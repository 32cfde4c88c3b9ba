"""What the last step's scores become when frames or cells are taken away.

Three ways of taking away: feature maps of a baseline in their place, those of blurred
frames, or the video stands still there. All pass above the feature map only.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgcam.attribution import perturbation, targets
from rgcam.types import Tensor

BLURRED = 1 / 20  # standard deviation, of the side: 11 of 224 pixels, 3 of 64
AT_ONCE = 16  # clips whose feature maps are there at once


class Outcome(NamedTuple):
    """What the last step says of clips of which something is removed.

    Attributes:
        frames: the target's score for every mask of frames.
        cells: the same for every mask of cells.
        sure: the target's probability of the whole clip, and of what is shown of it.
    """

    frames: Float[Tensor, " N"]
    cells: Float[Tensor, " M"]
    sure: Float[Tensor, "2"]


@functools.partial(jax.jit, static_argnames="module")
def outcome(
    module: Any,
    variables: Any,
    features: Float[Array, "T h w K"],
    instead: Float[Array, "T h w K"] | None,
    target: Any,
    frames: Float[Array, "N T"],
    cells: Float[Array, "M T h w"],
    shown: Float[Array, "T h w"],
) -> Outcome:
    """Remove frames and cells, above the feature map.

    Args:
        module: one with ``classify``.
        variables: its variables.
        features: A.
        instead: what takes the place of what is removed; None: it stands still.
        target: class.
        frames: masks, 1 where a frame is kept, 0 where it is removed.
        cells: the same of cells.
        shown: from 0 to 1, how far a cell is kept.
    """
    about = module, variables, features, instead
    of_frames, of_cells = _passes(*about, target)
    probability = lambda scores: jax.nn.softmax(scores)[:, target]
    sure = _passes(*about, probability)[1](jnp.stack([jnp.ones_like(shown), shown]))
    return Outcome(of_frames(frames)[:, -1], of_cells(cells)[:, -1], sure[:, -1])


def _passes(module, variables, features, instead, target):
    """Return what makes masks of frames, and of cells, into what is explained."""
    still = instead is None
    above = features, features if still else instead
    upper = perturbation.upper(module, variables, *above, target)
    if not still:
        kept, cells_kept = perturbation.kept, perturbation.cells_kept
        return functools.partial(kept, upper), functools.partial(cells_kept, upper)
    whole = lambda a: module.apply(variables, a, method="classify")
    by_frames = lambda mask: upper.outputs(held(upper.inputs, mask))
    by_cells = lambda mask: targets.select(whole(held(features, mask)), target)
    return _each(by_frames), _each(by_cells)


def _each(one):
    few = lambda masks: min(AT_ONCE, len(masks))
    return lambda masks: jax.lax.map(one, masks, batch_size=few(masks))


def held(values: Float[Tensor, "T ..."], mask: Float[Tensor, "T ..."]) -> Array:
    """Let values stand still where they are removed: ``z_t = m x + (1 - m) z_(t-1)``.

    A frame that is removed shows the last one kept, and the first is always kept, so
    that of a clip without any other a still picture is left (freezing, Mänttäri et
    al., arXiv:2002.00367; with masks between 0 and 1, frames fade into each other).

    Args:
        values: a row for each frame.
        mask: 1 where it is kept; of fewer axes: alike along the last ones.
    """
    values, mask = jnp.asarray(values), jnp.asarray(mask)
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))

    def step(before, now):
        value, kept = now
        made = kept * value + (1 - kept) * before
        return made, made

    return jax.lax.scan(step, values[0], (values, mask.astype(values.dtype)))[1]


def blurred(frames: Float[np.ndarray, "T S S 3"]) -> Float[np.ndarray, "T S S 3"]:
    """Blur every frame by a Gaussian of BLURRED of its side, as wide as the source's.

    Fong and Vedaldi, arXiv:1704.03296: 10 of 224 pixels. At the border the weights of
    the pixels that there are sum to 1.
    """
    side = frames.shape[1]
    steps = np.arange(side)
    weights = np.exp(-(((steps[:, None] - steps) / (BLURRED * side)) ** 2) / 2)
    weights = (weights / weights.sum(1, keepdims=True)).astype(frames.dtype)
    return np.einsum("ia,jb,tabc->tijc", weights, weights, frames, optimize=True)
