"""The page in a browser: opened from disk, alone, and used as a person would."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from rgcam.attribution import explain as attribution
from rgcam.attribution import maps as attribution_maps
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models import zoo
from rgcam.models.out_of_distribution import DistributionCheck
from rgcam.report import explain, explorer, writer
from rgcam.report.explain import explain_clip
from rgcam.report.record import CheckedView, verdict
from tests.conftest import WIDE
from tests.report.test_record import by_aggregation, sentence_clip

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


def matrix_of(saved_numbers):
    """Return the saved matrix with zeros for pairs that do not exist."""
    return np.nan_to_num(np.array(saved_numbers["matrix"], np.float64))


def test_the_page_says_what_it_shows(open_page, folder, explained):
    page = open_page(folder / "report.html")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["prediction"] in page.inner_text("#lead")
    assert page.inner_text("#lead") == explained.lead
    assert page.inner_text("#view") == explained.view_text
    assert page.inner_text("#reading").count(".") == 1  # one sentence
    assert explained.shown.verdict in page.inner_text("#verdict")
    assert page.title() == page.inner_text("h1") == explained.title
    best = summary["top_moments"][0]
    assert cell(page) == [15, best["frame"]]
    first = page.inner_text("#moments tbody tr")
    assert f"{best['time']:.2f} s" in first and f"{best['share']:.1%}"[:-1] in first
    about = page.text_content("#about")
    for part in ("clip.mp4", "a note", "explain.py --model=stickman-lrcn", "jax "):
        assert part in about
    assert "--verify" not in about and "--window" not in about


def test_the_page_opens_at_the_chosen_step(open_page, explained, tmp_path):
    chosen = by_aggregation(explained, "rise")
    (tmp_path / "report.html").write_text(explorer.page(chosen))
    step = chosen.shown.step
    assert step < 15
    page = open_page(tmp_path / "report.html")
    row = explained.shown.matrix[step]
    assert cell(page) == [step, row.argmax()]
    assert page.inner_text("#map-title").endswith(chosen.shown_text)
    assert chosen.shown.verdict in page.inner_text("#verdict")
    assert cell(open_page(tmp_path / "report.html", "#t=5&s=9")) == [9, 5]


@pytest.mark.parametrize("how", ["mean", "max"])
def test_the_page_opens_on_the_aggregation_over_all_steps(
    open_page, explained, tmp_path, how
):
    chosen = by_aggregation(explained, how)
    (tmp_path / "report.html").write_text(explorer.page(chosen))
    page = open_page(tmp_path / "report.html")
    assert page.input_value("#steps") == how
    saved_numbers = numbers(page)
    np.testing.assert_array_equal(
        np.float32(saved_numbers["row"]), chosen.shown.shown_row
    )
    best = chosen.top_moments[0]
    assert cell(page) == [15, best.frame]
    np.testing.assert_array_equal(
        np.float32(saved_numbers["map"]), chosen.shown.shown_maps[best.frame]
    )
    assert page.inner_text("#map-title").endswith(chosen.shown_text)
    page.click("#cursor", position=centre(page, 9, 4))  # one step again
    assert cell(page) == [9, 4] and page.input_value("#steps") == ""
    again = open_page(tmp_path / "report.html", "#t=5&s=9")
    assert cell(again) == [9, 5] and again.input_value("#steps") == ""


@pytest.mark.parametrize("how", ["mean", "max"])
def test_aggregations_are_computed_for_any_choice(open_page, folder, explained, how):
    page = open_page(folder / "report.html", "#t=3&s=15")
    page.select_option("#steps", how)
    page.select_option("#sign", "signed")
    saved_numbers = numbers(page)
    signed = explained.shown.class_maps.maps[0]
    expected = attribution_maps.aggregate(
        signed, explained.scores, explained.target, how
    )
    worst = saved_numbers["map_error"] * np.abs(signed).max()
    np.testing.assert_allclose(saved_numbers["map"], expected[3], atol=2 * worst)
    row = expected.sum((1, 2))
    np.testing.assert_allclose(saved_numbers["row"], row, atol=128 * worst)
    assert saved_numbers["output_steps"] == how
    assert "over all steps" in page.inner_text("#view")
    fragment = page.evaluate("writeAddress(rgcam.data, rgcam.state), location.hash")
    assert open_page(folder / "report.html", fragment).input_value("#steps") == how


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
    matrix = np.array(found["matrix"], np.float32)
    future = np.triu_indices(16, 1)
    assert np.isnan(matrix[future]).all() and not arrays["matrix"][future].any()
    np.testing.assert_array_equal(np.nan_to_num(matrix), arrays["matrix"])
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
    for out, row in enumerate(rows[1:]):
        assert row[out + 2 :] == [""] * (15 - out)  # not seen yet: no number
        saved_row = np.array(row[1 : out + 2], np.float32)
        np.testing.assert_array_equal(saved_row, arrays["matrix"][out, : out + 1])


def test_another_class_and_a_pair(open_page, folder, model, explained):
    page = open_page(folder / "report.html")
    m, frames = model, model.preprocess(explained.clip.frames)
    names = [
        option.inner_text() for option in page.query_selector_all("#target option")
    ]
    assert names[0] == m.classes[explained.target] and len(names) == explain.CLASSES
    other = m.classes.index(names[1])
    own = attribution.explain(m.module, m.variables, frames, other, relu=False)
    first = attribution.explain(
        m.module, m.variables, frames, explained.target, relu=False
    )
    page.select_option("#target", label=names[1])
    found = numbers(page)
    expected = np.maximum(own.maps, 0).sum((-2, -1))
    np.testing.assert_allclose(matrix_of(found), expected, rtol=1e-4, atol=1e-6)
    assert found["class"] == names[1] and names[1] in page.inner_text("#film-title")
    page.select_option("#sign", "signed")
    found = numbers(page)
    np.testing.assert_allclose(matrix_of(found), own.matrix, rtol=1e-3, atol=1e-5)
    page.select_option("#rather", label=names[0])
    found = numbers(page)
    assert found["rather_than"] == names[0]
    difference = np.asarray(own.matrix - first.matrix)
    np.testing.assert_allclose(matrix_of(found), difference, rtol=1e-3, atol=1e-5)
    page.select_option("#sign", "positive")
    positive = np.maximum(own.maps - first.maps, 0).sum((-2, -1))
    worst = 64 * found["map_error"] * np.abs(own.maps).max()
    np.testing.assert_allclose(matrix_of(numbers(page)), positive, atol=2 * worst)


def test_colour_bars_tell_true_units(open_page, folder, arrays):
    page = open_page(folder / "report.html")
    peak = lambda values: f"{float(f'{np.abs(values).max():.3g}'):g}"
    assert page.inner_text("#map-high") == peak(arrays["maps"])
    assert "output step at 2.00 s" in page.inner_text("#map-unit")
    assert page.inner_text("#matrix-high") == peak(arrays["matrix"])
    assert "all output steps" in page.inner_text("#matrix-unit")
    page.check("#rows-box")
    assert page.inner_text("#matrix-high") == peak(arrays["matrix"][-1])
    page.select_option("#scale", "clip")
    assert "all output steps" in page.inner_text("#map-unit")


def test_a_link_restores_the_view(open_page, folder):
    page = open_page(folder / "report.html")
    page.select_option("#sign", "signed")
    page.select_option("#scale", "clip")
    page.uncheck("#baseline-box")
    page.click("#cursor", position=centre(page, 9, 4))
    page.hover("h1")
    until(page, "location.hash.includes('s=9')")
    fragment = page.evaluate("location.hash")
    again = open_page(folder / "report.html", fragment)
    assert cell(again) == [9, 4] and not again.is_visible("#baseline")
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
    file.write_text(explorer.page(bad))
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
    assert "no positive evidence" in page.inner_text("#map-unit")
    assert "no positive evidence" in page.inner_text("#matrix-unit")
    assert "No positive evidence" in page.inner_text("#moments")
    assert not page.is_visible("#sign") and not page.is_visible("#baseline")


def test_the_policy_forbids_scripts_and_requests(browser, folder):
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    page.evaluate(
        """() => { const s = document.createElement('script');
        s.textContent = 'document.title = "harmed"'; document.body.append(s); }"""
    )
    blocked = page.evaluate("fetch('data:,x').then(() => false, () => true)")
    assert blocked and page.title() != "harmed"
    page.close()


def test_long_clips_are_restored_from_a_shared_basis(
    open_page, explained, tmp_path, monkeypatch
):
    maps = explained.shown.class_maps.maps
    kept = explorer.factorise(maps, 4 * 136 * 12)
    monkeypatch.setattr(explorer, "factorise", lambda maps, **options: kept)
    file = tmp_path / "report.html"
    file.write_text(explorer.page(explained))
    assert kept.basis is not None and 1e-3 < kept.error < 0.05
    page = open_page(file, "#t=3&s=15")
    expected = explorer.restore(kept, maps.shape)[0, 15, 3]
    np.testing.assert_allclose(
        numbers(page)["map"], np.maximum(expected, 0), rtol=1e-4, atol=1e-6
    )


def test_a_page_is_one_file_of_known_size(folder):
    text = (folder / "report.html").read_text()
    assert len(text) < 400_000
    assert not re.search(r"https?://", text.split('id="data"')[0])
    assert "{{" not in text.split('id="data"')[0]


def verdict_of(explained, step, *, rectified):
    (check,) = [
        view.check
        for view in explained.shown.checks
        if (view.step, view.rectified) == (step, rectified)
    ]
    return verdict(check)


def test_every_choice_changes_title_view_verdict_and_exports(
    open_page, folder, explained
):
    page = open_page(folder / "report.html")
    texts = lambda: [page.inner_text(f"#{i}") for i in ("title", "view", "verdict")]
    name = lambda button: saved(page, button).suggested_filename
    opening = [*texts(), page.inner_text("#reading"), name("#save-json")]
    assert "FAILED" in opening[2] and "-positive-step-15.json" in opening[4]
    other = page.query_selector_all("#target option")[1].inner_text()

    page.select_option("#target", label=other)
    title, view, said = texts()
    assert f"“{other}”" in title and f"“{other}”" in view and page.title() == title
    assert said == "Faithfulness check: not checked for this view."
    assert page.get_attribute("#verdict", "class") == "verdict unknown"
    assert numbers(page)["faithfulness"] == "not checked for this view"

    page.select_option("#rather", index=1)
    title, view, said = texts()
    assert "rather than" in title and "rather than" in view and "not checked" in said
    assert f"“{other}” rather than" in page.inner_text("#reading")
    assert "rather-than" in name("#save-csv")

    page.select_option("#rather", "-1")
    page.select_option("#target", index=0)
    assert [*texts(), page.inner_text("#reading")] == opening[:4]
    page.select_option("#sign", "signed")
    title, view, said = texts()
    assert title == opening[0] and "supporting and opposing" in view
    assert verdict_of(explained, 15, rectified=False) in said
    assert page.inner_text("#reading").startswith("Red regions")
    assert "-signed.csv" in name("#save-csv")

    page.select_option("#sign", "positive")
    page.keyboard.press("Escape")
    page.focus("#cursor")
    page.keyboard.press("ArrowUp")
    title, view, said = texts()
    assert "t' = 1.87 s" in view and title == opening[0]
    assert verdict_of(explained, 14, rectified=True) in said
    assert "-step-14.json" in name("#save-json")


def test_a_verdict_is_shown_only_for_maps_that_were_checked(
    open_page, explained, tmp_path
):
    check = explained.shown.faithfulness._replace(time=0.1, space=0.1)
    failed = CheckedView(step=15, rectified=True, check=check)
    passed = CheckedView(
        step=15, rectified=False, check=check._replace(time=0.9, space=0.9)
    )
    shown = dataclasses.replace(explained.shown, checks=(failed, passed))
    file = tmp_path / "report.html"
    other = dataclasses.replace(explained, attributions=(shown,))
    file.write_text(explorer.page(other))
    page = open_page(file)
    state = lambda: page.get_attribute("#verdict", "class").split()[1]
    assert state() == "failed" and "FAILED (0.10, " in page.inner_text("#verdict")
    page.select_option("#sign", "signed")
    assert state() == "passed" and "PASSED (0.90," in page.inner_text("#verdict")
    page.hover("#cursor", position=centre(page, 9, 4))
    assert state() == "unknown"
    page.hover("h1")
    assert state() == "passed"
    page.select_option("#steps", "max")
    assert state() == "unknown"


def test_the_page_holds_no_folder_of_the_machine(open_page, explained, tmp_path):
    options = {
        "model": "/home/me/runs/mine",
        "video": "/home/me/a b.mp4",
        "videos": "/home/me/**/*.mp4",
        "out": "out/here",
        "target": "sit/stand",
        "verify": True,
    }
    trained = "python train.py --config=configs/a.py --workdir=/home/me/runs/mine"
    other = dataclasses.replace(
        explained,
        clip=explained.clip._replace(
            notes=("cannot seek in /home/me/a.mp4, see C:\\me\\b",)
        ),
        model=dataclasses.replace(explained.model, results={"command": trained}),
        source="/home/me/a b.mp4",
        options=options,
    )
    text = explorer.page(other)
    about = explorer.about(other)
    assert about["Notes"] == "cannot seek in a.mp4, see b"
    assert '<p class="notes" id="notes" >Note: cannot seek in a.mp4, see b</p>' in text
    assert about["Training and test"] == (
        "command python train.py --config=configs/a.py --workdir=mine"
    )
    assert "/home" not in text and "a b.mp4" in text
    assert explorer.command(options) == (
        "python explain.py --model=mine '--video=a b.mp4' '--videos=**/*.mp4' "
        "--out=here --target=sit/stand --verify"
    )


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
    assert '<p class="notes" id="notes" hidden></p>' in explorer.page(other)


def test_a_clip_unlike_the_training_data_is_warned_of_above_its_explanation(explained):
    check = DistributionCheck(distance=9.0, threshold=5.0)
    notes = ("it has no sound", check.warning)
    unlike = dataclasses.replace(
        explained,
        clip=explained.clip._replace(notes=notes),
        distribution_check=check,
    )
    text = explorer.page(unlike)
    place = text.index('<p class="notes warning" id="notes" >Note: it has no sound; ')
    assert "do not rely on the prediction" in text[place : text.index("</p>", place)]
    assert text.index('id="lead"') < place < text.index('id="verdict"')


# Heat maps of all pairs in few bytes.


def low_rank(rank, classes=2, steps=12, side=4):
    """Return causal maps that are combinations of ``rank`` maps of each frame."""
    draw = np.random.default_rng(0).normal
    weights = draw(size=(classes, steps, steps, rank)) * np.tri(steps)[..., None]
    basis = draw(size=(steps, rank, side * side))
    maps = np.einsum("cotr,trx->cotx", weights, basis)
    return maps.reshape(classes, steps, steps, side, side).astype(np.float32)


def test_codes_by_hand():
    maps = np.zeros((1, 2, 2, 1, 2), np.float32)
    maps[0, 1, 0, 0] = 127, -63.4
    maps[0, 1, 1, 0] = 0.5, 0.25
    kept = explorer.factorise(maps)
    assert kept.causal and kept.basis is None
    np.testing.assert_array_equal(kept.codes[0], [[0, 0], [127, -63], [127, 64]])
    np.testing.assert_allclose(kept.scales[0], [0, 1, 0.5 / 127], rtol=1e-6)
    assert kept.error == pytest.approx(0.4 / 127, rel=1e-4)


@pytest.mark.parametrize("budget", [10**6, 2 * 78 * 6])
def test_the_error_is_what_it_says(budget):
    maps = low_rank(5)
    kept = explorer.factorise(maps, budget)
    assert (kept.basis is None) == (budget == 10**6)
    again = explorer.restore(kept, maps.shape)
    worst = np.abs(again - maps).max() / np.abs(maps).max()
    assert kept.error == pytest.approx(worst, rel=1e-5)
    assert worst < 0.02  # rounding: the basis of 6 holds what 5 maps make
    assert not again[:, *np.triu_indices(12, 1)].any()


def test_every_pair_keeps_its_shape_however_faint():
    maps = low_rank(16)
    maps *= np.geomspace(1, 1e-6, 12)[:, None, None, None].astype(np.float32)
    again = explorer.restore(explorer.factorise(maps), maps.shape)
    error = np.abs(again - maps).max((-2, -1))
    assert (error <= 0.51 / 127 * np.abs(maps).max((-2, -1))).all()


def test_what_looks_ahead_is_kept_whole():
    maps = np.random.default_rng(0).normal(size=(1, 3, 5, 2, 2)).astype(np.float32)
    kept = explorer.factorise(maps)
    assert not kept.causal and kept.codes.shape == (1, 15, 4)
    np.testing.assert_allclose(explorer.restore(kept, maps.shape), maps, atol=0.02)
    square = low_rank(2)
    square[0, 0, 1] = 1e-9
    assert not explorer.factorise(square).causal


def test_nothing_is_kept_as_nothing():
    kept = explorer.factorise(np.zeros((1, 4, 4, 2, 2), np.float32))
    assert kept.error == 0 and not explorer.restore(kept, (1, 4, 4, 2, 2)).any()


def test_every_word_of_a_sentence_stands_beside_the_matrix(open_page, tmp_path):
    words = ("a", "person", "kicks") * 5
    file = tmp_path / "report.html"
    file.write_text(explorer.page(sentence_clip(words=words)), "utf-8")
    page = open_page(file)
    drawn = page.evaluate(
        """() => {
          const drawn = [];
          const fillText = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
            drawn.push(text);
            return fillText.call(this, text, ...at);
          };
          window.rgcam.view.everything();
          return drawn;
        }"""
    )
    assert [text for text in drawn if text in words] == list(words)
    assert page.text_content("#title").startswith(
        "Why captioner writes “a person kicks"
    )
    assert "word “kicks”" in page.text_content("#view")
    assert "writes word after word" in page.text_content("main")
