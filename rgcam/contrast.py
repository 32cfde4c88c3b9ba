"""Signed maps of several classes: what spoke for one and against another.

The classes share the feature map A, which is computed once. Signed maps are linear in
the class, so the maps of "why A rather than B" are the difference of A's and B's.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam import gradcam
from rgcam.gradcam import Tensor
from rgcam.library import Model

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
    model: Model, features: Float[Tensor, "in h w K"], names: Sequence[str]
) -> Signed:
    """Compute the signed maps of each class from a clip's feature map.

    Class by class, so that the maps of one are on the device at a time.

    Args:
        model: what is explained.
        features: A, such as ``Explanation.features``.
        names: classes; those from the first one on that the model lacks are left out.
    """
    known = itertools.takewhile(lambda name: name in model.classes, names)
    targets = tuple(model.classes.index(name) for name in known)
    found = [maps(model.module, model.variables, features, c) for c in targets]
    steps, height, width = features.shape[:3]
    none = np.zeros((0, steps, steps, height, width), np.float32)
    return Signed(targets, np.stack([*map(np.asarray, found)]) if found else none)


@functools.partial(jax.jit, static_argnames="module")
def maps(
    module: nn.Module, variables: Any, features: Tensor, target, length=None
) -> Float[Array, "out in h w"]:
    """Compute one class's signed maps from features that are there already."""
    options = {"length": length, "pick": None, "relu": False, "beta": False}
    call = gradcam.explain_features
    return call(module, variables, features, target, **options).maps
