"""What is explained of a model's scores: a class's, or a function of them."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.errors import InputError
from rgcam.types import Tensor

Target = (
    int
    | np.integer
    | Int[Tensor, ""]
    | Sequence[int]
    | Int[Tensor, " targets"]
    | None
    | Callable[[Float[Array, "out C"]], Float[Array, " out"]]
)


def select(scores: Float[Array, "out C"], target: Any) -> Float[Array, " out"]:
    """Return what is explained of the scores: a class's, or a function of them.

    NaN for a class that there is not, where it cannot be refused.
    """
    if callable(target):
        return target(scores)
    picked = jnp.take(scores, target, axis=1, mode="clip")
    return picked * existing(target, scores.shape[1])


def decided(scores: Float[Array, "out C"], length: Any = None) -> Int[Array, ""]:
    """Return the class with the highest score at the last (valid) step."""
    last = -1 if length is None else jnp.asarray(length) - 1
    return scores[last].argmax()


def existing(index: Any, classes: int) -> Float[Array, ""]:
    """Return 1 for a class that there is, NaN for another."""
    return jnp.where((0 <= index) & (index < classes), 1.0, jnp.nan)


def check(index: Any, classes: int) -> None:
    """Refuse class indices that are known and that the model does not have."""
    if isinstance(index, jax.core.Tracer):
        return
    for one in np.atleast_1d(index):
        if not 0 <= operator.index(one) < classes:
            raise InputError(
                f"target {one} is not a class of this model: it has {classes}, "
                f"numbered 0 to {classes - 1}"
            )
