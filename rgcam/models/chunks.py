"""The feature map A of many frames, a few frames at a time.

A frame's activations are a hundred times its pixels: those of a whole clip leave every
cache and, on a CPU, cost as much in fresh memory as in arithmetic. The backbone sees
each frame by itself, so a few at a time give the same A.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# At once: 8 pictures of 224 x 224, or 64. On a CPU, 64 through EfficientNet-Lite0 by 8
# took 820 ms and 78 MB, all at once 1040 ms and 622 MB (2 cores, jax 0.10.2).
PIXELS = {"cpu": 8 * 224**2, "other": 64 * 224**2}


def features(
    module: nn.Module,
    variables: Any,
    frames: Float[Array | np.ndarray, "T S S 3"],
    before: Float[Array | np.ndarray, "S S 3"] | None = None,
) -> Float[Array, "T h w K"]:
    """Return ``module.features(frames)``, by chunks, in float32 or wider.

    Args:
        module: one with ``see`` and ``below``, as those of ``rgcam.models.classifiers``, is taken
            to see pictures one by one; of another, ``features`` is called as it is.
        variables: its variables.
        frames: preprocessed frames of one clip.
        before: the frame before the first, where the clip goes on from one.
    """
    frames = jnp.asarray(frames)
    call: Any = functools.partial(module.apply, variables)
    if not (hasattr(module, "see") and hasattr(module, "below")):
        maps = call(frames, method="features")
    else:
        whole = frames if before is None else jnp.concatenate([before[None], frames])
        seen = call(whole, method="see")[len(whole) - len(frames) :]
        few = at_once(math.prod(seen.shape[1:-1]))
        maps = in_chunks(functools.partial(call, method="below"), seen, few)
    return maps.astype(jnp.promote_types(maps.dtype, jnp.float32))


def in_chunks(
    run: Callable[[Array], Array], inputs: Float[Array, "T ..."], few: int
) -> Float[Array, "T ..."]:
    """Apply ``run`` to ``few`` rows at a time, one chunk after the other."""
    steps = len(inputs)
    if steps <= few:
        return run(inputs)
    count = -(-steps // few)
    few = -(-steps // count)  # chunks alike, so that little is padding
    padding = [(0, count * few - steps)] + [(0, 0)] * (inputs.ndim - 1)
    chunks = jnp.pad(inputs, padding).reshape(count, few, *inputs.shape[1:])
    made = jax.lax.map(run, chunks)
    return made.reshape(-1, *made.shape[2:])[:steps]


def at_once(pixels: int) -> int:
    """Return how many frames of so many pixels make a chunk."""
    kind = "cpu" if jax.default_backend() == "cpu" else "other"
    return max(1, PIXELS[kind] // pixels)
