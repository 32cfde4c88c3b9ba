"""One clip, all methods: faithfulness, localization, sanity, and the faithfulness check."""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rgcam.attribution import explain as attribution
from rgcam.attribution import maps as attribution_maps
from rgcam.attribution import perturbation
from rgcam.attribution.explain import MapsFunction, Method
from rgcam.attribution.maps import Aggregation
from rgcam.attribution.perturbation import Baseline
from rgcam.errors import InputError
from rgcam.evaluation.clips import EvaluationClip
from rgcam.evaluation.controls import (
    Case,
    Maps,
    Models,
    controls,
    features_of,
    maps_of,
    prepare_case,
    reference_maps,
    seed_of,
    shuffle_visible,
)
from rgcam.metrics import deletion, faithfulness, localization, randomization
from rgcam.metrics.deletion import CurveMeasures, Curves, RemovalScores
from rgcam.metrics.faithfulness import FaithfulnessCheck
from rgcam.metrics.localization import LocalizationMeasures

SETS = 200  # random sets of frames, the same for all methods of a baseline
KINDS = ("faithfulness", "check", "localization", "similarity", "curves", "time")
NAN = math.nan
SIGNED, RECTIFIED = SIGNS = ("signed", "rectified")
_T = TypeVar("_T")


class FaithfulnessMeasures(NamedTuple):
    """How well the matrix predicts what removals do; NaN where it is not measured.

    Attributes:
        subset: subset fidelity, mean over the output steps that see several frames: a
            partial correlation, given the number of removed frames.
        subset_raw: the same correlation with this number not taken out. Any positive
            matrix can have a high one.
        beyond_recency: the same correlation with how recent the removed frames are taken
            out, too.
        subset_last: subset fidelity at the last step.
        best_matrix: subset fidelity of the best matrix there is, fitted to the sets.
        space: the faithfulness check's fidelity to quarters of frames.
        matrix: correlation with the effects of removing single frames.
        matrix_ranks: rank correlation with them.
        infidelity_last: at the last step; lower is better.
        deletion: the faithfulness check's deletion of frames, against random orders.
    """

    subset: float = NAN
    subset_raw: float = NAN
    beyond_recency: float = NAN
    subset_last: float = NAN
    best_matrix: float = NAN
    space: float = NAN
    matrix: float = NAN
    matrix_ranks: float = NAN
    infidelity_last: float = NAN
    deletion: float = NAN


class SimilarityMeasures(NamedTuple):
    """Rank correlation of the shown maps with those of controls; lower is better.

    Attributes:
        scores: of the model with its scores randomised.
        recurrent: with the recurrent part randomised, too; of a model that has no such
            parts, such as one of another framework, with all above the feature map.
        frame_head: with the frame head randomised, too.
        backbone: with all of it randomised.
        random_labels: of a model trained on random labels.
        shuffled_frames: of the clip with its frames shuffled.
    """

    scores: float = NAN
    recurrent: float = NAN
    frame_head: float = NAN
    backbone: float = NAN
    random_labels: float = NAN
    shuffled_frames: float = NAN


class TimeMeasures(NamedTuple):
    """How far back an explanation reaches.

    Attributes:
        recurrent_share: share of the matrix's absolute values off the diagonal; the
            gradient of a model with a detached state has none.
        half_life: of the attribution by lag, in frames, at most the clip's length:
            longer ones, and infinite ones, cannot be told apart.
    """

    recurrent_share: float = NAN
    half_life: float = NAN


class CheckOutcomes(NamedTuple):
    """What the faithfulness check says of genuine maps, and of corrupted ones.

    The check judges one output step, as it does for every explanation that is shown.

    Attributes:
        genuine: the method's own maps.
        other_clip: the method's maps of another clip.
        shuffled_frames: the genuine maps, frames in a random order.
        random_model: maps of the model with scores and recurrent part randomised, or all
            above the feature map.
    """

    genuine: float = NAN
    other_clip: float = NAN
    shuffled_frames: float = NAN
    random_model: float = NAN


