"""The explorer: an explained clip as one page of HTML that needs nothing else.

``page`` puts the sources in ``rgcam/report/page`` and the data of an ``ExplainedClip``
into one string: no request is ever made, a Content-Security-Policy forbids all, and
scripts and styles run by their hashes only. Names of classes and files are data, never
markup. The page holds no path of the machine that made it.

It opens on exactly the maps that figures and terminal show, with the sentences of the
record. For what a person changes on it, the scripts fill the same templates, and a
faithfulness check is claimed only for maps that were checked.
"""

import base64
import glob
import hashlib
import html
import io
import json
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int8, UInt8
from PIL import Image

from rgcam.attribution import maps as attribution_maps
from rgcam.report import record
from rgcam.report.overlay import (
    DIVERGING,
    MATRIX_POWER,
    SEQUENTIAL,
    colour_table,
    diverging_heat,
)
from rgcam.report.record import (
    Attribution,
    ClassMaps,
    ExplainedClip,
)
from rgcam.types import Fields

SCRIPTS = "data colour frames matrix words address save controls main".split()
LONG = 128  # frames, above which they are stored smaller
BUDGET = 6 * 2**20  # bytes of codes of the heat maps
# How to read the maps of one sign, and of both; {target} is filled by the scripts.
READING = (
    "Highlighted regions of the frames and bright cells of the matrix support {target}: "
    "each column of the matrix is COLUMN, each row an output step, and a brighter cell "
    "is COLUMN that contributes more to the score at that step."
)
READING_SIGNED = (
    "Red regions of the frames and red cells of the matrix support {target}, blue ones "
    "oppose it: each column of the matrix is COLUMN, each row an output step, and a "
    "stronger colour is a larger contribution to the score at that step."
)
# How to read the page, by what the output steps are and see.
READS_FRAME_BY_FRAME = (
    "The model reads the clip frame by frame and gives each class a score after every "
    "frame: an <em>output step</em> (t′, a row of the matrix). A row shows how much each "
    "<em>frame</em> (t, a column) contributes to the score at that step; a column shows to "
    "which output steps a frame contributes. Hatched cells are frames that had not been "
    "seen yet, which says nothing about their importance."
)
SEES_THE_CLIP = (
    "The model gives each class a score at every <em>output step</em> (t′, a row of the "
    "matrix). A row shows how much each <em>frame</em> (t, a column) contributes to the "
    "score at that step, which may depend on any frame of the clip."
)
SCORES_THE_CLIP = (
    "The model gives each class one score for the whole clip: the only row of the matrix. "
    "It shows how much each <em>frame</em> (t, a column) contributes to that score."
)
WRITES_WORDS = (
    "The model reads the whole clip and then writes word after word: each word is an "
    "<em>output step</em> (t′, a row of the matrix). A row shows how much each "
    "<em>frame</em> (t, a column) contributes to the score of that word, given the words "
    "before it; any frame of the clip may contribute to any word."
)
COVERS_FRAMES = (
    " A column is a step of the model's feature map, which covers several frames; the page "
    "shows the one in the middle."
)
# A path from the root or from a drive, as far as it has no space.
ABSOLUTE = re.compile(r"""(?<![\w.~:/\\-])(?:[A-Za-z]:)?[\\/][^\s'"=,;)]+""")
Packed: TypeAlias = dict[str, str]
"""An array for the scripts: its type and its bytes in base64."""


