"""What a corpus's workers are told, and how they read a video."""

import math
from typing import NamedTuple

import jax
import numpy as np

from rgcam.data import clips, video
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.models.zoo import Model
from rgcam.types import Fields


class Task(NamedTuple):
    """A video to explain.

    Attributes:
        video: its name in the manifest.
        path: its file.
        folder: of its files, relative to the corpus's.
    """

    video: str
    path: str
    folder: str


class Job(NamedTuple):
    """What all workers are told; picklable, its arrays are numpy's.

    Attributes:
        model: what is explained.
        cnn: the frame CNN beside it in the pictures, or None.
        cnn_classes: its number of each of the model's classes.
        target: class number; None: what each video's last step decides for.
        fps: frames a second to look at.
        start: in seconds.
        end: in seconds; None: the video's.
        out: folder of the corpus, absolute.
        pictures: whether to write everything ``report.write`` makes.
        beta: whether to keep beta.
        max_bytes: on each device for a batch, and in memory for what is read ahead.
        threads: that decode.
        arguments: the command's options, for the record.
    """

    model: Model
    cnn: Model | None
    cnn_classes: tuple[int, ...]
    target: int | None
    fps: float
    start: float
    end: float | None
    out: str
    pictures: bool
    beta: bool
    max_bytes: int
    threads: int
    arguments: Fields

    @property
    def models(self) -> tuple[Model, ...]:
        """Return the model and, if there is one, the CNN."""
        return (self.model,) if self.cnn is None else (self.model, self.cnn)


class Seen(NamedTuple):
    """A video that was read, or why it was not.

    Attributes:
        task: the video.
        clip: its frames (as the model sees them where there are no pictures) and times.
        inputs: for each model, resized frames (T S S 3) uint8.
        error: one sentence; "": none.
    """

    task: Task
    clip: Clip
    inputs: tuple[np.ndarray, ...]
    error: str = ""


def on_host(model: Model) -> Model:
    """Return a model whose variables are numpy's, which can be pickled."""
    return model._replace(variables=jax.tree.map(np.asarray, model.variables))


def cost(job: Job, task: Task) -> int:
    """Estimate the bytes of a decoded clip from its header, which may be wrong."""
    try:
        info = video.probe(task.path)
    except (InputError, OSError):
        return 0  # reading it fails at once
    frames = _frames(job, info)
    known = math.isfinite(frames)
    return int(frames * info.width * info.height * 3) if known else job.max_bytes


def _frames(job: Job, info: video.VideoInfo) -> float:
    end = math.inf if job.end is None else job.end
    seconds = np.fmin(info.duration, end) - job.start
    return max(float(seconds * np.fmin(job.fps, info.fps)), 0.0)


def read(job: Job, longest: int, task: Task) -> Seen:
    """Decode and resize; whatever is wrong with one video is that video's error.

    Args:
        job: what to do.
        longest: frames that fit in memory.
        task: the video.
    """
    try:
        return _decode(job, longest, task)
    except Exception as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        text = " ".join(f"{kind}{error}".split())
        return Seen(task, Clip(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0)), (), text)


def _decode(job: Job, longest: int, task: Task) -> Seen:
    frames = _frames(job, video.probe(task.path))
    if math.isfinite(frames):
        _check_length(job, longest, task, int(frames))
    clip = video.read_clip(
        task.path, job.fps, start=job.start, end=job.end, max_bytes=job.max_bytes
    )
    _check_length(job, longest, task, len(clip.frames))
    specs = (m.description.preprocess for m in job.models)
    inputs = tuple(clips.resize(clip.frames, spec) for spec in specs)
    return Seen(task, clip if job.pictures else clip._replace(frames=inputs[0]), inputs)


def _check_length(job: Job, longest: int, task: Task, steps: int) -> None:
    if steps > longest:
        raise InputError(
            f"{task.path} gives {steps:,} frames at {job.fps:g} fps, and all pairs of "
            f"{longest:,} fit in {job.max_bytes / 2**30:g} GiB: raise --max_gib, cut "
            "with --start and --end, or lower --fps"
        )
