"""The overview of many explained videos: one page of HTML that needs nothing else.

``page`` puts the sources in ``rgcam/report/summary_page`` and a ``Summary`` into one
string, by the same rules as ``rgcam.report.explorer``: no request is ever made, a
Content-Security-Policy forbids all, scripts and styles run by their hashes only, and names
of classes and files are data, never markup. The page links to the pages of the videos,
beside which it must lie.
"""

import base64
import html
import re
import urllib.parse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Float

from rgcam import files
from rgcam.attribution.explain import TITLES
from rgcam.metrics.statistics import Interval
from rgcam.report import explorer, record, summary
from rgcam.report.overlay import SEQUENTIAL, colour_table
from rgcam.report.summary import Accuracy, ClassAttribution, Summary, VideoSummary
from rgcam.types import Fields

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 240, 120, 34, 6, 18  # of a chart and its margins


def page(contents: Summary, folder: Path) -> str:
    """Return the page, a whole HTML document.

    Args:
        contents: of the corpus.
        folder: of the corpus, which holds the thumbnails.
    """
    # The policy of the page runs exactly this style and this script, by their hashes.
    style, script = _source("page.css"), f'"use strict";\n{_source("page.js")}'
    sentences = (
        summary.accuracy_sentence(contents),
        summary.passed_sentence(contents),
        *contents.notes,
    )
    model = contents.model
    parts = {
        "style": style,
        "script": script,
        "style-hash": explorer.source_hash(style),
        "script-hash": explorer.source_hash(script),
        "version": record.versions()["rgcam"],
        "title": html.escape(f"{len(contents.videos)} videos explained by {model}"),
        "lead": "\n".join(
            f'<p class="lead">{html.escape(record.sentence(text))}</p>'
            for text in sentences
        ),
        "accuracy": "" if contents.accuracy is None else _accuracy(contents.accuracy),
        "attributions": _attributions(contents.attributions),
        "data": explorer.json_text(_data(contents, folder)),
    }
    return re.sub(r"{{([a-z-]+)}}", lambda m: parts[m[1]], _source("page.html"))


def _data(contents: Summary, folder: Path) -> Fields:
    """Return what the scripts read."""
    names = {
        name
        for video in contents.videos
        for name in (video.label, video.prediction, video.target)
    }
    return {
        "classes": sorted(names - {""}),
        "videos": [_video(video, folder) for video in contents.videos],
    }


def _video(video: VideoSummary, folder: Path) -> Fields:
    thumbnails = ""
    if video.thumbnails:
        content = (folder / video.thumbnails).read_bytes()
        thumbnails = "data:image/jpeg;base64," + base64.b64encode(content).decode()
    return {
        "video": files.printable(video.video),
        "error": files.printable(video.error),
        "label": files.printable(video.label),
        "prediction": video.prediction,
        "correct": video.correct,
        "probability": video.probability,
        "target": video.target,
        "method": TITLES.get(video.shown, video.shown),
        "passed": video.passed,
        "score": video.score,
        "halfLife": video.half_life,
        "recurrentShare": video.recurrent_share,
        "topMoment": video.top_moment,
        "topShare": video.top_share,
        # The bytes of the file's name, whatever their encoding.
        "report": urllib.parse.quote(video.report, errors="surrogateescape"),
        "thumbnails": thumbnails,
    }


def _accuracy(accuracy: Accuracy) -> str:
    """Return the sections of accuracy by class and of the confusion table."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f"<td>{html.escape(summary.interval_sentence(interval))}</td></tr>"
        for name, interval in zip(accuracy.classes, accuracy.by_class, strict=True)
        if interval.mean is not None
    )
    columns = "".join(
        f'<th scope="col">{html.escape(name)}</th>' for name in accuracy.classes
    )
    confusion = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{_counts(counts, i)}</tr>'
        for i, (name, counts) in enumerate(
            zip(accuracy.classes, accuracy.table.tolist(), strict=True)
        )
        if sum(counts)
    )
    return f"""<section aria-labelledby="accuracy-title">
<h2 id="accuracy-title">Accuracy by class</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Table of accuracy by class"><table>
<thead><tr><th scope="col">Label</th><th scope="col">Correct</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<h2 id="confusion-title">Confusion</h2>
<p>Rows are labels, columns predicted classes.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table of confusion">
<table class="confusion">
<thead><tr><th scope="col">Label</th>{columns}</tr></thead>
<tbody>{confusion}</tbody></table></div>
</section>"""


def _counts(counts: Sequence[int], label: int) -> str:
    """Return a row of the confusion table: correct ones in bold, zeros as dots."""
    kinds = ["hit" if i == label else "" if n else "none" for i, n in enumerate(counts)]
    return "".join(
        f'<td class="{kind}">{count or "·"}</td>'
        for kind, count in zip(kinds, counts, strict=True)
    )


def _attributions(attributions: Sequence[ClassAttribution]) -> str:
    cards = "\n".join(_card(attribution) for attribution in attributions)
    return f"""<section aria-labelledby="attributions-title">
