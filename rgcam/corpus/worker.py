"""One process's part of a corpus: videos -> files and manifest rows.

decode ahead -> explain, a clip at a time on each local device -> files -> rows. Both
engines run this: this process, or each of Ray's actors. Clips are explained by
``rgcam.report.explain.explain_clip``, as a single one is, and have the same numbers.
"""

import contextlib
import dataclasses
import errno
import functools
import math
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from rgcam import files
from rgcam.attribution import padding
from rgcam.corpus import jobs, memory
from rgcam.corpus.jobs import DecodedVideo, Job, Task
from rgcam.corpus.manifest import Row
from rgcam.models import backbones
from rgcam.models.zoo import Model
from rgcam.report import explain, thumbnails, writer
from rgcam.report.record import Attribution, ExplainedClip

# Errors of the disk, which the next video would meet too.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
THUMBNAILS = "thumbnails.jpg"


class Place(NamedTuple):
    """A device and the models on it.

    Attributes:
        device: of this process.
        model: what is explained.
        cnn: the frame CNN, or None.
    """

    device: jax.Device
    model: Model
    cnn: Model | None


class Worker(NamedTuple):
    """A job on this process's devices.

    Attributes:
        job: what to do.
        places: one for each device.
        longest: frames of the longest clip that fits on a device.
    """

    job: Job
    places: Sequence[Place]
    longest: int


class ExplainedVideo(NamedTuple):
    """A video that was explained, or the reason why it was not.

    Attributes:
        video: as it was decoded.
        explained: the record; None: see ``error``.
        error: one sentence; "": it was explained.
    """

    video: DecodedVideo
    explained: ExplainedClip | None
    error: str = ""


def start(job: Job, devices: Sequence[jax.Device] | None = None) -> Worker:
    """Put a job's models on this process's devices.

    Args:
        job: what to do.
        devices: None: every accelerator of this process, or its CPU.
    """
    if devices is None:
        devices = jax.local_devices()
        # Several devices of one CPU share its cores.
        devices = devices[:1] if devices[0].platform == "cpu" else devices
    classes = explain.CLASSES if job.figures else 1
    needs = [memory.clip_memory(m, classes=classes, beta=job.beta) for m in job.models]
    return Worker(
        job=job,
        places=[
            Place(
                device=device,
                model=_on_device(job.model, device),
                cnn=None if job.cnn is None else _on_device(job.cnn, device),
            )
            for device in devices
        ],
        longest=min(need.longest(job.max_bytes) for need in needs),
    )


def explain_videos(worker: Worker, tasks: Sequence[Task]) -> Iterator[Row]:
    """Explain videos; yield a manifest row for each when its files are complete.

    While the devices compute, threads decode the next videos and this one writes the
    files of those that are explained.

    Raises:
        InputError: nothing can be written.
    """
    job = worker.job
    free: queue.SimpleQueue[Place] = queue.SimpleQueue()
    for place in worker.places:
        free.put(place)
    # Closed where they are left, so that no thread goes on for a run that has ended.
    with (
        contextlib.closing(
            jobs.read_ahead(
                tasks,
                functools.partial(jobs.decode, job, worker.longest),
                functools.partial(jobs.decoded_bytes, job),
                threads=job.threads,
                max_bytes=job.max_bytes,
            )
        ) as videos,
        contextlib.closing(
            jobs.read_ahead(
                videos,
                functools.partial(_explain, job, free),
                lambda video: video.nbytes,
                threads=len(worker.places),
                max_bytes=job.max_bytes,
            )
        ) as explained,
    ):
        for video in explained:
            yield _write(job, video)


def _on_device(model: Model, device: jax.Device) -> Model:
    return model._replace(variables=jax.device_put(model.variables, device))


def _explain(
    job: Job, free: "queue.SimpleQueue[Place]", video: DecodedVideo
) -> ExplainedVideo:
    """Explain a video on a free device; any failure is an error of this video alone."""
    if video.error:
        return ExplainedVideo(video=video, explained=None, error=video.error)
    place = free.get()
    try:
        with jax.default_device(place.device):
            explained = _explain_clip(job, place, video)
        return ExplainedVideo(video=video, explained=explained)
    except jax.errors.JaxRuntimeError as error:
        frames = len(video.clip.times)
        sentence = (
            f"{frames} frames could not be explained on {place.device}: if they do not "
            f"fit, lower --max_gib or --fps ({str(error).splitlines()[0]})"
        )
        return ExplainedVideo(video=video, explained=None, error=sentence)
    except Exception as error:
        sentence = f"{type(error).__name__}: {error}"
        return ExplainedVideo(video=video, explained=None, error=sentence)
    finally:
        free.put(place)


def _explain_clip(job: Job, place: Place, video: DecodedVideo) -> ExplainedClip:
    """Explain a clip as a single one is, from the frames that were resized ahead."""
    model = place.model
    frames = backbones.normalize(video.frames, model.description.preprocess)
    checks = "none"
    if job.check:
        checks = "all" if job.figures else "shown"
    return explain.explain_clip(
        model,
        video.clip,
        target=job.target,
        method=job.method,
        baseline=job.baseline,
        relu=job.relu,
        aggregate=job.aggregate,
        cnn=place.cnn,
        source=files.printable(video.task.path),
        options=job.options,
        classes=explain.CLASSES if job.figures else 1,
        beta=job.beta,
        checks=checks,
        question=job.question,
        features=padding.clip_features(model.module, model.variables, frames),
    )


def _write(job: Job, video: ExplainedVideo) -> Row:
    """Write a video's files and return its row.

    What cannot be written is an error of this video, unless the disk is full or fails.
    """
    task = video.video.task
    if video.explained is None:
        return _failed(task, video.error)
    folder = Path(job.out) / task.folder
    try:
        writer.write(folder, video.explained, figures=job.figures)
        thumbnails.write(folder / THUMBNAILS, video.video.frames, video.explained)
    except Exception as error:
        cause = error.__cause__ if error.__cause__ is not None else error
        if getattr(cause, "errno", None) in DISK_ERRORS:
            raise
        return _failed(task, f"{type(error).__name__}: {error}")
    return _row(job, task, video.explained)


def _row(job: Job, task: Task, explained: ExplainedClip) -> Row:
    """Return the row of a video whose files are written."""
    clip, shown = explained.clip, explained.shown
    half_life, share = explained.half_life, explained.recurrent_share
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
        "shown": shown.method,
        "passed": shown.passed,
        "verdict": shown.verdict,
        "selection": explained.selection,
        "methods": {
            attribution.method: _method_fields(attribution)
            for attribution in explained.attributions
        },
        "half_life": half_life,
        "recurrent_share": share,
        "top_moments": [dataclasses.asdict(m) for m in explained.top_moments],
        "frames": len(clip.times),
        "seconds": round(float(clip.times[-1]), 3),
        "notes": list(clip.notes),
        "files": [f"{task.folder}/{name}" for name in (*names, THUMBNAILS)],
    }


def _method_fields(attribution: Attribution) -> dict[str, object]:
    """Return what a row says of one method; null where it was not checked."""
    check = attribution.faithfulness
    has_score = check is not None and math.isfinite(check.score)
    return {
        "baseline": attribution.baseline,
        "rectified": attribution.rectified,
        "score": check.score if check is not None and has_score else None,
        "passed": attribution.passed,
    }


def _failed(task: Task, error: str) -> Row:
    """Return the row of a video that could not be explained."""
    return {"video": task.video, "status": "failed", "error": " ".join(error.split())}
