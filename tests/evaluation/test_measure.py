"""All measures of one clip, and the record of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam import interop
from rgcam.errors import InputError
from rgcam.evaluation import clips, controls, measure, tables
from rgcam.evaluation.measure import CheckOutcomes, MethodMeasures
from rgcam.metrics import faithfulness, localization
from rgcam.models import zoo

NAMES = ["fade", "fade:previous:rectified", "gradcam"]
REFERENCES = [
    f"{name}:{baseline}"
    for name in controls.MODEL_FREE
    for baseline in ("previous", "zero")
]


@pytest.fixture(scope="module")
def measured():
    """Measure two clips, one after the other."""
    model = zoo.load_model("stickman-lrcn")
    models = controls.prepare_models(model, None, None)
    results, maps = [], {}
    for clip in clips.load(model, data="stickman", clips=2, length=8):
        measures, maps = measure.measure(models, clip, NAMES, maps)
        results.append((clip, measures, maps))
    return model, results


def test_names_hold_a_method_its_baseline_and_the_sign_of_its_maps():
    assert measure.parse("fade:mean")[1:4] == ("fade", "mean", False)
    assert measure.parse("fade")[1:4] == ("fade", "previous", False)
    assert measure.parse("gradcam")[1:4] == ("gradcam", "zero", True)
    assert measure.parse("gradcam:zero:signed")[1:4] == ("gradcam", "zero", False)
    assert measure.parse("fade:mean:rectified")[1:4] == ("fade", "mean", True)


@pytest.mark.parametrize("name", ["fade:mean:positive", "fade:mean:signed:x"])
def test_a_sign_is_signed_or_rectified(name):
    with pytest.raises(InputError, match="SIGN is signed or rectified"):
        measure.parse(name)


def test_methods_have_all_measures_and_references_those_without_a_model(measured):
    _, results = measured
    for _, measures, _ in results:
        assert set(measures) == {*NAMES, *controls.MODEL_FREE, *REFERENCES}
        fade, motion = measures["fade"], measures["motion"]
        assert np.isfinite(fade.curves_frozen).all() and np.isfinite(fade.time).all()
        assert np.isfinite(fade.localization).all()
        assert np.isnan(fade.similarity.random_labels)  # there is no such model
        assert np.isnan(motion.faithfulness).all()
        for name in REFERENCES:  # by the baseline of every method
            assert np.isfinite(measures[name].faithfulness.subset)
            assert np.isnan(measures[name].faithfulness.infidelity_last)
        assert np.isnan([*motion.curves, *motion.check_passed]).all()


def test_a_constant_matrix_scores_nothing_whatever_the_baseline(measured):
    """Removing more frames towards zero features costs more: a matrix of ones says so."""
    _, results = measured
    for _, measures, _ in results:
        for baseline in ("previous", "zero"):
            assert measures[f"uniform:{baseline}"].faithfulness.subset == 0
        assert measures["uniform:zero"].faithfulness.subset_raw > 0.3
        assert measures["fade"].faithfulness.subset > 0.8


def test_rectified_maps_are_the_positive_part(measured):
    _, results = measured
    for _, _, maps in results:
        signed = maps["fade"]
        assert (signed < 0).any()
        np.testing.assert_array_equal(
            maps["fade:previous:rectified"], np.maximum(signed, 0)
        )


def test_only_the_second_clip_has_maps_of_another_one(measured):
    _, results = measured
    first, second = (measures["fade"] for _, measures, _ in results)
    assert np.isnan(first.check_passed.other_clip)
    assert second.check_passed.other_clip in (0, 1)


def test_the_score_is_that_of_the_faithfulness_check(measured):
    model, results = measured
    clip, measures, maps = results[1]
    case = controls.prepare_case(model, clip)
    check = faithfulness.check_faithfulness(
        model.module,
        model.variables,
        case.features,
        maps["fade"],
        case.target,
        method="fade",
        steps=[7],
        seed=controls.seed_of(clip),
    )
    fade = measures["fade"]
    assert fade.check_score.genuine == pytest.approx(check.score, abs=1e-5)
    assert fade.check_passed.genuine == check.passed
    middle = faithfulness.check_faithfulness(
        model.module,
        model.variables,
        case.features,
        maps["fade"],
        case.target,
        method="fade",
        steps=[4],
        seed=controls.seed_of(clip),
    )
    assert fade.check_score_middle.genuine == pytest.approx(middle.score, abs=1e-5)
    assert fade.faithfulness.space == pytest.approx(check.space, abs=1e-5)
    assert fade.faithfulness.deletion == pytest.approx(check.deletion, abs=1e-5)


def test_plain_fields_hold_every_measure():
    measures = MethodMeasures(check_score=CheckOutcomes(genuine=0.5))
    fields = json.loads(json.dumps(measure.to_fields(measures)))
    assert fields["check_score"]["genuine"] == 0.5
    assert fields["localization"]["energy"] is None
    again = measure.from_fields(fields)
    np.testing.assert_equal(again, measures)


def uniform_loss(cut, features, baseline, target):
    """A method of one's own: what removing a frame takes, the same in all its cells."""
    frames = jnp.arange(len(features))
    without = lambda t: cut.outputs(
        jnp.where((frames == t)[:, None, None, None], baseline, features), target
    )
    lost = cut.outputs(features, target) - jax.vmap(without)(frames)
    cells = features.shape[1:3]
    return (
        jnp.broadcast_to(lost.T[..., None, None], (*lost.shape, *cells)) / cells[0] ** 2
    )