class MethodMeasures(NamedTuple):
    """All measures of one method on one clip.

    The shown maps are those of the last output step, or what the method's aggregation
    makes of all maps.

    Attributes:
        faithfulness: what the matrix predicts of removals by the method's baseline.
        curves: deletion and insertion of the shown maps by the method's baseline.
        curves_frozen: where removed frames freeze the video.
        curves_blurred: where removed frames are blurred.
        localization: of the positive shown maps, frame by frame.
        localization_max: of each frame's maximum of the positive maps over all output
            steps: at the last step a model trained on the scores of all steps may have
            forgotten what an earlier one saw.
        similarity: to controls, which should be different.
        time: how far back the explanation reaches.
        check_score: scores of the faithfulness check of the last output step; NaN also
            where there is no effect.
        check_score_middle: of the output step in the middle, which sees half the clip;
            NaN of a score of the whole clip.
        check_passed: 1 where the last output step passes, 0 where it fails, NaN where
            the check was not run.
    """

    faithfulness: FaithfulnessMeasures = FaithfulnessMeasures()
    curves: CurveMeasures = CurveMeasures()
    curves_frozen: CurveMeasures = CurveMeasures()
    curves_blurred: CurveMeasures = CurveMeasures()
    localization: LocalizationMeasures = LocalizationMeasures()
    localization_max: LocalizationMeasures = LocalizationMeasures()
    similarity: SimilarityMeasures = SimilarityMeasures()
    time: TimeMeasures = TimeMeasures()
    check_score: CheckOutcomes = CheckOutcomes()
    check_score_middle: CheckOutcomes = CheckOutcomes()
    check_passed: CheckOutcomes = CheckOutcomes()


class Removals(NamedTuple):
    """Random sets of frames, and what their removal does to the target's score.

    Attributes:
        removed: 1 where a frame (step of A) of a set is removed.
        losses: what the removal of each set takes from the score of every output step.
        effects: what the removal of single frames takes.
    """

    removed: Float[np.ndarray, "N in"]
    losses: Float[np.ndarray, "N out"]
    effects: Float[np.ndarray, "out in"]


class ShownMaps(NamedTuple):
    """One map for each step of A, which are judged as they are shown.

    Attributes:
        maps: of an output step, or aggregated over several.
        step: the output step whose score is followed as parts are removed: that of the
            maps, or the last of an aggregation over several.
    """

    maps: Float[np.ndarray, "in h w"]
    step: int


class MeasuredMethod(NamedTuple):
    """A method with its baseline and sign, and the name under which it is measured.

    Attributes:
        name: in the tables.
        method: of ``explain.METHODS``, or a function.
        baseline: a name, feature maps, or a function of A.
        rectified: whether only what supports the class is shown.
        aggregate: which output steps are shown: a name of ``maps.AGGREGATIONS``, or a
            function (values, scores, target) -> one row of values. Localization, curves
            and similarity are of the shown maps. The matrix has all output steps, and the
            faithfulness check is of single ones, whatever the aggregation.
    """

    name: str
    method: Method
    baseline: Baseline
    rectified: bool = False
    aggregate: Aggregation = "last"

    @property
    def baseline_name(self) -> str:
        """Return the baseline's name."""
        return perturbation.baseline_name(self.baseline)


GivenMethod: TypeAlias = str | MapsFunction | MeasuredMethod
"""A name that ``parse`` reads, a function with its default baseline, or both named."""


