"""What an explanation of a clip is held against: others, broken ones, ones to beat."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from rgcam.errors import InputError
from rgcam.evaluation import trivial
from rgcam.evaluation.clips import Subject
from rgcam.evaluation.passes import features_of, maps_of, scores_of
from rgcam.metrics import randomization
from rgcam.models.zoo import Model

CNN = "frame CNN"


class Models(NamedTuple):
    """What is explained, and other models beside it.

    Attributes:
        model: to explain.
        cnn: frame CNN, or None.
        labels: a model of the same kind trained on random labels, or None.
        randomised: variables of the model randomised further and further down.
    """

    model: Model
    cnn: Model | None
    labels: Model | None
    randomised: dict[str, Any]


class Seen(NamedTuple):
    """A clip as the model sees it.

    Attributes:
        model: to explain.
        subject: the clip.
        features: A.
        scores: y.
        target: the class to explain.
    """

    model: Model
    subject: Subject
    features: Float[np.ndarray, "T h w K"]
    scores: Float[np.ndarray, "T C"]
    target: int


class Other(NamedTuple):
    """What another explanation of a clip is made of, which should not be like it.

    Attributes:
        variables: of the model.
        features: A.
        place: of each frame of the clip, among these.
    """

    variables: Any
    features: Float[np.ndarray, "T h w K"]
    place: Int[np.ndarray, " T"]


def beside(model: Model, cnn: Model | None, labels: Model | None) -> Models:
    """Put a model beside others, and randomise it once for all clips.

    Raises:
        InputError: random labels were learnt by a model of another kind.
    """
    kind = lambda m: (m.description.arch, m.classes, m.description.preprocess)
    if labels is not None and kind(labels) != kind(model):
        raise InputError(
            f"{labels.name} is not of the same kind as {model.name}: give a model of "
            "the same architecture and classes, trained on random labels"
        )
    made = {}
    for count, part in enumerate(randomization.CASCADE, 1):
        parts, key = randomization.CASCADE[:count], jax.random.key(count)
        made[part] = randomization.randomised(model.variables, parts, key)
    return Models(model, cnn, labels, made)


def see(model: Model, subject: Subject) -> Seen:
    """Look at a clip, and decide which class is explained."""
    features = np.asarray(features_of(model.module, model.variables, subject.frames))
    scores = np.asarray(scores_of(model.module, model.variables, features))
    target = int(scores[-1].argmax()) if subject.target is None else subject.target
    return Seen(model, subject, features, scores, target)


def others(models: Models, seen: Seen) -> dict[str, Other]:
    """Return models randomised, one of random labels, and the clip in another order."""
    module, frames = seen.model.module, seen.subject.frames
    kept = np.arange(len(frames))
    found = {}
    for part, variables in models.randomised.items():
        deep = part == "backbone"
        own = features_of(module, variables, frames) if deep else seen.features
        found[part] = Other(variables, np.asarray(own), kept)
    if models.labels is not None:
        own = features_of(module, models.labels.variables, frames)
        found["random labels"] = Other(models.labels.variables, np.asarray(own), kept)
    order = np.random.default_rng(3).permutation(len(frames))
    own = features_of(module, seen.model.variables, frames[order])
    place = np.argsort(order)
    found["shuffled frames"] = Other(seen.model.variables, np.asarray(own), place)
    return found


def shuffled(maps: np.ndarray) -> np.ndarray:
    """Return maps of frames in a random order, of the frames seen at each step."""
    rng, found = np.random.default_rng(2), np.zeros_like(maps)
    for step in range(len(maps)):
        found[step, : step + 1] = rng.permutation(maps[step, : step + 1])
    return found


def to_beat(cnn: Model | None, seen: Seen) -> dict[str, np.ndarray]:
    """Return maps (T T h w) that know nothing of the model, and the frame CNN's."""
    about = seen.subject.pixels, seen.features
    found = {name: trivial.maps(name, *about) for name in trivial.NAMES}
    if cnn is not None:
        own = features_of(cnn.module, cnn.variables, seen.subject.frames)
        options = {"method": "gradcam", "baseline": "zero"}
        maps = maps_of(cnn.module, cnn.variables, own, seen.target, **options)
        steps = np.arange(len(own))
        found[CNN] = trivial.of_frames(np.asarray(maps)[steps, steps])
    return found
