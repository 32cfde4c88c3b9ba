"""Kill training with SIGKILL again and again: is anything lost?

    python benchmarks/kill.py --kills=20

Trains a small stickman CNN once without a break, and once killed at random moments,
also in the middle of saves (a checkpoint is written after every step), each time
started again by the same command. Prints a table; fails where the parameters are
not bit for bit those of the unbroken run, or a step is missing from or double in its
metrics.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]


class Kill(NamedTuple):
    """One kill: seconds from the start, steps saved by then, whether mid-save."""

    seconds: float
    saved: int
    saving: bool


def command(workdir: Path, epochs: int) -> list[str]:
    """Return the command that is given again and again: two steps an epoch."""
    options = {
        "data.train_clips": 16,
        "data.test_clips": 8,
        "batch_size": 8,
        "epochs": epochs,
        "model.width": 8,
        "checkpoint_steps": 1,
    }
    return [
        sys.executable,
        str(ROOT / "train.py"),
        f"--config={ROOT / 'configs' / 'stickman_cnn.py'}",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in options.items()),
    ]


def environment(cache: Path) -> dict[str, str]:
    """Return one device, and a cache that spares each start the compilation."""
    return os.environ | {
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def run_killed(folder: Path, epochs: int, kills: int, seed: int = 0) -> Iterator[Kill]:
    """Train in ``folder/killed``, killing so many times; then to the end."""
    rng, workdir = random.Random(seed), folder / "killed"
    for _ in range(kills):
        yield _run_and_kill(command(workdir, epochs), workdir, folder, rng)
    run_unbroken(folder, epochs, "killed")


def run_unbroken(folder: Path, epochs: int, name: str = "unbroken") -> None:
    """Train to the end in ``folder/name``."""
    subprocess.run(
        command(folder / name, epochs),
        env=environment(folder / "cache"),
        check=True,
        capture_output=True,
    )


def lost(folder: Path, epochs: int) -> list[str]:
    """Return the differences between the two runs; an empty list if there are none."""
    from rgcam.models import zoo

    leaves = [_leaves(zoo.load_model(folder / n)) for n in ("unbroken", "killed")]
    differences = [
        f"parameters {name} differ by {np.abs(leaves[1][name] - value).max():.3g}"
        for name, value in leaves[0].items()
        if not np.array_equal(value, leaves[1][name])
    ]
    text = (folder / "killed" / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in text.splitlines()]
    complete = sorted(set(steps)) == steps and steps[-1] == 2 * epochs
    return differences + ([] if complete else [f"metrics hold the steps {steps}"])


def _run_and_kill(arguments, workdir: Path, folder: Path, rng) -> Kill:
    before, began = _entries(workdir), time.monotonic()
    process = subprocess.Popen(
        arguments,
        env=environment(folder / "cache"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while _entries(workdir) == before and process.poll() is None:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.6))
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"ended before it was killed: {err[-500:]}")
    entries = _entries(workdir)
    saved = max((int(name) for name in entries if name.isdigit()), default=0)
    saving = any("tmp" in name for name in entries)
    return Kill(time.monotonic() - began, saved, saving)


def _entries(workdir: Path) -> set[str]:
    folder = workdir / "checkpoints"
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


def _leaves(model) -> dict[str, np.ndarray]:
    from flax import traverse_util

    flat = traverse_util.flatten_dict(model.variables["params"], sep="/")
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


def main() -> None:
    """Kill the given number of times and print what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    epochs = 4 * options.kills
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_unbroken(folder, epochs)
        print("kill  after s  steps saved  mid-save", flush=True)
        kills = run_killed(folder, epochs, options.kills, options.seed)
        for number, kill in enumerate(kills, 1):
            middle = "yes" if kill.saving else "no"
            print(f"{number:4} {kill.seconds:8.1f} {kill.saved:12} {middle:>9}")
        losses = lost(folder, epochs)
    print("; ".join(losses) or f"nothing lost: {2 * epochs} steps, bit-identical")
    sys.exit(bool(losses))


if __name__ == "__main__":
    main()
