"""One process's part of a corpus: videos -> files and manifest rows.

read ahead -> buckets -> batches on all local devices -> files -> rows. Both engines
run this: this process, or each of Ray's actors.
"""

import errno
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rgcam.corpus import batches, jobs
from rgcam.corpus.ahead import read_ahead
from rgcam.corpus.batches import Keep, Kept, Limits
from rgcam.corpus.jobs import Job, Seen, Task
from rgcam.corpus.manifest import Row
from rgcam.data import clips as data
from rgcam.errors import InputError
from rgcam.report import explain, record, writer
from rgcam.training import mesh

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # nothing can be written


class Worker(NamedTuple):
    """A job on this process's devices.

    Attributes:
        job: what to do.
        devices: the mesh.
        variables: of the model and, if there is one, the CNN, on every device.
        limits: of the larger of them.
        sizes: rows of the batches compiled by now, for each length.
    """

    job: Job
    devices: Mesh
    variables: tuple[Any, ...]
    limits: Limits
    sizes: dict[int, set[int]]


class Running(NamedTuple):
    """A batch on the devices: its clips and what will be known of them."""

    clips: Sequence[Seen]
    kept: Kept
    beside: Kept | None


def start(job: Job) -> Worker:
    """Put a job's models on this process's devices."""
    devices, models = mesh.make(), job.models
    variables = tuple(mesh.repeat(devices, m.variables) for m in models)
    classes = explain.CLASSES * job.pictures
    allowed = [batches.limits(m, job.max_bytes, classes) for m in models]
    limits = min(allowed, key=lambda each: each.longest)
    return Worker(job, devices, variables, limits, {})


def rows(worker: Worker, tasks: Sequence[Task]) -> Iterator[Row]:
    """Explain videos; yield a manifest row for each when its files are complete.

    While the devices compute a batch, threads decode the next clips and this one
    writes the files of the batch before.

    Raises:
        InputError: nothing can be written, or a batch does not fit on the devices.
    """
    running: Running | None = None
    job, longest = worker.job, worker.limits.longest
    read, cost = (
        functools.partial(jobs.read, job, longest),
        functools.partial(jobs.cost, job),
    )
    seen = read_ahead(tasks, read, cost, threads=job.threads, max_bytes=job.max_bytes)
    for clips in _batches(worker, seen):
        if clips[0].error:
            yield _failed(clips[0].task, clips[0].error)
            continue
        begun = _begin(worker, clips)
        yield from _finish(worker, running)
        running = begun
    yield from _finish(worker, running)


def _batches(worker: Worker, seen: Iterable[Seen]) -> Iterator[Sequence[Seen]]:
    """Collect clips of one bucket each; one that was not read comes alone.

    Clips that wait take at most ``max_bytes``: then the fullest bucket goes.
    """
    waiting: dict[int, list[Seen]] = {}
    for clip in seen:
        if clip.error:
            yield [clip]
            continue
        length = worker.limits.bucket(len(clip.clip.times))
        waiting.setdefault(length, []).append(clip)
        size = worker.limits.batch_size(length, worker.devices.size)
        if len(waiting[length]) == size:
            yield waiting.pop(length)
        elif _bytes(waiting) > worker.job.max_bytes:
            yield waiting.pop(max(waiting, key=lambda each: len(waiting[each])))
    yield from waiting.values()


def _bytes(waiting: dict[int, list[Seen]]) -> int:
    clips = (clip for bucket in waiting.values() for clip in bucket)
    return sum(c.clip.frames.nbytes + sum(x.nbytes for x in c.inputs) for c in clips)


