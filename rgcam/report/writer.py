"""The files of one explained clip: all are written, or none."""

from pathlib import Path

import numpy as np

from rgcam import files
from rgcam.data import video
from rgcam.report import explorer, figures, record, render, views
from rgcam.report.record import ExplainedClip

FILES = (
    "explanation.npz",
    "report.html",
    "strip.png",
    "matrix.png",
    "overlay.mp4",
    "overlay.gif",
    "summary.json",
)


def write(folder: Path, explained: ExplainedClip, *, pictures: bool = True) -> None:
    """Write the FILES of an explanation.

    All are made in a temporary folder first: a failure leaves what was there as it
    was. Files of the same names are replaced, others kept.

    Args:
        folder: where the files belong.
        explained: the clip.
        pictures: False: write explanation.npz alone.

    Raises:
        InputError: the folder cannot be written.
    """
    files.replace_files(folder, lambda part: _write_all(part, explained, pictures))


def file_names(vector: object = None) -> list[str]:
    """Name what ``write`` writes, with strip and matrix as ``vector`` (pdf, svg) too."""
    return [*FILES, *(f"{name}.{vector}" for name in ("strip", "matrix") if vector)]


def text(explained: ExplainedClip, folder: Path) -> str:
    """Say in a few lines what was explained, and where its files are."""
    names = file_names(explained.options.get("vector"))
    return record.text(explained, f"{folder}/: {', '.join(sorted(names))}")


def _write_all(folder: Path, explained: ExplainedClip, pictures: bool) -> None:
    _write_arrays(folder / "explanation.npz", explained)
    if not pictures:
        return
    _draw(folder, explained)
    files.write_text(folder / "report.html", explorer.page(views.view(explained)))
    files.write_json(folder / "summary.json", record.summarize(explained))


def _draw(folder: Path, explained: ExplainedClip) -> None:
    for name, figure in figures.all_figures(explained).items():
        image = render.figure_to_array(figure)
        video.write_image(folder / f"{name}.png", image)
    fps = figures.rate(explained.clip.times, explained.model.fps)
    frames = figures.overlay(explained)
    video.write_video(folder / "overlay.mp4", frames, fps)
    small_frames, gif_fps = figures.gif(frames, fps)
    video.write_gif(folder / "overlay.gif", small_frames, gif_fps)
    if kind := explained.options.get("vector"):
        for name, content in figures.vector(explained, str(kind)).items():
            (folder / name).write_bytes(content)


def _write_arrays(file: Path, explained: ExplainedClip) -> None:
    shown = explained.shown
    beta = {} if shown.beta is None else {"beta": shown.beta}
    np.savez_compressed(
        file,
        allow_pickle=False,
        scores=explained.scores,
        maps=shown.shown_maps,
        aggregate=np.array(shown.aggregation),
        matrix=shown.matrix,
        times=explained.clip.times,
        classes=np.array(explained.model.classes),
        target=np.array(explained.target),
        **beta,
    )