def page(explained: ExplainedClip, title: str | None = None) -> str:
    """Return the page of an explained clip, a whole HTML document.

    Maps of all pairs are stored as ``Factors`` says; their error is stated on the page.

    Args:
        explained: the clip. Its shown attribution needs maps of all output steps.
        title: above the page; None: the record's, which changes with the class.
    """
    shown = explained.shown
    class_maps = _class_maps(explained, shown)
    methods = [
        _method_data(explained.showing(attribution))
        for attribution in explained.attributions
    ]
    details = about(explained)
    details["Heat maps"] = _storage(methods[0], len(class_maps.targets))
    target = f"“{explained.target_name}”"
    reading = _readings(explained)[shown.rectified]
    passed = {None: "unknown", True: "passed", False: "failed"}
    notes = _without_paths("; ".join(explained.clip.notes))
    distribution_check = explained.distribution_check
    is_unlike = distribution_check is not None and distribution_check.is_unlike
    # The policy of the page runs exactly this style and this script, by their hashes.
    style = _source("page.css")
    script = '"use strict";\n' + "\n".join(_source(f"{n}.js") for n in SCRIPTS)
    parts = {
        "style": style,
        "script": script,
        "style-hash": source_hash(style),
        "script-hash": source_hash(script),
        "version": record.versions()["rgcam"],
        "title": html.escape(title or explained.title),
        "lead": html.escape(explained.lead),
        # What is unusual about the clip is read before the explanation.
        "notes": html.escape(f"Note: {notes}") if notes else "",
        "notes-hidden": "" if notes else "hidden",
        "notes-class": "notes warning" if is_unlike else "notes",
        "view": html.escape(explained.view_text),
        "verdict": html.escape(record.verdict_sentence(shown.faithfulness)),
        "verdict-class": passed[shown.passed],
        "selection": html.escape(record.sentence(explained.selection)),
        "selection-hidden": "" if explained.selection else "hidden",
        "reading": html.escape(reading.format(target=target)),
        "how-to-read": _how_to_read(explained),
        "about": "".join(_entry(label, text) for label, text in details.items()),
        "data": json_text(_data(explained, class_maps, methods, details, title)),
    }
    return re.sub(r"{{([a-z-]+)}}", lambda m: parts[m[1]], _source("page.html"))


def _readings(explained: ExplainedClip) -> tuple[str, str]:
    """Return how to read maps of both signs, and rectified ones; see READING."""
    column = "a frame"
    if explained.frames_of_steps is not None:
        column = "a step of the feature map, which covers several frames,"
    return READING_SIGNED.replace("COLUMN", column), READING.replace("COLUMN", column)


def _how_to_read(explained: ExplainedClip) -> str:
    """Say what rows and columns of the matrix are."""
    covers = "" if explained.frames_of_steps is None else COVERS_FRAMES
    if explained.sentence is not None:
        return WRITES_WORDS + covers
    if len(explained.scores) == 1:
        return SCORES_THE_CLIP + covers
    return (READS_FRAME_BY_FRAME if explained.shown.causal else SEES_THE_CLIP) + covers


def about(explained: ExplainedClip) -> dict[str, str]:
    """List the clip, model, method and software of a page; what is unknown is left out."""
    clip, model, baseline = explained.clip, explained.model, explained.frame_baseline
    details = {
        "Video": f"{explained.source_name}, {len(clip.frames)} frames"
        if explained.source
        else "",
        "Notes": "; ".join(clip.notes),
        "Model": f"{model.name}: {_listed(model.arch)}" if model.arch else "",
        "Training and test": _listed(model.results),
        "Method": _method(explained),
        "Command": command(explained.options) if explained.options else "",
        "Versions": ", ".join(f"{n} {v}" for n, v in record.versions().items()),
    }
    if baseline is not None:
        name = baseline.model.name
        details["Frame-CNN baseline"] = f"{name}: {_listed(baseline.model.arch)}"
        details["Its prediction"] = baseline.prediction
    return {label: _without_paths(text) for label, text in details.items() if text}


def command(options: Fields) -> str:
    """Return the command line that has these options, with names instead of paths."""
    set_options = {n: v for n, v in options.items() if v is not None and v is not False}
    arguments = [
        f"--{name}" if value is True else f"--{name}={_without_folders(name, value)}"
        for name, value in set_options.items()
    ]
    return shlex.join(["python", "explain.py", *arguments])


