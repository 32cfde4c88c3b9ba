"""The page in a browser: opened from disk, alone, and used as a person would."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from rgcam.attribution import gradcam, methods
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models import zoo
from rgcam.report import explain, explorer, quantize, writer
from rgcam.report.explain import explain_clip
from tests.conftest import WIDE
from tests.report.test_record import by_aggregation

EVIL = "<img src=x onerror=\"document.title='harmed'\">"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def clip():
    drawn = stickman.clip(7)
    return Clip(drawn.frames, drawn.times, ("a note",))


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


@pytest.fixture(scope="module")
def explained(model, clip):
    return explain_clip(
        model,
        clip,
        cnn=zoo.load_model("stickman-cnn"),
        source="a/clip.mp4",
        options={"model": "stickman-lrcn", "verify": False, "window": None},
    )


@pytest.fixture(scope="module")
def folder(explained, tmp_path_factory):
    """Write an explanation once, as explain.py does."""
    folder = tmp_path_factory.mktemp("explained")
    writer.write(folder, explained)
    return folder


@pytest.fixture(scope="module")
def arrays(folder):
    with np.load(folder / "explanation.npz") as found:
        return dict(found)


def cell(page):
    return page.evaluate("[rgcam.state.shown.output, rgcam.state.shown.input]")


def centre(page, out, step):
    """Return where a cell lies in the grid's canvas."""
    p, outs, steps = page.evaluate("[rgcam.place(), rgcam.data.outs, rgcam.data.steps]")
    x = p["left"] + (step + 0.5) / steps * p["across"]
    return {"x": x, "y": p["top"] + (out + 0.5) / outs * p["tall"]}