def measure(
    models: Models,
    clip: EvaluationClip,
    methods: Sequence[GivenMethod],
    previous_maps: Mapping[str, Maps],
    kinds: Collection[str] = KINDS,
) -> tuple[dict[str, MethodMeasures], dict[str, Maps]]:
    """Measure every method on one clip, and the references that it must beat.

    Args:
        models: from ``prepare_models``.
        clip: with its ground truth.
        methods: names, as ``parse`` reads them; functions, as ``explain`` takes them; or
            a ``MeasuredMethod``.
        previous_maps: maps of the previous clip by name: they are what the corrupted
            explanation "maps of another clip" shows.
        kinds: of measures, of KINDS; the others are left out.

    Returns:
        Measures by name, and the maps of this clip by name. References have their
        faithfulness under each baseline of the methods, by names such as
        ``uniform:zero``, and all else by ``uniform``.

    Raises:
        InputError: two methods, or two baselines, of one name.
    """
    measured = [named(method) for method in methods]
    baselines = _by_name([(m.baseline_name, m.baseline) for m in measured], "baselines")
    _by_name([(m.name, m) for m in measured], "methods")
    # What all methods share: the controls, and the removals of each baseline.
    case = prepare_case(models.model, clip)
    named_controls = controls(models, case) if "similarity" in kinds else {}
    removals_of = functools.cache(lambda name: _removals(case, baselines[name]))
    measures_of_curves = _curve_measures(case, baselines)
    measures, named_maps = {}, {}
    for name, method, baseline, rectified, aggregate in measured:
        baseline_name = perturbation.baseline_name(baseline)
        explain = functools.partial(
            maps_of,
            case.model,
            target=case.target,
            method=method,
            baseline=baseline,
            rectified=rectified,
        )
        # The genuine explanation, and those of other models and inputs.
        maps = explain(case.model.variables, case.features)
        shown = _shown_maps(case, maps, aggregate)
        result = _measures_of_maps(case, maps, shown, kinds, measures_of_curves)
        if "similarity" in kinds:
            # The same maps of the controls, in the order of the clip's frames.
            maps_of_controls = {
                kind: case.of_frames(
                    _shown_maps(
                        case, explain(control.variables, control.features), aggregate
                    ).maps
                )[control.position]
                for kind, control in named_controls.items()
            }
            result = result._replace(
                similarity=_similarity(case.of_frames(shown.maps), maps_of_controls)
            )
        if "curves" in kinds:
            result = result._replace(curves=measures_of_curves(shown, baseline_name))
        if "faithfulness" in kinds:
            result = result._replace(
                faithfulness=_faithfulness(
                    maps, removals_of(baseline_name), case.visible
                )
            )
        if "check" in kinds:
            # Maps that cannot be faithful: the check should fail them.
            checked_maps = {
                "genuine": maps,
                "shuffled_frames": shuffle_visible(maps, seed_of(clip), case.visible),
                "random_model": explain(models.randomised["recurrent"], case.features),
            }
            if name in previous_maps:
                checked_maps["other_clip"] = previous_maps[name]
            last, middle = _check(case, method, baseline, checked_maps)
            score = {kind: check.score for kind, check in last.items()}
            passed = {kind: float(check.passed) for kind, check in last.items()}
            score_middle = {kind: check.score for kind, check in middle.items()}
            result = result._replace(
                faithfulness=result.faithfulness._replace(
                    space=last["genuine"].space, deletion=last["genuine"].deletion
                ),
                check_score=_outcomes(score),
                check_score_middle=_outcomes(score_middle),
                check_passed=_outcomes(passed),
            )
        measures[name] = result
        named_maps[name] = maps
    # Maps that know nothing of the recurrent model have no baseline of their own: they
    # are measured by that of every method that they are compared with.
    for name, maps in reference_maps(models.cnn, case).items():
        for baseline in baselines if "faithfulness" in kinds else ():
            # Their units are not the scores', so that they have no infidelity.
            measures[f"{name}:{baseline}"] = MethodMeasures(
                faithfulness=_faithfulness(
                    maps, removals_of(baseline), case.visible
                )._replace(infidelity_last=NAN)
            )
        measures[name] = _measures_of_maps(
            case, maps, _shown_maps(case, maps, "last"), kinds, measures_of_curves
        )
    return measures, named_maps


def parse(name: str) -> MeasuredMethod:
    """Read METHOD, METHOD:BASELINE or METHOD:BASELINE:SIGN.

    Without a baseline or a sign they are the method's own: ``fade`` is
    ``fade:previous:signed``, ``gradcam`` is ``gradcam:zero:rectified``.

    Raises:
        InputError: an unknown method, baseline or sign.
    """
    method, baseline, sign, *others = (*name.split(":"), "", "")
    if sign not in ("", *SIGNS) or any(others):
        raise InputError(
            f"{name!r} is no method: give METHOD, METHOD:BASELINE or "
            f"METHOD:BASELINE:SIGN, where SIGN is {' or '.join(SIGNS)}"
        )
    attribution.check_method(method, baseline or None)
    return MeasuredMethod(
        name=name,
        method=method,
        baseline=attribution.default_baseline(method, baseline or None),
        rectified=attribution.is_rectified(method, sign == RECTIFIED if sign else None),
    )


def named(given: GivenMethod) -> MeasuredMethod:
    """Return a method with its name, baseline and sign, by default its own."""
    if isinstance(given, MeasuredMethod):
        return given
    if isinstance(given, str):
        return parse(given)
    return MeasuredMethod(
        name=attribution.method_name(given),
        method=given,
        baseline=attribution.default_baseline(given, None),
    )


def _by_name(pairs: Sequence[tuple[str, _T]], kind: str) -> dict[str, _T]:
    """Return values by their names; two values of one name are an error."""
    values = dict(pairs)
    for name, value in pairs:
        if values[name] is not value and values[name] != value:
            raise InputError(f"two {kind} are called {name!r}: give them other names")
    return values


