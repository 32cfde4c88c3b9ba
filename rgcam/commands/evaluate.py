"""``rgcam evaluate``: measure attribution methods on clips.

OUT/table.md and table.json hold the means with 95 % intervals over groups.
A clip that is measured with several models is one group, and table.json holds each
model's own means. Running the same command again resumes it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from rgcam import files
from rgcam.attribution import explain
from rgcam.commands.options import Command, Options, option
from rgcam.corpus import manifest
from rgcam.corpus.manifest import Manifest
from rgcam.errors import InputError
from rgcam.evaluation import clips, controls, detection, measure, tables
from rgcam.evaluation.controls import Maps, Models
from rgcam.evaluation.tables import Row
from rgcam.models.zoo import load_cnn, load_model
from rgcam.types import Fields

EXTRA = (
    *(f"fade:{baseline}" for baseline in ("first", "blur", "mean", "zero")),
    "path:first",
    # What the sign of the maps does to their faithfulness.
    "gradcam:zero:signed",
    "fade:previous:rectified",
)
RECORD = 3  # version of the fields of a row
MODELS = "models"
CLIPS = "clips"
MEASURES = "measures"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """Options of ``rgcam evaluate``; table.json records them."""

    model: tuple[str, ...] = option(
        ("stickman-lrcn",),
        "bundled model, or folder written by rgcam train; of several, each sees all "
        "clips",
        group=MODELS,
        value="NAME|FOLDER,...",
    )
    cnn: tuple[str, ...] | None = option(
        None,
        "frame-CNN baseline of all models, or one of each",
        group=MODELS,
        value="NAME|FOLDER,...",
        unset="default: the models' siblings",
    )
    random_labels: str | None = option(
        None,
        "model of the same kind, trained on random labels, to compare maps with",
        group=MODELS,
        value="NAME|FOLDER",
        unset="default: none",
    )
    data: str = option(
        "stickman",
        "stickman, handheld or cue (drawn clips), or a folder of classes",
        group=CLIPS,
        value="NAME|FOLDER",
    )
    group: str = option(
        "",
        "regular expression for file names; (...) is the recording",
        group=CLIPS,
        value="PATTERN",
        unset="default: every clip is a recording",
    )
    clips: int = option(60, "number of clips", group=CLIPS)
    length: int = option(16, "frames of each clip", group=CLIPS)
    concatenate: bool = option(
        False, "clips of two classes, one after the other", group=CLIPS
    )
    methods: tuple[str, ...] = option(
        ("all",),
        "attribution methods, each possibly with a baseline and a sign, such as "
        "fade,path:mean,fade:mean:rectified",
        group=MEASURES,
        value="METHOD[:BASELINE[:SIGN]],...",
    )
    measures: tuple[str, ...] = option(
        measure.KINDS,
        f"what to measure: {', '.join(measure.KINDS)}",
        group=MEASURES,
        value="KIND,...",
    )
    out: str = option("evaluation", "folder to write", group=MEASURES, value="FOLDER")


def run(options: EvaluateOptions) -> None:
    """Measure clip by clip, model after model, and write the tables."""
    models = _models(options)
    names, out = _methods(options), Path(options.out)
    _check_kinds(options.measures)
    fields = {
        "data": options.data,
        "group": options.group,
        "clips": options.clips,
        "length": options.length,
        "concatenate": options.concatenate,
        "methods": names,
        "measures": list(options.measures),
        "model": ",".join(m.model.name for m in models),
        "cnn": ",".join(options.cnn) if options.cnn else None,
        "random_labels": options.random_labels,
        "record": RECORD,
    }
    with manifest.open_manifest(out, fields) as record:
        for model in models:
            _measure(record, model, names, options, several=len(models) > 1)
        rows = [typed_row(fields) for fields in record.rows.values()]
    if not rows:
        raise InputError(f"{options.data} has no clip of {options.length} frames")
    text = _write(out, rows, names, options, fields)
    print(f"{text}\nfiles: {out}/: table.json, table.md")


def _models(options: EvaluateOptions) -> list[Models]:
    """Load every model, and those that it is compared with."""
    names = list(dict.fromkeys(options.model))
    cnns: list[str | None] = list(options.cnn or [None])
    cnns = cnns * len(names) if len(cnns) == 1 else cnns
    if not names or len(cnns) != len(names):
        raise InputError("give one --model or more, and one --cnn or one for each")
    labels = load_model(options.random_labels) if options.random_labels else None
    models = [load_model(name) for name in names]
    for model in models:
        if model.description.arch["kind"] == "captioner":
            raise InputError(
                f"--model={model.name} writes sentences, and this command measures "
                "explanations of classes: python benchmarks/captioning.py measures words"
            )
    return [
        controls.prepare_models(model, load_cnn(name, cnn), labels)
        for model, name, cnn in zip(models, names, cnns, strict=True)
    ]


def _measure(
    record: Manifest,
    models: Models,
    names: list[str],
    options: EvaluateOptions,
    *,
    several: bool,
) -> None:
    """Measure the clips that the record does not have of one model yet."""
    previous_maps: dict[str, Maps] = {}
    model = models.model
    subjects = clips.load(
        model,
        data=options.data,
        group=options.group,
        clips=options.clips,
        length=options.length,
        concatenate=options.concatenate,
    )
    description = model.name if several else None
    for clip in tqdm(subjects, total=options.clips, unit="clip", desc=description):
        name = f"{clip.name}, {model.name}" if several else clip.name
        if record.is_done(name):
            continue
        measures, previous_maps = measure.measure(
            models, clip, names, previous_maps, options.measures
        )
        record.add(
            {
                "video": name,
                "clip": clip.name,
                "model": model.name,
                "status": "ok",
                "group": clip.group,
                "measures": {k: measure.to_fields(m) for k, m in measures.items()},
            }
        )


def typed_row(fields: manifest.Row) -> Row:
    """Return a line of the record as the tables read it."""
    measures = fields["measures"]
    return Row(
        model=fields["model"],
        clip=fields["clip"],
        group=fields["group"],
        measures={name: measure.from_fields(m) for name, m in measures.items()},
    )


def _write(
    out: Path,
    rows: list[Row],
    names: list[str],
    options: EvaluateOptions,
    fields: Fields,
) -> str:
    """Write table.md and table.json; return the text of table.md."""
    means = tables.table(rows)
    correlations = detection.truth_correlations(rows, names)
    detections = detection.detect_corrupted(rows, names)
    references = {
        "the best model-free explanation": controls.MODEL_FREE,
        "the frame CNN": [controls.CNN],
    }
    margins = {
        name: tables.margins(rows, names, reference)
        for name, reference in references.items()
    }
    everything = {
        "options": fields,
        "table": tables.fields(means),
        "check": detection.fields(correlations, detections),
        "margins": {k: tables.margins_fields(margin) for k, margin in margins.items()},
        "models": _by_model(rows),
    }
    files.write_json(out / "table.json", everything)
    parts = [
        _title(rows, options),
        clips.warning(options.data, options.group),
        tables.markdown(means),
        detection.markdown(correlations, detections),
        *(
            tables.margins_markdown(margin, f"Margins over {name}")
            for name, margin in margins.items()
        ),
    ]
    text = "\n".join(part for part in parts if part)
    files.write_text(out / "table.md", text)
    return text


def _check_kinds(kinds: Sequence[str]) -> None:
    """Raise InputError where one is no kind of measures."""
    for kind in kinds:
        if kind not in measure.KINDS:
            raise InputError(
                f"unknown measures {kind!r}; choose of {', '.join(measure.KINDS)}"
            )


def _methods(options: EvaluateOptions) -> list[str]:
    """Return the names of the methods, with their baselines."""
    if options.methods == ("all",):
        return [*explain.METHODS, *EXTRA]
    for name in options.methods:
        measure.parse(name)
    return list(options.methods)


def _by_model(rows: list[Row]) -> Fields:
    """Return each model's own means, where there are several."""
    names = list(dict.fromkeys(row.model for row in rows))
    if len(names) == 1:
        return {}
    return {
        name: tables.fields(tables.table([row for row in rows if row.model == name]))
        for name in names
    }


def _title(rows: list[Row], options: EvaluateOptions) -> str:
    """Return the heading of table.md."""
    models = dict.fromkeys(row.model for row in rows)
    subject = next(iter(models)) if len(models) == 1 else f"{len(models)} models"
    number = len({row.clip for row in rows})
    return f"# {subject} on {number} clips of {Path(options.data).name}\n"


COMMAND = Command(
    name="evaluate",
    usage="[--model=NAME|FOLDER,...] [--data=NAME|FOLDER] [--out=FOLDER] ...",
    options=EvaluateOptions,
    run=run,
    examples="""
rgcam evaluate --model=stickman-lrcn --data=stickman --out=DIR
rgcam evaluate --model=ucf101-lrcn --data=FOLDER --group='_g([0-9]+)_' --out=DIR
rgcam evaluate --model=RUN0,RUN1,RUN2 --out=DIR    training seeds
""",
)
