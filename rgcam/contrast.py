"""Signed maps of several classes: what spoke for one and against another.

The classes share the feature map A, which is computed once. Signed maps are linear in
the class, so the maps of "why A rather than B" are the difference of A's and B's.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from rgcam import gradcam, methods
from rgcam.gradcam import How, Tensor
from rgcam.library import Model

CLASSES = 4  # the explained one and its rivals


class Signed(NamedTuple):
    """Maps of some classes for one clip.

    Attributes:
        targets: class numbers, the explained one first.
        maps: (classes out in h w), in logits; signed, or rectified where only those
            were computed.
    """

    targets: tuple[int, ...]
    maps: Float[Tensor, "classes out in h w"]


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
        names: classes; those from the first one on that the model lacks are left out.
        method: as of ``gradcam.explain``.
        baseline: its name, as of ``gradcam.explain``.
    """
    known = itertools.takewhile(lambda name: name in model.classes, names)
    targets = tuple(model.classes.index(name) for name in known)
    baseline = methods.baseline_of(method, baseline)
    how = How(relu=False, beta=False, method=method, baseline=baseline)
    maps = [_maps(model.module, model.variables, features, c, how) for c in targets]
    steps, height, width = features.shape[:3]
    none = np.zeros((0, steps, steps, height, width), np.float32)
    return Signed(targets, np.stack([*map(np.asarray, maps)]) if maps else none)


@functools.partial(jax.jit, static_argnames=("module", "how"))
def _maps(module, variables, features, target, how) -> Array:
    return gradcam.explain_features(module, variables, features, target, how=how).maps