def until(page, condition):
    """Wait; Playwright's own way is an eval, which the page forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(condition)


def saved(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value


def numbers(page):
    return json.loads(saved(page, "#save-json").path().read_text())


def test_the_page_says_what_it_shows(open_page, folder, explained):
    page = open_page(folder / "report.html")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["prediction"] in page.inner_text("#found")
    assert page.inner_text("#seen").count(". ") == 0  # two sentences in all
    assert explained.shown.verdict in page.inner_text("#trust")
    best = summary["top_moments"][0]
    assert cell(page) == [15, best["frame"]]
    first = page.inner_text("#moments tbody tr")
    assert f"{best['time']:.2f} s" in first and f"{best['share']:.1%}"[:-1] in first
    about = page.text_content("#about")
    for part in ("clip.mp4", "a note", "explain.py --model=stickman-lrcn", "jax "):
        assert part in about
    assert "--verify" not in about and "--window" not in about


@pytest.mark.parametrize("how, step", [("rise", None), ("max", 15)])
def test_the_page_opens_at_the_chosen_step(open_page, explained, tmp_path, how, step):
    chosen = by_aggregation(explained, how)
    writer.write(tmp_path, chosen)
    if step is None:
        step = chosen.shown.step
        assert step < 15
    page = open_page(tmp_path / "report.html")
    row = explained.shown.matrix[step]
    assert cell(page) == [step, row.argmax()]
    assert f"decision at {explained.clip.times[step]:.2f} s" in page.inner_text(
        "#picture-title"
    )
    assert cell(open_page(tmp_path / "report.html", "#t=5&s=9")) == [9, 5]


def test_pointing_and_pressing_show_the_cell(open_page, folder, arrays):
    page = open_page(folder / "report.html")
    before = cell(page)
    page.hover("#cursor", position=centre(page, 9, 4))
    assert cell(page) == [9, 4]
    value = arrays["matrix"][9, 4]
    share = 100 * value / np.maximum(arrays["matrix"][9], 0).sum()
    said = page.inner_text("#status")
    score = arrays["scores"][9, int(arrays["target"])]
    assert f"{float(f'{value:.3g}'):g}" in said and f"{share:.1f} %" in said
    assert f"{float(f'{score:.3g}'):g}" in said
    page.hover("h1")
    assert cell(page) == before
    page.click("#cursor", position=centre(page, 9, 4))
    page.hover("h1")
    assert cell(page) == [9, 4]
    page.hover("#cursor", position=centre(page, 2, 9))
    assert "not been seen yet" in page.inner_text("#status")


def test_touch_stays_at_a_cell(open_page, folder):
    page = open_page(folder / "report.html", viewport=PHONE, has_touch=True)
    page.tap("#cursor", position=centre(page, 9, 4))
    assert cell(page) == [9, 4]


def test_keys_move_and_play(open_page, folder):
    page = open_page(folder / "report.html", "#t=5&s=9")
    for key, expected in (
        ("ArrowRight", [9, 6]),
        ("ArrowLeft", [9, 5]),
        ("Shift+ArrowLeft", [8, 5]),
        ("Shift+ArrowRight", [9, 5]),
        ("End", [9, 15]),
        ("Home", [9, 0]),
        ("Shift+End", [15, 0]),
        ("ArrowLeft", [15, 0]),
    ):
        page.keyboard.press(key)
        assert cell(page) == expected, key
    page.focus("#cursor")
    page.keyboard.press("ArrowUp")
    assert cell(page) == [14, 0]
    page.check("#follow")
    page.focus("#cursor")
    page.keyboard.press("Space")
    until(page, "rgcam.state.cell.input > 1")
    assert page.inner_text("#play") == "Pause"
    page.keyboard.press("Space")
    out, step = cell(page)
    assert out == step and page.inner_text("#play") == "Play"


def test_numbers_equal_the_files(open_page, folder, arrays, explained):
    page = open_page(folder / "report.html", "#t=3&s=15")
    found = numbers(page)
    np.testing.assert_array_equal(np.float32(found["matrix"]), arrays["matrix"])
    np.testing.assert_allclose(found["times"], arrays["times"], atol=1e-6)
    target = int(arrays["target"])
    np.testing.assert_array_equal(
        np.float32(found["scores"]), arrays["scores"][:, target]
    )
    worst = found["map_error"] * np.abs(explained.shown.maps).max()
    np.testing.assert_allclose(found["map"], arrays["maps"][3], atol=2 * worst)
    assert found["map_error"] < 0.005
    text = saved(page, "#save-csv").path().read_text()
    rows = list(csv.reader(text.splitlines()))
    grid = np.array([row[1:] for row in rows[1:]], np.float32)
    np.testing.assert_array_equal(grid, arrays["matrix"])


def test_another_class_and_a_pair(open_page, folder, model, explained):
    page = open_page(folder / "report.html")
    m, frames = model, model.preprocess(explained.clip.frames)
    names = [
        option.inner_text() for option in page.query_selector_all("#target option")
    ]
    assert names[0] == m.classes[explained.target] and len(names) == explain.CLASSES
    other = m.classes.index(names[1])
    own = gradcam.explain(m.module, m.variables, frames, other, relu=False)
    first = gradcam.explain(m.module, m.variables, frames, explained.target, relu=False)
    page.select_option("#target", label=names[1])
    found = numbers(page)
    expected = np.maximum(own.maps, 0).sum((-2, -1))
    np.testing.assert_allclose(found["matrix"], expected, rtol=1e-4, atol=1e-6)
    assert found["class"] == names[1] and names[1] in page.inner_text("#film-title")
    page.select_option("#sign", "signed")
    found = numbers(page)
    np.testing.assert_allclose(found["matrix"], own.matrix, rtol=1e-3, atol=1e-5)
    page.select_option("#rather", label=names[0])
    found = numbers(page)
    assert found["rather_than"] == names[0]
    difference = np.asarray(own.matrix - first.matrix)
    np.testing.assert_allclose(found["matrix"], difference, rtol=1e-3, atol=1e-5)
    page.select_option("#sign", "positive")
    positive = np.maximum(own.maps - first.maps, 0).sum((-2, -1))
    worst = 64 * found["map_error"] * np.abs(own.maps).max()
    np.testing.assert_allclose(numbers(page)["matrix"], positive, atol=2 * worst)


def test_colour_bars_tell_true_units(open_page, folder, arrays):
    page = open_page(folder / "report.html")
    peak = lambda values: f"{float(f'{np.abs(values).max():.3g}'):g}"
    assert page.inner_text("#bar-high") == peak(arrays["maps"])
    assert "decision at 2.00 s" in page.inner_text("#bar-unit")
    assert page.inner_text("#grid-high") == peak(arrays["matrix"])
    assert "the whole clip" in page.inner_text("#grid-unit")
    page.check("#rows-box")
    assert page.inner_text("#grid-high") == peak(arrays["matrix"][-1])
    page.select_option("#scale", "clip")
    assert "the whole clip" in page.inner_text("#bar-unit")


def test_a_link_restores_the_view(open_page, folder):
    page = open_page(folder / "report.html")
    page.select_option("#sign", "signed")
    page.select_option("#scale", "clip")
    page.uncheck("#beside-box")
    page.click("#cursor", position=centre(page, 9, 4))
    page.hover("h1")
    until(page, "location.hash.includes('s=9')")
    fragment = page.evaluate("location.hash")
    again = open_page(folder / "report.html", fragment)
    assert cell(again) == [9, 4] and not again.is_visible("#beside")
    assert again.input_value("#sign") == "signed"
    assert again.input_value("#scale") == "clip"
    strange = "#t=1e9&s=x&class=%3Cb%3E&scale=__proto__&colours=__proto__&heat=-1"
    assert cell(open_page(folder / "report.html", strange))[0] == 15


def test_the_view_is_saved_as_a_picture(open_page, folder, tmp_path):
    from PIL import Image

    page = open_page(folder / "report.html")
    saved(page, "#save-png").save_as(tmp_path / "view.png")
    image = np.asarray(Image.open(tmp_path / "view.png").convert("RGB"))
    assert image.shape[1] > 2000 and image.shape[0] > 1000 and image.std() > 20


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)])
def test_no_serious_barrier(open_page, folder, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(folder / "report.html", color_scheme=scheme, viewport=size)
    page.evaluate("document.getElementById('about').open = true")
    violations = Axe().run(page).response["violations"]
    grave = [v for v in violations if v["impact"] in ("serious", "critical")]
    assert not grave, [(v["id"], v["nodes"][0]["html"][:99]) for v in grave]
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


@pytest.fixture(scope="module")
def evil(explained, tmp_path_factory):
    """Write a page in which every name is markup, of a clip without attribution."""
    classes = (f"</script>{EVIL}", EVIL, *explained.model.classes[2:])
    bad = dataclasses.replace(
        explained,
        model=dataclasses.replace(explained.model, classes=classes, name=EVIL),
        attributions=(
            dataclasses.replace(
                explained.shown,
                maps=0 * explained.shown.maps,
                shown_maps=0 * explained.shown.shown_maps,
                shown_row=0 * explained.shown.shown_row,
                matrix=0 * explained.shown.matrix,
                class_maps=None,
            ),
        ),
        target=1,
        source=f"{EVIL}.mp4",
        frame_baseline=None,
        options={"video": EVIL},
    )
    file = tmp_path_factory.mktemp("evil") / "report.html"
    file.write_text(explorer.clip_page(bad))
    return file


def test_names_are_never_markup(open_page, evil):
    page = open_page(evil)
    assert page.title() != "harmed" and page.query_selector("body img") is None
    assert EVIL in page.inner_text("h1") and EVIL in page.inner_text("#legend")
    assert EVIL in page.text_content("#about")
    page.hover("#cursor", position=centre(page, 9, 4))
    assert EVIL in page.inner_text("#film-title")


def test_no_evidence_is_said(open_page, evil):
    page = open_page(evil)
    assert "no positive evidence" in page.inner_text("#bar-unit")
    assert "no positive evidence" in page.inner_text("#grid-unit")
    assert "No positive evidence" in page.inner_text("#moments")
    assert not page.is_visible("#sign") and not page.is_visible("#beside")


def test_the_policy_forbids_scripts_and_requests(browser, folder):
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    page.evaluate(
        """() => { const s = document.createElement('script');
        s.textContent = 'document.title = "harmed"'; document.body.append(s); }"""
    )
    refused = page.evaluate("fetch('data:,x').then(() => false, () => true)")
    assert refused and page.title() != "harmed"
    page.close()


def test_long_clips_are_restored_from_a_shared_basis(
    open_page, explained, tmp_path, monkeypatch
):
    maps = explained.shown.class_maps.maps
    kept = quantize.factorise(maps, 4 * 136 * 12)
    monkeypatch.setattr(quantize, "factorise", lambda maps: kept)
    file = tmp_path / "report.html"
    file.write_text(explorer.clip_page(explained))
    assert kept.basis is not None and 1e-3 < kept.error < 0.05
    page = open_page(file, "#t=3&s=15")
    expected = quantize.restore(kept, maps.shape)[0, 15, 3]
    np.testing.assert_allclose(
        numbers(page)["map"], np.maximum(expected, 0), rtol=1e-4, atol=1e-6
    )


def test_a_page_is_one_file_of_known_size(folder):
    text = (folder / "report.html").read_text()
    assert len(text) < 400_000
    assert not re.search(r"https?://", text.split('id="data"')[0])
    assert "{{" not in text.split('id="data"')[0]


@pytest.mark.parametrize("method", ["gradcam", "path"])
def test_the_view_holds_the_record(model, explained, method):
    record = explain_clip(model, explained.clip, target=1, method=method)
    page = explorer.clip_view(record)
    assert page.shown is record.shown.class_maps
    positive = np.maximum(record.shown.maps, 0).sum((2, 3))
    np.testing.assert_allclose(page.matrix, positive, rtol=1e-4, atol=1e-6)
    assert page.about["Method"] == page.method == methods.TITLES[method]
    assert record.shown.verdict in page.trust
    assert page.trusted == record.shown.passed


def test_the_lead_says_what_was_predicted_and_what_is_explained(explained):
    text = explorer.lead(explained)
    assert text == f"Prediction after 2.0 s (16 frames): {explained.prediction_text}."
    other = dataclasses.replace(explained, target=(explained.predicted + 1) % 11)
    assert explorer.lead(other) == f"{text} Explained: “{other.target_name}”."


def test_seen_is_one_sentence():
    said = explorer.seen("wave")
    assert said.count(".") == 1 and said.endswith(".") and "“wave”" in said


def test_a_view_that_was_not_checked_says_so(explained):
    shown = dataclasses.replace(explained.shown, checks=())
    page = explorer.clip_view(dataclasses.replace(explained, attributions=(shown,)))
    assert page.trusted is None and "not checked for this view" in page.trust


def test_about_holds_what_is_known_and_nothing_else(explained):
    other = dataclasses.replace(
        explained,
        clip=explained.clip._replace(notes=()),
        source="/home/me/a b.mp4",
        options={"video": "a b.mp4", "verify": True, "window": None, "beta": False},
        frame_baseline=None,
    )
    about = explorer.about(other)
    assert about["Command"] == "python explain.py '--video=a b.mp4' --verify"
    assert about["Model"].startswith("stickman-lrcn: ")
    assert about["Video"] == "a b.mp4, 16 frames"
    assert not {"Notes", "Frame-CNN baseline"} & set(about)
