"""What is explained of the scores: a class, a class of each step, or a function of them.

A class's number may be traced, so that one compiled program serves all classes. Where every
output step has its own target, as in the recognition of phases, ``StepClasses`` holds one
class for each; the explained scalar of step t' is ``y[t', c[t']]``, so that a causal model is
still explained as one.
"""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from rgcam.errors import InputError
from rgcam.types import Tensor


class StepClasses(NamedTuple):
    """One class for each output step, as the target of ``explain``.

    An array of its own would be several classes, each explained at every step.

    Attributes:
        classes: (out,) class numbers, such as the labels of the frames.
    """

    classes: Sequence[int] | Int[Tensor, "*batch out"]


Index: TypeAlias = int | np.integer | Int[Tensor, ""]
"""A class number; a traced one lets one compiled program serve all classes."""

ScoreFunction: TypeAlias = Callable[[Float[Array, "out C"]], Float[Array, " out"]]
"""A function of the scores to explain, such as ``lambda y: y[:, 3] - y[:, 5]``."""

ClassIndex: TypeAlias = Index | Int[Tensor, " step_classes"]
"""A class number for all output steps, or one for each."""

Target: TypeAlias = (
    Index | Sequence[int] | Int[Tensor, " targets"] | None | ScoreFunction | StepClasses
)


def select_target(
    scores: Float[Array, "out C"], target: ClassIndex | ScoreFunction
) -> Float[Array, " out"]:
    """Return the explained scalar of every output step.

    A class index out of range gives NaN, since a traced one cannot be validated.

    Raises:
        InputError: a function returned anything but one real number for every step, or
            the classes of steps are not as many as there are.
    """
    if callable(target):
        return _check_values(target(scores), scores.shape)
    exists = nan_unless_class(target, scores.shape[1], scores.dtype)
    if jnp.ndim(target) == 0:
        return jnp.take(scores, target, axis=1, mode="clip") * exists
    classes = jnp.asarray(target)
    check_number_of_steps(classes, len(scores))
    of_steps = jnp.take_along_axis(scores, classes[:, None], axis=1, mode="clip")
    return of_steps[:, 0] * exists


def seed(
    index: ClassIndex, scores: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "*out C"]:
    """Return the derivative of the explained scalar with respect to its step's scores.

    Args:
        index: class, or one of each step; one out of range gives NaN.
        scores: the shape (out, C) of the scores.
        dtype: of the derivative.

    Returns:
        (C,) for all steps, or (out, C).
    """
    index = jnp.asarray(index)
    if index.ndim == 1:
        check_number_of_steps(index, scores[0])
    exists = nan_unless_class(index, scores[1], dtype)[..., None]
    return exists * jax.nn.one_hot(index, scores[1], dtype=dtype)


def predicted_class(
    scores: Float[Tensor, "out C"], length: Index | None = None
) -> Index:
    """Return the predicted class: the highest score at the last (valid) output step."""
    last = -1 if length is None else jnp.asarray(length) - 1
    return scores[last].argmax()


def nan_unless_class(
    index: ClassIndex, classes: int, dtype: DTypeLike
) -> Float[Array, "*out"]:
    """Return 1 for a class index in range and NaN for any other."""
    exists = (0 <= index) & (index < classes)
    return jnp.where(exists, 1, jnp.nan).astype(dtype)


def validated_target(
    target: object,
) -> Int[Array, "*targets"] | ScoreFunction | StepClasses | None:
    """Return a target as an array of class indices, as a function, or None.

    Raises:
        InputError: it is none of these, such as a class's name or an empty list.
    """
    if target is None or callable(target):
        return target
    if isinstance(target, StepClasses):
        return _validated_step_classes(target)
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
            "predicted class, a function of the scores, or rgcam.StepClasses(...) with "
            "one class for each output step"
        )
    return index.astype(int)  # unsigned ones, too: -1 is no large number


def check_target(index: object, classes: int) -> None:
    """Validate class indices whose values are known, not traced.

    Raises:
        InputError: one of them is not a class of the model.
    """
    index = validated_target(index)
    if index is None or callable(index) or isinstance(index, StepClasses):
        raise InputError("this takes the number of a class as its target")
    if isinstance(index, jax.core.Tracer):
        return
    for number in np.atleast_1d(index):
        if not 0 <= operator.index(number) < classes:
            raise InputError(
                f"target {number} is not a class of this model: it has {classes}, "
                f"numbered 0 to {classes - 1}"
            )


def check_step_classes(target: StepClasses, scores: tuple[int, ...]) -> None:
    """Validate classes of steps against the shape (out, C) of a model's scores.

    Raises:
        InputError: another number of steps or, where their values are known, one that is
            not a class of the model.
    """
    index = jnp.asarray(_validated_step_classes(target).classes)
    out, classes = scores
    check_number_of_steps(index, out)
    if isinstance(index, jax.core.Tracer):
        return
    numbers = np.asarray(index)
    for step in np.flatnonzero((numbers < 0) | (numbers >= classes))[:1]:
        raise InputError(
            f"the target of step {step} is {numbers[step]}, which is not a class of this "
            f"model: it has {classes}, numbered 0 to {classes - 1}"
        )


def check_number_of_steps(index: Int[Tensor, " steps"], out: int) -> None:
    """Validate that classes of steps are as many as there are output steps.

    Raises:
        InputError: they are not.
    """
    if len(index) != out:
        raise InputError(
            f"StepClasses holds {len(index)} classes and the model scores {out} output "
            "steps: give one class for each"
        )


def class_index(
    target: Index | StepClasses, scores: tuple[int, ...]
) -> Int[Array, "*out"]:
    """Return a class, or the classes of steps, as an array: what the mathematics takes.

    Args:
        target: class number or classes of steps.
        scores: the shape (out, C) of the scores.

    Raises:
        InputError: not classes of a model of such scores.
    """
    if isinstance(target, StepClasses):
        check_step_classes(target, scores)
        return jnp.asarray(_validated_step_classes(target).classes)
    check_target(target, scores[1])
    return jnp.asarray(target)


def _validated_step_classes(target: StepClasses) -> StepClasses:
    """Return classes of steps as an array (out,); of another shape they are an error."""
    try:
        classes = jnp.asarray(target.classes)
    except (TypeError, ValueError, OverflowError):
        classes = jnp.zeros(0)
    is_integer = jnp.issubdtype(classes.dtype, jnp.integer)
    if not is_integer or classes.ndim != 1 or classes.size == 0:
        raise InputError(
            f"StepClasses holds {classes.dtype} {classes.shape}: give one class number "
            "for each output step, whole numbers (out,), and jax.vmap for a batch"
        )
    return StepClasses(classes.astype(int))


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
