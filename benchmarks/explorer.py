"""What the explorer's page costs: its size, and its times in headless Chromium.

python benchmarks/explorer.py [--lengths=16,64,512] [--model=ucf101-lrcn]

Prints for each T: the file's size; milliseconds from the navigation's start to a page
that answers; the script's time for a change of cell; and the time between two frames
that the browser shows while every one shows another cell. Clips are procedural, of
the model's input size; the maps are the model's own.
"""

import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from absl import app, flags
from playwright.sync_api import sync_playwright

from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models.zoo import load_cnn, load_model
from rgcam.report import explorer
from rgcam.report.explain import explain_clip

LENGTHS = flags.DEFINE_list("lengths", ["16", "64", "512"], "frames of the clips")
MODEL = flags.DEFINE_string("model", "ucf101-lrcn", "bundled name, or a folder")
CELLS = 200
CHANGES = """async (count) => {
  const { data, state, view } = rgcam;
  const script = [], shown = [];
  let last = null;
  for (let i = 0; i < count; i++) {
    const now = await new Promise(requestAnimationFrame);
    if (last !== null) shown.push(now - last);
    last = now;
    const output = (i * 37) % data.outs;
    state.shown = { output, input: (i * 11) % (output + 1) };
    const start = performance.now();
    view.cell();
    script.push(performance.now() - start);
  }
  return { script, shown };
}"""


def main(_) -> None:
    """Print a row for each length."""
    print("T | MB | ready, ms | cell: script, ms | frame to frame, ms | rank, error")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        for length in map(int, LENGTHS.value):
            file = Path(folder) / f"{length}.html"
            _write(file, length)
            print(_row(browser, file, length), flush=True)
        browser.close()


def _write(file: Path, length: int) -> None:
    model = load_model(MODEL.value)
    size = model.description.preprocess.size
    drawn = stickman.clip(1, size=size, length=length)
    clip = Clip(drawn.frames, np.arange(length) / 7.5, ())
    explained = explain_clip(model, clip, cnn=load_cnn(MODEL.value), source=f"{length}")
    page = explorer.page(explained)
    file.write_text(page)


def _row(browser, file: Path, length: int) -> str:
    ready, script, shown = [], [], []
    for _ in range(3):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        mark = "performance.getEntriesByName('rgcam-ready')[0].startTime"
        ready.append(page.evaluate(mark))
        page.wait_for_timeout(1500)  # frames are decoded
        times = page.evaluate(CHANGES, CELLS)
        script += times["script"]
        shown += times["shown"]
        rank, error = page.evaluate("[rgcam.data.rank, rgcam.data.error]")
        page.close()
    middle = statistics.median
    return (
        f"{length} | {file.stat().st_size / 1e6:.2f} | {middle(ready):.0f} | "
        f"{middle(script):.1f} (95 %: {np.quantile(script, 0.95):.1f}) | "
        f"{middle(shown):.1f} | {rank}, {error:.2%}"
    )


if __name__ == "__main__":
    app.run(main)
