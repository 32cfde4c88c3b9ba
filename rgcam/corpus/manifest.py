"""The record of a corpus run that survives kills: one line for each video.

DIR/manifest.jsonl has one JSON object a line. ``video`` names it, ``status`` is "ok" or
"failed", ``error`` says in one sentence why. A line is written, and forced to disk,
after all files of its video. A video that failed is tried again by the next run and
then has several lines: **only the newest line of a video counts** (``read`` returns
those). A last line that a kill cut off counts as not written.

DIR/corpus.json holds what the run was begun with; DIR/.lock is held by the process
that writes.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rgcam.errors import InputError

MANIFEST, FIELDS, LOCK = "manifest.jsonl", "corpus.json", ".lock"
Row = dict[str, Any]


class Manifest:
    """An open record, from ``opened``.

    Attributes:
        folder: DIR.
        rows: newest row of each video.
    """

    def __init__(self, folder: Path):
        """Cut off a torn last line and open for appending."""
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
        """Tell whether a video is explained and its files are still there."""
        row = self.rows.get(video, {"status": "new"})
        files = row.get("files", ())
        return row["status"] == "ok" and all((self.folder / f).exists() for f in files)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


@contextmanager
def opened(folder: Path, fields: Mapping[str, Any]) -> Iterator[Manifest]:
    """Open the record in ``folder``, made if missing, for this process alone.

    Args:
        folder: DIR.
        fields: what the numbers and files depend on; kept in corpus.json.

    Raises:
        InputError: the folder cannot be written, another process writes in it, it
            was begun with other fields (which are named), or its record is damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
    with lock:
        _lock(lock, folder)
        _check(folder, json.loads(json.dumps(fields)))
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
    """Return the rows and the bytes that hold them, without a torn last line."""
    content = file.read_bytes() if file.exists() else b""
    lines, rows, size = content.splitlines(keepends=True), [], 0
    for number, line in enumerate(lines, 1):
        row = _row(line)
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


def _row(line: bytes) -> Row | None:
    """Return a line's row; None if it is cut off or no row."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    whole = line.endswith(b"\n") and isinstance(row, dict)
    return row if whole and {"video", "status"} <= row.keys() else None


def _lock(lock: Any, folder: Path) -> None:
    import fcntl  # not on Windows, where single videos work nevertheless

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        raise InputError(
            f"another run (process {lock.read() or 'unknown'}) writes in {folder}: "
            "wait until it ends, or give another --out"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _check(folder: Path, fields: dict[str, Any]) -> None:
    """Keep the fields of a new corpus; refuse to go on with others."""
    file = folder / FIELDS
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps(fields, indent=2) + "\n")
        os.replace(part, file)
        return
    try:
        before = dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} is no record of a corpus: {error}") from error
    other = [
        f"{name} {before.get(name)!r} -> {fields.get(name)!r}"
        for name in sorted(before.keys() | fields.keys())
        if before.get(name) != fields.get(name)
    ]
    if other:
        raise InputError(
            f"{folder} was begun with other options ({'; '.join(other)}): give those "
            "it was begun with, or another --out"
        )


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
