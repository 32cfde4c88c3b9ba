"""Train a FrameCNN or an LRCN; running the same command again goes on where it was.

python train.py --config=configs/stickman_lrcn.py --workdir=RUN [--config.field=value]
"""

import functools
import shlex
import sys
from pathlib import Path

import jax
from absl import flags

from rgcam.commands import app
from rgcam.data import pipeline
from rgcam.models import zoo
from rgcam.training import checkpoint, mesh, results
from rgcam.training import config as configuration
from rgcam.training import run as runs
from rgcam.training import step as training
from rgcam.training.interruptions import Breakage, Stop, check_finite
from rgcam.training.progress import Progress

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run, made if missing")
EXPORT = flags.DEFINE_string(
    "export", None, "at the end, also write the model here, small, in half precision"
)


def main() -> None:
    """Build what the config says, train it, evaluate it."""
    config, workdir = configuration.start(WORKDIR.value)
    mesh.start_if_asked()
    first = mesh.is_first()  # the process that writes and prints
    configuration.keep(workdir, config, write=first)
    run = runs.prepare(config)
    if first:
        zoo.write_description(workdir, run.description)
    with checkpoint.checkpointer(workdir, trains=True) as writer:
        state, step = checkpoint.restore(writer, run.state)
        state, finished = train(config, workdir, writer, run, state, step)
        checkpoint.wait(writer)
        if not finished:
            return print(f"stopped by SIGTERM; the same command goes on: {workdir}")
        state, step = checkpoint.restore(writer, state, best=True)
    scores = results.test(config, run, state) | {"steps": step}
    scores |= {"command": shlex.join(["python", *sys.argv])}
    if first:
        results.write(workdir, scores, run.source.classes)
        print(results.text(scores, run.source.classes))
    if first and EXPORT.value:
        zoo.export(workdir, Path(EXPORT.value), scores)


def train(config, workdir, writer, run, state, first):
    """Take the steps that are left; return the state and whether all were taken."""
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


def watch(progress: Progress, previous) -> None:
    """Count a step that was taken; stop where its numbers are none."""
    if previous is not None:
        step, metrics = previous
        numbers = {name: float(value) for name, value in metrics.items()}
        check_finite(step, numbers)
        progress.add(step, numbers)


if __name__ == "__main__":
    app.run(main)
