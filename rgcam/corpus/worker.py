"""One process's part of a corpus: videos -> files and manifest rows.

decode ahead -> buckets -> batches on all local devices -> files -> rows. Both engines
run this: this process, or each of Ray's actors.
"""

import dataclasses
import errno
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rgcam import files
from rgcam.corpus import batches, jobs
from rgcam.corpus.batches import ClipArrays, MemoryLimits, Outputs
from rgcam.corpus.jobs import DecodedVideo, Job, Task
from rgcam.corpus.manifest import Row
from rgcam.errors import InputError
from rgcam.models import backbones
from rgcam.report import explain, record, writer
from rgcam.training import mesh
from rgcam.types import Variables

# Errors of the disk, which the next video would meet too.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Worker(NamedTuple):
    """A job on this process's devices.

    Attributes:
        job: what to do.
        devices: the mesh.
        variables: of the model and, if there is one, the frame CNN, on every device.
        limits: of the model that needs more memory.
        compiled: rows of the batches that programs exist for, by their frames.
    """

    job: Job
    devices: Mesh
    variables: tuple[Variables, ...]
    limits: MemoryLimits
    compiled: dict[int, set[int]]


class PendingBatch(NamedTuple):
    """A batch that the devices compute.

    Attributes:
        videos: one for each row.
        model: arrays (B ...) of the model.
        cnn: of the frame-CNN baseline, or None.
    """

    videos: Sequence[DecodedVideo]
    model: ClipArrays
    cnn: ClipArrays | None


def start(job: Job) -> Worker:
    """Put a job's models on this process's devices."""
    devices = mesh.make()
    classes = explain.CLASSES if job.figures else 0
    limits = [batches.memory_limits(m, job.max_bytes, classes) for m in job.models]
    return Worker(
        job=job,
        devices=devices,
        variables=tuple(mesh.repeat(devices, m.variables) for m in job.models),
        limits=min(limits, key=lambda model_limits: model_limits.longest),
        compiled={},
    )


def explain_videos(worker: Worker, tasks: Sequence[Task]) -> Iterator[Row]:
    """Explain videos; yield a manifest row for each when its files are complete.

    While the devices compute a batch, threads decode the next videos and this one
    writes the files of the batch before.

    Raises:
        InputError: nothing can be written, or a batch does not fit on the devices.
    """
    job = worker.job
    videos = jobs.read_ahead(
        tasks,
        functools.partial(jobs.decode, job, worker.limits.longest),
        functools.partial(jobs.decoded_bytes, job),
        threads=job.threads,
        max_bytes=job.max_bytes,
    )
    pending: PendingBatch | None = None
    for batch in group_by_length(worker, videos):
        if batch[0].error:
            yield _failed(batch[0].task, batch[0].error)
            continue
        begun = _begin(worker, batch)
        if pending is not None:
            yield from _finish(job, pending)
        pending = begun
    if pending is not None:
        yield from _finish(job, pending)


def group_by_length(
    worker: Worker, videos: Iterable[DecodedVideo]
) -> Iterator[Sequence[DecodedVideo]]:
    """Collect videos of one bucket each; one that was not decoded comes alone.

    Videos that wait for others take at most ``max_bytes``: then the fullest bucket goes.
    """
    waiting: dict[int, list[DecodedVideo]] = {}
    for video in videos:
        if video.error:
            yield [video]
            continue
        length = worker.limits.bucket(len(video.clip.times))
        waiting.setdefault(length, []).append(video)
        size = worker.limits.batch_size(length, worker.devices.size)
        if len(waiting[length]) == size:
            yield waiting.pop(length)
        elif _waiting_bytes(waiting) > worker.job.max_bytes:
            yield waiting.pop(max(waiting, key=lambda length: len(waiting[length])))
    yield from waiting.values()


def _waiting_bytes(waiting: dict[int, list[DecodedVideo]]) -> int:
    return sum(video.nbytes for bucket in waiting.values() for video in bucket)


