r"""Measure the methods on clips: faithfulness, truth, sanity, and the self-check.

    python -m rgcam.commands.evaluate --model=stickman-lrcn --data=stickman --out=DIR
    python -m rgcam.commands.evaluate --model=ucf101-lrcn --data=FOLDER --out=DIR \
        --group='_g(\d+)_' [--concatenate]    # two classes, one after the other
    python -m rgcam.commands.evaluate --model=RUN0,RUN1,RUN2 --out=DIR    # training seeds

DIR/table.md and table.json hold the means with 95 % intervals by bootstrap over groups.
A clip measured with several models is of one group, and table.json holds each model's
own means. Running the same command again goes on where the last one ended.
"""

import json
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from rgcam.attribution import methods
from rgcam.commands import app
from rgcam.corpus import manifest
from rgcam.corpus.manifest import Manifest
from rgcam.errors import InputError
from rgcam.evaluation import clips, controls, detection, measure, tables
from rgcam.evaluation.controls import Maps, Models
from rgcam.evaluation.tables import Row
from rgcam.models.zoo import load_cnn, load_model

FLAGS = flags.FLAGS
EXTRA = (*(f"fade:{b}" for b in ("first", "blur", "mean", "zero")), "path:first")
RECORD = 2  # version of the rows' fields
OF_CLIPS = ("data", "group", "clips", "length", "concatenate")


def main() -> None:
    """Measure clip by clip, model after model, and write the tables."""
    models = _models()
    asked, out = _asked(), Path(FLAGS.out)
    fields = {name: FLAGS[name].value for name in OF_CLIPS} | {"methods": asked}
    fields |= {"model": ",".join(m.model.name for m in models)}
    fields |= {"cnn": _joined(FLAGS.cnn), "random_labels": FLAGS.random_labels}
    fields |= {"record": RECORD}
    with manifest.opened(out, fields) as record:
        for one in models:
            _measure(record, one, asked, several=len(models) > 1)
        rows = [_row(fields) for fields in record.rows.values()]
    if not rows:
        raise InputError(f"{FLAGS.data} has no clip of {FLAGS.length} frames")
    _write(out, rows, asked, fields)


def _models() -> list[Models]:
    """Load every model, and those beside it."""
    names, cnns = list(dict.fromkeys(FLAGS.model)), FLAGS.cnn or [None]
    cnns = cnns * len(names) if len(cnns) == 1 else cnns
    if not names or len(cnns) != len(names):
        raise InputError("give one --model or more, and one --cnn or one for each")
    labels = load_model(FLAGS.random_labels) if FLAGS.random_labels else None
    return [
        controls.prepare_models(load_model(name), load_cnn(name, cnn), labels)
        for name, cnn in zip(names, cnns, strict=True)
    ]


def _measure(record: Manifest, models: Models, asked: list[str], several: bool) -> None:
    """Add what is missing of one model's rows to the record."""
    options: dict[str, Any] = {name: FLAGS[name].value for name in OF_CLIPS}
    previous_maps: dict[str, Maps] = {}
    model = models.model
    description = model.name if several else None
    bar = tqdm(
        clips.load(model, **options), total=FLAGS.clips, unit="clip", desc=description
    )
    for clip in bar:
        name = f"{clip.name}, {model.name}" if several else clip.name
        if record.is_done(name):
            continue
        measures, previous_maps = measure.measure(models, clip, asked, previous_maps)
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


def _row(fields: dict[str, Any]) -> Row:
    """Return a row of the record, typed."""
    measures = fields["measures"]
    return Row(
        model=fields["model"],
        clip=fields["clip"],
        group=fields["group"],
        measures={name: measure.from_fields(m) for name, m in measures.items()},
    )


def _write(out: Path, rows: list[Row], asked: list[str], fields: dict) -> None:
    """Write table.md and table.json, and say so."""
    means = tables.table(rows)
    correlations = detection.truth_correlations(rows, asked)
    detections = detection.detect_corrupted(rows, asked)
    leads = {
        "the best model-free explanation": controls.MODEL_FREE,
        "the frame CNN": [controls.CNN],
    }
    margins = {
        name: tables.margins(rows, asked, references)
        for name, references in leads.items()
    }
    everything = {
        "options": fields,
        "table": tables.fields(means),
        "check": detection.fields(correlations, detections),
        "margins": {k: tables.margins_fields(lead) for k, lead in margins.items()},
        "models": _by_model(rows),
    }
    (out / "table.json").write_text(json.dumps(everything, indent=2) + "\n")
    parts = [
        _title(rows),
        tables.markdown(means),
        detection.markdown(correlations, detections),
        *(
            tables.margins_markdown(lead, f"Margins over {name}")
            for name, lead in margins.items()
        ),
    ]
    text = "\n".join(part for part in parts if part)
    (out / "table.md").write_text(text)
    print(f"{text}\nwritten   {out}/table.md, table.json")


def _asked() -> list[str]:
    if FLAGS.methods == ["all"]:
        return [*methods.METHODS, *EXTRA]
    for name in FLAGS.methods:
        method, _, baseline = name.partition(":")
        methods.check(method, baseline or None)
    return list(FLAGS.methods)


def _by_model(rows: list[Row]) -> dict[str, Any]:
    """Return each model's own means, where there are several."""
    names = list(dict.fromkeys(row.model for row in rows))
    if len(names) == 1:
        return {}
    return {
        name: tables.fields(tables.table([row for row in rows if row.model == name]))
        for name in names
    }


def _title(rows: list[Row]) -> str:
    models = dict.fromkeys(row.model for row in rows)
    who = next(iter(models)) if len(models) == 1 else f"{len(models)} models"
    number = len({row.clip for row in rows})
    return f"# {who} on {number} clips of {Path(FLAGS.data).name}\n"


def _joined(names: list[str] | None) -> str | None:
    return ",".join(names) if names else None


if __name__ == "__main__":
    known = "bundled name, or a train.py folder; several: every clip by each of them"
    flags.DEFINE_list("model", ["stickman-lrcn"], known)
    flags.DEFINE_list("cnn", None, "frame CNN beside it, or beside each [its sibling]")
    said = "model of the same kind, trained on random labels, to compare maps with"
    flags.DEFINE_string("random_labels", None, said)
    flags.DEFINE_string("data", "stickman", "stickman, or a folder of classes")
    flags.DEFINE_string("group", "", "pattern of the clips' groups in file names")
    flags.DEFINE_string("out", "evaluation", "folder to write")
    flags.DEFINE_list("methods", ["all"], "such as fade,path:mean")
    flags.DEFINE_integer("clips", 60, "to measure by")
    flags.DEFINE_integer("length", 16, "frames of each")
    flags.DEFINE_bool("concatenate", False, "two classes in sequence")
    app.run(main)