def _begin(worker: Worker, clips: Sequence[Seen]) -> Running:
    """Send a batch to the devices and do not wait."""
    job = worker.job
    length = worker.limits.bucket(max(len(c.clip.times) for c in clips))
    devices = worker.devices.size
    full = worker.limits.batch_size(length, devices)
    known = worker.sizes.setdefault(length, set())
    size = batches.padded_size(len(clips), full, devices, known)
    targets = None if job.target is None else np.full(size, job.target, np.int32)
    found: list[Kept] = []
    own = Keep(beta=job.beta, classes=explain.CLASSES * job.pictures)
    keeps = own, Keep(all_maps=True)
    for i, (model, keep) in enumerate(zip(job.models, keeps, strict=False)):
        kept = batches.explain(
            model.module,
            worker.variables[i],
            worker.devices,
            model.description.preprocess,
            [clip.inputs[i] for clip in clips],
            targets if i == 0 else jnp.array(job.cnn_classes)[found[0].target],
            (size, length),
            keep,
        )
        found.append(kept)
    return Running(clips, found[0], found[1] if len(found) > 1 else None)


def _finish(worker: Worker, running: Running | None) -> Iterator[Row]:
    """Wait for a batch, write the files of its clips and yield their rows."""
    if running is None:
        return
    kept, beside = _gathered(running)
    for row, clip in enumerate(running.clips):
        steps = len(clip.clip.times)
        other = beside and batches.cut(beside, row, steps)
        yield _write(worker.job, clip, batches.cut(kept, row, steps), other)


def _gathered(running: Running) -> tuple[Kept, Kept | None]:
    """Return a batch's results as numpy arrays."""
    try:
        return mesh.gather((running.kept, running.beside))
    except jax.errors.JaxRuntimeError as error:
        size, length = running.kept.scores.shape[:2]
        raise InputError(
            f"{size} clips of {length} frames do not fit on the devices: lower "
            f"--max_gib ({str(error).splitlines()[0]})"
        ) from error


def _write(job: Job, seen: Seen, kept: Kept, beside: Kept | None) -> Row:
    """Write a video's files and return its row; a full disk is not its fault."""
    task = seen.task
    explained = _record(job, seen, kept, beside)
    try:
        folder = Path(job.out) / task.folder
        writer.write(folder, explained, figures=job.pictures)
    except Exception as error:
        if getattr(error.__cause__, "errno", None) in FULL:
            raise
        return _failed(task, f"{type(error).__name__}: {error}")
    return _explained(job, seen, record.summarize(explained))


def _record(
    job: Job, seen: Seen, kept: Kept, beside: Kept | None
) -> record.ExplainedClip:
    """Put the record of one video together."""
    target = int(kept.target)
    spec = job.model.description.preprocess
    frame_baseline = None
    if beside is not None and job.cnn is not None:
        frame_baseline = record.FrameBaseline(
            model=record.model_info(job.cnn),
            scores=np.asarray(beside.scores),
            maps=explain.diagonal(np.asarray(beside.maps))[None],
        )
    return record.ExplainedClip(
        clip=seen.clip,
        source=seen.task.path,
        model=record.model_info(job.model),
        box=data.crop_box(spec, *seen.clip.frames.shape[1:3]),
        scores=np.asarray(kept.scores),
        times_out=seen.clip.times,
        target=target,
        attributions=(
            record.attribution(
                np.asarray(kept.scores),
                target,
                method="gradcam",
                baseline="zero",
                rectified=True,
                aggregate="last",
                matrix=np.asarray(kept.matrix),
                maps=np.asarray(kept.maps),
                beta=None if kept.beta is None else np.asarray(kept.beta),
                class_maps=kept.shown,
            ),
        ),
        frame_baseline=frame_baseline,
        options=job.arguments,
    )


def _explained(job: Job, seen: Seen, summary: Mapping[str, Any]) -> Row:
    names = "prediction probability target target_score top_moments".split()
    vector = job.arguments.get("vector")
    files = writer.file_names(vector) if job.pictures else writer.FILES[:1]
    return {
        "video": seen.task.video,
        "status": "ok",
        **{name: summary[name] for name in names},
        "frames": len(seen.clip.times),
        "seconds": round(float(seen.clip.times[-1]), 3),
        "notes": list(seen.clip.notes),
        "files": [f"{seen.task.folder}/{name}" for name in files],
    }


def _failed(task: Task, error: str) -> Row:
    return {"video": task.video, "status": "failed", "error": " ".join(error.split())}
