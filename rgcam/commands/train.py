"""``rgcam train``: train, resume, test and export a model."""

import contextlib
import dataclasses
import functools
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Array, Float

from rgcam import files
from rgcam.commands import app
from rgcam.commands import config as configs
from rgcam.commands.options import Command, Options, option
from rgcam.errors import InputError
from rgcam.training import config as configuration
from rgcam.training.fields import Config

if TYPE_CHECKING:  # modules that load the optimizer and the checkpoints
    from rgcam.training.checkpoint import Writer
    from rgcam.training.explanations import ClipExplanation
    from rgcam.training.progress import Progress
    from rgcam.training.run import Run
    from rgcam.training.step import TrainState

Metrics: TypeAlias = Mapping[str, Float[Array, ""]]
"""Scalars of one step, on the devices."""

RUN = "run"
PROCESSES = "several processes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """Options of ``rgcam train``; results.json records the command line."""

    config: str | None = option(
        None,
        "experiment: a file or a shipped name; --config.FIELD=VALUE changes a field, "
        "see below",
        group=RUN,
        value="FILE|NAME",
    )
    overrides: tuple[str, ...] = ()
    workdir: str | None = option(
        None, "folder of the run, created if missing", group=RUN, value="FOLDER"
    )
    export: str | None = option(
        None,
        "also write the trained model here, in half precision",
        group=RUN,
        value="FOLDER",
    )
    distributed: bool = option(
        False,
        "join the other processes of a TPU pod or a cluster",
        group=PROCESSES,
    )
    coordinator: str | None = option(
        None, "address of process 0", group=PROCESSES, value="HOST:PORT"
    )
    processes: int | None = option(None, "number of processes", group=PROCESSES)
    process: int | None = option(None, "index of this one, from 0", group=PROCESSES)


def run(options: TrainOptions) -> None:
    """Build what the config describes, train it, test it."""
    # Imported here, because help should not wait for the optimizer and checkpoints.
    import jax

    from rgcam.training import mesh

    if not options.workdir:
        raise InputError("say where the run is written: --workdir=FOLDER")
    config = configs.load(options.config, options.overrides)
    workdir = configuration.make_folder(options.workdir)
    coordinated = options.coordinator or "JAX_COORDINATOR_ADDRESS" in os.environ
    if options.distributed or coordinated:
        mesh.start_distributed(options.coordinator, options.processes, options.process)
    export = Path(options.export) if options.export else None
    # The process that writes locks the folder: a second run would remove the checkpoint
    # that this one is writing.
    lock = (
        files.locked(workdir, instead="another --workdir")
        if mesh.is_first()
        else contextlib.nullcontext()
    )
    # A run computes in float32, the same with JAX_ENABLE_X64=1: Flax would draw other
    # weights and dropout masks, as float64.
    with lock, jax.enable_x64(False):
        train_and_test(config, workdir, export)


def train_and_test(config: Config, workdir: Path, export: Path | None) -> None:
    """Train until all steps are taken, then test the best checkpoint.

    Args:
        config: of the run.
        workdir: its folder, which exists.
        export: folder to write the trained model in, or None.

    Raises:
        InputError: the run cannot begin, go on or be written.
    """
    from rgcam.models import zoo
    from rgcam.training import checkpoint, distribution, mesh, results
    from rgcam.training import run as runs

    first = mesh.is_first()  # the process that writes and prints
    configuration.keep(workdir, config, write=first)
    parts = runs.prepare(config)
    if first:
        for note in parts.source.notes:
            print(f"note: {files.printable(note)}")
        if parts.source.warning:
            print(f"warning: {files.printable(parts.source.warning)}")
        zoo.write_description(workdir, parts.description)
        zoo.write_shapes(workdir, parts.description)
    with checkpoint.checkpointer(workdir, trains=True) as writer:
        state, step = checkpoint.restore(writer, parts.state)
        state = train(config, workdir, writer, parts, state, step)
        checkpoint.wait(writer)
        if int(state.step) < parts.total:
            folder = files.printable(str(workdir))
            print(f"stopped by SIGTERM; the same command goes on: {folder}")
            return
        state, step = checkpoint.restore(writer, state, best=True)
    scores = results.test(
        config, parts, state, steps=step, command=shlex.join(app.command_line())
    )
    if first:
        # The text first: it is there even where the files cannot be written.
        print(results.text(scores, parts.source.classes))
        results.write(workdir, scores, parts.source.classes)
    statistics = distribution.fit_statistics(config, parts, state)
    if first:
        zoo.write_statistics(workdir, statistics)
    if first and export:
        zoo.export(workdir, export, scores.to_dict())


def train(
    config: Config,
    workdir: Path,
    writer: "Writer",
    parts: "Run",
    state: "TrainState",
    first: int,
) -> "TrainState":
    """Take the steps that are left, or those until SIGTERM.

    Args:
        config: of the run.
        workdir: its folder.
        writer: of its checkpoints.
        parts: from ``rgcam.training.run.prepare``.
        state: after ``first`` steps; its arrays are donated.
        first: number of steps taken before.

    Returns:
        The state after the last step, which has been saved.

    Raises:
        InputError: the loss is not finite, too many clips have become unreadable, or a
            file cannot be written.
    """
    import jax

    from rgcam.data import pipeline
    from rgcam.training import checkpoint, explanations, mesh, results
    from rgcam.training import progress as progresses
    from rgcam.training import run as runs
    from rgcam.training import step as training

    step_fn = jax.jit(
        functools.partial(
            training.train_step,
            smoothing=config.smoothing,
            loss=config.loss,
            accumulate=config.accumulate,
        ),
        donate_argnames="state",
    )
    source = runs.training_source(config, parts)
    batches = pipeline.training_batches(source, first, config.data.workers)
    unreadable = progresses.UnreadableClips(
        len(parts.plan.lengths), config.data.max_broken
    )
    stop = progresses.StopRequest()
    shown_clips: tuple[explanations.FixedClip, ...] = ()
    if config.explain_every and mesh.is_first():
        shown_clips = explanations.choose_clips(config, parts)
    explain_clips = explanations.explainer(parts)
    pending: Metrics | None = None
    with progresses.Progress(
        workdir,
        first,
        parts.total,
        config.batch_size,
        writes=mesh.is_first(),
    ) as progress:
        for step in range(first + 1, parts.total + 1):
            with progress.waiting():
                loaded = next(batches)
                batch = mesh.divide(parts.devices, loaded.batch)
            progress.say(unreadable.add(loaded.broken))
            state, metrics = step_fn(state, batch)
            # Metrics are read one step late, so that the device never waits.
            report(progress, step - 1, pending)
            pending = metrics
            due = runs.due(config, parts, step)
            stopping = stop(step)
            if due.validate or due.save or stopping:
                report(progress, step, pending)
                pending = None
                scores = (
                    results.validate(config, parts, state) if due.validate else None
                )
                progress.validated(step, scores)
                checkpoint.save(writer, state, scores)
            if shown_clips and explanations.is_due(config, parts, step):
                show(progress, step, explain_clips(state, shown_clips), config, parts)
            if stopping:
                break
    return state


def show(
    progress: "Progress",
    step: int,
    explained: Sequence["ClipExplanation"],
    config: Config,
    parts: "Run",
) -> None:
    """Draw the matrix of each clip and, where its frames are there, the film strip."""
    # Imported here: a run without explanations draws nothing.
    from rgcam.report import plots

    classes = parts.source.classes
    for clip, scores, matrix, maps in explained:
        times = np.arange(len(scores)) / config.data.fps
        predicted = classes[int(scores[-1].argmax())]
        name = files.printable(clip.name)
        title = f"Step {step}: what supports “{classes[clip.label]}” in {name}"
        note = f"predicted: {predicted}"
        figure = plots.matrix(
            matrix, times, times, scores, classes, clip.label, title=title, note=note
        )
        progress.show(step, f"matrix/{name}", plots.figure_to_array(figure))
        if clip.frames is not None:
            rows = [plots.Row("fade, last step", maps, signed=True)]
            figure = plots.strip(clip.frames, rows, times, title=title, note=note)
            progress.show(step, f"strip/{name}", plots.figure_to_array(figure))


def report(progress: "Progress", step: int, metrics: Metrics | None) -> None:
    """Count a step with its metrics, if there are any.

    Raises:
        InputError: the metrics are not finite.
    """
    from rgcam.training import progress as progresses

    if metrics is not None:
        numbers = {name: float(value) for name, value in metrics.items()}
        progresses.check_finite(step, numbers)
        progress.add(step, numbers)


COMMAND = Command(
    name="train",
    usage="--config=FILE|NAME --workdir=FOLDER [--config.FIELD=VALUE ...] ...",
    options=TrainOptions,
    run=run,
    examples="""
rgcam train --config=stickman_lrcn --workdir=runs/stickman
rgcam train --config=folder_lrcn --workdir=runs/mine --config.data.root=FOLDER
""",
    has_config=True,
    details=configs.fields_text,
)
