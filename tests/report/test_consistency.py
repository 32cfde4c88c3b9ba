"""All outputs of one clip say the same: text, files, figures, page, notebook, manifest."""

import base64
import json
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import rgcam
from rgcam.corpus import manifest
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models import zoo
from rgcam.report import overlay, plots, writer
from rgcam.report.explain import explain_clip
from tests.report.test_plots import mesh_of, texts

VIEWS = {  # name: method, aggregation, class (None: the predicted one)
    "rectified": ("gradcam", "last", None),
    "aggregated": ("fade", "max", None),
    "another class": ("fade", "rise", "kick"),
    "signed, by the checks": ("auto", "last", None),
}


@pytest.fixture(scope="module", params=VIEWS)
def outputs(request, tmp_path_factory):
    """Explain a clip and write all its files."""
    method, aggregate, name = VIEWS[request.param]
    model = zoo.load_model("stickman-lrcn")._replace(name="/home/me/runs/mine")
    drawn = stickman.clip(7)
    explained = explain_clip(
        model,
        Clip(drawn.frames, drawn.times),
        target=None if name is None else model.classes.index(name),
        method=method,
        aggregate=aggregate,
        cnn=zoo.load_model("stickman-cnn"),
        source="/home/me/clips/a.mp4",
        options={"video": "/home/me/clips/a.mp4", "out": "/home/me/out"},
    )
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DPI", 72)  # what figures say does not depend on it
        writer.write(folder, explained)
    return explained, folder


@pytest.fixture
def summary(outputs):
    return json.loads((outputs[1] / "summary.json").read_text())


@pytest.fixture
def text(outputs):
    lines = writer.text(*outputs).splitlines()
    return dict(line.split(": ", 1) for line in lines)


@pytest.fixture
def data(outputs):
    """Return what the page's scripts read."""
    page = (outputs[1] / "report.html").read_text()
    return read_data(page)


def read_data(page):
    """Read the data of a page, as its scripts do: the first method's beside the rest."""
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page
    )
    data = json.loads(text)
    return data | data["methods"][0]


def unpack(packed):
    raw = base64.b64decode(packed["data"])
    return np.frombuffer(raw, f"<{packed['type']}")


def test_prediction(outputs, summary, text, data):
    explained, _ = outputs
    prediction, since = summary["prediction"], summary["unchanged_since"]
    sentence = f"{prediction} (p = {summary['probability']:.2f}), unchanged since {since:.2f} s"
    assert text["prediction"] == sentence
    assert sentence in data["words"]["lead"]
    assert data["classes"][data["predicted"]] == prediction
    with np.load(outputs[1] / "explanation.npz") as arrays:
        assert arrays["classes"][arrays["scores"][-1].argmax()] == prediction
        assert arrays["classes"][arrays["target"]] == summary["target"]
    assert explained.target_name == summary["target"]


def test_titles_and_captions_of_figures(outputs, summary, text):
    explained, _ = outputs
    verdict = summary["attributions"][0]["faithfulness"]["verdict"]
    strip, matrix = (" ".join(texts(f)) for f in plots.clip_figures(explained).values())
    for figure in (strip, matrix):
        words = " ".join(figure.split())
        assert explained.title in words and f"faithfulness check: {verdict}" in words
        assert "/home" not in words
    assert "mine" in explained.title and "a.mp4" in explained.title
    shown = summary["shown"]["description"]
    assert shown.lower() in " ".join(strip.split()).lower()
    for part in shown.rstrip(")").split(" ("):
        assert part in " ".join(matrix.split())
    assert shown in text["explained"] and summary["target"] in text["explained"]


def test_verdict_is_that_of_the_shown_maps(outputs, summary, text, data):
    explained, _ = outputs
    checked = summary["attributions"][0]["faithfulness"]
    assert text["faithfulness check"].startswith(checked["verdict"])
    opening = data["opening"]
    (verdict,) = [
        check["verdict"]
        for check in data["checks"]
        if (check["step"], check["signed"]) == (opening["output"], opening["signed"])
    ] or [data["notChecked"]["verdict"]]
    assert verdict == checked["verdict"] == explained.shown.verdict
    if explained.shown.step is None:
        assert verdict == "not checked for this view" and checked["passed"] is None
    else:
        assert checked["passed"] is ("PASSED" in verdict)


