"""What the explorer's page says of one explained clip: its words and its arrays.

A ``story`` is a ``report.Story``, a ``summary`` what ``report.summarize`` makes of it.
"""

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from rgcam.attribution import contrast, methods
from rgcam.attribution.contrast import Signed
from rgcam.report import explorer, figures
from rgcam.report.explorer import Beside, View

HEADS = {
    "gap": "It follows from the model's own gradients and was not checked by removing "
    "frames of this clip: take it as a good first guess at what the model used, which "
    "need not be what a person would use, nor right.",
    "fc": "Take this with caution: the model reads positions in the picture, where "
    "this method can miss what it really used, and the map was not checked by "
    "removing frames of this clip.",
}


def view(story: Any, summary: Mapping[str, Any]) -> View:
    """Put everything together for ``explorer.page``."""
    e = story.explanation
    shown = story.shown or Signed((story.target,), np.asarray(e.maps)[None])
    signed = bool((np.asarray(shown.maps) < 0).any())
    verdict, trusted = trust(summary)
    return View(
        title=figures.title(story),
        found=found(summary),
        seen=explorer.seen(summary["target"]),
        trust=verdict,
        trusted=trusted,
        frames=story.clip.frames,
        times=story.clip.times,
        times_out=story.clip.times,
        box=figures.box(story),
        classes=story.model.classes,
        scores=e.scores,
        shown=shown,
        is_signed=story.shown is not None or signed,
        matrix=_positive(e.matrix, shown),
        beside=_beside(story),
        about=about(summary),
        method=made_by(summary),
        opening=summary["aggregate"]["step"],
    )


def with_rivals(story: Any) -> Any:
    """Return the story with the signed maps of its class and of that class's rivals.

    The explanations must hold their features: maps are computed from there, by the
    method that made the explanation.
    """
    e, beside = story.explanation, story.cnn_explanation
    names = contrast.rivals(story.model.classes, e.scores[-1], story.target)
    check = story.check
    how = {"method": check.method, "baseline": check.baseline} if check else {}
    shown = contrast.signed(story.model, e.features, names, **how)
    cnn_shown = beside and contrast.diagonals(story.cnn, beside.features, names)
    return story._replace(shown=shown, cnn_shown=cnn_shown)


def found(summary: Mapping[str, Any]) -> str:
    """Say what was decided, and what is explained where that is something else."""
    decided = f"decided “{summary['prediction']}” ({summary['probability']:.0%})"
    said = f"After {_length(summary)} the model {decided}"
    if summary["target"] != summary["prediction"]:
        said += f"; explained is what spoke for “{summary['target']}”"
    return f"{said}."


def trust(summary: Mapping[str, Any]) -> tuple[str, bool | None]:
    """Say in a sentence how far to trust it: the self-check's verdict, if it ran."""
    check = summary.get("self_check")
    if check and check["verdict"]:
        verdict = check["verdict"]
        return f"{verdict[0].upper()}{verdict[1:]}.", bool(check["trusted"])
    return HEADS.get(summary["model"]["arch"].get("head"), HEADS["gap"]), None


def about(summary: Mapping[str, Any]) -> dict[str, str]:
    """List where the page comes from."""
    model, cnn, video = summary["model"], summary["cnn"], summary["video"]
    check = summary.get("self_check") or {}
    lines = {
        "Video": f"{video['source']}, {video['frames']} frames looked at",
        "Notes": "; ".join(video["notes"]),
        "Model": f"{model['name']}: {_fields(model['arch'])}",
        "Its results": _fields(model["results"]),
        "Frame CNN": cnn and f"{cnn['name']}: {_fields(cnn['arch'])}",
        "It decided": cnn and summary["cnn_prediction"],
        "Method": made_by(summary),
        "Self-check": _fields(check),
        "Command": command(summary["arguments"]),
        "Versions": ", ".join(f"{n} {v}" for n, v in summary["versions"].items()),
    }
    return {name: text for name, text in lines.items() if text}


def made_by(summary: Mapping[str, Any]) -> str:
    """Name the method."""
    check = summary.get("self_check") or {}
    return methods.TITLES[check.get("method", "gradcam")]


def command(arguments: Mapping[str, Any]) -> str:
    """Return the command line that has these options."""
    given = {n: v for n, v in arguments.items() if v is not None and v is not False}
    options = [f"--{n}" if v is True else f"--{n}={v}" for n, v in given.items()]
    return shlex.join(["python", "explain.py", *options])


def _positive(matrix: np.ndarray, shown: Signed) -> np.ndarray:
    """Return the rectified maps' mass: the matrix itself, unless it is signed."""
    maps = np.asarray(shown.maps[0])
    return np.maximum(maps, 0).sum((-2, -1)) if (matrix < 0).any() else matrix


def _length(summary: Mapping[str, Any]) -> str:
    video = summary["video"]
    return f"{video['seconds']:.1f} s ({video['frames']} frames)"


def _fields(fields: Mapping[str, Any]) -> str:
    """Write plain fields in a line, floats to four digits, what is nested left out."""
    digits = lambda x: f"{x:.4g}" if isinstance(x, float) else str(x)
    plain = {n: v for n, v in fields.items() if not isinstance(v, dict | list)}
    return ", ".join(f"{name} {digits(value)}" for name, value in plain.items())


def _beside(story: Any) -> Beside | None:
    if story.cnn_shown is not None and len(story.cnn_shown):
        return Beside(story.cnn.name, story.cnn_shown)
    if story.cnn_explanation is not None:
        maps = np.asarray(story.cnn_explanation.maps)
        return Beside(story.cnn.name, figures.diagonal(maps)[None])
    return None
