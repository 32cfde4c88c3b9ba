"""Explain every video of a corpus: ``python explain.py --videos='FOLDER/**/*.mp4'``.

DIR/manifest.jsonl has a row for each video (``rgcam.corpus.manifest`` says which count);
DIR/<video without suffix>/explanation.npz holds scores, matrix, maps of the last output
step, times, classes and target; with --pictures everything that a single explanation
writes; beta with --beta only, for it is K numbers for each pair of frames where the
matrix is one. Running the same command again goes on where the last one ended.
"""

import glob
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from rgcam.corpus import manifest, worker
from rgcam.corpus.jobs import Job, Task
from rgcam.corpus.manifest import Manifest, Row
from rgcam.data.folder import SUFFIXES
from rgcam.errors import InputError
from rgcam.models.zoo import Model


class Summary(NamedTuple):
    """What a run did.

    Attributes:
        videos: how many the corpus has.
        rows: of the manifest, of the videos that this run explained or tried to.
        seconds: that it took.
        folder: of the corpus.
    """

    videos: int
    rows: tuple[Row, ...]
    seconds: float
    folder: Path


def explain_videos(
    job: Job,
    root: Path,
    videos: Sequence[str],
    *,
    engine: Callable[[Job, Sequence[Task]], Iterator[Row]],
) -> Summary:
    """Explain every video that is not explained yet.

    Args:
        job: what to do.
        root: folder of the videos.
        videos: their paths below it.
        engine: explains tasks and yields a manifest row for each, such as ``local``.

    Raises:
        InputError: what ``manifest.opened`` and the engine raise.
    """
    folder = Path(job.out)
    with manifest.opened(folder, _fields(job, root)) as record:
        tasks = list_tasks(root, videos, record)
        began = time.monotonic()
        follow(record, tasks, engine(job, tasks) if tasks else (), len(videos))
        seconds = time.monotonic() - began
    rows = tuple(record.rows[task.video] for task in tasks)
    return Summary(videos=len(videos), rows=rows, seconds=seconds, folder=folder)


def find(pattern: str, out: Path) -> tuple[Path, list[str]]:
    """List the files of a pattern: its fixed root and their sorted paths below it.

    Args:
        pattern: with ``*``, ``?``, ``[...]`` and ``**``; a folder stands for all
            videos below it, by their suffixes.
        out: a folder whose files are left out, or a second run would find the first's.

    Raises:
        InputError: there is none, or ``out`` holds them all.
    """
    path = Path(pattern).expanduser().absolute()
    root = _root(path)
    if root.is_relative_to(out):
        raise InputError(f"--out={out} holds the videos: give another folder")
    files = [f for f in _matches(path) if f.is_file() and not f.is_relative_to(out)]
    if not files:
        raise InputError(
            f"--videos={pattern} matches no file: quote the pattern, and write ** for "
            "all folders below, such as --videos='clips/**/*.mp4'"
        )
    return root, sorted({file.relative_to(root).as_posix() for file in files})


def list_tasks(root: Path, videos: Sequence[str], record: Manifest) -> list[Task]:
    """Return what is left to do, each video with a folder that is its alone.

    That is its path without the suffix, or with it where others would have the same.
    """
    done = [video for video in videos if record.is_done(video)]
    taken = {Path(f).parent.as_posix() for v in done for f in record.rows[v]["files"]}
    plain = {video: Path(video).with_suffix("").as_posix() for video in videos}
    shared, whole, tasks = Counter(plain.values()), set(videos), []
    for video in sorted(whole.difference(done)):
        folder = plain[video]
        if shared[folder] > 1 or folder in whole or folder in taken:
            folder = video
        while folder in taken:
            folder += "_"
        taken.add(folder)
        tasks.append(Task(video, str(root / video), folder))
    return tasks


def local(job: Job, tasks: Sequence[Task]) -> Iterator[Row]:
    """Explain on the devices of this process."""
    return worker.rows(worker.start(job), tasks)


def follow(
    record: Manifest, tasks: Sequence[Task], rows: Iterable[Row], total: int
) -> None:
    """Write down every row as it comes, with a bar where there is a terminal."""
    with tqdm(
        total=total, initial=total - len(tasks), unit="video", disable=None
    ) as bar:
        for row in rows:
            record.add(row)
            bar.update()
            if row["status"] == "failed":
                bar.write(f"failed: {row['video']}: {row['error']}")


def text(summary: Summary) -> str:
    """Say how many were explained and failed, how fast, and where the files are.

    Raises:
        InputError: not one of the corpus could be explained.
    """
    tasks = len(summary.rows)
    failed = [row for row in summary.rows if row["status"] == "failed"]
    if len(failed) == summary.videos:
        raise InputError(
            f"none of the {summary.videos} videos could be explained: "
            f"{failed[0]['error']}"
        )
    rate = tasks / summary.seconds if tasks else 0
    lines = {
        "explained": f"{tasks - len(failed)} videos ({rate:.2g} videos/s)",
        "before": f"{summary.videos - tasks}" if tasks < summary.videos else "",
        "failed": f"{len(failed)}, first {failed[0]['video']}" if failed else "",
        "files": f"{summary.folder}/: {manifest.MANIFEST} and a folder for each video",
    }
    return "\n".join(f"{name:<10}{line}" for name, line in lines.items() if line)


def _root(path: Path) -> Path:
    """Return the folder above the first part of a pattern that is not fixed."""
    if path.is_dir():
        return path
    wild = [i for i, part in enumerate(path.parts) if glob.has_magic(part)]
    return path.parent if path.exists() or not wild else Path(*path.parts[: wild[0]])


def _matches(path: Path) -> list[Path]:
    if path.is_dir():
        return [f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES]
    return (
        [path]
        if path.exists()
        else [Path(n) for n in glob.glob(str(path), recursive=True)]
    )


def _fields(job: Job, root: Path) -> dict[str, Any]:
    """Return what a corpus's numbers and files depend on."""
    return {
        **{n: getattr(job, n) for n in "fps start end pictures beta".split()},
        "videos": str(root),
        "model": job.model.name,
        "weights": _digest(job.model),
        "cnn": job.cnn and job.cnn.name,
        "cnn_weights": job.cnn and _digest(job.cnn),
        "target": None if job.target is None else job.model.classes[job.target],
    }


def _digest(model: Model) -> str:
    """Return a number of the weights: a run that trained on has another."""
    sums = hashlib.sha256()
    for leaf in jax.tree.leaves(model.variables):
        sums.update(np.ascontiguousarray(leaf).data)
    return sums.hexdigest()[:16]