def test_methods_and_baselines_of_one_s_own_are_measured_beside_the_others():
    model = zoo.load_model("stickman-lrcn")
    drawn = list(clips.load(model, data="stickman", clips=1, length=8))
    first = lambda features: features[0]
    given = measure.MeasuredMethod("loss, still", uniform_loss, first)
    rows = tables.measure_clips(model, drawn, ["occlusion:first", uniform_loss, given])
    measures = rows[0].measures
    names = {"occlusion:first", "uniform_loss", "loss, still"}
    assert {*names, *controls.MODEL_FREE} <= set(measures)
    # "first" by its name and as a function of one's own, and the same sums of maps.
    own, same = measures["loss, still"], measures["occlusion:first"]
    assert own.faithfulness.subset == pytest.approx(same.faithfulness.subset, abs=1e-4)
    assert own.curves.deletion == pytest.approx(same.curves.deletion, abs=1e-4)
    assert np.isfinite(measures["uniform_loss"].similarity.scores)
    text = tables.markdown(tables.table(rows))
    assert "| uniform_loss |" in text and "| occlusion:first (signed) |" in text
    with pytest.raises(InputError, match="two methods are called 'fade'"):
        other = measure.MeasuredMethod("fade", uniform_loss, "zero")
        tables.measure_clips(model, drawn, ["fade", other])


