"""A run's numbers: on the terminal, in a JSON-lines file and for TensorBoard."""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from rgcam.errors import InputError

METRICS = "metrics.jsonl"
_SHOWN = ("loss", "accuracy")


class Progress:
    """Show a bar (loss, accuracy, clips/s, time left) and write the metrics.

    ``metrics.jsonl`` has one object a line: step, seconds since the start of this
    process, the means of the metrics over the steps since the last line, clips/s, and
    ``waiting``: the share of that time in which the next batch was waited for. Lines
    of steps that a killed run took beyond its last checkpoint are removed.
    TensorBoard files lie in ``tensorboard/``. Use it as a context manager.
    """

    def __init__(
        self,
        workdir: Path,
        first: int,
        total: int,
        clips_per_step: int,
        *,
        every: int = 20,
        writes: bool = True,
    ):
        """Start at step ``first`` of ``total``.

        Args:
            workdir: the run's folder.
            first: steps taken by earlier processes.
            total: steps of the run.
            clips_per_step: global batch size.
            every: steps a line.
            writes: False in all but one of a run's processes.
        """
        self.clips, self.every, self.writes = clips_per_step, every, writes
        self.start = self.marked = time.monotonic()
        self.waited, self.rows = 0.0, []
        self.bar = tqdm(initial=first, total=total, unit="step", disable=_quiet(writes))
        self.board = self.lines = None
        if writes:
            self.lines = _open_lines(workdir, first)
            self.board = SummaryWriter(str(workdir / "tensorboard"))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self.bar, self.board, self.lines):
            if part is not None:
                part.close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for input."""
        began = time.monotonic()
        yield
        self.waited += time.monotonic() - began

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Count a step with its metrics; write a line at every ``every``-th."""
        self.bar.update()
        self.rows.append(metrics)
        if step % self.every == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Write the means since the last line."""
        if not self.rows:
            return
        seconds = time.monotonic() - self.marked
        means = {n: float(np.mean([r[n] for r in self.rows])) for n in self.rows[0]}
        rate = len(self.rows) * self.clips / seconds
        shown = {n: f"{means[n]:.3f}" for n in _SHOWN if n in means}
        self.bar.set_postfix(shown | {"clips/s": f"{rate:.0f}"})
        means |= {"clips_per_second": rate, "waiting": self.waited / seconds}
        self.write(step, means)
        self.rows, self.waited, self.marked = [], 0.0, time.monotonic()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write one line of numbers, and the same for TensorBoard."""
        if self.lines is None or self.board is None:
            return
        seconds = round(time.monotonic() - self.start, 3)
        rounded = {name: float(f"{value:.6g}") for name, value in numbers.items()}
        try:
            self.lines.write(
                json.dumps({"step": step, "seconds": seconds} | rounded) + "\n"
            )
            self.lines.flush()
        except OSError as error:
            raise InputError(f"cannot write {self.lines.name}: {error}") from error
        for name, value in numbers.items():
            self.board.add_scalar(name, value, step)

    def validated(self, step: int, scores: Mapping[str, float] | None) -> None:
        """Write what the validation clips scored, if they were."""
        self.flush(step)
        if scores:
            self.write(step, {f"validation_{n}": v for n, v in scores.items()})
            self.say([f"step {step}: validation accuracy {scores['accuracy']:.1%}"])

    def say(self, sentences: Iterable[str]) -> None:
        """Print above the bar, once for all processes."""
        for sentence in sentences if self.writes else ():
            self.bar.write(sentence)


def _quiet(writes: bool) -> bool | None:
    return None if writes else True  # None: a bar where there is a terminal


def _open_lines(workdir: Path, first: int):
    """Open ``metrics.jsonl`` behind its line of step ``first``."""
    file = workdir / METRICS
    try:
        kept = [line for line in _lines(file) if _step(line) <= first]
        part = file.with_suffix(".part")
        part.write_text("".join(line + "\n" for line in kept))
        os.replace(part, file)
        return file.open("a")
    except OSError as error:
        raise InputError(f"cannot write in {workdir}: {error}") from error


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _step(line: str) -> float:
    """Return a line's step; a line cut off by a kill belongs to none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
