"""rgcam.show: what IPython is given, and that it works in its frame."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.text import Text

import rgcam
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.report import notebook, overlay, plots, writer


@pytest.fixture(scope="module")
def explained():
    model = rgcam.load_model("stickman-lrcn")
    frames = stickman.clip(4).frames
    inputs = model.preprocess(frames)
    e = rgcam.explain(model.module, model.variables, inputs, [1, 5], relu=False)
    return e, frames, model.classes


def test_ipython_is_given_a_sandboxed_frame(explained, tmp_path):
    page = rgcam.show(*explained, [1, 5], title="mine", height=700)
    data, _ = DisplayFormatter().format(page)
    assert data["text/html"].startswith("<iframe srcdoc=")
    assert 'sandbox="allow-scripts allow-downloads"' in data["text/html"]
    assert 'height="700"' in data["text/html"] and "<script" not in data["text/html"]
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page.html and "mine" in page.html


def test_the_frame_works(explained, open_page, tmp_path):
    e, frames, classes = explained
    shown = rgcam.show(e, frames, classes, [1, 5])
    html = f"<!doctype html><title>notebook</title>{shown._repr_html_()}"
    (tmp_path / "notebook.html").write_text(html)
    page = open_page(tmp_path / "notebook.html")
    frame = page.frame_locator("iframe")
    frame.locator("#play").click()
    frame.locator("#play").click()
    frame.locator("#sign").select_option("signed")
    assert not frame.locator("#copy").is_visible()
    for k, name in enumerate((classes[1], classes[5])):
        frame.locator("#target").select_option(label=name)
        with page.expect_download() as download:
            frame.locator("#save-json").click()
        found = json.loads(download.value.path().read_text())
        matrix = np.nan_to_num(np.array(found["matrix"], np.float64))
        np.testing.assert_allclose(matrix, e.matrix[k], rtol=1e-4, atol=1e-6)
    assert found["class"] == classes[5] and found["times"][1] == pytest.approx(
        1 / 7.5, abs=1e-6
    )


def test_the_predicted_class_is_shown_where_none_is_named(explained):
    e, frames, classes = explained
    model = rgcam.load_model("stickman-lrcn")
    one = rgcam.explain(model.module, model.variables, model.preprocess(frames))
    predicted = classes[int(one.scores[-1].argmax())]
    html = rgcam.show(one, frames, classes).html
    assert f"Why the model predicts “{predicted}”" in html
    assert "not checked for this view" in html


def test_one_class_for_each_step_is_shown_behind_the_classes(explained):
    _, frames, classes = explained
    model = rgcam.load_model("stickman-lrcn")
    labels = np.repeat([1, 5], [10, 6])
    phases = rgcam.StepClasses(labels)
    inputs = model.preprocess(frames)
    e = rgcam.explain(model.module, model.variables, inputs, phases, relu=False)
    record = notebook.explained_clip(e, frames, classes, phases)
    of_steps = np.asarray(e.scores)[np.arange(16), labels]
    assert record.target_name == "the given class of each step"
    np.testing.assert_array_equal(record.shown_scores[:, -1], of_steps)
    assert record.shown_scores.shape == (16, len(classes) + 1)
    assert record.prediction in classes  # whatever stands behind them
    html = rgcam.show(e, frames, classes, phases).html
    assert "What supports “the given class of each step”" in html
    rise = np.diff(of_steps).argmax() + 1
    assert rgcam.choose_step(e.scores, labels, "rise") == rise
    assert rgcam.choose_step(e.scores, phases, "rise") == rise
    with pytest.raises(InputError, match="holds 2 classes and the model scores 16"):
        rgcam.show(e, frames, classes, rgcam.StepClasses([1, 5]))


def test_what_does_not_fit_is_one_sentence(explained):
    e, frames, classes = explained
    with pytest.raises(InputError, match="16 frames and the clip has 3"):
        rgcam.show(e, frames[:3], classes, [1, 5])
    with pytest.raises(InputError, match="2 class names for 11 scores"):
        rgcam.show(e, frames, classes[:2], [1, 5])
    with pytest.raises(InputError, match="of 2 classes and target names 1"):
        rgcam.show(e, frames, classes, 1)


class Strided(nn.Module):
    """A 3D CNN: 16 frames become 4 steps of A, and these one score of the clip."""

    def setup(self):
        self.first = nn.Conv(4, (3, 5, 5), strides=(2, 4, 4))
        self.second = nn.Conv(6, (3, 3, 3), strides=(2, 1, 1))
        self.scores = nn.Dense(3)

    def features(self, frames):
        return nn.relu(self.second(nn.relu(self.first(frames))))

    def classify(self, maps):
        return self.scores(jnp.tanh(maps).mean((0, 1, 2)))

    def __call__(self, frames):
        return self.classify(self.features(frames))


CLASSES = ("walk", "run", "jump")


@pytest.fixture(scope="module")
def strided():
    frames = np.random.default_rng(0).integers(0, 255, (16, 24, 24, 3), np.uint8)
    inputs = frames.astype(np.float32) / 255
    module = Strided()
    variables = module.init(jax.random.key(2), inputs)
    return module, variables, inputs, frames


def test_a_model_that_strides_over_time_is_shown_by_the_frames_of_its_steps(
    strided, tmp_path
):
    module, variables, inputs, frames = strided
    e = rgcam.explain(module, variables, inputs, 1, method="fade")
    assert e.maps.shape == (1, 4, 6, 6)
    # By the two kernels of 3 frames and strides of 2, padded below 0 and above 15.
    spans = [[0, 6], [4, 10], [8, 14], [12, 15]]
    np.testing.assert_array_equal(e.frames_of_steps, spans)
    explained = notebook.explained_clip(e, frames, CLASSES, 1)
    np.testing.assert_allclose(explained.times_in, np.array([3, 7, 11, 13.5]) / 7.5)
    assert explained.steps_of_frames.tolist() == [0] * 6 + [1] * 4 + [2] * 3 + [3] * 3
    writer.write(tmp_path, explained)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_of_steps"] == spans
    assert summary["output_steps"] == ["the whole clip"]
    assert summary["unchanged_since"] is None and summary["half_life"] is None
    middles = {3, 7, 11, 14}
    assert {m["frame"] for m in summary["top_moments"]} <= middles
    with np.load(tmp_path / "explanation.npz") as arrays:
        np.testing.assert_array_equal(arrays["frames_of_steps"], spans)
        assert arrays["matrix"].shape == (1, 4)


def test_every_frame_of_the_overlay_has_the_map_of_its_step(strided):
    module, variables, inputs, frames = strided
    e = rgcam.explain(module, variables, inputs, 1, method="fade")
    explained = notebook.explained_clip(e, frames, CLASSES, 1)
    drawn = overlay.clip_overlay(explained)
    assert len(drawn) == 16
    of_step = explained.shown.shown_maps[explained.steps_of_frames]
    large = frames.repeat(10, 1).repeat(10, 2)
    black = dataclasses.replace(
        explained, clip=explained.clip._replace(frames=np.zeros_like(frames))
    )
    heat = overlay.overlay(np.zeros_like(large), of_step, signed=True)
    np.testing.assert_array_equal(overlay.clip_overlay(black)[:, :240], heat)
    strip, matrix = plots.clip_figures(explained).values()
    assert len(matrix.axes[1].get_yticklabels()) == 1
    assert matrix.axes[1].get_yticklabels()[0].get_text() == "the whole clip"
    assert "not seen yet" not in str([t.get_text() for t in matrix.findobj(Text)])
    assert len(strip.axes) >= 2


def test_the_page_of_a_strided_model_has_a_column_for_each_step(
    strided, open_page, tmp_path
):
    module, variables, inputs, frames = strided
    e = rgcam.explain(module, variables, inputs, [1, 0], method="fade")
    shown = rgcam.show(e, frames, CLASSES, [1, 0])
    shown.save(tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    matrix = page.evaluate("matrixRows(rgcam.data, rgcam.state.choice)")
    np.testing.assert_allclose(matrix, e.matrix[0], rtol=1e-5)
    assert page.evaluate("rgcam.data.frames.length") == 4
    assert page.locator("#lead").inner_text().startswith("Prediction of the whole clip")
    assert not page.locator("#lag-section").is_visible()
    assert not page.locator("#steps-label").is_visible()
    text = page.locator("main").inner_text()
    assert "one score for the whole clip" in text and "Hatched" not in text
    assert "covers several frames" in text and "unchanged" not in text
    page.locator("#cursor").press("Home")
    assert (
        "the frames around 0.40 s (frames 0 to 6)"
        in page.locator("#status").inner_text()
    )
    page.locator("#play").click()
    page.locator("#play").click()


def test_frames_of_steps_in_a_batch_are_derived_once_and_given(strided):
    module, variables, inputs, frames = strided
    batch = jax.vmap(rgcam.explain, in_axes=(None, None, 0, None))
    clips = batch(module, variables, np.stack([inputs, inputs[::-1]]), 1)
    one = jax.tree.map(lambda leaf: leaf[1], clips)
    assert one.frames_of_steps is None
    with pytest.raises(
        InputError, match="of 4 frames and the clip has 16.*frames_of_steps"
    ):
        rgcam.show(one, frames[::-1], CLASSES, 1)
    spans = rgcam.frames_of_steps(module, variables, inputs)
    whole = one._replace(frames_of_steps=spans)
    rgcam.show(whole, frames[::-1], CLASSES, 1)
    with pytest.raises(InputError, match="do not fit 4 steps of a clip of 8 frames"):
        rgcam.show(whole, frames[:8], CLASSES, 1)


@pytest.fixture(scope="module")
def sentence():
    """Five words of sixteen frames by a model that is not causal."""
    frames = np.random.default_rng(1).integers(0, 255, (16, 24, 24, 3), np.uint8)
    inputs = frames.astype(np.float32) / 255
    weights = jax.random.normal(jax.random.key(0), (5, 16))
    pool = lambda w, x: x.reshape(16, 4, 6, 4, 6, 3).mean((2, 4))
    words = lambda w, maps: jnp.tanh(w @ maps.reshape(16, -1)[:, :7])
    module, variables = rgcam.from_functions(pool, words, weights)
    return rgcam.explain(module, variables, inputs, 2, relu=False), frames


def test_words_are_rows_and_no_times(sentence, open_page, tmp_path):
    e, frames = sentence
    labels = ("a", "figure", "walks", "then", "sits")
    names = [f"word {i}" for i in range(7)]
    page = rgcam.show(e, frames, names, 2, labels=labels)
    page.save(tmp_path / "page.html")
    opened = open_page(tmp_path / "page.html")
    text = opened.locator("body").inner_text()
    assert "last step (“sits”)" in text and "at the last step (“sits”)" in text
    assert "unchanged" not in text and "frame by frame" not in text
    assert not opened.locator("#lag-section").is_visible()
    assert not opened.locator("#follow").is_visible()
    opened.locator("#cursor").press("ArrowUp")
    assert "Output step 3 for “then”" in opened.locator("#status").inner_text()
    for how in ("mean", "max"):
        opened.locator("#steps").select_option(how)
        row = opened.evaluate(
            "Array.from(rowOf(rgcam.data, rgcam.state.choice, outOf(rgcam.state)))"
        )
        maps = rgcam.aggregate(e.maps, e.scores, 2, how)
        np.testing.assert_allclose(row, maps.sum((1, 2)), atol=0.02 * np.abs(row).max())
    explained = notebook.explained_clip(e, frames, names, 2, labels=labels)
    matrix = plots.clip_matrix(explained)
    ticks = [tick.get_text() for tick in matrix.axes[1].get_yticklabels()]
    assert ticks == list(labels) and matrix.axes[1].get_ylabel() == "output step"
    with pytest.raises(InputError, match="2 labels for 5 output steps"):
        rgcam.show(e, frames, names, 2, labels=("a", "b"))


def test_zeros_of_rectified_maps_are_no_structure():
    """Frames after t' oppose the class: rectified they are 0, but they are seen."""
    frames = np.full((6, 8, 8, 3), 128, np.uint8)
    sign = np.tril(np.ones((6, 6))) - np.triu(np.ones((6, 6)), 1)
    pool = lambda w, x: x.reshape(6, 2, 4, 2, 4, 3).mean((2, 4))
    module, variables = rgcam.from_functions(
        pool, lambda w, maps: w @ maps.mean((1, 2)), jnp.asarray(sign, "float32")
    )
    e = rgcam.explain(module, variables, frames.astype(np.float32) / 255, 1)
    assert not np.triu(e.matrix, 1).any()
    explained = notebook.explained_clip(e, frames, CLASSES, 1)
    assert not explained.shown.causal and explained.reach_text == ""
    matrix = plots.clip_matrix(explained)
    assert "not seen yet" not in str([t.get_text() for t in matrix.findobj(Text)])
    assert "may depend on any frame" in rgcam.show(e, frames, CLASSES, 1).html
    assert '"causal":false' in rgcam.show(e, frames, CLASSES, 1).html