def positive_part_of_early_steps(values, scores, target):
    """An aggregation of one's own: the mean over the first half of the steps."""
    return np.maximum(values[: len(scores) // 2], 0).mean(0)


def test_aggregations_of_one_s_own_are_measured_beside_the_others():
    model = zoo.load_model("stickman-lrcn")
    (clip,) = clips.load(model, data="stickman", clips=1, length=8)
    fade = lambda aggregate, name: measure.MeasuredMethod(
        name=name,
        method="fade",
        baseline="previous",
        rectified=True,
        aggregate=aggregate,
    )
    own = fade(positive_part_of_early_steps, "early")
    methods = ["fade:previous:rectified", fade("max", "most"), own]
    (row,) = tables.measure_clips(model, [clip], methods)
    last, most, early = (row.measures[name] for name in (methods[0], "most", "early"))
    # What an aggregation shows is what is measured, and the matrix stays the same.
    np.testing.assert_equal(most.localization, last.localization_max)
    models = controls.prepare_models(model, None, None)
    _, maps = measure.measure(models, clip, [own], {}, ["localization"])
    row_of_maps = np.maximum(maps["early"][:4], 0).mean(0)
    expected = localization.measures(row_of_maps, clip.mask, clip.true_frames)
    np.testing.assert_equal(early.localization, expected)
    assert early.localization != last.localization
    assert early.faithfulness == last.faithfulness
    assert early.check_score == last.check_score
    assert np.isfinite(early.curves).all() and early.curves != last.curves
    assert "| early |" in tables.markdown(tables.table([row]))


def test_curves_follow_the_score_of_the_step_that_is_shown():
    model = zoo.load_model("stickman-lrcn")
    (clip,) = clips.load(model, data="stickman", clips=1, length=8)
    case = controls.prepare_case(model, clip)
    maps = np.random.default_rng(0).random((8, 8, 8, 8))
    rise = measure._shown_maps(case, maps, "rise")
    assert rise.step == np.diff(case.scores[:, case.target]).argmax() + 1
    np.testing.assert_array_equal(rise.maps, maps[rise.step])
    remove = measure._remover(case, "frozen", {})
    nothing = [np.ones((1, 8)), np.ones((1, 8, 8, 8)), np.ones((8, 8, 8))]
    scores = remove(*nothing, step=rise.step)
    expected = case.scores[rise.step, case.target]
    np.testing.assert_allclose(scores.frames, expected, rtol=1e-4)
    assert measure._shown_maps(case, maps, "mean").step == 7


def pairs_of_frames(weights, frames):
    """Two frames are one step of A, 4 x 4 cells of 4 x 4 pixels."""
    pairs = frames.reshape(-1, 2, 4, 4, 4, 4, 3).mean((1, 3, 5))
    return jax.nn.relu(pairs @ weights["below"])


def clip_score(weights, features):
    """One score of the whole clip, linear in A."""
    steps = jnp.arange(1.0, len(features) + 1)
    return (steps @ features.mean((1, 2))) @ weights["above"]


def every_step_sees_all(weights, features):
    mean = features.mean((0, 1, 2))
    return (features.mean((1, 2)) * mean) @ weights["above"]


@pytest.mark.parametrize("classify", [clip_score, every_step_sees_all])
def test_models_of_any_number_of_steps_and_scores_are_measured(classify):
    rng = np.random.default_rng(0)
    weights = {"below": rng.normal(size=(3, 8)), "above": rng.normal(size=(8, 3))}
    weights = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), weights)
    module, variables = interop.from_functions(pairs_of_frames, classify, weights)
    model = interop.video_model(module, variables, ("a", "b", "c"), size=16)
    drawn = clips.load(model, data="stickman", clips=2, length=12)
    methods = ["gradient:zero", "occlusion:zero"]
    kinds = measure.KINDS if classify is clip_score else ["faithfulness", "check"]
    rows = tables.measure_clips(model, drawn, methods, kinds=kinds)
    gradient, uniform = (
        rows[1].measures[name] for name in ("gradient:zero", "uniform:zero")
    )
    assert uniform.faithfulness.subset == 0
    assert np.isfinite(gradient.check_score).all()
    assert np.isnan(gradient.time).all()  # nothing is known of lags
    if classify is clip_score:  # whose effects a gradient predicts exactly
        assert gradient.faithfulness.subset == pytest.approx(1, abs=1e-3)
        assert gradient.faithfulness.matrix == pytest.approx(1, abs=1e-3)
        assert gradient.check_score.genuine == pytest.approx(1, abs=1e-3)
        assert gradient.check_passed.genuine == 1
        assert np.isnan(gradient.check_score_middle.genuine)
        assert np.isfinite(gradient.localization).all()
        assert np.isfinite(gradient.curves_frozen).all()
        # All of a model without rgcam's parts is randomised at once.
        assert np.isfinite(gradient.similarity.recurrent)
        assert np.isfinite(gradient.similarity.shuffled_frames)
        assert np.isnan(gradient.similarity.scores)
    else:
        assert np.isfinite(gradient.check_score_middle.genuine)
    assert "| gradient:zero (signed) |" in tables.markdown(tables.table(rows))
