"""The explorer: an explanation as one page of HTML that needs nothing else.

``page`` puts the sources in ``rgcam/page`` and the data of a ``View`` into one string:
no request is ever made, a Content-Security-Policy forbids all, and scripts and styles
run by their hashes only. Names of classes and files are data, never markup.
"""

import base64
import hashlib
import html
import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rgcam.attribution.contrast import Signed
from rgcam.report import quantize
from rgcam.report.overlay import DIVERGING, SEQUENTIAL, colour_table
from rgcam.report.record import APART, ExplainedClip, versions
from rgcam.types import Box, Fields

SCRIPTS = "data colour picture when words address save controls main".split()
LONG = 128  # frames, above which they are stored smaller


class Beside(NamedTuple):
    """The frame CNN's ordinary Grad-CAM of the same frames.

    Attributes:
        name: of the CNN.
        maps: L[t, t] of some of the shown classes, the first ones; in logits.
    """

    name: str
    maps: Float[np.ndarray, "classes in h w"]


class View(NamedTuple):
    """What a page shows.

    Attributes:
        title: one line.
        found: what was decided, a sentence; or "".
        seen: a sentence: what is seen.
        trust: a sentence: how far to trust it.
        trusted: the self-check's answer; None where there was none.
        frames: of the clip, RGB.
        times: of the frames, in seconds.
        times_out: of the output steps, in seconds.
        box: (top, left, bottom, right), the pixels that the model saw.
        classes: names of the C classes.
        scores: y (out C).
        shown: maps of the classes that can be chosen, the explained one first.
        is_signed: whether these maps are signed, or rectified already.
        matrix: (out in) of the explained class, rectified, as in explanation.npz.
        beside: the frame CNN, or None.
        about: where it comes from: labels and texts.
        method: what made the maps, as the picture's heading begins.
        opening: the output step to begin at; None: the last.
    """

    title: str
    found: str
    seen: str
    trust: str
    trusted: bool | None
    frames: UInt8[np.ndarray, "T H W 3"]
    times: Float[np.ndarray, " T"]
    times_out: Float[np.ndarray, " out"]
    box: Box
    classes: Sequence[str]
    scores: Float[np.ndarray, "out C"]
    shown: Signed
    is_signed: bool
    matrix: Float[np.ndarray, "out in"]
    beside: Beside | None
    about: Mapping[str, str]
    method: str = "heat map"
    opening: int | None = None


def clip_page(explained: ExplainedClip) -> str:
    """Return the page of an explained clip."""
    return page(clip_view(explained))


def page(view: View) -> str:
    """Return the page, a whole HTML document.

    Maps are stored as ``factors`` says; their error and the sizes are told on the page.
    """
    style = _source("page.css")
    script = '"use strict";\n' + "\n".join(_source(f"{n}.js") for n in SCRIPTS)
    kept = quantize.factorise(np.asarray(view.shown.maps, np.float32))
    about = dict(view.about) | {"Heat maps": _storage(kept, len(view.shown.targets))}
    parts = {
        "style": style,
        "script": script,
        "style-hash": _hash(style),
        "script-hash": _hash(script),
        "version": version(),
        "data": _json(_data(view, kept, about)),
        "about": "".join(_entry(*each) for each in about.items()),
        "trust-class": {None: "unknown", True: "yes", False: "no"}[view.trusted],
        **{n: html.escape(getattr(view, n)) for n in ("title", "seen", "trust")},
    }
    return re.sub(r"{{([a-z-]+)}}", lambda found: parts[found[1]], _source("page.html"))


def seen(name: str) -> str:
    """Say in a sentence, to who never heard of Grad-CAM, what a page shows."""
    return (
        "Glowing places in the picture, and bright cells in the grid, are what raised "
        f"the model's score for “{name}”: every column of the grid is a moment of the "
        "video, every row a moment at which the model decided, and a brighter cell is "
        "a moment that counted more."
    )


def version() -> str:
    """Return rgcam's version."""
    return metadata.version("rgcam")


