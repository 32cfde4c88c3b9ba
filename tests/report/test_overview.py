"""The overview in a browser: opened from disk, alone, and used as a person would."""

import time

import numpy as np
import pytest
from PIL import Image

from rgcam.report import overview, summary
from tests.conftest import WIDE
from tests.report.test_explorer import EVIL, PHONE
from tests.report.test_summary import OPTIONS, make_corpus

VERY_WIDE = {"width": 1920, "height": 1080}


def with_thumbnails(folder, rows):
    for row in rows:
        if row["status"] == "ok":
            place = row["files"][0].split("/")[0]
            pixels = np.full((72, 432, 3), 99, np.uint8)
            Image.fromarray(pixels).save(folder / place / "thumbnails.jpg")
            row["files"] += [f"{place}/thumbnails.jpg", f"{place}/report.html"]
    return rows


def write(folder, rows, options=OPTIONS):
    contents = summary.summarize_videos(folder, rows, options)
    (folder / "index.html").write_text(overview.page(contents, folder))
    return folder / "index.html", contents


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return write(folder, with_thumbnails(folder, make_corpus(folder, 70)))


def names(page):
    return page.evaluate(
        "[...document.querySelectorAll('#videos tbody tr')].map("
        "(row) => row.cells[0].textContent)"
    )


def test_rows_equal_the_summary_a_page_at_a_time(open_page, corpus):
    file, contents = corpus
    page = open_page(file)
    order = [video.video for video in contents.videos]
    assert names(page) == order[:50]
    assert page.inner_text("#count") == "70 of 70 videos"
    page.click("#next")
    assert names(page) == order[50:] and page.is_disabled("#next")
    page.click("#previous")
    assert names(page) == order[:50] and page.is_disabled("#previous")
    video = contents.videos[1]
    cells = page.locator("#videos tbody tr").nth(1).inner_text()
    assert f"{100 * video.probability:.1f} %" in cells and video.prediction in cells
    assert "wrong" in cells and video.label in cells
    assert page.locator("#videos tbody tr").nth(0).inner_text().endswith("it is empty")
    link = page.locator("#videos tbody a").nth(0)
    assert link.get_attribute("href") == contents.videos[1].report
    assert page.evaluate("document.querySelector('#videos img').naturalWidth") == 432


def test_the_heading_says_what_the_terminal_says(open_page, corpus):
    file, contents = corpus
    lead = open_page(file).inner_text("header").casefold()
    assert summary.accuracy_sentence(contents) in lead
    assert summary.passed_sentence(contents) in lead
    assert "70 videos explained by lrcn" in lead


def test_videos_are_filtered_and_sorted(open_page, corpus):
    file, contents = corpus
    page = open_page(file)
    videos = contents.videos
    page.select_option("#kind", "wrong")
    expected = [v.video for v in videos if v.correct is False]
    assert names(page) == expected[:50]
    page.select_option("#class", "Jump")
    expected = [v for v in videos if v.correct is False and "Jump" in v[2:7]]
    assert names(page) == [v.video for v in expected]
    page.select_option("#kind", "failed")
    page.select_option("#class", "")
    page.select_option("#order", "least")
    failed = sorted((v.probability, v.video) for v in videos if v.passed is False)
    assert names(page) == [name for _, name in failed]
    page.select_option("#kind", "error")
    assert names(page) == [v.video for v in videos if v.error]
    page.select_option("#kind", "all")
    page.fill("#search", "diving g01")
    expected = {v.video for v in videos if "Diving" in v[2:7] and "_g01_" in v.video}
    assert {name for name in names(page)} >= {n for n in expected if "Diving/" in n}
    page.fill("#search", "no such name")
    assert names(page) == [] and page.inner_text("#count") == "0 of 70 videos"


