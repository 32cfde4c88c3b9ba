"""Does an explanation change when the model is destroyed? Randomisation; pure.

Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292: parameters are
randomised from the scores down, and the explanation compared with the trained model's.
What survives a random model is a picture of the input.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from rgcam.metrics.faithfulness import correlation, rank

CASCADE = ("scores", "recurrent", "frame_head", "backbone")  # from the top down


def randomised(variables: Any, parts: tuple[str, ...], key: Array) -> Any:
    """Return variables with the parameters of some parts drawn anew.

    Kernels are shuffled, so that each keeps its own distribution of values and the
    scores their order of magnitude; biases are left as they are.

    Args:
        variables: of a module of ``rgcam.models.classifiers``.
        parts: names of its parts, such as those of ``CASCADE``; others are ignored.
        key: from ``jax.random.key``.
    """

    def shuffle(path, leaf):
        if path[1].key not in parts or leaf.ndim < 2:
            return leaf
        own = jax.random.fold_in(key, hash_of(path))
        return jax.random.permutation(own, leaf.ravel()).reshape(leaf.shape)

    return jax.tree.map_with_path(shuffle, variables)


def hash_of(path: Any) -> int:
    """Return a number of a parameter's path that is the same in every process."""
    text = "/".join(str(getattr(entry, "key", entry)) for entry in path)
    return sum(ord(c) * 31**i for i, c in enumerate(text)) % (2**31)


def similarity(
    a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], *, size: bool = False
) -> float:
    """Return Spearman's rank correlation of two explanations' values.

    1: the same order; 0: unrelated, which a randomised model should give. Lower is
    better here. Entries where both are 0 by structure are left out.

    Args:
        a: maps or matrix.
        b: of the same shape.
        size: compare absolute values (a random model may turn the sign around).
    """
    a, b = np.asarray(a).ravel(), np.asarray(b).ravel()
    a, b = (np.abs(a), np.abs(b)) if size else (a, b)
    there = (a != 0) | (b != 0)
    if there.sum() < 2:
        return float("nan")
    return float(correlation(rank(a[there]), rank(b[there])))