def test_arrays(outputs, data):
    explained, folder = outputs
    shown = explained.shown
    with np.load(folder / "explanation.npz") as arrays:
        matrix, maps = arrays["matrix"], arrays["maps"]
    np.testing.assert_array_equal(maps, shown.shown_maps)
    signed = bool((maps < 0).any())
    assert data["opening"]["signed"] == signed == (not shown.rectified)
    stored = unpack(data["signedMatrix" if signed else "positiveMatrix"])
    pairs = np.tril_indices(16)
    np.testing.assert_array_equal(stored[: len(pairs[0])], matrix[pairs])
    if shown.step is None:
        np.testing.assert_array_equal(unpack(data["opening"]["maps"]), maps.ravel())
        np.testing.assert_array_equal(unpack(data["opening"]["row"]), shown.shown_row)
    else:
        assert data["opening"]["output"] == shown.step
        np.testing.assert_array_equal(matrix[shown.step], shown.shown_row)
    np.testing.assert_allclose(maps.sum((1, 2)), shown.shown_row, rtol=1e-4, atol=1e-6)


def test_top_moments(outputs, summary, text):
    explained, _ = outputs
    row = explained.shown.shown_row.astype(np.float64)
    for moment in summary["top_moments"]:
        value = row[moment["frame"]]
        assert moment["importance"] == value
        assert moment["share"] == pytest.approx(value / row[row > 0].sum(), rel=1e-6)
    listed = ", ".join(
        f"{m['time']:.2f} s ({100 * m['share']:.0f} %)" for m in summary["top_moments"]
    )
    assert text["top moments"] == listed


def test_figures_and_page_have_the_same_colours_and_scale(outputs, data):
    explained, _ = outputs
    figures = plots.clip_figures(explained)
    mesh = mesh_of(figures["matrix"])
    matrix = explained.shown.matrix
    signed = data["opening"]["signed"]
    peak = np.abs(matrix).max()
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-peak if signed else 0, peak)
    packed = data["diverging"] if signed else data["sequential"]["inferno"]
    table = unpack(packed).reshape(256, 3)
    drawn = [to_rgb(mesh.cmap(i)) for i in range(256)]
    np.testing.assert_allclose(table, 255 * np.array(drawn), atol=1)
    heat = overlay.colour_scale(explained.shown.shown_maps, over_frames=True)
    if signed:
        table = unpack(data["divergingHeat"]).reshape(256, 3)
        np.testing.assert_allclose(table, 255 * heat.colours[:, :3], atol=1)
    scale = overlay.colour_scale(explained.shown.shown_maps)
    assert scale.high == np.abs(explained.shown.shown_maps).max()
    assert (scale.low < 0) == signed


def test_the_page_shows_all_this(outputs, summary, text, open_page):
    explained, folder = outputs
    page = open_page(folder / "report.html")
    assert page.title() == page.inner_text("h1") == explained.title
    assert text["prediction"] in page.inner_text("#lead")
    assert page.inner_text("#view") == explained.view_text
    assert summary["shown"]["description"] in page.inner_text("#map-title")
    assert summary["attributions"][0]["faithfulness"]["verdict"] in page.inner_text(
        "#verdict"
    )
    reach = page.inner_text("#reach")
    assert reach == f"{text['temporal reach'][0].upper()}{text['temporal reach'][1:]}."
    assert page.is_visible("#selection") == bool(explained.selection)
    if explained.selection:
        words = page.inner_text("#selection").lower()
        assert words == f"{text['why this method'].lower()}."
        assert explained.selection == summary["selection"]
    rows = [row.inner_text() for row in page.query_selector_all("#moments tbody tr")]
    assert len(rows) == len(summary["top_moments"])
    for row, moment in zip(rows, summary["top_moments"], strict=True):
        time, frame, importance, share = row.split("\t")
        assert (
            time.strip() == f"{moment['time']:.2f} s" and int(frame) == moment["frame"]
        )
        assert float(importance) == pytest.approx(moment["importance"], rel=1e-3)
        assert share == f"{100 * moment['share']:.1f} %"
    short = lambda value: f"{float(f'{value:.3g}'):g}"
    assert page.inner_text("#map-high") == short(
        np.abs(explained.shown.shown_maps).max()
    )
    assert page.inner_text("#matrix-high") == short(
        np.abs(explained.shown.matrix).max()
    )
    content = page.content()
    assert "/home" not in content and "a.mp4" in content
    compare_rows(page, explained)
    compare_methods(page, explained)


