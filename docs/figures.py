"""Make the figures of the documentation: strip.png and explorer.png.

    python docs/figures.py
    python docs/figures.py --clips=FOLDER --out=FOLDER

The second command reproduces the paper's Fig. 3 for every class of ``ucf101-lrcn``, one
CLASS.png each. FOLDER holds <Class>/v_<Class>_gGG_cCC.mp4 of UCF101. The clip of a class is
the first one by name of the test groups 1-7 of which the LRCN predicts the class. The figures
show frames of UCF101, so that they are not part of this repository. A table says of every
class whether the maps pass the faithfulness check of the LRCN's last output step: the frame
CNN's Grad-CAM, recurrent Grad-CAM and ``fade``; and how much of recurrent Grad-CAM is in the
last frame.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.data import folder
from rgcam.data.folder import Item
from rgcam.data.video import read_clip
from rgcam.metrics import faithfulness, statistics
from rgcam.metrics.faithfulness import FaithfulnessCheck
from rgcam.models import zoo
from rgcam.models.zoo import Model
from rgcam.report import explain, plots
from rgcam.report.record import ExplainedClip

HERE = Path(__file__).parent
WIDTH = 1464  # pixels of strip.png
TEST_GROUPS = range(1, 8)  # of configs/ucf101_lrcn.py
GROUP = r"_g(\d+)_"
METHODS = ("gradcam", "fade")
COLUMNS = ("frame CNN's Grad-CAM", "recurrent Grad-CAM", "fade")
LAST = "recurrent Grad-CAM in the last frame, %"


class Judged(NamedTuple):
    """What the table says of a clip.

    Attributes:
        checks: of the maps of COLUMNS.
        last: share of recurrent Grad-CAM that is in the last frame.
    """

    checks: list[FaithfulnessCheck]
    last: float


def main() -> None:
    """Make the figures of the pages, or those of the paper's Fig. 3."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", help="folder of UCF101's classes")
    parser.add_argument("--out", type=Path, help="folder of the strips of --clips")
    options = parser.parse_args()
    if not options.clips:
        make_page_figures()
        return
    if options.out is None:
        parser.error("say where the strips are written: --out=FOLDER")
    options.out.mkdir(parents=True, exist_ok=True)
    model, cnn = zoo.load_model("ucf101-lrcn"), zoo.load_model("ucf101-cnn")
    listing = folder.scan(options.clips, GROUP)
    judged: dict[str, Judged] = {}
    for label, name in enumerate(listing.classes):
        items = [item for item in listing.items if item.label == label]
        explained = first_correct(model, cnn, name, items)
        if explained is None:
            print(f"{name}: no test clip is classified correctly")
            continue
        plots.clip_strip(explained).savefig(options.out / f"{name}.png")
        print(f"{name}: {explained.source}", flush=True)
        row = explained.shown.shown_row
        judged[explained.source] = Judged(
            checks=verdicts(model, explained), last=float(row[-1] / row.sum())
        )
        # Here, so that a run that ends early has said what it found.
        print(line(explained.source, judged[explained.source]), flush=True)
    print(table(judged))


def first_correct(
    model: Model, cnn: Model, name: str, items: Sequence[Item]
) -> ExplainedClip | None:
    """Explain the first test clip by name that is classified correctly."""
    for item in sorted(items, key=lambda item: item.name):
        if int(item.group) not in TEST_GROUPS:
            continue
        assert isinstance(item.clip, Path)
        explained = explain.explain_clip(
            model,
            read_clip(item.clip, model.description.fps),
            method=METHODS,
            cnn=cnn,
            source=item.name,
            classes=1,
            beta=False,
            checks="shown",
        )
        if model.classes[explained.target] == name:
            return explained
    return None


def verdicts(model: Model, explained: ExplainedClip) -> list[FaithfulnessCheck]:
    """Return the checks of COLUMNS at the last output step.

    A frame CNN's maps are judged by what the LRCN loses, as if they were the LRCN's.
    """
    assert explained.frame_baseline is not None and explained.features is not None
    last, maps = len(explained.scores) - 1, explained.frame_baseline.maps[0]
    of_cnn = faithfulness.check_faithfulness(
        model.module,
        model.variables,
        explained.features,
        np.broadcast_to(maps, (last + 1, *maps.shape)),
        explained.target,
        method="gradcam",
        steps=[last],
    )
    of_lrcn = [attribution.faithfulness for attribution in explained.attributions]
    return [of_cnn, *(check for check in of_lrcn if check is not None)]


def table(judged: dict[str, Judged]) -> str:
    """Format a line for each clip, and one of how many pass, with intervals over clips."""
    top = ["clip", *COLUMNS, LAST]
    shares = ["passed"]
    for number in range(len(COLUMNS)):
        passed = np.array([one.checks[number].passed for one in judged.values()])
        bounds = statistics.share_interval(passed, list(judged)).bounds
        text = f" ({bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else ""
        shares.append(f"{passed.sum()} of {len(passed)}{text}")
    lines = [
        f"| {' | '.join(top)} |",
        "| --- " * len(top) + "|",
        *(line(source, one) for source, one in judged.items()),
        f"| {' | '.join(shares)} | |",
    ]
    return "\n".join(lines)


def line(source: str, judged: Judged) -> str:
    """Format the line of a clip."""
    cells = [source, *map(verdict_text, judged.checks), f"{100 * judged.last:.0f}"]
    return f"| {' | '.join(cells)} |"


def verdict_text(check: FaithfulnessCheck) -> str:
    """Write a score and whether it passes."""
    score = f"{check.score:.2f}" if math.isfinite(check.score) else "no effect"
    return f"{score}, {'passed' if check.passed else 'failed'}"


def make_page_figures() -> None:
    """Explain the demo clip, shrink its strip and take a screenshot of its page."""
    with tempfile.TemporaryDirectory() as out:
        script = HERE.parent / "explain.py"
        subprocess.run([sys.executable, script, f"--out={out}"], check=True)
        strip = Image.open(Path(out) / "strip.png")
        height = round(strip.height * WIDTH / strip.width)
        small = strip.resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.save(HERE / "strip.png", optimize=True)
        screenshot(Path(out) / "report.html", HERE / "explorer.png")


def screenshot(page: Path, file: Path) -> None:
    """Write what a browser displays of a page."""
    # Here, so that the strips need no browser.
    from playwright.sync_api import sync_playwright

    browsers = filter(None, map(shutil.which, ("chromium", "google-chrome")))
    options = {"executable_path": next(browsers), "args": ["--no-sandbox"]}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options)
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(f"{page.as_uri()}#t=3&s=6")
        tab.wait_for_timeout(1000)
        tab.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    main()
