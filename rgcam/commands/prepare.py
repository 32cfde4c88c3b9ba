"""``rgcam prepare``: make a tensorflow-datasets dataset, without TensorFlow."""

import dataclasses
from pathlib import Path

from rgcam.commands.options import Command, Options, option
from rgcam.data.tfds import prepare as datasets
from rgcam.errors import InputError

DATASET = "dataset"
WORK = "how it is made"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareOptions(Options):
    """Options of ``rgcam prepare``."""

    dataset: str = option(
        "ucf11", "layout of the source", group=DATASET, choices=("ucf11", "tree")
    )
    source: str = option(
        datasets.UCF11_URL,
        "URL, .rar archive or folder",
        group=DATASET,
        value="SOURCE",
        unset="default: the published UCF11, 1 GB",
    )
    data_dir: str | None = option(
        None, "folder of the dataset, created if missing", group=DATASET, value="FOLDER"
    )
    group: str = option(
        "",
        "of a tree: regular expression for file names; (...) is the recording",
        group=DATASET,
        value="PATTERN",
        unset="default: every clip is a recording",
    )
    workers: int = option(
        0, "threads that read clips", group=WORK, unset="default: one per core"
    )
    beam: str = option(
        "",
        "Apache Beam runner that reads the clips, such as DirectRunner",
        group=WORK,
        value="RUNNER",
        unset="default: none",
    )
    beam_options: str = option(
        "", "options of its pipeline, such as '--region=x'", group=WORK
    )


def run(options: PrepareOptions) -> None:
    """Make the dataset and print what it holds."""
    if not options.data_dir:
        raise InputError("say where the dataset is made: --data_dir=FOLDER")
    if options.dataset == "tree" and options.source == datasets.UCF11_URL:
        raise InputError("say where the clips are: --source=FOLDER (or URL, .rar file)")
    folder = datasets.prepare(
        options.dataset,
        options.source,
        Path(options.data_dir),
        group=options.group,
        workers=options.workers,
        beam=options.beam,
        beam_options=options.beam_options,
    )
    for line in datasets.summary(folder):
        print(line)


COMMAND = Command(
    name="prepare",
    usage="--data_dir=FOLDER [--dataset=tree --source=FOLDER --group=PATTERN] ...",
    options=PrepareOptions,
    run=run,
    examples="""
rgcam prepare --dataset=ucf11 --data_dir=data
rgcam prepare --dataset=tree --source=FOLDER --group='_g([0-9]+)_' --data_dir=data
""",
)