def to_fields(measures: MethodMeasures) -> dict[str, dict[str, float | None]]:
    """Return measures as plain data, group by group; JSON has no NaN: it is None."""
    finite = lambda value: float(value) if math.isfinite(value) else None
    return {
        group: {name: finite(value) for name, value in values._asdict().items()}
        for group, values in measures._asdict().items()
    }


def from_fields(fields: Mapping[str, Mapping[str, float | None]]) -> MethodMeasures:
    """Return the measures that ``to_fields`` has made plain."""
    number = lambda value: NAN if value is None else value
    # Group by group, so that a field that is missing or unknown is an error.
    groups = {
        group: empty._replace(**{k: number(v) for k, v in fields[group].items()})
        for group, empty in MethodMeasures()._asdict().items()
    }
    return MethodMeasures()._replace(**groups)


def _shown_maps(case: Case, maps: Maps, aggregate: Aggregation) -> ShownMaps:
    """Return what an aggregation makes of all maps, by the scores of the clip itself."""
    shown = attribution_maps.aggregate(maps, case.scores, case.target, aggregate)
    name = attribution_maps.aggregation_name(aggregate)
    step = len(case.scores) - 1
    if isinstance(aggregate, str) and name in attribution_maps.STEPS:
        step = attribution_maps.choose_step(case.scores, case.target, name)
    return ShownMaps(maps=shown, step=step)


def _measures_of_maps(
    case: Case,
    maps: Maps,
    shown: ShownMaps,
    kinds: Collection[str],
    measures_of_curves: Callable[[ShownMaps, str], CurveMeasures],
) -> MethodMeasures:
    """Measure what maps of methods and of references have in common."""
    result = MethodMeasures()
    if "curves" in kinds:
        result = result._replace(
            curves_frozen=measures_of_curves(shown, "frozen"),
            curves_blurred=measures_of_curves(shown, "blurred"),
        )
    if "localization" in kinds:
        # The maximum of what supports the class: opposing values must not cancel it.
        over_steps = _shown_maps(case, np.maximum(maps, 0), "max")
        result = result._replace(
            localization=_localization(case, shown.maps),
            localization_max=_localization(case, over_steps.maps),
        )
    if "time" in kinds:
        result = result._replace(time=_time(maps))
    return result


def _removals(case: Case, baseline: Baseline) -> Removals:
    """Remove random sets of frames, and every frame by itself."""
    # One seed for all clips: clips differ, and not the sets of frames.
    rng, length = np.random.default_rng(1), len(case.features)
    removed = rng.random((SETS, length)) < faithfulness.REMOVED
    sets = np.concatenate([removed, np.eye(length)]).astype(np.float32)
    static, baseline_maps = attribution.static_baseline(baseline)
    losses, _ = perturbation.removal_losses(
        case.model.module,
        case.model.variables,
        case.features,
        case.target,
        sets,
        baseline_maps=baseline_maps,
        baseline=static,
    )
    losses = np.asarray(losses)
    return Removals(removed=sets[:SETS], losses=losses[:SETS], effects=losses[SETS:].T)


def _faithfulness(
    maps: Maps, removals: Removals, visible: Float[np.ndarray, "out in"]
) -> FaithfulnessMeasures:
    """Compare what the matrix says of removals with what the scores lose."""
    matrix = maps.sum((2, 3)).astype(np.float64)
    removed, losses, effects = removals
    # Of a step that sees one frame no correlation over sets tells anything, such as of a
    # causal model's first; of one that sees two, their number and recency leave nothing.
    frames = visible.sum(1)
    subset = faithfulness.subset_fidelity(matrix, removed, losses, visible=visible)
    raw = faithfulness.raw_subset_fidelity(matrix, removed, losses)
    beyond_recency = faithfulness.subset_fidelity(
        matrix, removed, losses, beyond_recency=True, visible=visible
    )
    best = faithfulness.best_fidelity(removed, losses, visible=visible)
    return FaithfulnessMeasures(
        subset=_mean(subset[frames > 1]),
        subset_raw=_mean(raw[frames > 1]),
        beyond_recency=_mean(beyond_recency[frames > 2]),
        subset_last=float(subset[-1]),
        best_matrix=_mean(best[frames > 1]),
        matrix=faithfulness.matrix_fidelity(matrix, effects),
        matrix_ranks=faithfulness.matrix_fidelity(matrix, effects, ranks=True),
        infidelity_last=float(faithfulness.infidelity(matrix, removed, losses)[-1]),
    )


