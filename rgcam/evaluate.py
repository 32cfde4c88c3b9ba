r"""Measure the methods on clips: faithfulness, truth, sanity, and the self-check.

    python -m rgcam.evaluate --model=stickman-lrcn --data=stickman --out=DIR
    python -m rgcam.evaluate --model=ucf101-lrcn --data=FOLDER --out=DIR \
        --group='_g(\d+)_' [--concatenate]    # two classes, one after the other

DIR/table.md and table.json hold the means with 95 % intervals by bootstrap over groups.
Running the same command again goes on where the last one ended.
"""

import json
import math
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from rgcam import (
    agreement,
    cli,
    evaluation,
    evaluation_tables,
    manifest,
    margins,
    methods,
    subjects,
    trivial,
)
from rgcam.evaluation_tables import Row
from rgcam.library import load_cnn, load_model
from rgcam.subjects import Subject

FLAGS = flags.FLAGS
EXTRA = ("fade:mean", "fade:blur", "fade:zero", "path:mean", "gradient:mean")
OF_CLIPS = ("data", "group", "clips", "length", "concatenate")


def main() -> None:
    """Measure clip by clip, and write the tables."""
    model = load_model(FLAGS.model)
    cnn = load_cnn(FLAGS.model, FLAGS.cnn)
    asked = _asked()
    out, other = Path(FLAGS.out), {}
    names = "model", "cnn", *OF_CLIPS
    fields = {name: FLAGS[name].value for name in names} | {"methods": asked}
    with manifest.opened(out, fields) as record:
        options: dict[str, Any] = {name: FLAGS[name].value for name in OF_CLIPS}
        clips = subjects.load(model, **options)
        for subject in tqdm(clips, total=FLAGS.clips, unit="clip"):
            if record.is_done(subject.name):
                continue
            measures = evaluation.measure(model, cnn, subject, asked, other)
            record.add(_row(subject, measures))
        rows = list(record.rows.values())
    _write(out, rows, asked, fields)


def _write(out: Path, rows: list[Row], asked: list[str], fields: dict) -> None:
    """Write table.md and table.json, and say so."""
    found = evaluation_tables.table(rows)
    agreed = agreement.with_truth(rows, asked), agreement.with_broken(rows, asked)
    leads = {
        "the best trivial picture": margins.margins(rows, asked, trivial.NAMES),
        "the frame CNN": margins.margins(rows, asked, [evaluation.CNN]),
    }
    whole = {"options": fields, "table": evaluation_tables.plain(found)}
    whole |= {"agreement": agreement.plain(*agreed)}
    whole |= {"margins": {name: margins.plain(lead) for name, lead in leads.items()}}
    (out / "table.json").write_text(json.dumps(whole, indent=2) + "\n")
    title = f"# {FLAGS.model} on {len(rows)} clips of {Path(FLAGS.data).name}\n"
    parts = [title, evaluation_tables.markdown(found), agreement.markdown(*agreed)]
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


def _row(subject: Subject, measures: Any) -> dict[str, Any]:
    plain = lambda x: x if math.isfinite(x) else None
    numbers = {
        method: {name: plain(float(value)) for name, value in found.items()}
        for method, found in measures.items()
    }
    about = {"video": subject.name, "status": "ok", "group": subject.group}
    return about | {"measures": numbers}


if __name__ == "__main__":
    flags.DEFINE_string("model", "stickman-lrcn", "bundled name, or a train.py folder")
    flags.DEFINE_string("cnn", None, "frame CNN beside it [model's sibling]")
    flags.DEFINE_string("data", "stickman", "stickman, or a folder of classes")
    flags.DEFINE_string("group", "", "pattern of the clips' groups in file names")
    flags.DEFINE_string("out", "evaluation", "folder to write")
    flags.DEFINE_list("methods", ["all"], "such as fade,path:mean")
    flags.DEFINE_integer("clips", 60, "to measure by")
    flags.DEFINE_integer("length", 16, "frames of each")
    flags.DEFINE_bool("concatenate", False, "two classes in sequence")
    cli.run(main)
