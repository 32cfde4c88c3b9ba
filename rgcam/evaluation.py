"""One clip, all methods: how faithful, how true, how sane, and what the check says."""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from rgcam import (
    curves,
    faithfulness,
    lags,
    localization,
    methods,
    removal,
    sanity,
    selfcheck,
    trivial,
)
from rgcam.library import Model
from rgcam.passes import features_of, lost_of, maps_of, replacement_of, scores_of
from rgcam.subjects import Subject

SETS = 200  # of random frames, by which all methods of a baseline are measured
CNN = "frame CNN"
ALIKE = {"frozen": "frozen", "blurred": "blurred"}  # removals for all methods alike
Measures = dict[str, float]


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


def measure(
    model: Model,
    cnn: Model | None,
    subject: Subject,
    asked: list[str],
    other: dict[str, np.ndarray],
) -> dict[str, Measures]:
    """Measure every method that is asked for, and what is to be beaten, by one clip.

    Args:
        model: to explain.
        cnn: frame CNN beside it, or None.
        subject: the clip.
        asked: methods, ``fade`` or with a baseline ``fade:mean``.
        other: maps of the clip before by method, which a broken explanation shows;
            replaced by this clip's.
    """
    seen = _seen(model, subject)
    wrong = _random_models(seen)
    truths = functools.cache(functools.partial(_truth, seen))
    trace = _tracer(seen)
    found = {}
    for name in asked:
        method, baseline = split(name)
        explain = functools.partial(
            maps_of, model.module, method=method, baseline=baseline
        )
        maps = np.asarray(explain(model.variables, seen.features, seen.target))
        random = [np.asarray(explain(*w, seen.target)) for w in wrong]
        broken = {"shuffled": _shuffled(maps), "model": random[1]}
        broken |= {"clip": other[name]} if name in other else {}
        found[name] = {
            **_faithful(maps, *truths(baseline)),
            **_checked(functools.partial(_check, seen, method, baseline), maps, broken),
            **_true(seen, maps),
            **_likeness(maps, random),
            **trace(maps, {"own": baseline, **ALIKE}),
        }
        other[name] = maps
    for name, maps in _to_beat(cnn, seen).items():
        faithful = _faithful(maps, *truths("previous"))
        faithful.pop("infidelity, last")  # their units are not the scores'
        found[name] = faithful | _true(seen, maps) | trace(maps, ALIKE)
    return found


def split(name: str) -> tuple[str, str]:
    """Return a method and its baseline: ``fade:mean``, or its own of ``fade``."""
    method, _, baseline = name.partition(":")
    return method, methods.baseline_of(method, baseline or None)


def _seen(model: Model, subject: Subject) -> Seen:
    features = np.asarray(features_of(model.module, model.variables, subject.frames))
    scores = np.asarray(scores_of(model.module, model.variables, features))
    target = int(scores[-1].argmax()) if subject.target is None else subject.target
    return Seen(model, subject, features, scores, target)


def _truth(seen: Seen, baseline: str):
    """Return random sets, what their removal takes, and what single frames' does."""
    rng = np.random.default_rng(1)
    removed = rng.random((SETS, len(seen.features))) < selfcheck.REMOVED
    removed = removed.astype(np.float32)
    about = seen.model.module, seen.model.variables, seen.features, seen.target
    lost, single = lost_of(*about, removed, baseline)
    return removed, np.asarray(lost), np.asarray(single)


def _faithful(maps, removed, lost, single) -> Measures:
    matrix = maps.sum((2, 3)).astype(np.float64)
    subset = faithfulness.subset_fidelity(matrix, removed, lost)[1:]
    centred = removed - removed.mean(0)
    fitted = np.linalg.lstsq(centred, lost - lost.mean(0), rcond=None)[0].T
    best = faithfulness.subset_fidelity(fitted, removed, lost)[1:]
    return {
        "subset": float(np.nanmean(subset)),
        "subset, last": float(subset[-1]),
        "best of any matrix": float(np.nanmean(best)),
        "matrix": faithfulness.matrix_fidelity(matrix, single),
        "matrix, ranks": faithfulness.matrix_fidelity(matrix, single, ranks=True),
        "infidelity, last": float(faithfulness.infidelity(matrix, removed, lost)[-1]),
    }


