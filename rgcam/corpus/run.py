"""Explain every video of a corpus: ``python explain.py --videos='FOLDER/**/*.mp4'``.

DIR/manifest.jsonl has a row for each video (``rgcam.corpus.manifest`` says which count);
DIR/<video without suffix>/explanation.npz holds scores, matrix, maps of the last output
step, times, classes and target; with --pictures everything that a single explanation
writes; beta with --beta only, for it is K numbers for each pair of frames where the
matrix is one. Running the same command again goes on where the last one ended.
"""

import functools
import glob
import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from rgcam.corpus import cluster, manifest, worker
from rgcam.corpus.jobs import Job, Task
from rgcam.corpus.manifest import Manifest, Row
from rgcam.data.folder import SUFFIXES
from rgcam.errors import InputError
from rgcam.models.zoo import Model, class_index, load_cnn, load_model

VIDEOS = flags.DEFINE_string(
    "videos", None, "many files to explain: a quoted pattern (** goes down), or folder"
)
_PICTURES = flags.DEFINE_bool("pictures", False, "of --videos: page, strip and all")
_BETA = flags.DEFINE_bool("beta", False, "of --videos: keep beta, which is large")
_THREADS = flags.DEFINE_integer("threads", 0, "that decode --videos; 0: up to 8")
_ENGINE = flags.DEFINE_string("engine", "local", "local, or ray: a cluster's workers")
_ADDRESS = flags.DEFINE_string("ray_address", None, "of a Ray cluster [a local one]")
_WORKERS = flags.DEFINE_integer(
    "ray_workers", 0, "processes that explain; 0: one a GPU, or a node without GPUs"
)


def main(arguments: Mapping[str, Any]) -> None:
    """Explain every video and tell how many.

    Args:
        arguments: of explain.py: model, cnn, video, out, target, fps, start, end,
            max_gib.
    """
    _check(arguments)
    engine = _engine()
    out = Path(arguments["out"]).expanduser().absolute()
    root, videos = find(VIDEOS.value or "", out)
    job = _job(arguments, out)
    with manifest.opened(out, _fields(job, root)) as record:
        tasks = list_tasks(root, videos, record)
        began = time.monotonic()
        follow(record, tasks, engine(job, tasks) if tasks else (), len(videos))
        seconds = time.monotonic() - began
    print(text(record, tasks, videos, seconds))


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


def text(
    record: Manifest, tasks: Sequence[Task], videos: Sequence[str], seconds: float
) -> str:
    """Say how many were explained and failed, how fast, and where the files are.

    Raises:
        InputError: not one of the corpus could be explained.
    """
    rows = [record.rows[task.video] for task in tasks]
    failed = [row for row in rows if row["status"] == "failed"]
    if len(failed) == len(videos):
        raise InputError(
            f"none of the {len(videos)} videos could be explained: {failed[0]['error']}"
        )
    rate = len(tasks) / seconds if tasks else 0
    lines = {
        "explained": f"{len(tasks) - len(failed)} videos ({rate:.2g} videos/s)",
        "before": f"{len(videos) - len(tasks)}" if len(tasks) < len(videos) else "",
        "failed": f"{len(failed)}, first {failed[0]['video']}" if failed else "",
        "files": f"{record.folder}/: {manifest.MANIFEST} and a folder for each video",
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


def _check(arguments: Mapping[str, Any]) -> None:
    if arguments["video"]:
        raise InputError("give --video (one file) or --videos (many), not both")
    if arguments["fps"] is not None and not arguments["fps"] > 0:
        raise InputError(f"--fps={arguments['fps']:g} must be above 0, such as 7.5")
    start, end = arguments["start"], arguments["end"]
    if not 0 <= start < (math.inf if end is None else end):
        raise InputError(f"--start={start:g} must be 0 or later, and before --end")


def _engine() -> Callable[[Job, Sequence[Task]], Iterator[Row]]:
    """Return the function (job, tasks) -> rows of --engine."""
    if _ENGINE.value == "local":
        return local
    if _ENGINE.value != "ray":
        raise InputError(f"there is no --engine={_ENGINE.value}: choose local or ray")
    cluster.prepare()
    place = {"address": _ADDRESS.value, "workers": _WORKERS.value or 0}
    return functools.partial(cluster.rows, **place)


def _job(arguments: Mapping[str, Any], out: Path) -> Job:
    model = load_model(arguments["model"])
    cnn = load_cnn(arguments["model"], arguments["cnn"]) if _PICTURES.value else None
    name, fps = arguments["target"], arguments["fps"]
    return Job(
        model=_on_host(model),
        cnn=cnn and _on_host(cnn),
        cnn_classes=tuple(class_index(cnn, c) for c in model.classes) if cnn else (),
        target=None if name is None else class_index(model, name),
        fps=model.description.fps if fps is None else fps,
        start=arguments["start"],
        end=arguments["end"],
        out=str(out),
        pictures=_PICTURES.value,
        beta=_BETA.value,
        max_bytes=int(arguments["max_gib"] * 2**30),
        threads=_THREADS.value or min(8, os.cpu_count() or 1),
        arguments=dict(arguments) | {"videos": VIDEOS.value},
    )


def _on_host(model: Model) -> Model:
    return model._replace(variables=jax.tree.map(np.asarray, model.variables))


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
