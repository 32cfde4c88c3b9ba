"""What every worker is given, and videos that are decoded while the devices compute."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import UInt8

from rgcam.data import video
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.models import backbones
from rgcam.models.zoo import Model
from rgcam.types import Fields

Item = TypeVar("Item")
Result = TypeVar("Result")


class Task(NamedTuple):
    """A video to explain.

    Attributes:
        video: its name in the manifest.
        path: its file.
        folder: of its files, relative to the folder of the corpus.
    """

    video: str
    path: str
    folder: str


class Job(NamedTuple):
    """What all workers are given; picklable, its arrays are NumPy's.

    Attributes:
        model: what is explained.
        cnn: the frame-CNN baseline of the figures, or None.
        target: class index; None: the predicted class of each video.
        method: as of ``explain_clip``; so are baseline, relu and aggregate.
        baseline: likewise.
        relu: likewise.
        aggregate: likewise.
        check: check the faithfulness of each explanation.
        fps: frames per second to sample.
        start: first second.
        end: last second; None: the end of the video.
        stream: number of the video stream; None: the file's default, or the largest.
        out: folder of the corpus, absolute.
        figures: write the page, figures and summary of each video too.
        beta: keep the weights of Eq. 1.
        question: that a captioner answers; "": it writes captions.
        max_bytes: on each device for a batch, and in memory for decoded videos.
        threads: number of threads that decode.
        options: of the command, for the record.
    """

    model: Model
    cnn: Model | None
    target: int | None
    method: str
    baseline: str | None
    relu: bool | None
    aggregate: str
    check: bool
    fps: float
    start: float
    end: float | None
    stream: int | None
    out: str
    figures: bool
    beta: bool
    question: str
    max_bytes: int
    threads: int
    options: Fields

    @property
    def models(self) -> tuple[Model, ...]:
        """Return the model and, if there is one, the frame CNN."""
        return (self.model,) if self.cnn is None else (self.model, self.cnn)


class DecodedVideo(NamedTuple):
    """A video that was decoded, or the reason why it was not.

    Attributes:
        task: the video.
        clip: its times and frames; without figures, the frames that the model sees.
        frames: resized, as the model sees them.
        error: one sentence; "": it was decoded.
    """

    task: Task
    clip: Clip
    frames: UInt8[np.ndarray, "T S S 3"]
    error: str = ""

    @property
    def nbytes(self) -> int:
        """Return the bytes of all its frames."""
        return self.clip.frames.nbytes + self.frames.nbytes


def on_host(model: Model) -> Model:
    """Return a model whose variables are NumPy arrays, which can be pickled."""
    return model._replace(variables=jax.tree.map(np.asarray, model.variables))


def decode(job: Job, longest: int, task: Task) -> DecodedVideo:
    """Decode and resize a video; any failure is an error of this video alone.

    Args:
        job: what to do.
        longest: frames that fit on a device.
        task: the video.
    """
    try:
        return _decode(job, longest, task)
    except Exception as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        no_clip = Clip(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
        sentence = " ".join(f"{kind}{error}".split())
        return DecodedVideo(
            task=task, clip=no_clip, frames=no_clip.frames, error=sentence
        )


def decoded_bytes(job: Job, task: Task) -> int:
    """Estimate the bytes of a decoded clip from the file's header, which may be wrong."""
    try:
        info = video.probe(task.path, job.stream)
    except (InputError, OSError):
        return 0  # decoding fails at once
    frames = _frame_count(job, info)
    if not math.isfinite(frames):
        return job.max_bytes
    return int(frames * info.width * info.height * 3)


def read_ahead(
    items: Iterable[Item],
    read: Callable[[Item], Result],
    cost: Callable[[Item], int],
    *,
    threads: int,
    max_bytes: int,
) -> Generator[Result]:
    """Yield ``read(item)`` of every item, in the order in which they are done.

    At most two items per thread, and items of at most ``max_bytes`` together, are begun
    and not yet yielded; one that costs more is read alone. What ``read`` raises is
    raised here.

    Args:
        items: what to read.
        read: called in the threads.
        cost: bytes that an item may take; called in this thread, so it should be quick.
        threads: how many read at once.
        max_bytes: of everything that is read ahead.
    """
    begun: dict[Future[Result], int] = {}
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read")
    try:
        for item in items:
            size = min(cost(item), max_bytes)
            while len(begun) >= 2 * threads or sum(begun.values()) > max_bytes - size:
                yield from _completed(begun)
            begun[pool.submit(read, item)] = size
        while begun:
            yield from _completed(begun)
    finally:
        # Without waiting: an abandoned iterator may end in one of these threads.
        pool.shutdown(wait=False, cancel_futures=True)


def _completed(begun: dict[Future[Result], int]) -> Iterator[Result]:
    """Wait until something is read; yield it and release its bytes."""
    for future in wait(begun, return_when=FIRST_COMPLETED).done:
        del begun[future]
        yield future.result()


def _frame_count(job: Job, info: video.VideoInfo) -> float:
    """Return the frames that a job samples of a video; infinite or NaN if unknown."""
    end = math.inf if job.end is None else job.end
    # A header may not know its duration or rate: fmin ignores NaN.
    seconds = np.fmin(info.duration, end) - job.start
    return max(float(seconds * np.fmin(job.fps, info.fps)), 0.0)


def _decode(job: Job, longest: int, task: Task) -> DecodedVideo:
    # By the header first: a video that is too long is not decoded at all.
    frames = _frame_count(job, video.probe(task.path, job.stream))
    if math.isfinite(frames):
        _check_length(job, longest, task, int(frames))
    clip = video.read_clip(
        task.path,
        job.fps,
        start=job.start,
        end=job.end,
        max_bytes=job.max_bytes,
        stream=job.stream,
    )
    _check_length(job, longest, task, len(clip.frames))
    frames = backbones.resize(clip.frames, job.model.description.preprocess)
    if not job.figures:  # nothing is drawn: the original frames can go
        clip = clip._replace(frames=frames)
    return DecodedVideo(task=task, clip=clip, frames=frames)


def _check_length(job: Job, longest: int, task: Task, steps: int) -> None:
    if steps > longest:
        raise InputError(
            f"{task.path} gives {steps:,} frames at {job.fps:g} fps, and all pairs of "
            f"{longest:,} fit in {job.max_bytes / 2**30:g} GiB: raise --max_gib, cut "
            "with --start and --end, or lower --fps"
        )
