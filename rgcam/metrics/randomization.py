"""Does an explanation change when the model is randomised? Pure.

Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292: parameters are
randomised from the scores down, and the explanation is compared with that of the trained
model. What survives shows the input, not what the model learnt.
"""

from collections.abc import Collection

import jax
import numpy as np
from jax.tree_util import KeyPath
from jaxtyping import Array, Float

from rgcam.metrics.faithfulness import spearman
from rgcam.types import Tensor, Variables

CASCADE = ("scores", "recurrent", "frame_head", "backbone")  # from the top down


def has_cascade(variables: Variables) -> bool:
    """Tell whether variables consist of the parts of ``CASCADE``, as those of rgcam do."""
    paths = [_names(path) for path, _ in jax.tree.leaves_with_path(variables)]
    parts = {path[1] if len(path) > 2 else "" for path in paths}
    return "scores" in parts and parts <= set(CASCADE)


def randomise(
    variables: Variables, parts: Collection[str] | None, key: Array
) -> Variables:
    """Return variables with the kernels of some parts, or of all, shuffled.

    A shuffled kernel keeps its own distribution of values, so that the scores keep
    their order of magnitude; biases are unchanged. Adebayo et al. draw the parameters
    anew from their initialiser instead.

    Args:
        variables: of a module of ``rgcam.models.classifiers``, or of any model where all
            is to be shuffled.
        parts: names of its parts, such as those of ``CASCADE``; names that it does not
            have are ignored; None: all of it.
        key: from ``jax.random.key``.
    """

    def shuffle(path: KeyPath, leaf: Tensor) -> Tensor:
        if np.ndim(leaf) < 2 or (parts is not None and _names(path)[1] not in parts):
            return leaf
        # A key for each kernel, which does not depend on what else is shuffled.
        leaf_key = jax.random.fold_in(key, _number(path))
        return jax.random.permutation(leaf_key, leaf.ravel()).reshape(leaf.shape)

    return jax.tree.map_with_path(shuffle, variables)


def similarity(
    a: Float[np.ndarray, "..."],
    b: Float[np.ndarray, "..."],
    *,
    absolute: bool = False,
) -> float:
    """Return Spearman's rank correlation of two explanations' values.

    1: the same order; 0: unrelated, as a randomised model's should be. Lower is better
    here. Entries that are 0 in both, as by structure, are left out.

    Args:
        a: maps or matrix.
        b: of the same shape.
        absolute: compare absolute values, for a random model may turn the sign around.
    """
    a, b = np.asarray(a).ravel(), np.asarray(b).ravel()
    a, b = (np.abs(a), np.abs(b)) if absolute else (a, b)
    # Pairs t > t' are 0 in both, and as ties would raise the correlation.
    nonzero = (a != 0) | (b != 0)
    if nonzero.sum() < 2:
        return float("nan")
    return spearman(a[nonzero], b[nonzero])


def _number(path: KeyPath) -> int:
    """Return a number of a parameter's path that is the same in every process."""
    text = "/".join(_names(path))
    return sum(ord(c) * 31**i for i, c in enumerate(text)) % (2**31)


def _names(path: KeyPath) -> list[str]:
    """Return the keys on the path to a parameter: "params", "scores", "kernel"."""
    return [str(getattr(entry, "key", entry)) for entry in path]