def _without_folders(option: str, value: object) -> object:
    """Return a path's last part, or what a pattern of files says of any folder."""
    if not isinstance(value, str) or option == "target":
        return value
    parts = Path(value).parts
    wild = [i for i, part in enumerate(parts) if glob.has_magic(part)]
    return "/".join(parts[wild[0] :] if wild else parts[-1:])


def _without_paths(text: str) -> str:
    """Replace absolute paths by their last parts."""
    return ABSOLUTE.sub(lambda m: re.split(r"[\\/]", m[0])[-1], text)


def _method(explained: ExplainedClip) -> str:
    """Name the method, what it is in the field's terms, and its baseline."""
    shown = explained.shown
    if not shown.method:
        return ""
    return f"{shown.description}; baseline: {shown.baseline}"


def _class_maps(explained: ExplainedClip, attribution: Attribution) -> ClassMaps:
    """Return maps of the classes that the page offers, the explained one first."""
    if attribution.class_maps is not None:
        return attribution.class_maps
    assert attribution.maps is not None, "the page needs maps of all output steps"
    return ClassMaps((explained.shown_target,), attribution.maps[None])


def _method_data(explained: ExplainedClip) -> dict[str, object]:
    """Return what the scripts read of the shown attribution."""
    shown = explained.shown
    class_maps = _class_maps(explained, shown)
    maps = np.asarray(class_maps.maps, np.float32)
    factors = factorise(maps, can_be_causal=shown.causal)
    _, out, steps, _, _ = maps.shape
    stored = pairs(out, steps, factors.causal)
    # The explained class's matrix is the record's, to the last bit.
    signed = maps.sum((-2, -1))
    positive = np.maximum(maps, 0).sum((-2, -1))
    (positive if shown.rectified else signed)[0] = shown.matrix
    reach = (explained.reach_text, explained.recency_text)
    return {
        "method": shown.method,
        "methodTitle": shown.title,
        "openingSteps": explained.shown_text,
        "reach": " ".join(record.sentence(text) for text in reach if text),
        "opening": _opening(explained),
        "checks": [
            {
                "step": view.step,
                "signed": not view.rectified,
                "verdict": record.verdict(view.check),
                "passed": view.check.passed,
            }
            for view in shown.checks
        ],
        "signed": not shown.rectified or bool((maps < 0).any()),
        "causal": factors.causal,
        "rank": factors.codes.shape[-1],
        "codes": _pack(factors.codes, "i1"),
        "scales": _pack(factors.scales, "f4"),
        "basis": None if factors.basis is None else _pack(factors.basis, "f4"),
        "error": factors.error,
        "peaks": [[float(m.max(initial=0)), float(np.abs(m).max())] for m in maps],
        "signedMatrix": _pack(signed[:, *stored], "f4"),
        "positiveMatrix": _pack(positive[:, *stored], "f4"),
    }


def _data(
    explained: ExplainedClip,
    class_maps: ClassMaps,
    methods: list[dict[str, object]],
    details: dict[str, str],
    title: str | None,
) -> Fields:
    """Return what the scripts read: plain values and packed arrays."""
    clip = explained.clip
    height, width = class_maps.maps.shape[3:]
    frames, size = _jpegs(clip.frames[explained.middle_frames])
    spans = explained.frames_of_steps
    top, left, bottom, right = explained.box
    tall, wide = clip.frames.shape[1:3]
    return {
        "words": _words(explained, title),
        "methods": methods,
        "classes": list(explained.shown_classes),
        "targets": [int(target) for target in class_maps.targets],
        "predicted": explained.predicted,
        "curves": _curves(explained, class_maps),
        # To a microsecond: as exact as a frame's time is, and short in the file.
        "times": [round(float(t), 6) for t in explained.times_in],
        "spans": None
        if spans is None
        else [f"{first} to {last}" for first, last in np.asarray(spans)],
        "labels": list(explained.step_labels) or None,
        "timesOut": [round(float(t), 6) for t in explained.times_out],
        "notChecked": {"verdict": record.NOT_CHECKED, "passed": None},
        "aggregations": _aggregations(explained),
        "apart": record.APART - record.TIME_ERROR,
        "momentCount": record.MOMENTS,
        "scores": _pack(explained.shown_scores, "f4"),
        "height": height,
        "width": width,
        "baseline": _baseline(explained),
        "frames": frames,
        "frameHeight": size[1],
        "frameWidth": size[0],
        "box": [top / tall, left / wide, bottom / tall, right / wide],
        "sequential": {n: _table(n, ends) for n, ends in SEQUENTIAL.items()},
        "diverging": _table(*DIVERGING),
        "divergingHeat": _pack_colours(diverging_heat()),
        "matrixPower": MATRIX_POWER,
        "about": details,
    }