def _check(
    case: Case, method: Method, baseline: Baseline, named_maps: Mapping[str, Maps]
) -> tuple[dict[str, FaithfulnessCheck], dict[str, FaithfulnessCheck]]:
    """Check genuine and corrupted maps of a clip by one set of interventions.

    Returns:
        The checks of the last output step, and those of the one in the middle; none of a
        score of the whole clip.
    """
    name = attribution.method_name(method)
    interventions = faithfulness.intervene(
        case.model.module,
        case.model.variables,
        case.features,
        case.target,
        baseline=baseline,
        # Deletion is judged of the genuine maps alone.
        orders=[named_maps["genuine"][-1].sum((1, 2))],
        # Sets of its own for each clip: no threshold is chosen for one seed's sets.
        seed=seed_of(case.clip),
    )
    last, middle = len(case.scores) - 1, len(case.scores) // 2
    return (
        {
            kind: faithfulness.judge(
                interventions,
                maps,
                method=name,
                steps=[last],
                order=0 if kind == "genuine" else None,
            )
            for kind, maps in named_maps.items()
        },
        {
            kind: faithfulness.judge(interventions, maps, method=name, steps=[middle])
            for kind, maps in named_maps.items()
            if middle < last
        },
    )


def _mean(values: Float[np.ndarray, " steps"]) -> float:
    """Return the mean of the finite values; NaN if there is none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else NAN


def _outcomes(values: Mapping[str, float]) -> CheckOutcomes:
    """Return the outcomes by kind of maps; NaN of those that were not checked."""
    return CheckOutcomes()._replace(**{k: float(v) for k, v in values.items()})


def _similarity(
    maps: Float[np.ndarray, "T h w"],
    control_maps: Mapping[str, Float[np.ndarray, "T h w"]],
) -> SimilarityMeasures:
    """Compare maps with those of controls."""
    values = {
        kind: randomization.similarity(maps, of_control)
        for kind, of_control in control_maps.items()
    }
    return SimilarityMeasures()._replace(**values)


def _time(maps: Maps) -> TimeMeasures:
    reach = attribution_maps.lag_profile(maps.sum((2, 3)))
    return TimeMeasures(
        recurrent_share=reach.recurrent_share,
        half_life=min(reach.half_life, float(len(maps))),
    )


def _localization(
    case: Case, maps: Float[np.ndarray, "in h w"]
) -> LocalizationMeasures:
    """Compare what supports the class with the truth, where it is known."""
    positive = np.maximum(case.of_frames(maps), 0)
    return localization.measures(positive, case.clip.mask, case.clip.true_frames)


def _curve_measures(
    case: Case, baselines: Mapping[str, Baseline]
) -> Callable[[ShownMaps, str], CurveMeasures]:
    """Return what measures the shown maps by curves of a kind of removal.

    The kinds are the names of these baselines, ``frozen`` and ``blurred``; all maps of a kind
    share its random curves.
    """
    # The same ties and random orders for every method and clip of this name.
    generator = lambda: np.random.default_rng([*case.clip.name.encode()])

    @functools.cache
    def prepare(removal: str, step: int) -> tuple[deletion.Remove, list[Curves]]:
        remove = functools.partial(_remover(case, removal, baselines), step=step)
        grid = case.features.shape[:3]
        return remove, deletion.random_curves(remove, grid, generator())

    def measures(shown: ShownMaps, removal: str) -> CurveMeasures:
        remove, random = prepare(removal, shown.step)
        curves = deletion.curves(remove, shown.maps, generator())
        return deletion.measures(curves, random)

    return measures


def _remover(
    case: Case, removal: str, baselines: Mapping[str, Baseline]
) -> Callable[..., RemovalScores]:
    """Return ``removal_scores`` by a baseline, by blurred frames, or by freezing."""
    if removal == "frozen":
        replacement = None
    elif removal == "blurred":
        blurred = deletion.blur_frames(case.clip.frames)
        replacement = features_of(case.model, blurred)
    else:
        features = jnp.asarray(case.features)
        static, baseline_maps = attribution.static_baseline(baselines[removal])
        if static is not None:
            replacement = _replacement(features, static)
        else:
            replacement = jnp.broadcast_to(jnp.asarray(baseline_maps), features.shape)
    return functools.partial(
        deletion.removal_scores,
        case.model.module,
        case.model.variables,
        case.features,
        replacement,
        case.target,
    )


_replacement = jax.jit(perturbation.baseline_features, static_argnames="baseline")
