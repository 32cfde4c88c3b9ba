"""Explain every video of a corpus, and record it so that kills lose nothing.

FOLDER/manifest.jsonl has a row for each video (``rgcam.corpus.manifest`` says which
count), with the verdict of the faithfulness check of each method;
FOLDER/<video without suffix>/explanation.npz holds scores, matrix, the shown maps, times,
classes and target, and thumbnails.jpg some frames under their maps. With figures,
everything is written that a single explanation writes; beta on request only, for it is K
numbers for each pair of frames where the matrix is one. Running again resumes where the
last run ended.
"""

import dataclasses
import glob
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from tqdm import tqdm

from rgcam import files
from rgcam.corpus import manifest, worker
from rgcam.corpus.jobs import Job, Task
from rgcam.corpus.manifest import Manifest, Row
from rgcam.data.folder import list_videos
from rgcam.errors import InputError
from rgcam.types import Fields


@runtime_checkable
class Engine(Protocol):
    """Explains tasks: ``explain_here``, or the workers of a Ray cluster."""

    def __call__(self, job: Job, tasks: Sequence[Task]) -> Iterator[Row]:
        """Yield a manifest row for each task, in any order."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did.

    Attributes:
        videos: number of videos of the corpus.
        rows: manifest rows of the videos that this run explained or tried to.
        seconds: that it took.
        folder: of the corpus.
    """

    videos: int
    rows: tuple[Row, ...]
    seconds: float
    folder: Path

    @property
    def failed(self) -> tuple[Row, ...]:
        """Return the rows of the videos that could not be explained."""
        return tuple(row for row in self.rows if row["status"] == "failed")


def explain_videos(
    job: Job, root: Path, videos: Sequence[str], *, engine: Engine
) -> Summary:
    """Explain every video that is not explained yet.

    Args:
        job: what to do.
        root: folder of the videos.
        videos: their paths below it.
        engine: what explains them.

    Raises:
        InputError: the folder of the corpus cannot be written, is in use or was started
            with other options, the engine fails, or no video can be explained.
    """
    folder = Path(job.out)
    with manifest.open_manifest(folder, _decisive_options(job, root)) as record:
        tasks = list_tasks(root, videos, record)
        started = time.monotonic()
        rows = engine(job, tasks) if tasks else ()
        _follow(record, tasks, rows, len(videos))
        seconds = time.monotonic() - started
    summary = Summary(
        videos=len(videos),
        rows=tuple(record.rows[task.video] for task in tasks),
        seconds=seconds,
        folder=folder,
    )
    if len(summary.failed) == len(videos):
        raise InputError(
            f"none of the {len(videos)} videos could be explained: "
            f"{summary.failed[0]['error']}"
        )
    return summary


def explain_here(job: Job, tasks: Sequence[Task]) -> Iterator[Row]:
    """Explain on the devices of this process: an ``Engine``."""
    return worker.explain_videos(worker.start(job), tasks)


class FoundVideos(NamedTuple):
    """The videos of a pattern.

    Attributes:
        root: folder that all of them are below.
        videos: their sorted paths below it.
        left_out: one sentence for each kind of file or folder that is no video.
    """

    root: Path
    videos: list[str]
    left_out: tuple[str, ...]


def find_videos(pattern: str, out: Path) -> FoundVideos:
    """List the files of a pattern.

    Args:
        pattern: a folder, for all videos below it; a file; or a pattern with ``*``,
            ``?``, ``[...]`` and ``**``. A part of it that is the name of a folder as it
            stands, such as ``take [1]``, is that folder.
        out: folder whose files are left out, or a second run would find the first's.

    Raises:
        InputError: nothing matches, or ``out`` holds all that does.
    """
    path = Path(pattern).expanduser().absolute()
    root, wild = _fixed_root(path)
    if root.is_relative_to(out):
        raise InputError(f"--out={out} holds the videos: give another folder")
    if root.is_dir():
        below, left_out = list_videos(root, exclude=out)
    else:
        below, left_out = [], ()
    if wild:
        matches = glob.glob(wild, root_dir=root, recursive=True)
        named = {path for name in matches if (path := root / name).is_file()}
        # A pattern that names its suffix takes whatever the suffix is.
        has_suffix = bool(Path(wild).suffix)
        below = [p for p in named if has_suffix or p in set(below)]
        below = [p for p in below if not p.is_relative_to(out)]
        left_out = ()
    elif path.is_file():
        root, below = path.parent, [path]
    if not below:
        raise InputError(
            f"--videos={pattern} matches no file: quote the pattern, and write ** for "
            "all folders below, such as --videos='clips/**/*.mp4'"
        )
    videos = sorted(video.relative_to(root).as_posix() for video in below)
    return FoundVideos(root, videos, left_out)


def list_tasks(root: Path, videos: Sequence[str], record: Manifest) -> list[Task]:
    """Return what is left to do; no two videos share a folder.

    The folder of a video is its path without the suffix, or with it where another video
    would have the same one.
    """
    done = [video for video in videos if record.is_done(video)]
    used = {Path(f).parent.as_posix() for v in done for f in record.rows[v]["files"]}
    stems = {video: Path(video).with_suffix("").as_posix() for video in videos}
    videos_of_stem = Counter(stems.values())
    names, tasks = set(videos), []
    for video in sorted(names.difference(done)):
        folder = stems[video]
        if videos_of_stem[folder] > 1 or folder in names or folder in used:
            folder = video
        while folder in used:
            folder += "_"
        used.add(folder)
        tasks.append(Task(video=video, path=str(root / video), folder=folder))
    return tasks


def _follow(
    record: Manifest, tasks: Sequence[Task], rows: Iterable[Row], total: int
) -> None:
    """Record every row as it comes, with a progress bar where there is a terminal."""
    with tqdm(
        total=total, initial=total - len(tasks), unit="video", disable=None
    ) as bar:
        for row in rows:
            record.add(row)
            bar.update()
            if row["status"] == "failed":
                bar.write(f"failed: {row['video']}: {row['error']}")


def _fixed_root(path: Path) -> tuple[Path, str]:
    """Divide a path into a folder or file that exists, and the pattern below it."""
    root = Path(path.anchor)
    for number, part in enumerate(path.parts[1:], start=1):
        if not (root / part).exists():
            if not glob.has_magic(str(Path(*path.parts[number:]))):
                break
            return root, str(Path(*path.parts[number:]))
        root /= part
    return (path, "")


def _decisive_options(job: Job, root: Path) -> Fields:
    """Return what a corpus's numbers and files depend on."""
    cnn = job.cnn
    return {
        "videos": str(root),
        "model": job.model.name,
        # A run that was trained further has the same name and other weights.
        "weights": files.weights_digest(job.model.variables),
        "cnn": None if cnn is None else cnn.name,
        "cnn_weights": None if cnn is None else files.weights_digest(cnn.variables),
        "target": None if job.target is None else job.model.classes[job.target],
        "method": job.method,
        "baseline": job.baseline,
        "relu": job.relu,
        "aggregate": job.aggregate,
        "check": job.check,
        "fps": job.fps,
        "start": job.start,
        "end": job.end,
        "stream": job.stream,
        "figures": job.figures,
        "beta": job.beta,
    }