<h2 id="attributions-title">Attribution by class</h2>
<div class="cards">{cards}</div>
</section>"""


def _card(attribution: ClassAttribution) -> str:
    """Return what the videos of one class have in common."""
    methods = ", ".join(
        f"{TITLES.get(name, name)} {count}"
        for name, count in attribution.methods.items()
    )
    check = "faithfulness check: not made"
    if attribution.passed.mean is not None:
        check = "faithfulness check passed: " + summary.interval_sentence(
            attribution.passed
        )
    figures = ""
    if attribution.averaged:
        lag = attribution.lag_seconds * max(len(attribution.lag) - 1, 1)
        figures = (
            _chart("Share of support over relative time", attribution.time, "1", True)
            + _chart("Share of attribution by lag", attribution.lag, f"{lag:.1f} s")
            + _space(attribution.space)
        )
    text = (
        f"{attribution.videos} videos ({methods}). {record.sentence(check)} Means of "
        f"{attribution.averaged}."
    )
    return (
        f'<article class="card"><h3>{html.escape(attribution.name)}</h3>'
        f'<p>{html.escape(text)}</p><div class="charts">{figures}</div></article>'
    )


def _chart(
    caption: str, intervals: Sequence[Interval], end: str, steps: bool = False
) -> str:
    """Draw means with their intervals as an SVG.

    Args:
        caption: below the chart.
        intervals: from left to right.
        end: what stands below the right end; below the left is 0.
        steps: whether the values are of equal parts of the axis, with an even share.
    """
    means = np.array([np.nan if i.mean is None else i.mean for i in intervals])
    if not np.isfinite(means).any():
        return ""
    highs = [i.high for i in intervals if i.high is not None]
    top = max(float(np.nanmax(means)), *highs, 1e-9)
    offsets = (np.arange(len(means)) + 0.5) if steps else np.arange(len(means))
    last = len(means) if steps else max(len(means) - 1, 1)
    across = LEFT + offsets / last * (WIDTH - LEFT - 4)
    down = lambda value: TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)
    points = lambda xs, ys: " ".join(
        f"{x:.1f},{down(y):.1f}" for x, y in zip(xs, ys, strict=True)
    )
    finite = np.isfinite(means)
    band = ""
    bounds = [
        (x, i.low, i.high)
        for x, i in zip(across, intervals, strict=True)
        if i.low is not None and i.high is not None
    ]
    if bounds:
        xs, lows, highs_of = zip(*bounds, strict=True)
        outline = points((*xs, *xs[::-1]), (*lows, *highs_of[::-1]))
        band = f'<polygon class="band" points="{outline}"/>'
    even = ""
    if steps:
        y = down(1 / len(means))
        even = f'<path class="even" d="M{LEFT} {y:.1f}H{WIDTH - 4}"/>'
    peak = f"highest mean {100 * float(np.nanmax(means)):.1f} %"
    base = HEIGHT - BOTTOM
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(caption)}, {peak}">'
        f'<path class="axis" d="M{LEFT} {TOP}V{base}H{WIDTH - 4}" fill="none"/>{even}{band}'
        f'<polyline class="mean" points="{points(across[finite], means[finite])}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{100 * top:.0f} %</text>'
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">0</text>'
        f'<text x="{WIDTH - 4}" y="{HEIGHT - 4}" text-anchor="end">{end}</text>'
        f"</svg><figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _space(cells: Float[np.ndarray, "h w"] | None) -> str:
    """Draw a mean map as an SVG of one square for each cell."""
    if cells is None:
        return ""
    height, width = cells.shape
    colours = colour_table("inferno", SEQUENTIAL["inferno"])[:, :3]
    index = np.clip(cells / cells.max() * 255, 0, 255).astype(int)
    squares = "".join(
        f'<rect x="{j}" y="{i}" width="1.02" height="1.02" '
        f'fill="#{bytes((colours[index[i, j]] * 255).astype(np.uint8)).hex()}"/>'
        for i in range(height)
        for j in range(width)
    )
    caption = f"Mean map; largest cell {100 * float(cells.max()):.1f} % of the support"
    return (
        f'<figure class="space"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{caption}">{squares}</svg><figcaption>{caption}</figcaption></figure>'
    )


def _source(name: str) -> str:
    folder = resources.files("rgcam.report") / "summary_page"
    return (folder / name).read_text("utf-8")
