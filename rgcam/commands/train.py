"""``rgcam train``: train, resume, test and export a model."""

import dataclasses
import functools
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rgcam.commands import app
from rgcam.commands import config as configs
from rgcam.commands.options import Command, Options, option
from rgcam.errors import InputError
from rgcam.training import config as configuration

if TYPE_CHECKING:
    from rgcam.training.progress import Progress

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
    from rgcam.models import zoo
    from rgcam.training import checkpoint, mesh, results
    from rgcam.training import run as runs

    if not options.workdir:
        raise InputError("say where the run is written: --workdir=FOLDER")
    config = configs.load(options.config, options.overrides)
    workdir = configuration.make_folder(options.workdir)
    coordinated = options.coordinator or "JAX_COORDINATOR_ADDRESS" in os.environ
    if options.distributed or coordinated:
        mesh.start_distributed(options.coordinator, options.processes, options.process)
    first = mesh.is_first()  # the process that writes and prints
    configuration.keep(workdir, config, write=first)
    prepared = runs.prepare(config)
    if first:
        zoo.write_description(workdir, prepared.description)
    with checkpoint.checkpointer(workdir, trains=True) as writer:
        state, step = checkpoint.restore(writer, prepared.state)
        state, finished = train(config, workdir, writer, prepared, state, step)
        checkpoint.wait(writer)
        if not finished:
            return print(f"stopped by SIGTERM; the same command goes on: {workdir}")
        state, step = checkpoint.restore(writer, state, best=True)
    scores = results.test(config, prepared, state) | {"steps": step}
    scores |= {"command": shlex.join(app.command_line())}
    if first:
        results.write(workdir, scores, prepared.source.classes)
        print(results.text(scores, prepared.source.classes))
    if first and options.export:
        zoo.export(workdir, Path(options.export), scores)


def train(config, workdir, writer, run, state, first):
    """Take the steps that are left; return the state and whether all were taken."""
    import jax

    from rgcam.data import pipeline
    from rgcam.training import checkpoint, mesh, results
    from rgcam.training import run as runs
    from rgcam.training import step as training
    from rgcam.training.interruptions import Breakage, Stop
    from rgcam.training.progress import Progress

    step_fn = jax.jit(
        functools.partial(
            training.train_step,
            smoothing=config.smoothing,
            loss=config.loss,
            accumulate=config.accumulate,
        ),
        donate_argnames="state",
    )
    source = runs.training_source(config, run)
    batches = pipeline.training_batches(source, first, config.data.workers)
    broken = Breakage(len(run.plan.lengths), config.data.max_broken)
    stop, previous = Stop(), None
    bar = {"clips_per_step": config.batch_size, "writes": mesh.is_first()}
    with Progress(workdir, first, run.total, **bar) as progress:
        for step in range(first + 1, run.total + 1):
            with progress.waiting():
                loaded = next(batches)
                batch = mesh.divide(run.devices, loaded.batch)
            progress.say(broken.add(loaded.broken))
            state, metrics = step_fn(state, batch)
            watch(progress, previous)  # one step late, so the device never waits
            previous = step, metrics
            scores, saves = runs.due(config, run, step)
            stopping = stop(step)
            if scores or saves or stopping:
                watch(progress, previous)
                previous = None
                found = results.validate(config, run, state) if scores else None
                progress.validated(step, found)
                checkpoint.save(writer, state, found)
            if stopping:
                break
    return state, int(state.step) == run.total


def watch(progress: "Progress", previous) -> None:
    """Count a step that was taken; stop where its numbers are none."""
    from rgcam.training import interruptions

    if previous is not None:
        step, metrics = previous
        numbers = {name: float(value) for name, value in metrics.items()}
        interruptions.check_finite(step, numbers)
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
