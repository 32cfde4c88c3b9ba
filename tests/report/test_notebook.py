"""rgcam.show: what IPython is given, and that it works in its frame."""

import json

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

import rgcam
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError


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


def test_what_does_not_fit_is_one_sentence(explained):
    e, frames, classes = explained
    with pytest.raises(InputError, match="16 frames and the clip has 3"):
        rgcam.show(e, frames[:3], classes, [1, 5])
    with pytest.raises(InputError, match="2 class names for 11 scores"):
        rgcam.show(e, frames, classes[:2], [1, 5])
    with pytest.raises(InputError, match="of 2 classes and target names 1"):
        rgcam.show(e, frames, classes, 1)