def _aggregations(explained: ExplainedClip) -> dict[str, str]:
    """Return the aggregations over all steps that the page offers, and what they are.

    One of the user's own is not computed by the scripts: it is shown of the maps that the
    page opens on alone.
    """
    offered = {name: attribution_maps.DESCRIPTIONS[name] for name in ("mean", "max")}
    shown = explained.shown
    if shown.step is None and shown.aggregation not in offered:
        offered[shown.aggregation] = explained.shown_text
    return offered


def _words(explained: ExplainedClip, title: str | None) -> Fields:
    """Return the sentences and templates that the scripts show and fill."""
    titles = explained.titles
    signed_reading, rectified_reading = _readings(explained)
    # A title that was given is no template: nothing in it is to be filled in.
    fixed = title and title.replace("{", "(").replace("}", ")")
    return {
        "model": explained.model.name,
        "source": explained.source_name,
        "titles": {
            "prediction": fixed or titles.of_prediction,
            "class": fixed or titles.of_class,
            "pair": fixed or titles.of_pair,
        },
        "lead": explained.lead,
        "view": record.VIEW,
        "faithfulness": record.FAITHFULNESS,
        "passed": record.MEANING[True],
        "failed": record.MEANING[False],
        "signed": record.KINDS[False],
        "rectified": record.KINDS[True],
        "reading": rectified_reading,
        "readingSigned": signed_reading,
    }


def _opening(explained: ExplainedClip) -> Fields:
    """Return the view that the page opens on: the one that the record shows."""
    shown = explained.shown
    fields: dict[str, object] = {
        "signed": not shown.rectified,
        "output": shown.aggregation if shown.step is None else shown.step,
        "step": len(explained.scores) - 1 if shown.step is None else shown.step,
    }
    if shown.step is None:
        # Exactly: the scripts could only aggregate maps that were stored in 8 bits.
        fields["maps"] = _pack(shown.shown_maps, "f4")
        fields["row"] = _pack(shown.shown_row, "f4")
    return fields


def _curves(explained: ExplainedClip, class_maps: ClassMaps) -> list[int]:
    """Return whose scores are drawn: the offered classes', the best others' up to 4.

    Of a sentence, the written words' alone: another word is no rival at all steps.
    """
    offered = [int(target) for target in class_maps.targets]
    if explained.sentence is not None:
        return offered
    order = np.argsort(-explained.scores[-1], kind="stable")
    more = [int(c) for c in order if c not in offered]
    return offered + more[: max(0, 4 - len(offered))]


def _baseline(explained: ExplainedClip) -> Fields | None:
    baseline = explained.frame_baseline
    if baseline is None:
        return None
    height, width = baseline.maps.shape[-2:]
    return {
        "name": baseline.model.name,
        "maps": _pack(baseline.maps[:, explained.middle_frames], "f4"),
        "height": height,
        "width": width,
    }


