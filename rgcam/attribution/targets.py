"""The target of an explanation: one class's score, or any scalar function of the scores."""

import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.errors import InputError
from rgcam.types import Tensor

Index: TypeAlias = int | np.integer | Int[Tensor, ""]
"""A class number; a traced one lets one compiled program serve all classes."""

ScoreFunction: TypeAlias = Callable[[Float[Array, "out C"]], Float[Array, " out"]]
"""A function of the scores to explain, such as ``lambda y: y[:, 3] - y[:, 5]``."""

Target: TypeAlias = (
    Index | Sequence[int] | Int[Tensor, " targets"] | None | ScoreFunction
)


def select(
    scores: Float[Array, "out C"], target: Index | ScoreFunction
) -> Float[Array, " out"]:
    """Return the explained scalar of every output step.

    A class index out of range gives NaN, since a traced one cannot be validated.
    """
    if callable(target):
        return target(scores)
    selected = jnp.take(scores, target, axis=1, mode="clip")
    return selected * nan_unless_class(target, scores.shape[1])


def predicted_class(
    scores: Float[Tensor, "out C"], length: Index | None = None
) -> Index:
    """Return the predicted class: the highest score at the last (valid) output step."""
    last = -1 if length is None else jnp.asarray(length) - 1
    return scores[last].argmax()


def nan_unless_class(index: Index, classes: int) -> Float[Array, ""]:
    """Return 1 for a class index in range and NaN for any other."""
    return jnp.where((0 <= index) & (index < classes), 1.0, jnp.nan)


def check(index: Index | Int[Tensor, " targets"], classes: int) -> None:
    """Validate class indices whose values are known, not traced.

    Raises:
        InputError: one of them is not a class of the model.
    """
    if isinstance(index, jax.core.Tracer):
        return
    for number in np.atleast_1d(index):
        if not 0 <= operator.index(number) < classes:
            raise InputError(
                f"target {number} is not a class of this model: it has {classes}, "
                f"numbered 0 to {classes - 1}"
            )
