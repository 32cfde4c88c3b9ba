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
from PIL import Image

from rgcam import data, render, selfcheck, video
from rgcam.errors import InputError
from rgcam.library import Model
from rgcam.selfcheck import Check
from rgcam.video import Clip

OVERLAY_SIDE = 240  # pixels; shorter sides below this are enlarged for viewing
FILES = "explanation.npz strip.png matrix.png overlay.mp4 summary.json".split()
APART = 0.4  # seconds between two top moments
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


def write(folder: Path, story: Story, *, pictures: bool = True) -> dict[str, Any]:
    """Write explanation.npz, strip.png, matrix.png, overlay.mp4 and summary.json.

    All are made in a temporary folder first: a failure leaves what was there as it
    was. Files of the same names are replaced, others kept. Without ``pictures``,
    explanation.npz alone is written.

    Returns:
        What summary.json says.

    Raises:
        InputError: the folder cannot be written.
    """
    return replace_files(folder, lambda part: _write_all(part, story, pictures))


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
    scores, matrix = story.explanation.scores, story.explanation.matrix
    classes, clip = story.model.classes, story.clip
    decided = int(scores[-1].argmax())
    summary = {
        "prediction": classes[decided],
        "probability": float(_softmax(scores[-1])[decided]),
        "target": classes[story.target],
        "target_score": float(scores[-1, story.target]),
        "positive_evidence": bool((matrix[-1] > 0).any()),
        "top_moments": top_moments(matrix[-1], clip.times),
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


def _write_all(folder: Path, story: Story, pictures: bool) -> dict[str, Any]:
    summary = summarize(story)
    _write_arrays(folder / "explanation.npz", story)
    if not pictures:
        return summary
    for name, figure in (("strip", _strip(story)), ("matrix", _matrix(story))):
        video.write_image(folder / f"{name}.png", render.figure_to_array(figure))
    fps = _rate(story.clip.times, story.model.description.fps)
    video.write_video(folder / "overlay.mp4", _overlay(story), fps)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _write_arrays(file: Path, story: Story) -> None:
    e = story.explanation
    beta = {} if e.beta is None else {"beta": e.beta}
    np.savez_compressed(
        file,
        **beta,
        scores=e.scores,
        maps=e.maps[-1],
        matrix=e.matrix,
        times=story.clip.times,
        classes=np.array(story.model.classes),
        target=story.target,
    )


def _strip(story: Story):
    rows: list[tuple[str, np.ndarray]] = []
    if story.cnn_explanation is not None:
        rows.append(("Grad-CAM (frame CNN)", _diagonal(story.cnn_explanation.maps)))
    rows.append((selfcheck.title(story.check), story.explanation.maps[-1]))
    said = {"title": _title(story), "note": selfcheck.verdict(story.check)}
    clip = story.clip
    return render.strip(clip.frames, rows, clip.times, box=_box(story), **said)


def _matrix(story: Story):
    e, times = story.explanation, story.clip.times
    return render.matrix(
        e.matrix,
        times,
        times,
        e.scores,
        story.model.classes,
        story.target,
        title=_title(story),
    )


def _overlay(story: Story) -> np.ndarray:
    frames, box = story.clip.frames, _box(story)
    factor = max(1, -(-OVERLAY_SIDE // min(frames.shape[1:3])))
    large = _enlarge(frames, factor)
    top, left, bottom, right = (factor * edge for edge in box)
    maps = story.explanation.maps[-1]
    return render.overlay(large, maps, box=(top, left, bottom, right))


def _enlarge(frames: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return frames
    height, width = (factor * n for n in frames.shape[1:3])
    images = (Image.fromarray(frame) for frame in frames)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(i.resize((width, height), bicubic)) for i in images])


def _box(story: Story) -> tuple[int, int, int, int]:
    spec = story.model.description.preprocess
    return data.crop_box(spec, *story.clip.frames.shape[1:3])


def _diagonal(maps: np.ndarray) -> np.ndarray:
    """Return L[t, t]: a frame CNN's map of every frame by itself."""
    steps = np.arange(len(maps))
    return maps[steps, steps]


def _title(story: Story) -> str:
    name = Path(story.source).name
    return (
        f"why {story.model.name} sees “{story.model.classes[story.target]}” in {name}"
    )


def _cnn_decision(story: Story) -> int:
    assert story.cnn_explanation is not None
    scores = story.cnn_explanation.scores
    return int(np.log(_softmax(scores)).mean(0).argmax())


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _rate(times: np.ndarray, fps: float) -> float:
    """Return the frames a second that these times have, for playing."""
    return (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else fps


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
    lines = {
        "video": f"{seen['source']}, {seen['frames']} frames, {seen['seconds']:.1f} s",
        "note": "; ".join(seen["notes"]),
        "decided": f"{summary['prediction']} ({summary['probability']:.0%})",
        "by": summary["model"]["name"],
        "beside": cnn,
        "explained": summary["target"],
        "trust": summary["self_check"]["verdict"],
        "moments": moments or f"{render.NO_EVIDENCE} for {summary['target']}",
        "files": f"{folder}/: {', '.join(sorted(FILES))}",
    }
    return "\n".join(f"{name:<10}{line}" for name, line in lines.items() if line)
