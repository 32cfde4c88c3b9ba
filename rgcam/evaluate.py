r"""Measure the methods on clips: faithfulness, truth, sanity, and the self-check.

    python -m rgcam.evaluate --model=stickman-lrcn --data=stickman --out=DIR
    python -m rgcam.evaluate --model=ucf101-lrcn --data=FOLDER --out=DIR \
        --group='_g(\d+)_' [--concatenate]    # two classes, one after the other

DIR/table.md and table.json hold the means with 95 % intervals by bootstrap over groups.
Running the same command again goes on where the last one ended.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from rgcam import (
    cli,
    evaluation,
    evaluation_tables,
    folder,
    manifest,
    methods,
    stickman,
)
from rgcam.errors import InputError
from rgcam.evaluation import Subject
from rgcam.library import Model, class_index, load_cnn, load_model
from rgcam.video import read_clip

FLAGS = flags.FLAGS
EXTRA = ("fade:mean", "fade:blur", "fade:zero", "path:mean", "gradient:mean")
SEED = 50_000  # of the first stickman clip: no training or test clip's


def main() -> None:
    """Measure clip by clip, and write the tables."""
    model = load_model(FLAGS.model)
    cnn = load_cnn(FLAGS.model, FLAGS.cnn)
    asked = _asked()
    out, other = Path(FLAGS.out), {}
    names = "model data group clips length concatenate cnn".split()
    fields = {name: FLAGS[name].value for name in names} | {"methods": asked}
    with manifest.opened(out, fields) as record:
        for subject in tqdm(subjects(model), total=FLAGS.clips, unit="clip"):
            if record.is_done(subject.name):
                continue
            measures = evaluation.measure(model, cnn, subject, asked, other)
            record.add(_row(subject, measures))
        rows = list(record.rows.values())
    found = evaluation_tables.table(rows)
    agreement = evaluation_tables.agreement(rows, asked)
    whole = {"options": fields, "table": found, "agreement": agreement}
    (out / "table.json").write_text(json.dumps(whole, indent=2) + "\n")
    title = f"{FLAGS.model} on {len(rows)} clips of {Path(FLAGS.data).name}"
    (out / "table.md").write_text(evaluation_tables.markdown(found, title))
    print(evaluation_tables.markdown(found, title))
    print(f"written   {out}/table.md, table.json")


def subjects(model: Model) -> Iterator[Subject]:
    """Yield --clips clips of --data, all of the same length."""
    if FLAGS.clips < 1 or FLAGS.length < 4:
        raise InputError("--clips must be 1 or more, and --length 4 or more")
    if FLAGS.data == "stickman":
        if FLAGS.concatenate:
            raise InputError("--concatenate is for a folder of clips")
        return (_stickman(model, SEED + n) for n in range(FLAGS.clips))
    return _joined(model) if FLAGS.concatenate else _from_folder(model)


def _stickman(model: Model, seed: int) -> Subject:
    clip = stickman.clip(seed, length=FLAGS.length)
    true = np.zeros(FLAGS.length, bool)
    true[slice(*clip.interval)] = True
    frames = model.preprocess(clip.frames)
    name = f"stickman {seed}"
    return Subject(name, name, frames, clip.frames, None, clip.mask, true)


def _from_folder(model: Model, length: int = 0) -> Iterator[Subject]:
    """Yield the first frames of clips in a random order; shorter ones are left."""
    items, classes = folder.scan(FLAGS.data, FLAGS.group)
    numbers = [class_index(model, name) for name in classes]
    order = np.random.default_rng(0).permutation(len(items))
    length, count = length or FLAGS.length, 0
    for item in (items[i] for i in order):
        pixels = read_clip(item.clip, model.description.fps).frames[:length]
        if len(pixels) < length:
            continue
        frames = model.preprocess(pixels)
        group = f"{classes[item.label]} {item.group}"
        target = numbers[item.label]
        yield Subject(item.place, group, frames, pixels, target, None, None)
        count += 1
        if count == FLAGS.clips and not FLAGS.concatenate:
            return


def _joined(model: Model) -> Iterator[Subject]:
    """Yield pairs of clips of two classes in sequence, for each class in turn."""
    half, first, count = FLAGS.length // 2, None, 0
    for subject in _from_folder(model, half):
        if first is None or first.target == subject.target:
            first = subject
            continue
        for number, part in enumerate((first, subject)):
            true = np.arange(2 * half) // half == number
            yield Subject(
                f"{first.name} + {subject.name} {number}",
                part.group,
                np.concatenate([first.frames, subject.frames]),
                np.concatenate([first.pixels, subject.pixels]),
                *(part.target, None, true),
            )
            count += 1
            if count == FLAGS.clips:
                return
        first = None


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
