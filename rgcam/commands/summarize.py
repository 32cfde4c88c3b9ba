"""``rgcam summarize``: many explained videos as one page and a table.

OUT/index.html and OUT/summary.csv are written from OUT/manifest.jsonl and the arrays that
it names, also while a run still writes there. Accuracy is against the folders of the
videos, where these are named like classes of the model.
"""

import dataclasses
import json
from pathlib import Path

from rgcam import files
from rgcam.commands.options import Command, Options, option
from rgcam.corpus import manifest
from rgcam.errors import InputError
from rgcam.types import Fields

PAGE, TABLE = "index.html", "summary.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SummarizeOptions(Options):
    """Options of ``rgcam summarize``."""

    out: str = option(
        "",
        "folder that rgcam explain --videos wrote",
        group="what is summarized",
        value="FOLDER",
    )
    group: str = option(
        "",
        "regular expression for file names; (...) is the recording",
        group="what is summarized",
        value="PATTERN",
        unset="default: every video is a recording",
    )


def run(options: SummarizeOptions) -> None:
    """Read, write both files, and print how accurate and how faithful."""
    if not options.out:
        raise InputError("say which folder: rgcam summarize FOLDER")
    print(write(Path(options.out).expanduser(), options.group))


def write(folder: Path, group: str) -> str:
    """Write the page and the table of a corpus; return the text for the terminal.

    Args:
        folder: of the corpus.
        group: pattern of the recording in file names, or "".

    Raises:
        InputError: the folder holds no corpus, its files cannot be read or written, or
            the pattern matches nothing.
    """
    from rgcam.report import overview, summary

    rows = manifest.read(folder)
    contents = summary.summarize_videos(folder, rows, _options(folder), group)
    try:
        files.write_text(folder / TABLE, summary.csv_text(contents))
        files.write_text(folder / PAGE, overview.page(contents, folder))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot summarize {folder}: {reason}") from error
    return f"{summary.text(contents)}\nsummary: {folder}/: {PAGE}, {TABLE}"


def _options(folder: Path) -> Fields:
    """Return the options that the corpus was explained with."""
    file = folder / manifest.OPTIONS
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} is no record of a corpus: {error}") from error


COMMAND = Command(
    name="summarize",
    usage="FOLDER [--group=PATTERN]",
    options=SummarizeOptions,
    run=run,
    positional="out",
    examples=r"""
rgcam summarize explained
rgcam summarize explained --group='_g(\d+)_'    UCF101's recordings
""",
)
