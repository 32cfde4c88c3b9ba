"""Make the figures of the documentation: strip.png and explorer.png.

python docs/figures.py
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
WIDTH = 1464  # pixels of strip.png


def main() -> None:
    """Explain the demo clip, shrink its strip and take a screenshot of its page."""
    with tempfile.TemporaryDirectory() as folder:
        script = HERE.parent / "explain.py"
        subprocess.run([sys.executable, script, f"--out={folder}"], check=True)
        strip = Image.open(Path(folder) / "strip.png")
        height = round(strip.height * WIDTH / strip.width)
        small = strip.resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.save(HERE / "strip.png", optimize=True)
        screenshot(Path(folder) / "report.html", HERE / "explorer.png")


def screenshot(page: Path, file: Path) -> None:
    """Write what a browser displays of a page."""
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
