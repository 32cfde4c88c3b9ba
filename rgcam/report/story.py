"""The only writer of an explanation's files."""

import functools
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rgcam.attribution import lags
from rgcam.attribution.contrast import Signed
from rgcam.data import video
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.metrics import selfcheck
from rgcam.metrics.selfcheck import Check
from rgcam.models.zoo import Model
from rgcam.report import explorer, figures, render, views

FILES = (
    *("explanation.npz", "report.html", "strip.png", "matrix.png"),
    *("overlay.mp4", "overlay.gif", "summary.json"),
)
APART = explorer.APART  # seconds between two top moments
Made = TypeVar("Made")


class Story(NamedTuple):
    """One explained clip, everything that the files say.

    Attributes:
        clip: the frames that were explained, uint8, and their times.
        source: the file's path, or what the clip is.
        model: what was explained.
        explanation: of ``target``, numpy arrays: an ``Explanation``, or what
            ``batches.Kept`` keeps of one. Without beta, none is written.
        target: class number.
        cnn: the frame CNN beside it, or None.
        cnn_explanation: of the class of the same name, or None.
        arguments: the command's options, for the record.
        check: how far the explanation can be trusted, or None.
        shown: signed maps of the target and its rivals, for the page; None: the
            page shows the target's rectified ones alone.
        cnn_shown: the frame CNN's L[t, t] of the first of these classes, or None.
        aggregate: of which output steps the pictures are: ``lags.AGGREGATIONS``.
    """

    clip: Clip
    source: str
    model: Model
    explanation: Any  # Explanation | Kept
    target: int
    cnn: Model | None
    cnn_explanation: Any  # Explanation | Kept | None
    arguments: Mapping[str, Any]
    check: Check | None = None
    shown: Signed | None = None
    cnn_shown: np.ndarray | None = None
    aggregate: str = "last"


def write(folder: Path, story: Story, *, pictures: bool = True) -> dict[str, Any]:
    """Write the FILES of an explanation.

    All are made in a temporary folder first: a failure leaves what was there as it
    was. Files of the same names are replaced, others kept. Without ``pictures``,
    explanation.npz alone is written.

    Returns:
        What summary.json says.

    Raises:
        InputError: the folder cannot be written.
    """
    return replace_files(folder, lambda part: _write_all(part, story, pictures))


def files(vector: str | None = None) -> list[str]:
    """Name what ``write`` writes, where it was asked for ``vector`` (pdf, svg) too."""
    return [*FILES, *(f"{n}.{vector}" for n in ("strip", "matrix") if vector)]


def replace_files(folder: Path, make: Callable[[Path], Made]) -> Made:
    """Let ``make`` write files in a folder of its own, then move them to ``folder``.

    Files of the same names are replaced, others kept; a failure changes nothing.

    Returns:
        What ``make`` returns.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="rgcam-") as part:
            made = make(Path(part))
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted(Path(part).iterdir()):
                shutil.copy(file, folder / f".{file.name}.part")
            for file in sorted(Path(part).iterdir()):
                os.replace(folder / f".{file.name}.part", folder / file.name)
    except OSError as error:
        for file in folder.glob(".*.part"):
            file.unlink()
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
    return made


def check_writable(folder: Path) -> None:
    """Fail before the work, not after it, where ``folder`` cannot be written."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write in {folder}: {existing} is not a writable folder"
        )


def top_moments(
    row: np.ndarray, times: np.ndarray, count: int = 3
) -> list[dict[str, Any]]:
    """Return the frames with the greatest importance, at least APART seconds apart.

    Args:
        row: (T_in,) importance of each frame for one output step.
        times: (T_in,) seconds.
        count: at most this many.

    Returns:
        For each: frame, time (s), importance (logits) and share, its part of the
        row's positive mass. Frames without positive importance are not listed.
    """
    mass, chosen = np.maximum(row, 0).sum(), []
    for t in np.argsort(-row, kind="stable"):
        if row[t] <= 0 or len(chosen) == count:
            break
        if all(abs(times[t] - times[c]) >= APART for c in chosen):
            chosen.append(int(t))
    return [
        {
            "frame": t,
            "time": round(float(times[t]), 3),
            "importance": float(row[t]),
            "share": float(row[t] / mass),
        }
        for t in chosen
    ]


