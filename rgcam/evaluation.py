"""One clip, all methods: how faithful, how true, how sane, and what the check says."""

import functools

import jax
import numpy as np

from rgcam import (
    chunks,
    faithfulness,
    gradcam,
    interventions,
    lags,
    localization,
    methods,
    sanity,
    selfcheck,
    trivial,
)
from rgcam.library import Model
from rgcam.subjects import Subject

SETS = 200  # of random frames, by which all methods of a baseline are measured
CNN = "frame CNN"
Measures = dict[str, float]


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
    features = np.asarray(features_of(model.module, model.variables, subject.frames))
    scores = np.asarray(_scores(model.module, model.variables, features))
    target = int(scores[-1].argmax()) if subject.target is None else subject.target
    true = functools.partial(_true, scores=scores, target=target, subject=subject)
    wrong = _random_models(model, subject, features)
    truths = functools.cache(functools.partial(_truth, model, features, target))
    found = {}
    for name in asked:
        method, baseline = split(name)
        options = {"method": method, "baseline": baseline}
        explain = functools.partial(maps_of, model.module, **options)
        check = functools.partial(
            *(selfcheck.check, model.module, model.variables, features),
            **{"target": target, **options},
        )
        maps = np.asarray(explain(model.variables, features, target))
        random = [np.asarray(explain(*w, target)) for w in wrong]
        broken = {"shuffled": _shuffled(maps), "model": random[1]}
        broken |= {"clip": other[name]} if name in other else {}
        found[name] = {
            **_faithful(maps, *truths(baseline)),
            **_checked(check, maps, broken),
            **true(maps),
            **_likeness(maps, random),
        }
        other[name] = maps
    for name, maps in _to_beat(cnn, subject, features, target).items():
        faithful = _faithful(maps, *truths("previous"))
        faithful.pop("infidelity, last")  # their units are not the scores'
        found[name] = faithful | true(maps)
    return found


def split(name: str) -> tuple[str, str]:
    """Return a method and its baseline: ``fade:mean``, or its own of ``fade``."""
    method, _, baseline = name.partition(":")
    return method, methods.baseline_of(method, baseline or None)


@functools.partial(jax.jit, static_argnames=("module",))
def features_of(module, variables, frames):
    """Return A, compiled once for a length."""
    return chunks.features(module, variables, frames)


@functools.partial(jax.jit, static_argnames=("module",))
def _scores(module, variables, features):
    return module.apply(variables, features, method="classify")


@functools.partial(jax.jit, static_argnames=("module", "method", "baseline"))
def maps_of(module, variables, features, target, *, method, baseline):
    """Return a method's maps (T T h w) as they are shown by default."""
    if method == "gradcam":
        classify = functools.partial(module.apply, variables, method="classify")
        beta = gradcam.importance_weights(classify, features, target)
        return gradcam.heatmaps(beta, features)
    instead = interventions.replacement(features, baseline)
    maps, _ = methods.signed(method, module, variables, features, instead, target)
    return jax.nn.relu(maps) if methods.rectified(method, None) else maps


@functools.partial(jax.jit, static_argnames=("module", "baseline"))
def _lost(module, variables, features, target, removed, baseline):
    instead = interventions.replacement(features, baseline)
    upper = interventions.upper(module, variables, features, instead, target)
    found = upper.outputs(upper.inputs) - interventions.kept(upper, 1 - removed)
    return found, interventions.occlusion(upper)


def _truth(model, features, target, baseline):
    """Return random sets, what their removal takes, and what single frames' does."""
    rng = np.random.default_rng(1)
    removed = (rng.random((SETS, len(features))) < selfcheck.REMOVED).astype(np.float32)
    about = model.module, model.variables, features, target
    lost, single = _lost(*about, removed, baseline)
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


def _true(maps, scores, target, subject: Subject) -> Measures:
    """Hold the maps against the truth, where it is known.

    Of the last step, and ``, all``: of every frame the largest positive map over the
    steps t'. A model trained on all steps' scores may forget at the last step what an
    earlier one saw.
    """
    positive = np.maximum(maps, 0)
    every = lags.aggregate(positive, scores, target, "max")
    truth = subject.mask, subject.true
    last = localization.measures(positive[-1], *truth)
    found = localization.measures(every, *truth)
    return last | {f"{name}, all": value for name, value in found.items()}


def _random_models(model: Model, subject: Subject, features):
    """Return (variables, features) of models randomised further and further down."""
    made = []
    for count in range(1, len(sanity.CASCADE) + 1):
        parts, key = sanity.CASCADE[:count], jax.random.key(count)
        variables = sanity.randomised(model.variables, parts, key)
        if "backbone" in parts:
            features = features_of(model.module, variables, subject.frames)
        made.append((variables, features))
    return made


def _shuffled(maps: np.ndarray) -> np.ndarray:
    """Return maps of frames in a random order, of the frames seen at each step."""
    rng, found = np.random.default_rng(2), np.zeros_like(maps)
    for step in range(len(maps)):
        found[step, : step + 1] = rng.permutation(maps[step, : step + 1])
    return found


def _to_beat(cnn, subject: Subject, features, target) -> dict[str, np.ndarray]:
    found = {n: trivial.maps(n, subject.pixels, features) for n in trivial.NAMES}
    if cnn is not None:
        own = features_of(cnn.module, cnn.variables, subject.frames)
        options = {"method": "gradcam", "baseline": "zero"}
        maps = np.asarray(maps_of(cnn.module, cnn.variables, own, target, **options))
        steps = np.arange(len(maps))
        found[CNN] = trivial.of_frames(maps[steps, steps])
    return found
