"""A model of another framework with its classes and preprocessing, as from the zoo.

Figures, the page and the command line take a ``rgcam.Model``: beside the module and its
variables it knows the names of the classes and how a video's frames become its input.
"""

import functools
from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rgcam.errors import InputError
from rgcam.models import backbones
from rgcam.models.backbones import Preprocess
from rgcam.models.cut import CutModel
from rgcam.models.description import Architecture, Description
from rgcam.models.zoo import Model
from rgcam.types import Fields, Variables

FPS = 7.5  # where nobody knows at which rate a model was trained
# x -> (x - offset) / scale on 0..255, by the names of the command line.
RANGES = {
    "unit": (0.0, 255.0),
    "minus_one_one": (127.5, 127.5),
    "none": (0.0, 1.0),
}


def video_model(
    module: CutModel,
    variables: Variables,
    classes: Sequence[str],
    *,
    size: int,
    frames: int | None = None,
    preprocess: str | Preprocess = "unit",
    fps: float = FPS,
    name: str = "the model",
    architecture: Fields | None = None,
) -> Model:
    """Make a ``rgcam.Model`` of any cut model, which the report takes.

    Args:
        module: such as ``from_keras`` returns.
        variables: its variables.
        classes: names of the C classes.
        size: S of its frames, pixels; whole frames are resized to S x S.
        frames: T of its input, where it takes one number of frames only.
        preprocess: range of the pixels: "unit" (0 to 1), "minus_one_one" (-1 to 1) or
            "none" (0 to 255); or a ``Preprocess``.
        fps: frames per second at which it was trained.
        name: of the model, for titles.
        architecture: what the page says of it, such as ``{"framework": "Keras"}``.

    Raises:
        InputError: an unknown range, or another number of classes than scores.
    """
    if isinstance(preprocess, str):
        if preprocess not in RANGES:
            raise InputError(
                f"unknown preprocessing {preprocess!r}: choose one of {', '.join(RANGES)}"
            )
        offset, scale = RANGES[preprocess]
        preprocess = Preprocess(size=size, crop=None, offset=offset, scale=scale)
    clip = jax.ShapeDtypeStruct((frames or 4, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(functools.partial(_both, module), variables, clip)
    feature_map, scores = shapes[0].shape[1:], shapes[1].shape[-1]
    if len(classes) != scores:
        raise InputError(
            f"{len(classes)} class names for a model of {scores} scores: give all names, "
            "in the order of the scores"
        )
    description = Description(
        # What the page prints; rgcam builds no such architecture.
        arch=cast(Architecture, dict(architecture or {})),
        classes=tuple(classes),
        preprocess=preprocess,
        fps=fps,
        frozen=False,
    )
    return Model(
        module=cast(nn.Module, module),  # called like one
        variables=variables,
        classes=tuple(classes),
        preprocess=functools.partial(backbones.preprocess, preprocess),
        name=name,
        description=description,
        feature_map=feature_map,
    )


def _both(
    module: CutModel, variables: Variables, frames: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return A and the scores."""
    features = module.apply(variables, frames, method="features")
    return features, module.apply(variables, features, method="classify")
