"""The target of an explanation: one class's score, or any scalar function of the scores."""

import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
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

    Raises:
        InputError: a function returned anything but one real number for every step.
    """
    if callable(target):
        return _check_values(target(scores), scores.shape)
    selected = jnp.take(scores, target, axis=1, mode="clip")
    return selected * nan_unless_class(target, scores.shape[1], scores.dtype)


def predicted_class(
    scores: Float[Tensor, "out C"], length: Index | None = None
) -> Index:
    """Return the predicted class: the highest score at the last (valid) output step."""
    last = -1 if length is None else jnp.asarray(length) - 1
    return scores[last].argmax()


def nan_unless_class(index: Index, classes: int, dtype: DTypeLike) -> Float[Array, ""]:
    """Return 1 for a class index in range and NaN for any other."""
    exists = (0 <= index) & (index < classes)
    return jnp.where(exists, 1, jnp.nan).astype(dtype)


def validated(target: object) -> Int[Array, "*targets"] | ScoreFunction | None:
    """Return a target as an array of class indices, as a function, or None.

    Raises:
        InputError: it is none of these, such as a class's name or an empty list.
    """
    if target is None or callable(target):
        return target
    if isinstance(target, str):
        raise InputError(
            f"target {target!r} is a class name, and a class's number is expected: "
            f"give rgcam.class_index(model, {target!r})"
        )
    try:
        index = jnp.asarray(target)
    except (TypeError, ValueError, OverflowError):
        index = jnp.zeros(0)
    is_integer = jnp.issubdtype(index.dtype, jnp.integer)
    if not is_integer or index.ndim > 1 or index.size == 0:
        raise InputError(
            f"target is {target!r}: give a class's number, a list of them, None for the "
            "predicted class, or a function of the scores"
        )
    return index.astype(int)  # unsigned ones, too: -1 is no large number


def check(index: object, classes: int) -> None:
    """Validate class indices whose values are known, not traced.

    Raises:
        InputError: one of them is not a class of the model.
    """
    index = validated(index)
    if index is None or callable(index):
        raise InputError("this takes the number of a class as its target")
    if isinstance(index, jax.core.Tracer):
        return
    for number in np.atleast_1d(index):
        if not 0 <= operator.index(number) < classes:
            raise InputError(
                f"target {number} is not a class of this model: it has {classes}, "
                f"numbered 0 to {classes - 1}"
            )


def _check_values(values: object, scores: tuple[int, ...]) -> Float[Array, " out"]:
    """Validate what a function of scores of this shape returned."""
    if isinstance(values, jax.Array):
        is_real = jnp.issubdtype(values.dtype, jnp.floating)
        if is_real and values.shape == scores[:1]:
            return values
        kind = f"{values.dtype} {values.shape}"
    else:
        kind = type(values).__name__
    raise InputError(
        f"the target function returned {kind} for scores {scores}: expected one "
        f"floating-point number for every output step, {scores[:1]}, such as y[:, 3]"
    )
