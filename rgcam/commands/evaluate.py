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
import math
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from rgcam.attribution import methods
from rgcam.commands import app
from rgcam.corpus import manifest
from rgcam.corpus.manifest import Manifest
from rgcam.errors import InputError
from rgcam.evaluation import clips as subjects
from rgcam.evaluation import counterparts, detection, margins, measure, tables, trivial
from rgcam.evaluation.counterparts import Models
from rgcam.evaluation.tables import Row
from rgcam.models.zoo import load_cnn, load_model

FLAGS = flags.FLAGS
EXTRA = (*(f"fade:{b}" for b in ("first", "blur", "mean", "zero")), "path:first")
OF_CLIPS = ("data", "group", "clips", "length", "concatenate")


def main() -> None:
    """Measure clip by clip, model after model, and write the tables."""
    models = _models()
    asked, out = _asked(), Path(FLAGS.out)
    fields = {name: FLAGS[name].value for name in OF_CLIPS} | {"methods": asked}
    fields |= {"model": ",".join(m.model.name for m in models)}
    fields |= {"cnn": _joined(FLAGS.cnn), "random_labels": FLAGS.random_labels}
    with manifest.opened(out, fields) as record:
        for one in models:
            _measure(record, one, asked, several=len(models) > 1)
        before = {"model": models[0].model.name}  # rows of records that know one model
        rows = [before | {"clip": n} | row for n, row in record.rows.items()]
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
        counterparts.beside(load_model(name), load_cnn(name, cnn), labels)
        for name, cnn in zip(names, cnns, strict=True)
    ]


def _measure(record: Manifest, models: Models, asked: list[str], several: bool) -> None:
    """Add what is missing of one model's rows to the record."""
    options: dict[str, Any] = {name: FLAGS[name].value for name in OF_CLIPS}
    other: dict[str, Any] = {}
    model = models.model
    clips = subjects.load(model, **options)
    said = model.name if several else None
    for subject in tqdm(clips, total=FLAGS.clips, unit="clip", desc=said):
        name = f"{subject.name}, {model.name}" if several else subject.name
        if not record.is_done(name):
            measures = measure.measure(models, subject, asked, other)
            about = {"video": name, "clip": subject.name, "model": model.name}
            about |= {"status": "ok", "group": subject.group}
            record.add(about | {"measures": _plain(measures)})


def _write(out: Path, rows: list[Row], asked: list[str], fields: dict) -> None:
    """Write table.md and table.json, and say so."""
    found = tables.table(rows)
    agreed = detection.with_truth(rows, asked), detection.with_broken(rows, asked)
    leads = {
        "the best trivial picture": margins.margins(rows, asked, trivial.NAMES),
        "the frame CNN": margins.margins(rows, asked, [counterparts.CNN]),
    }
    whole = {"options": fields, "table": tables.plain(found)}
    whole |= {"agreement": detection.plain(*agreed)}
    whole |= {"margins": {name: margins.plain(lead) for name, lead in leads.items()}}
    whole |= {"models": _by_model(rows)}
    (out / "table.json").write_text(json.dumps(whole, indent=2) + "\n")
    parts = [
        _title(rows),
        tables.markdown(found),
        detection.markdown(*agreed),
    ]
    parts += [margins.markdown(v, f"Margins over {k}") for k, v in leads.items()]
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
    names = list(dict.fromkeys(row["model"] for row in rows))
    own = {name: [row for row in rows if row["model"] == name] for name in names}
    found = {n: tables.plain(tables.table(own[n])) for n in own}
    return found if len(names) > 1 else {}


def _title(rows: list[Row]) -> str:
    models = dict.fromkeys(row["model"] for row in rows)
    who = next(iter(models)) if len(models) == 1 else f"{len(models)} models"
    clips = len({row["clip"] for row in rows})
    return f"# {who} on {clips} clips of {Path(FLAGS.data).name}\n"


def _joined(names: list[str] | None) -> str | None:
    return ",".join(names) if names else None


def _plain(measures: dict[str, measure.Measures]) -> dict[str, Any]:
    finite = lambda x: x if math.isfinite(x) else None
    return {
        method: {name: finite(float(value)) for name, value in found.items()}
        for method, found in measures.items()
    }


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