def _jpegs(
    frames: UInt8[np.ndarray, "T H W 3"],
) -> tuple[list[str], tuple[int, int]]:
    """Return the frames as JPEG data, small enough for a page, and their size."""
    # About the size at which a phone shows them, and the models see them.
    limit = 224 if len(frames) <= LONG else 128
    height, width = frames.shape[1:3]
    ratio = min(1.0, limit / min(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return [_jpeg(frame, size) for frame in frames], size


def _jpeg(frame: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> str:
    image, file = Image.fromarray(frame), io.BytesIO()
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _table(name: str, ends: tuple[float, float]) -> Packed:
    """Return 256 colours of a colour map, those of the figures."""
    return _pack_colours(colour_table(name, ends))


def _pack_colours(colours: Float[np.ndarray, "256 4"]) -> Packed:
    return _pack((colours[:, :3] * 255).astype(np.uint8), "u1")


def _pack(array: np.ndarray, kind: str) -> Packed:
    data = np.ascontiguousarray(array, f"<{kind}").tobytes()
    return {"type": kind, "data": base64.b64encode(data).decode()}


def json_text(data: Fields) -> str:
    """Write JSON that cannot end a script tag, for any strings in it."""
    # "</script>" and "<!--" end or change a script's text; both need a "<".
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _storage(method: dict[str, object], classes: int) -> str:
    encoding = "every cell in 8 bits"
    if method["basis"] is not None:
        encoding = "8 bits and a shared basis"
    return (
        f"of all pairs of steps for {classes} class{'es' * (classes > 1)}, stored as "
        f"{encoding}: off by at most {method['error']:.2%} of the largest value; "
        "the numbers of the matrix are exact"
    )


def _listed(fields: Fields) -> str:
    """Write plain fields in a line, floats to four digits; nested ones are left out."""
    scalars = {
        n: v for n, v in fields.items() if not isinstance(v, dict | list | tuple)
    }
    return ", ".join(
        f"{name.replace('_', ' ')} "
        + (f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in scalars.items()
    )


def _entry(label: str, text: str) -> str:
    return f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>"


def _source(name: str) -> str:
    return (resources.files("rgcam.report") / "page" / name).read_text("utf-8")


def source_hash(text: str) -> str:
    """Return what the page's policy names a style or a script by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# Heat maps of all pairs in few bytes.


class Factors(NamedTuple):
    """Heat maps of all pairs (t', t) of some classes in few bytes.

    L[class, t', t] (h w numbers) is a combination of a few maps of frame t that all classes
    and output steps share, since L[t', t, i, j] = G[t', t] . Q[t, i, j] (Theorem 2 of
    ``rgcam.attribution.causal``). Stored are

        codes (int8) x scale (one for each pair)            where that is small: the cells;
        codes (int8) x scale = coefficients of basis[t]     else: the best basis of r maps.

    The basis holds the leading eigenvectors of sum L L^T over classes and output steps.
    Each pair has its own scale, so that a faint pair keeps its shape. The error is
    measured, never assumed: ``Factors.error``.

    Pairs lie row by row; ``pairs`` lists them.

    Attributes:
        causal: whether the pairs are those with t <= t' only, all others being 0.
        codes: -127 to 127.
        scales: what a code of 1 means, in logits.
        basis: maps of each frame that the codes combine; None: the codes are cells.
        error: the largest |restored - true|, as a part of the largest |true|.
    """

    causal: bool
    codes: Int8[np.ndarray, "classes pairs rank"]
    scales: Float[np.ndarray, "classes pairs"]
    basis: Float[np.ndarray, "in rank cells"] | None
    error: float


def pairs(out: int, steps: int, causal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return t' and t of every stored pair: the lower triangle if causal, or all."""
    if causal:
        return np.tril_indices(out, 0, steps)
    rows, columns = np.indices((out, steps))
    return rows.ravel(), columns.ravel()


def factorise(
    maps: Float[np.ndarray, "classes out in h w"],
    budget: int = BUDGET,
    *,
    can_be_causal: bool = True,
) -> Factors:
    """Quantise the maps of all pairs into about ``budget`` bytes of codes.

    Args:
        maps: of all pairs.
        budget: bytes.
        can_be_causal: False: store the pairs t > t' even if all of them are 0, which is
            not their structure then.
    """
    classes, out, steps, height, width = maps.shape
    causal = can_be_causal and attribution_maps.is_causal(np.moveaxis(maps, 0, 2))
    rows, columns = pairs(out, steps, causal)
    cells = height * width
    rank = min(cells, max(4, budget // (classes * len(rows))))
    flat = maps.reshape(classes, out, steps, cells)
    basis = None if rank == cells else _basis(flat, rank)
    codes = np.empty((classes, len(rows), rank), np.int8)
    scales, error = np.empty(codes.shape[:2], np.float32), 0.0
    for n, class_maps in enumerate(flat):
        # The basis is orthonormal: its transpose gives the best coefficients.
        values = class_maps
        if basis is not None:
            values = _combine(class_maps, basis.swapaxes(1, 2))
        codes[n], scales[n] = _quantise(values[rows, columns])
        restored = _restore(codes[n], scales[n], basis, (out, steps), (rows, columns))
        error = max(error, float(np.abs(restored - class_maps).max(initial=0)))
    peak = float(np.abs(maps).max(initial=0)) or 1.0
    return Factors(
        causal=causal, codes=codes, scales=scales, basis=basis, error=error / peak
    )


def restore(
    factors: Factors, shape: tuple[int, ...]
) -> Float[np.ndarray, "classes out in h w"]:
    """Return the maps again, as the page computes them.

    Args:
        factors: of ``factorise``.
        shape: of the maps: (classes, out, in, h, w).
    """
    out, steps = shape[1:3]
    stored = pairs(out, steps, factors.causal)
    maps = [
        _restore(codes, scales, factors.basis, (out, steps), stored)
        for codes, scales in zip(factors.codes, factors.scales, strict=True)
    ]
    return np.stack(maps).reshape(shape)


def _basis(
    flat: Float[np.ndarray, "classes out in cells"], rank: int
) -> Float[np.ndarray, "in rank cells"]:
    """Return the leading eigenvectors of each frame's sum of L L^T."""
    gram = np.zeros((*flat.shape[2:], flat.shape[3]), flat.dtype)
    for class_maps in flat:
        gram += np.einsum("otx,oty->txy", class_maps, class_maps)
    vectors = np.linalg.eigh(gram)[1][:, :, ::-1][:, :, :rank]
    return np.ascontiguousarray(vectors.transpose(0, 2, 1), np.float32)


def _combine(
    values: Float[np.ndarray, "out in x"], mixing: Float[np.ndarray, "in x y"]
) -> Float[np.ndarray, "out in y"]:
    """Multiply the values of each frame by the frame's own matrix."""
    return (values.swapaxes(0, 1) @ mixing).swapaxes(0, 1)


def _quantise(
    values: Float[np.ndarray, "pairs rank"],
) -> tuple[Int8[np.ndarray, "pairs rank"], Float[np.ndarray, " pairs"]]:
    """Return codes and the scale of each pair."""
    scale = np.asarray(np.abs(values).max(1) / 127, np.float32)
    codes = values / np.where(scale > 0, scale, 1)[:, None]
    return np.rint(codes).clip(-127, 127).astype(np.int8), scale


def _restore(
    codes: Int8[np.ndarray, "pairs rank"],
    scales: Float[np.ndarray, " pairs"],
    basis: Float[np.ndarray, "in rank cells"] | None,
    size: tuple[int, int],
    stored: tuple[np.ndarray, np.ndarray],
) -> Float[np.ndarray, "out in cells"]:
    """Return one class's maps from the codes of the stored pairs (t', t)."""
    values = np.zeros((*size, codes.shape[-1]), np.float32)
    values[stored] = codes * scales[:, None]
    return values if basis is None else _combine(values, basis)
