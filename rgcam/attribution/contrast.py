"""Signed maps of several classes: what spoke for one and against another.

The classes share the feature map A, which is computed once. Signed maps are linear in
the class, so the maps of "why A rather than B" are the difference of A's and B's.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.attribution import gradcam, methods
from rgcam.attribution.gradcam import How
from rgcam.models.zoo import Model
from rgcam.types import Tensor

CLASSES = 4  # the explained one and its rivals


class Signed(NamedTuple):
    """Maps of some classes for one clip.

    Attributes:
        targets: class numbers, the explained one first.
        maps: (classes out in h w), in logits; signed, or rectified where only those
            were computed.
    """

    targets: tuple[int, ...] | Int[Tensor, "*batch classes"]
    maps: Float[Tensor, "*batch classes out in h w"]


def rivals(
    classes: Sequence[str],
    last: Float[Tensor, " C"],
    target: int,
    count: int = CLASSES,
) -> list[str]:
    """Name the target and then the classes with the highest other scores."""
    order = [int(c) for c in np.argsort(-np.asarray(last), kind="stable")]
    chosen = [target, *[c for c in order if c != target]]
    return [classes[c] for c in chosen[:count]]


def signed(
    model: Model,
    features: Float[Tensor, "in h w K"],
    names: Sequence[str],
    *,
    method: str = "gradcam",
    baseline: str | None = None,
) -> Signed:
    """Compute the signed maps of each class from a clip's feature map.

    Class by class, so that the maps of one are on the device at a time.

    Args:
        model: what is explained.
        features: A, such as ``Explanation.features``.
        names: some of its classes.
        method: as of ``gradcam.explain``.
        baseline: its name, as of ``gradcam.explain``.
    """
    how = {"method": method, "baseline": baseline}
    found = [np.asarray(own) for own in _each(model, features, names, **how)]
    return Signed(tuple(map(model.classes.index, names)), np.stack(found))


def diagonals(
    model: Model, features: Float[Tensor, "in h w K"], names: Sequence[str]
) -> Float[np.ndarray, "classes in h w"]:
    """Compute L[t, t] of each class: a frame CNN's signed maps of every frame alone.

    Classes from the first one on that the model lacks are left out.
    """
    known = itertools.takewhile(lambda name: name in model.classes, names)
    steps = np.arange(len(features))
    found = [np.asarray(own)[steps, steps] for own in _each(model, features, known)]
    return np.stack([*found, np.zeros(features.shape[:3], np.float32)])[:-1]


def _each(
    model: Model, features: Tensor, names: Iterable[str], **how: Any
) -> Iterator[Array]:
    for name in names:
        target = model.classes.index(name)
        yield maps(model.module, model.variables, features, target, **how)


@functools.partial(jax.jit, static_argnames=("module", "method", "baseline"))
def maps(
    module: nn.Module,
    variables: Any,
    features: Float[Tensor, "in h w K"],
    target: int | Int[Tensor, ""],
    length: int | Int[Tensor, ""] | None = None,
    *,
    method: str = "gradcam",
    baseline: str | None = None,
) -> Float[Array, "out in h w"]:
    """Compute one class's signed maps from features that are there already."""
    baseline = methods.baseline_of(method, baseline)
    how = How(relu=False, beta=False, method=method, baseline=baseline)
    options = {"how": how, "length": length}
    arguments = module, variables, jnp.asarray(features), jnp.asarray(target)
    return gradcam.explain_features(*arguments, **options).maps