def _check(seen: Seen, method: str, baseline: str, maps) -> selfcheck.Check:
    about = seen.model.module, seen.model.variables, seen.features, maps, seen.target
    return selfcheck.check(*about, method=method, baseline=baseline)


def _checked(check, maps, broken) -> Measures:
    """Return the self-check, and what it says of broken explanations."""
    right = check(maps)
    wrong = {kind: check(made) for kind, made in broken.items()}
    return {
        "space": right.space,
        "deletion": right.deletion,
        "check": right.score,
        "trusted": float(right.trusted),
        **{f"check {kind}": made.score for kind, made in wrong.items()},
        **{f"trusts {kind}": float(made.trusted) for kind, made in wrong.items()},
    }


def _likeness(maps, random) -> Measures:
    """Compare the last step's maps with those of models randomised more and more."""
    return {
        f"like {part}": sanity.similarity(maps[-1], made[-1])
        for part, made in zip(sanity.CASCADE, random, strict=True)
    }


def _true(seen: Seen, maps) -> Measures:
    """Hold the maps against the truth, where it is known.

    Of the last step, and ``, all``: of every frame the largest positive map over the
    steps t'. A model trained on all steps' scores may forget at the last step what an
    earlier one saw.
    """
    positive = np.maximum(maps, 0)
    every = lags.aggregate(positive, seen.scores, seen.target, "max")
    truth = seen.subject.mask, seen.subject.true
    last = localization.measures(positive[-1], *truth)
    found = localization.measures(every, *truth)
    return last | {f"{name}, all": value for name, value in found.items()}


def _tracer(seen: Seen):
    """Return what traces maps' curves by names of removals; random ones are shared."""
    rng = lambda: np.random.default_rng([*seen.subject.name.encode()])

    @functools.cache
    def prepared(removed: str):
        remove = _remover(seen, removed)
        return remove, curves.random_curves(remove, seen.features.shape[:3], rng())

    def trace(maps, removals: dict[str, str]) -> Measures:
        found = {}
        for name, removed in removals.items():
            remove, random = prepared(removed)
            values = curves.measures(curves.curves(remove, maps[-1], rng()), random)
            found |= {f"{measure}, {name}": x for measure, x in values.items()}
        return found

    return trace


def _remover(seen: Seen, removed: str) -> curves.Remove:
    """Return what removes by a baseline, by blurred frames, or by standing still."""
    about = seen.model.module, seen.model.variables
    if removed == "frozen":
        instead = None
    elif removed == "blurred":
        instead = features_of(*about, removal.blurred(seen.subject.frames))
    else:
        instead = replacement_of(seen.features, removed)
    return functools.partial(
        removal.outcome, *about, seen.features, instead, seen.target
    )


def _random_models(seen: Seen):
    """Return (variables, features) of models randomised further and further down."""
    made, features, model = [], seen.features, seen.model
    for count in range(1, len(sanity.CASCADE) + 1):
        parts, key = sanity.CASCADE[:count], jax.random.key(count)
        variables = sanity.randomised(model.variables, parts, key)
        if "backbone" in parts:
            features = features_of(model.module, variables, seen.subject.frames)
        made.append((variables, features))
    return made


def _shuffled(maps: np.ndarray) -> np.ndarray:
    """Return maps of frames in a random order, of the frames seen at each step."""
    rng, found = np.random.default_rng(2), np.zeros_like(maps)
    for step in range(len(maps)):
        found[step, : step + 1] = rng.permutation(maps[step, : step + 1])
    return found


def _to_beat(cnn: Model | None, seen: Seen) -> dict[str, np.ndarray]:
    about = seen.subject.pixels, seen.features
    found = {name: trivial.maps(name, *about) for name in trivial.NAMES}
    if cnn is not None:
        own = features_of(cnn.module, cnn.variables, seen.subject.frames)
        options = {"method": "gradcam", "baseline": "zero"}
        maps = maps_of(cnn.module, cnn.variables, own, seen.target, **options)
        steps = np.arange(len(own))
        found[CNN] = trivial.of_frames(np.asarray(maps)[steps, steps])
    return found
