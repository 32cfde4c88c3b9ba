"""Train a FrameCNN or an LRCN; running the same command again resumes.

python train.py --config=configs/stickman_lrcn.py --workdir=RUN [--config.field=value]
"""

import functools
import json
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from rgcam import checkpoint, cli, data, models, runs, training
from rgcam.errors import InputError
from rgcam.progress import Progress

CONFIG = config_flags.DEFINE_config_file("config", help_string="file in configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run, made if missing")
EXPORT = flags.DEFINE_string(
    "export", None, "at the end, also write the model here, small, in half precision"
)
LOG_EVERY = 20  # steps


def main() -> None:
    """Build what the config says, train it, evaluate it."""
    config, workdir = runs.start(CONFIG, WORKDIR.value)
    description, source = runs.prepare(config)
    checkpoint.write_description(workdir, description)
    for sentence in source.unreadable:
        print(f"left out: {sentence}")
    module = models.build(description.arch, len(description.classes))
    per_epoch = -(-len(source.train.labels) // config.batch_size)
    state = runs.initial_state(config, description, module, per_epoch)
    with checkpoint.checkpointer(workdir) as writer:
        state = checkpoint.restore(writer, state)
        state = train(config, workdir, writer, source, description, state, per_epoch)
    results = runs.evaluate(config, source, description, state)
    results["command"] = shlex.join(["python", *sys.argv])
    (workdir / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(runs.report(results, description.classes))
    if EXPORT.value:
        checkpoint.export(workdir, Path(EXPORT.value), results)


def train(config, workdir, writer, source, description, state, per_epoch):
    """Run the steps that are left; checkpoint at the end of every epoch."""
    step_of = functools.partial(
        training.train_step,
        smoothing=config.smoothing,
        last_step=config.loss == "last_step",
    )
    step_fn = jax.jit(step_of, donate_argnames="state")
    first, total = int(state.step), per_epoch * config.epochs
    pending = None  # metrics are read one log step late, so the device never waits
    with Progress(workdir, first, total, config.batch_size) as progress:
        for step in range(first, total):
            batch = data.training_batch(
                source.train,
                description.preprocess,
                step,
                batch_size=config.batch_size,
                length=config.data.length,
                seed=config.seed,
            )
            state, metrics = step_fn(state, batch)
            progress.advance()
            epoch_ends = (step + 1) % per_epoch == 0
            if (step + 1) % LOG_EVERY == 0 or epoch_ends:
                log(progress, pending)
                pending = step + 1, metrics
            if epoch_ends:
                log(progress, pending)
                pending = None
                checkpoint.save(writer, state)
    return state


def log(progress: Progress, pending) -> None:
    """Write the metrics of an earlier step; stop where one is not finite."""
    if pending is None:
        return
    step, metrics = pending
    numbers = {name: float(value) for name, value in metrics.items()}
    if not np.isfinite(list(numbers.values())).all():
        raise InputError(
            f"training diverged at step {step} (loss {numbers['loss']:g}): lower "
            "--config.learning_rate; the last checkpoint is kept"
        )
    progress.write(step, numbers)


if __name__ == "__main__":
    cli.run(main)
