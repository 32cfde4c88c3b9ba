"""The demo in the browser: what it makes of an upload, and the app without a server."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from rgcam.commands import demo
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.report import writer
from tests.conftest import one_sentence


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Write a clip of 4.3 s."""
    path = tmp_path_factory.mktemp("upload") / "walk & turn.mp4"
    frames = np.concatenate([stickman.clip(seed).frames for seed in (0, 1)])
    writer.write_video(path, frames, 7.5)
    return str(path)


def test_an_upload_is_explained_by_page_figures_and_text(video, tmp_path):
    upload = lambda: demo.explain_upload(
        video, "stickman-lrcn", "fade", folder=tmp_path, seconds=1.5
    )
    result = upload()
    assert result.page.startswith('<iframe srcdoc="') and "sandbox=" in result.page
    assert (
        "walk &amp;amp; turn.mp4" in result.page
    )  # escaped twice: in a page in a page
    assert "by averaged gradients (fade)" in result.text
    assert "note: the first 1.5 s of the video are explained" in result.text
    for path in (result.strip, result.matrix, result.overlay, result.report):
        assert Path(path).stat().st_size > 1000
    other = upload()  # which leaves the files of the first as they are
    assert Path(other.strip).parent != Path(result.strip).parent


def test_what_cannot_be_explained_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="upload a video first"):
        demo.explain_upload(None, "stickman-lrcn", "fade", folder=tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="text.mp4"):
        demo.explain_upload(
            str(tmp_path / "text.mp4"), "stickman-lrcn", "fade", folder=tmp_path
        )


def test_a_missing_extra_is_one_sentence(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = call("demo", "--model=stickman-lrcn")
    assert code == 2 and "pip install 'rgcam[demo]'" in one_sentence(err)


# In a process of its own: Gradio leaves event loops behind, and warnings are errors here.
APP = """
import sys
from pathlib import Path
import gradio
from rgcam.attribution import explain
from rgcam.commands import demo
from rgcam.errors import InputError

MODELS = ("stickman-lrcn", "stickman-cnn")
calls = []

def explain_upload(*arguments, **options):
    calls.append(arguments)
    if arguments[0] is None:
        raise InputError("upload a video first")
    return demo.DemoResult("text", "page", "strip", "matrix", "overlay", "report")

demo.explain_upload = explain_upload
app = demo.build(MODELS, Path(sys.argv[1]))
assert isinstance(app, gradio.Blocks) and not app.analytics_enabled
menus = [block for block in app.blocks.values() if isinstance(block, gradio.Dropdown)]
choices = [[value for _, value in menu.choices] for menu in menus]
assert choices == [list(MODELS), ["auto", *explain.METHODS]], choices
(click,) = app.fns.values()
assert len(click.inputs) == 3 and len(click.outputs) == 6
assert click.fn("x.mp4", "stickman-cnn", "path")[1] == "page"
try:
    click.fn(None, "stickman-cnn", "path")
except gradio.Error as error:
    print(error.message)
assert calls == [("x.mp4", "stickman-cnn", "path"), (None, "stickman-cnn", "path")]
"""


@pytest.mark.skipif(find_spec("gradio") is None, reason="pip install 'rgcam[demo]'")
def test_the_app_calls_it_with_what_was_chosen(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", APP, str(tmp_path)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "upload a video first\n"
