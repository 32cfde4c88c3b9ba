"""One clip, all methods: how faithful, how true, how sane, and what the check says."""

import functools

import numpy as np

from rgcam.attribution import lags, methods
from rgcam.evaluation.clips import Subject
from rgcam.evaluation.counterparts import Models, Seen, others, see, shuffled, to_beat
from rgcam.evaluation.passes import features_of, lost_of, maps_of, replacement_of
from rgcam.metrics import (
    deletion,
    faithfulness,
    localization,
    randomization,
    removal,
    selfcheck,
)

SETS = 200  # of random frames, by which all methods of a baseline are measured
ALIKE = {"frozen": "frozen", "blurred": "blurred"}  # removals for all methods alike
Measures = dict[str, float]


def measure(
    models: Models,
    subject: Subject,
    asked: list[str],
    other: dict[str, np.ndarray],
) -> dict[str, Measures]:
    """Measure every method that is asked for, and what is to be beaten, by one clip.

    Args:
        models: from ``beside``.
        subject: the clip.
        asked: methods, ``fade`` or with a baseline ``fade:mean``.
        other: maps of the clip before by method, which a broken explanation shows;
            replaced by this clip's.
    """
    seen = see(models.model, subject)
    apart = others(models, seen)
    truths = functools.cache(functools.partial(_truth, seen))
    trace = _tracer(seen)
    found = {}
    for name in asked:
        method, baseline = split(name)
        explain = functools.partial(_explain, seen, method, baseline)
        maps = explain(seen.model.variables, seen.features)
        wrong = {kind: explain(*made[:2]) for kind, made in apart.items()}
        broken = {"shuffled": shuffled(maps), "model": wrong["recurrent"]}
        broken |= {"clip": other[name]} if name in other else {}
        check = functools.partial(_check, seen, method, baseline)
        like = {kind: wrong[kind][-1][made.place] for kind, made in apart.items()}
        curved = trace(maps, {"own": baseline, **ALIKE})
        found[name] = _faithful(maps, *truths(baseline)) | _checked(check, maps, broken)
        found[name] |= _known(seen, maps) | _likeness(maps, like) | curved
        other[name] = maps
    return found | _of_pictures(to_beat(models.cnn, seen), seen, truths, trace)


def _of_pictures(pictures, seen: Seen, truths, trace) -> dict[str, Measures]:
    """Measure pictures that are to be beaten."""
    found = {}
    for name, maps in pictures.items():
        faithful = _faithful(maps, *truths("previous"))
        faithful.pop("infidelity, last")  # their units are not the scores'
        found[name] = faithful | _known(seen, maps) | trace(maps, ALIKE)
    return found


def split(name: str) -> tuple[str, str]:
    """Return a method and its baseline: ``fade:mean``, or its own of ``fade``."""
    method, _, baseline = name.partition(":")
    return method, methods.baseline_of(method, baseline or None)


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


def _check(seen: Seen, method: str, baseline: str, maps) -> selfcheck.FaithfulnessCheck:
    about = seen.model.module, seen.model.variables, seen.features, maps, seen.target
    return selfcheck.check_faithfulness(*about, method=method, baseline=baseline)


def _checked(check, maps, broken) -> Measures:
    """Return the self-check, and what it says of broken explanations."""
    right = check(maps)
    wrong = {kind: check(made) for kind, made in broken.items()}
    return {
        "space": right.space,
        "deletion": right.deletion,
        "check": right.score,
        "trusted": float(right.passed),
        **{f"check {kind}": made.score for kind, made in wrong.items()},
        **{f"trusts {kind}": float(made.passed) for kind, made in wrong.items()},
    }


def _likeness(maps, others: dict[str, np.ndarray]) -> Measures:
    """Compare the last step's maps with those that should be others; lower is saner."""
    found = {
        name: randomization.similarity(maps[-1], made) for name, made in others.items()
    }
    return {f"like {name}": value for name, value in found.items()}


def _known(seen: Seen, maps) -> Measures:
    """Return what a picture shows by itself: how true it is, how far back it goes.

    ``recurrent share``: of the matrix's absolute values, off the diagonal; with a
    detached state a gradient has none. ``half-life``: of credit by lag, in frames, at
    most the clip's; longer ones, and none, cannot be told apart.
    """
    reach = lags.lags(maps.sum((2, 3)))
    half_life = min(reach.half_life, float(len(maps)))
    time = {"recurrent share": reach.recurrent_share, "half-life": half_life}
    return _true(seen, maps) | time


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
        return remove, deletion.random_curves(remove, seen.features.shape[:3], rng())

    def trace(maps, removals: dict[str, str]) -> Measures:
        found = {}
        for name, removed in removals.items():
            remove, random = prepared(removed)
            values = deletion.measures(deletion.curves(remove, maps[-1], rng()), random)
            found |= {f"{measure}, {name}": x for measure, x in values.items()}
        return found

    return trace


def _remover(seen: Seen, removed: str) -> deletion.Remove:
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


def _explain(seen: Seen, method: str, baseline: str, variables, features):
    options = {"method": method, "baseline": baseline}
    about = seen.model.module, variables, features, seen.target
    return np.asarray(maps_of(*about, **options))
