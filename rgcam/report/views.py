"""What the explorer's page says of one explained clip: its words and its arrays."""

import shlex

import numpy as np

from rgcam.attribution.contrast import Signed
from rgcam.report import explorer, record
from rgcam.report.explorer import Beside, View
from rgcam.report.record import ExplainedClip
from rgcam.types import Fields


def view(explained: ExplainedClip) -> View:
    """Put everything together for ``explorer.page``."""
    shown = explained.shown
    class_maps = shown.class_maps
    if class_maps is None:
        maps = shown.shown_maps[None] if shown.maps is None else shown.maps
        class_maps = Signed((explained.target,), maps[None])
    baseline = explained.frame_baseline
    return View(
        title=explained.title,
        found=found(explained),
        seen=explorer.seen(explained.target_name),
        trust=f"Faithfulness check: {shown.verdict}.",
        trusted=shown.passed,
        frames=explained.clip.frames,
        times=explained.clip.times,
        times_out=explained.times_out,
        box=explained.box,
        classes=explained.model.classes,
        scores=explained.scores,
        shown=class_maps,
        is_signed=bool((np.asarray(class_maps.maps) < 0).any()),
        matrix=_positive(shown.matrix, class_maps),
        beside=None if baseline is None else Beside(baseline.model.name, baseline.maps),
        about=about(explained),
        method=shown.title,
        opening=shown.step,
    )


def found(explained: ExplainedClip) -> str:
    """Say what was predicted, and what is explained where that is another class."""
    clip = explained.clip
    said = (
        f"Prediction after {clip.times[-1]:.1f} s ({len(clip.frames)} frames): "
        f"{explained.prediction_text}."
    )
    if explained.target != explained.predicted:
        said += f" Explained: “{explained.target_name}”."
    return said


def about(explained: ExplainedClip) -> dict[str, str]:
    """List where the page comes from."""
    clip, model, baseline = explained.clip, explained.model, explained.frame_baseline
    lines = {
        "Video": f"{explained.source_name}, {len(clip.frames)} frames",
        "Notes": "; ".join(clip.notes),
        "Model": f"{model.name}: {_fields(model.arch)}",
        "Its results": _fields(model.results),
        "Frame-CNN baseline": ""
        if baseline is None
        else f"{baseline.model.name}: {_fields(baseline.model.arch)}",
        "Its prediction": "" if baseline is None else baseline.prediction,
        "Method": explained.shown.title,
        "Faithfulness check": explained.shown.verdict,
        "Command": command(explained.options),
        "Versions": ", ".join(f"{n} {v}" for n, v in record.versions().items()),
    }
    return {name: text for name, text in lines.items() if text}


def command(arguments: Fields) -> str:
    """Return the command line that has these options."""
    given = {n: v for n, v in arguments.items() if v is not None and v is not False}
    options = [f"--{n}" if v is True else f"--{n}={v}" for n, v in given.items()]
    return shlex.join(["python", "explain.py", *options])


def _fields(fields: Fields) -> str:
    """Write plain fields in a line, floats to four digits, what is nested left out."""
    digits = lambda x: f"{x:.4g}" if isinstance(x, float) else str(x)
    plain = {n: v for n, v in fields.items() if not isinstance(v, dict | list)}
    return ", ".join(f"{name} {digits(value)}" for name, value in plain.items())


def _positive(matrix: np.ndarray, shown: Signed) -> np.ndarray:
    """Return the rectified maps' mass: the matrix itself, unless it is signed."""
    maps = np.asarray(shown.maps[0])
    return np.maximum(maps, 0).sum((-2, -1)) if (matrix < 0).any() else matrix