def summarize(story: Story) -> dict[str, Any]:
    """Say in plain data what was explained, what was decided and when."""
    scores, row = story.explanation.scores, figures.row(story)
    classes, clip = story.model.classes, story.clip
    decided = int(scores[-1].argmax())
    summary = {
        "prediction": classes[decided],
        "probability": float(_softmax(scores[-1])[decided]),
        "target": classes[story.target],
        "target_score": float(scores[-1, story.target]),
        "aggregate": _aggregated(story),
        "positive_evidence": bool((row > 0).any()),
        "top_moments": top_moments(row, clip.times),
        "time": lags.summary(story.explanation.matrix, scores, clip.times),
        "video": {
            "source": story.source,
            "frames": len(clip.frames),
            "size": list(clip.frames.shape[1:3]),
            "seconds": float(clip.times[-1]),
            "notes": list(clip.notes),
        },
        "model": about(story.model),
        "cnn": story.cnn and about(story.cnn),
        "cnn_prediction": story.cnn and story.cnn.classes[_cnn_decision(story)],
        "self_check": selfcheck.summary(story.check),
        "arguments": dict(story.arguments),
        "versions": versions(),
    }
    return summary


def _aggregated(story: Story) -> dict[str, Any]:
    """Say of which output steps the maps are that are shown."""
    how, step = story.aggregate, None
    if how in lags.STEPS:
        step = lags.choose_step(story.explanation.scores, story.target, how)
    time = None if step is None else round(float(story.clip.times[step]), 3)
    said = {"how": how, "words": figures.moment(story)}
    return said | {"step": step, "time": time}


def _write_all(folder: Path, story: Story, pictures: bool) -> dict[str, Any]:
    summary = summarize(story)
    _write_arrays(folder / "explanation.npz", story)
    if not pictures:
        return summary
    _draw(folder, story)
    page = explorer.page(views.view(story, summary))
    (folder / "report.html").write_text(page, "utf-8", newline="\n")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _draw(folder: Path, story: Story) -> None:
    for make in (figures.strip, figures.matrix):
        image = render.figure_to_array(make(story))
        video.write_image(folder / f"{make.__name__}.png", image)
    fps = figures.rate(story.clip.times, story.model.description.fps)
    frames = figures.overlay(story)
    video.write_video(folder / "overlay.mp4", frames, fps)
    video.write_gif(folder / "overlay.gif", *figures.gif(frames, fps))
    if kind := story.arguments.get("vector"):
        for name, content in figures.vector(story, kind).items():
            (folder / name).write_bytes(content)


def _write_arrays(file: Path, story: Story) -> None:
    e = story.explanation
    beta = {} if e.beta is None else {"beta": e.beta}
    np.savez_compressed(
        file,
        **beta,
        scores=e.scores,
        maps=figures.maps(story),
        aggregate=story.aggregate,
        matrix=e.matrix,
        times=story.clip.times,
        classes=np.array(story.model.classes),
        target=story.target,
    )


def _cnn_decision(story: Story) -> int:
    assert story.cnn_explanation is not None
    scores = story.cnn_explanation.scores
    return int(np.log(_softmax(scores)).mean(0).argmax())


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def about(model: Model) -> dict[str, Any]:
    """Say which model it was."""
    described = model.description
    return {"name": model.name, "arch": described.arch, "results": described.results}


@functools.cache
def versions() -> dict[str, str]:
    """Say which software it was."""
    names: Sequence[str] = ("rgcam", "jax", "jaxlib", "flax", "numpy", "av")
    versions = {name: metadata.version(name) for name in names}
    return versions | {"python": platform.python_version()}


def text(summary: Mapping[str, Any], folder: Path) -> str:
    """Say in a few lines what was decided, when, and where the files are."""
    seen = summary["video"]
    moments = ", ".join(
        f"{m['time']:.2f} s ({m['share']:.0%})" for m in summary["top_moments"]
    )
    cnn = summary["cnn"] and f"{summary['cnn']['name']}: {summary['cnn_prediction']}"
    written = files(summary["arguments"].get("vector"))
    lines = {
        "video": f"{seen['source']}, {seen['frames']} frames, {seen['seconds']:.1f} s",
        "note": "; ".join(seen["notes"]),
        "decided": f"{summary['prediction']} ({summary['probability']:.0%}), "
        f"from {summary['time']['decided_at']:.2f} s on",
        "by": summary["model"]["name"],
        "beside": cnn,
        "explained": f"{summary['target']}, {summary['aggregate']['words']}",
        "trust": summary["self_check"]["verdict"],
        "memory": lags.sentence(summary["time"], seen["seconds"]),
        "moments": moments or f"{render.NO_EVIDENCE} for {summary['target']}",
        "files": f"{folder}/: {', '.join(sorted(written))}",
    }
    return "\n".join(f"{name:<10}{line}" for name, line in lines.items() if line)