def test_headings_sort_by_the_keyboard_both_ways(open_page, corpus):
    file, contents = corpus
    page = open_page(file)
    page.focus("#videos th button >> text=Half-life")
    lives = sorted(v.half_life for v in contents.videos if v.half_life is not None)
    for expected, direction in ((lives, "ascending"), (lives[::-1], "descending")):
        page.keyboard.press("Enter")
        header = page.locator("#videos th", has_text="Half-life")
        assert header.get_attribute("aria-sort") == direction
        first = page.evaluate("rgcam.data && chosen(rgcam.data, rgcam.state)[0]")
        assert first["halfLife"] == pytest.approx(expected[0])
        last = page.evaluate("chosen(rgcam.data, rgcam.state).at(-1)")
        assert last["halfLife"] is None  # what is missing comes last, both ways
    assert page.evaluate("document.activeElement.textContent") == "Half-life"


def test_accuracy_and_confusion_are_the_summary_s(open_page, corpus):
    file, contents = corpus
    page = open_page(file)
    table = page.evaluate(
        "[...document.querySelectorAll('.confusion tbody tr')].map((row) =>"
        "[...row.querySelectorAll('td')].map((cell) => Number(cell.textContent) || 0))"
    )
    np.testing.assert_array_equal(table, contents.accuracy.table)
    text = page.inner_text("[aria-label='Table of accuracy by class']")
    for interval in contents.accuracy.by_class:
        assert summary.interval_sentence(interval) in text


def test_charts_are_drawn_from_the_summary(open_page, corpus):
    file, contents = corpus
    page = open_page(file)
    for card, attribution in enumerate(contents.attributions):
        means = np.array([interval.mean for interval in attribution.time])
        points = page.evaluate(
            f"[...document.querySelectorAll('.card')[{card}].querySelector("
            "'.mean').points].map((p) => p.y)"
        )
        # Heights are linear in the means.
        slope = np.polyfit(means, points, 1)
        np.testing.assert_allclose(np.polyval(slope, means), points, atol=0.1)
        assert slope[0] < 0
        squares = page.locator(".card").nth(card).locator(".space rect")
        assert squares.count() == attribution.space.size


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", PHONE), ("dark", WIDE), ("light", VERY_WIDE)]
)
def test_no_serious_barrier_at_any_size(open_page, corpus, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(corpus[0], color_scheme=scheme, viewport=size)
    violations = Axe().run(page).response["violations"]
    grave = [v for v in violations if v["impact"] in ("serious", "critical")]
    assert not grave, [(v["id"], v["nodes"][0]["html"][:99]) for v in grave]
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    page.click("#theme")
    theme = page.evaluate("document.documentElement.dataset.theme")
    assert theme == {"light": "dark", "dark": "light"}[scheme]


def test_names_that_are_markup_stay_text(open_page, tmp_path):
    rows = with_thumbnails(tmp_path, make_corpus(tmp_path, 6))
    bad = [row | {"video": f"Diving/{n}{EVIL}.mp4"} for n, row in enumerate(rows)]
    bad[5]["error"] = f"</script>{EVIL}"
    file, contents = write(tmp_path, bad, {"videos": EVIL, "model": EVIL})
    page = open_page(file)
    assert "harmed" not in page.title() or "onerror" in page.title()
    assert sorted(names(page)) == sorted(v.video for v in contents.videos)
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0


def test_a_thousand_videos_stay_fluid(open_page, tmp_path):
    rows = with_thumbnails(tmp_path, make_corpus(tmp_path, 24))
    many = [
        row | {"video": f"Jump/{n:04}.mp4"} for n in range(1000) for row in rows[:1]
    ]
    file, _ = write(tmp_path, many)
    page = open_page(file)
    assert page.inner_text("#count") == "1000 of 1000 videos"
    assert len(names(page)) == 50
    seconds = page.evaluate(
        "(() => { const began = performance.now();"
        " for (let n = 0; n < 10; n++) sortBy(rgcam.data, rgcam.state, n % 2 ? 0 : 3);"
        " document.body.offsetHeight; return (performance.now() - began) / 10000; })()"
    )
    assert seconds < 0.2
    began = time.monotonic()
    page.fill("#search", "0999")
    assert names(page) == ["Jump/0999.mp4"] and time.monotonic() - began < 5
