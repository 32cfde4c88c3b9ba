"""``rgcam demo``: upload a video in a browser and see its explanation.

Gradio serves it, from the extra ``[demo]``. The page is report.html, and the figures are the
files of ``rgcam explain``.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rgcam.commands.options import Command, Options, option
from rgcam.errors import InputError

if TYPE_CHECKING:  # an extra
    import gradio  # pyrefly: ignore[missing-import]

    from rgcam.models.zoo import Model

MODELS = "models"
SERVER = "server"
HEIGHT = 900  # of the page, in pixels
SHOWN_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    """Options of ``rgcam demo``."""

    model: tuple[str, ...] = option(
        ("ucf101-lrcn", "stickman-lrcn"),
        "bundled models, or folders written by rgcam train, to choose from",
        group=MODELS,
        value="NAME|FOLDER,...",
    )
    seconds: float = option(
        SHOWN_SECONDS, "of an uploaded video that are explained", group=MODELS
    )
    host: str = option("127.0.0.1", "address to listen at", group=SERVER)
    port: int = option(7860, "port to listen at", group=SERVER)


class DemoResult(NamedTuple):
    """What the demo shows of one video.

    Attributes:
        text: what was predicted, explained and found, in a few lines.
        page: HTML of report.html in a sandboxed frame.
        strip: path of strip.png.
        matrix: path of matrix.png.
        overlay: path of overlay.mp4.
        report: path of report.html, to be downloaded.
    """

    text: str
    page: str
    strip: str
    matrix: str
    overlay: str
    report: str


def run(options: DemoOptions) -> None:
    """Serve the demo until Ctrl-C."""
    if not options.seconds > 0:
        raise InputError(f"--seconds={options.seconds:g} must be above 0, such as 20")
    for name in options.model:  # before the server is there
        _load(name)
    with tempfile.TemporaryDirectory(prefix="rgcam-demo-") as folder:
        app = build(options.model, Path(folder), seconds=options.seconds)
        try:
            app.launch(server_name=options.host, server_port=options.port)
        except OSError as error:  # such as a port that is taken
            raise InputError(
                f"cannot serve at --port={options.port}: {error}"
            ) from error


def explain_upload(
    video: str | None,
    model_name: str,
    method: str,
    *,
    folder: Path,
    seconds: float = SHOWN_SECONDS,
) -> DemoResult:
    """Explain an uploaded video and write its files.

    Args:
        video: path of the file; None: nothing was uploaded.
        model_name: bundled model, or a folder.
        method: of ``explain.METHODS``, or "auto".
        folder: where each explanation gets a folder of its own.
        seconds: of the video that are explained, from its beginning.

    Raises:
        InputError: no file, or one that cannot be read.
    """
    # Imported here, because help should not wait for JAX and Matplotlib.
    from rgcam.data.video import probe, read_clip
    from rgcam.report import explorer, record, writer
    from rgcam.report.explain import explain_clip
    from rgcam.report.notebook import Page

    if not video:
        raise InputError("upload a video first")
    model = _load(model_name)
    clip = read_clip(video, model.description.fps, end=seconds)
    if probe(video).duration > seconds:
        note = f"the first {seconds:g} s of the video are explained"
        clip = clip._replace(notes=(*clip.notes, note))
    explained = explain_clip(model, clip, method=method, source=Path(video).name)
    out = Path(tempfile.mkdtemp(dir=folder))
    writer.write(out, explained)
    page = Page(explorer.page(explained), HEIGHT)
    return DemoResult(
        text=record.text(explained),
        page=page._repr_html_(),
        strip=str(out / "strip.png"),
        matrix=str(out / "matrix.png"),
        overlay=str(out / "overlay.mp4"),
        report=str(out / "report.html"),
    )


def build(
    models: Sequence[str], folder: Path, *, seconds: float = SHOWN_SECONDS
) -> "gradio.Blocks":
    """Return the app: a video, a model and a method, and below them what was found.

    Args:
        models: names to choose from, the first one chosen.
        folder: where the files of the explanations are written.
        seconds: of each video that are explained.

    Raises:
        InputError: Gradio is not installed.
    """
    try:
        import gradio  # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise InputError(
            "rgcam demo needs Gradio: install it by pip install 'rgcam[demo]'"
        ) from error
    from rgcam.attribution import explain
    from rgcam.report.explain import AUTO

    def show(video: str | None, model: str, method: str) -> tuple[str, ...]:
        try:
            return tuple(
                explain_upload(video, model, method, folder=folder, seconds=seconds)
            )
        except InputError as error:
            raise gradio.Error(str(error)) from error

    methods = [(explain.TITLES[name], name) for name in explain.METHODS]
    # Nothing is sent to anybody: neither statistics nor, without a tunnel, the videos.
    with gradio.Blocks(title="rgcam", analytics_enabled=False) as app:
        gradio.Markdown("Which frames, and which regions in them, drove a prediction?")
        with gradio.Row():
            video = gradio.Video(label="video", sources=["upload"])
            with gradio.Column():
                model = gradio.Dropdown(list(models), value=models[0], label="model")
                method = gradio.Dropdown(
                    [("Grad-CAM, or fade where it fails its check", AUTO), *methods],
                    value=AUTO,
                    label="method",
                )
                button = gradio.Button("Explain", variant="primary")
        text = gradio.Textbox(label="what was found", lines=6)
        page = gradio.HTML()
        with gradio.Row():
            strip, matrix = gradio.Image(label="strip"), gradio.Image(label="matrix")
        with gradio.Row():
            overlay = gradio.Video(label="heat maps")
            report = gradio.File(label="the page as a file")
        button.click(
            show,
            [video, model, method],
            [text, page, strip, matrix, overlay, report],
        )
    return app


@functools.cache
def _load(name: str) -> "Model":
    """Load a model once for all videos."""
    from rgcam.models.zoo import load_model

    return load_model(name)


COMMAND = Command(
    name="demo",
    usage="[--model=NAME|FOLDER,...] [--port=PORT]",
    options=DemoOptions,
    run=run,
    examples="""
rgcam demo
rgcam demo --model=ucf101-lrcn,runs/mine --port=8000
""",
)