def compare_rows(page, explained):
    """The page draws the row of the matrix that the figures draw under it."""
    row = page.evaluate(
        "Array.from(rowOf(rgcam.data, rgcam.state.choice, outOf(rgcam.state)))"
    )
    drawn = np.array([np.nan if value is None else value for value in row], np.float32)
    expected = explained.shown.shown_row
    seen = ~np.isnan(drawn)
    np.testing.assert_array_equal(drawn[seen], expected[seen])
    assert not expected[~seen].any()
    figure = plots.clip_matrix(explained)
    (axis,) = (a for a in figure.axes if a.get_xlabel().startswith("input time"))
    bars = sum(patch.get_data().values for patch in axis.patches)
    np.testing.assert_array_equal(bars, expected)


def compare_methods(page, explained):
    """Every method of the page has its own maps and verdict."""
    methods = explained.attributions
    assert page.is_visible("#method") == (len(methods) > 1)
    for number, attribution in enumerate(methods):
        if number:
            page.select_option("#method", str(number))
        showing = explained.showing(attribution)
        assert page.inner_text("#view") == showing.view_text
        assert attribution.verdict in page.inner_text("#verdict")
        peak = np.abs(attribution.shown_maps).max()
        assert page.inner_text("#map-high") == f"{float(f'{peak:.3g}'):g}"
        assert attribution.title.lower() in page.inner_text("#map-title").lower()


def test_the_notebook_shows_the_same_maps(outputs):
    explained, _ = outputs
    clip, classes = explained.clip, explained.model.classes
    html = rgcam.show(explained.explanation, clip, classes, explained.target).html
    data = read_data(html)
    assert data["opening"]["signed"] == (not explained.shown.rectified)
    assert explained.prediction_text in data["words"]["lead"]
    stored = unpack(
        data["positiveMatrix" if explained.shown.rectified else "signedMatrix"]
    )
    np.testing.assert_array_equal(stored, explained.shown.matrix[np.tril_indices(16)])


def test_the_manifest_says_what_the_summary_says(call, tmp_path):
    drawn = stickman.clip(7)
    writer.write_video(tmp_path / "a.mp4", drawn.frames, 7.5)
    out = tmp_path / "out"
    code, _, err = call(
        "explain",
        f"--videos={tmp_path}/a.mp4",
        f"--out={out}",
        "--method=fade",
        "--pictures",
    )
    assert code == 0, err
    (row,) = manifest.read(out)
    summary = json.loads((out / "a" / "summary.json").read_text())
    for name in ("prediction", "probability", "target", "target_score", "top_moments"):
        assert row[name] == summary[name], name
    page = (out / "a" / "report.html").read_text()
    assert row["prediction"] in page and str(tmp_path) not in page


def test_the_other_methods_are_in_text_and_files(outputs, summary, text):
    explained, folder = outputs
    others = explained.attributions[1:]
    assert [a["method"] for a in summary["attributions"][1:]] == [
        a.method for a in others
    ]
    with np.load(folder / "explanation.npz") as arrays:
        for other in others:
            assert other.label in text["for comparison"]
            np.testing.assert_array_equal(
                arrays[f"maps_{other.method}"], other.shown_maps
            )
            np.testing.assert_array_equal(
                arrays[f"matrix_{other.method}"], other.matrix
            )
    assert ("for comparison" in text) == bool(others)