def _begin(worker: Worker, videos: Sequence[DecodedVideo]) -> PendingBatch:
    """Send a batch to the devices and do not wait."""
    job, devices = worker.job, worker.devices
    length = worker.limits.bucket(max(len(v.clip.times) for v in videos))
    full = worker.limits.batch_size(length, devices.size)
    compiled = worker.compiled.setdefault(length, set())
    rows = batches.padded_size(len(videos), full, devices.size, compiled)
    model = batches.explain_batch(
        job.model.module,
        worker.variables[0],
        [video.inputs[0] for video in videos],
        None if job.target is None else np.full(rows, job.target, np.int32),
        devices=devices,
        preprocess=job.model.description.preprocess,
        shape=(rows, length),
        outputs=Outputs(beta=job.beta, classes=explain.CLASSES if job.figures else 0),
    )
    cnn = None
    if job.cnn is not None:
        cnn = batches.explain_batch(
            job.cnn.module,
            worker.variables[1],
            [video.inputs[1] for video in videos],
            # The class that the model explains, by its index of the CNN.
            jnp.array(job.cnn_classes)[model.target],
            devices=devices,
            preprocess=job.cnn.description.preprocess,
            shape=(rows, length),
            outputs=Outputs(all_maps=True),
        )
    return PendingBatch(videos=videos, model=model, cnn=cnn)


def _finish(job: Job, pending: PendingBatch) -> Iterator[Row]:
    """Wait for a batch, write the files of its videos and yield their rows."""
    model, cnn = _gather(pending)
    for row, video in enumerate(pending.videos):
        steps = len(video.clip.times)
        baseline = None if cnn is None else batches.without_padding(cnn, row, steps)
        yield _write(job, video, batches.without_padding(model, row, steps), baseline)


def _gather(pending: PendingBatch) -> tuple[ClipArrays, ClipArrays | None]:
    """Return a batch's results as NumPy arrays."""
    try:
        return mesh.gather((pending.model, pending.cnn))
    except jax.errors.JaxRuntimeError as error:
        size, length = pending.model.scores.shape[:2]
        raise InputError(
            f"{size} clips of {length} frames do not fit on the devices: lower "
            f"--max_gib ({str(error).splitlines()[0]})"
        ) from error


def _write(
    job: Job, video: DecodedVideo, model: ClipArrays, cnn: ClipArrays | None
) -> Row:
    """Write a video's files and return its row.

    What cannot be written is an error of this video, unless the disk is full or fails.
    """
    explained = _explained_clip(job, video, model, cnn)
    try:
        folder = Path(job.out) / video.task.folder
        writer.write(folder, explained, figures=job.figures)
    except Exception as error:
        if getattr(error.__cause__, "errno", None) in DISK_ERRORS:
            raise
        return _failed(video.task, f"{type(error).__name__}: {error}")
    return _explained(job, video.task, explained)


def _explained_clip(
    job: Job, video: DecodedVideo, model: ClipArrays, cnn: ClipArrays | None
) -> record.ExplainedClip:
    """Put the record of one video together."""
    target = int(model.target)
    frame_baseline = None
    if cnn is not None and job.cnn is not None:
        frame_baseline = record.FrameBaseline(
            model=record.model_info(job.cnn),
            scores=np.asarray(cnn.scores),
            maps=explain.diagonal(np.asarray(cnn.maps))[None],
        )
    attribution = record.attribution(
        np.asarray(model.scores),
        target,
        method="gradcam",
        baseline="zero",
        rectified=True,
        aggregate="last",
        matrix=np.asarray(model.matrix),
        maps=np.asarray(model.maps),
        beta=None if model.beta is None else np.asarray(model.beta),
        class_maps=model.class_maps,
    )
    height, width = video.clip.frames.shape[1:3]
    return record.ExplainedClip(
        clip=video.clip,
        source=files.printable(video.task.path),
        model=record.model_info(job.model),
        box=backbones.crop_box(job.model.description.preprocess, height, width),
        scores=np.asarray(model.scores),
        times_out=video.clip.times,
        target=target,
        attributions=(attribution,),
        frame_baseline=frame_baseline,
        options=job.options,
    )


def _explained(job: Job, task: Task, explained: record.ExplainedClip) -> Row:
    """Return the row of a video whose files are written."""
    clip = explained.clip
    names = writer.FILES[:1]
    if job.figures:
        names = writer.file_names(job.options.get("vector"))
    return {
        "video": task.video,
        "status": "ok",
        "prediction": explained.prediction,
        "probability": explained.probability,
        "target": explained.target_name,
        "target_score": float(explained.scores[-1, explained.target]),
        "top_moments": [dataclasses.asdict(m) for m in explained.top_moments],
        "frames": len(clip.times),
        "seconds": round(float(clip.times[-1]), 3),
        "notes": list(clip.notes),
        "files": [f"{task.folder}/{name}" for name in names],
    }


def _failed(task: Task, error: str) -> Row:
    """Return the row of a video that could not be explained."""
    return {"video": task.video, "status": "failed", "error": " ".join(error.split())}
