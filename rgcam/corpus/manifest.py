"""The record of a run that survives kills: one JSON line per video.

FOLDER/manifest.jsonl has one JSON object per line. Its ``video`` is the name, its
``status`` "ok" or "failed", and its ``error`` a sentence that says why. A line is
written, and forced to disk, after all files of its video. A video that failed is tried
again by the next run and then has several lines: **only the newest line of a video
counts** (``read`` returns those). A last line that a kill cut off does not count.

FOLDER/corpus.json holds the options that the run was started with.
"""

import contextlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeAlias

from rgcam import files
from rgcam.errors import InputError
from rgcam.types import Fields

MANIFEST, OPTIONS = "manifest.jsonl", "corpus.json"

Row: TypeAlias = dict[str, Any]
"""A line of the manifest: JSON, with at least ``video`` and ``status``."""


class Manifest:
    """An open record, from ``open_manifest``.

    Attributes:
        folder: of the record.
        rows: newest row of each video.
    """

    def __init__(self, folder: Path):
        """Cut off an incomplete last line and open for appending."""
        self.folder, self.file = folder, folder / MANIFEST
        rows, size = _parse(self.file)
        self.rows = {row["video"]: row for row in rows}
        self._lines = self.file.open("ab")
        self._lines.truncate(size)

    def add(self, row: Row) -> None:
        """Append a video's row, after its files are complete, and force it to disk.

        Raises:
            InputError: the disk is full or gone.
        """
        for name in row.get("files", ()):
            _sync(self.folder / name)
        line = json.dumps(row) + "\n"
        try:
            self._lines.write(line.encode())
            self._lines.flush()
            os.fsync(self._lines.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self.file}: {error.strerror}") from error
        self.rows[row["video"]] = row

    def is_done(self, video: str) -> bool:
        """Tell whether a video is explained and its files still exist."""
        row = self.rows.get(video, {"status": "new"})
        names = row.get("files", ())
        return row["status"] == "ok" and all((self.folder / n).exists() for n in names)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


@contextlib.contextmanager
def open_manifest(folder: Path, options: Fields) -> Generator[Manifest]:
    """Open the record in ``folder``, created if missing, for this process alone.

    Args:
        folder: of the record.
        options: what the numbers and files depend on; stored in corpus.json.

    Raises:
        InputError: the folder cannot be written, another process writes in it, its run
            was started with other options (which are named), or its record is damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
    with files.locked(folder, instead="another --out"):
        _check_options(folder, options)
        manifest = Manifest(folder)
        try:
            yield manifest
        finally:
            manifest.close()


def read(folder: str | Path) -> list[Row]:
    """Return the newest row of each video, also while a run writes.

    Raises:
        InputError: there is no record, or it is damaged.
    """
    file = Path(folder) / MANIFEST
    if not file.is_file():
        raise InputError(f"{folder} holds no {MANIFEST}: give the --out of a corpus")
    return list({row["video"]: row for row in _parse(file)[0]}.values())


def _parse(file: Path) -> tuple[list[Row], int]:
    """Return the rows and the bytes that hold them, without an incomplete last line."""
    content = file.read_bytes() if file.exists() else b""
    lines, rows, size = content.splitlines(keepends=True), [], 0
    for number, line in enumerate(lines, 1):
        row = _parse_line(line)
        if row is None and number == len(lines):
            break
        if row is None:
            raise InputError(
                f"line {number} of {file} is damaged: delete that line, and its video "
                "is explained again"
            )
        rows.append(row)
        size += len(line)
    return rows, size


def _parse_line(line: bytes) -> Row | None:
    """Return a line's row; None if it is incomplete or not a row."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    complete = line.endswith(b"\n") and isinstance(row, dict)
    return row if complete and {"video", "status"} <= row.keys() else None


def _check_options(folder: Path, options: Fields) -> None:
    """Store the options of a new run; raise if an older run had different ones."""
    file = folder / OPTIONS
    if not file.exists():
        files.write_json(file, options)
        return
    try:
        stored = dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} is no record of a corpus: {error}") from error
    differences = files.differences(stored, json.loads(json.dumps(options)))
    if differences:
        raise InputError(
            f"{folder} was started with different options ({'; '.join(differences)}): "
            "give the same ones, or another --out"
        )


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