def _data(view: View, kept: quantize.Factors, about: Mapping[str, str]) -> dict:
    """Return what the scripts read, plain values and packed arrays."""
    maps = np.asarray(view.shown.maps, np.float32)
    _, out, steps, height, width = maps.shape
    where = quantize.pairs(out, steps, kept.causal)
    frames, size = _pictures(view.frames)
    top, left, bottom, right = view.box
    tall, wide = view.frames.shape[1:3]
    return {
        "classes": list(view.classes),
        "targets": list(view.shown.targets),
        "curves": _curves(view),
        "foundWords": view.found,
        "method": view.method[0].upper() + view.method[1:],
        "times": [round(float(t), 6) for t in view.times],
        "timesOut": [round(float(t), 6) for t in view.times_out],
        "apart": APART,
        "opening": len(view.times_out) - 1 if view.opening is None else view.opening,
        "square": len(view.times) == len(view.times_out),
        "scores": _pack(view.scores, "f4"),
        "signed": view.is_signed,
        "causal": kept.causal,
        "height": height,
        "width": width,
        "rank": kept.codes.shape[-1],
        "codes": _pack(kept.codes, "i1"),
        "scales": _pack(kept.scales, "f4"),
        "basis": None if kept.basis is None else _pack(kept.basis, "f4"),
        "error": kept.error,
        "peaks": [[float(m.max(initial=0)), float(np.abs(m).max())] for m in maps],
        "signedMatrix": _pack(maps.sum((-2, -1))[:, *where], "f4"),
        "positiveMatrix": _pack(_positive(view, maps)[:, *where], "f4"),
        **_beside(view.beside),
        "frames": frames,
        "frameHeight": size[1],
        "frameWidth": size[0],
        "box": [top / tall, left / wide, bottom / tall, right / wide],
        "sequential": {n: _table(n, ends) for n, ends in SEQUENTIAL.items()},
        "diverging": _table(*DIVERGING),
        "about": dict(about),
    }


def _curves(view: View) -> list[int]:
    """Return whose scores are drawn: the shown classes', the best others' up to 4."""
    shown = list(view.shown.targets)
    order = np.argsort(-np.asarray(view.scores)[-1], kind="stable")
    return shown + [int(c) for c in order if c not in shown][: max(0, 4 - len(shown))]


def _positive(view: View, maps: np.ndarray) -> np.ndarray:
    """Return the matrix of every class; the explained one's as it was given."""
    matrices = np.maximum(maps, 0).sum((-2, -1))
    matrices[0] = view.matrix
    return matrices


def _beside(beside: Beside | None) -> dict[str, Any]:
    if beside is None:
        return {"beside": None}
    height, width = beside.maps.shape[-2:]
    return {
        "beside": _pack(beside.maps, "f4"),
        "besideName": beside.name,
        "besideHeight": height,
        "besideWidth": width,
        "besideCells": height * width,
    }


def _pictures(frames: np.ndarray) -> tuple[list[str], tuple[int, int]]:
    """Return the frames as JPEG data, small enough for a page, and their size."""
    limit = 224 if len(frames) <= LONG else 128
    height, width = frames.shape[1:3]
    ratio = min(1.0, limit / min(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return [_jpeg(frame, size) for frame in frames], size


def _jpeg(frame: np.ndarray, size: tuple[int, int]) -> str:
    image, file = Image.fromarray(frame), io.BytesIO()
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _table(name: str, ends: tuple[float, float]) -> dict[str, Any]:
    """Return 256 colours of a colour map, as in the figures."""
    return _pack((colour_table(name, ends)[:, :3] * 255).astype(np.uint8), "u1")


def _pack(array: Any, kind: str) -> dict[str, Any]:
    data = np.ascontiguousarray(array, f"<{kind}").tobytes()
    return {"type": kind, "data": base64.b64encode(data).decode()}


def _json(data: Any) -> str:
    """Write JSON that can end no script tag, whatever the strings in it say."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _storage(kept: quantize.Factors, classes: int) -> str:
    way = "every cell in 8 bits" if kept.basis is None else "8 bits and a shared basis"
    return (
        f"of all pairs for {classes} class{'es' * (classes > 1)}, kept as {way}: "
        f"off by at most {kept.error:.2%} of the largest value; "
        "the grid's numbers are exact"
    )


def _entry(label: str, text: str) -> str:
    return f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>"


def _source(name: str) -> str:
    return (resources.files("rgcam.report") / "page" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def clip_view(explained: ExplainedClip) -> View:
    """Put everything together for ``page``."""
    shown = explained.shown
    class_maps = shown.class_maps
    if class_maps is None:
        maps = shown.shown_maps[None] if shown.maps is None else shown.maps
        class_maps = Signed((explained.target,), maps[None])
    baseline = explained.frame_baseline
    return View(
        title=explained.title,
        found=lead(explained),
        seen=seen(explained.target_name),
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
        matrix=_positive_matrix(shown.matrix, class_maps),
        beside=None if baseline is None else Beside(baseline.model.name, baseline.maps),
        about=about(explained),
        method=shown.title,
        opening=shown.step,
    )


def lead(explained: ExplainedClip) -> str:
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
        "Versions": ", ".join(f"{n} {v}" for n, v in versions().items()),
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


def _positive_matrix(matrix: np.ndarray, shown: Signed) -> np.ndarray:
    """Return the rectified maps' mass: the matrix itself, unless it is signed."""
    maps = np.asarray(shown.maps[0])
    return np.maximum(maps, 0).sum((-2, -1)) if (matrix < 0).any() else matrix
