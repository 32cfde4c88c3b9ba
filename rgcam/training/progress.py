"""The progress of a run: its metrics, and the conditions under which it stops early.

Metrics are shown on the terminal and written as JSON lines and for TensorBoard. A run
stops early at SIGTERM, when too many clips have become unreadable, or when the loss is
not finite.
"""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import TextIO

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import UInt8
from tqdm import tqdm

from rgcam import files
from rgcam.errors import InputError


@contextlib.contextmanager
def _hidden(name: str) -> Generator[None]:
    """Let a package that is not imported yet look as if it were not installed."""
    imported = name in sys.modules
    if not imported:
        sys.modules[name] = None  # pyrefly: ignore[unsupported-operation]
    try:
        yield
    finally:
        if not imported:
            del sys.modules[name]


# tensorboardX imports PyTorch where that is installed, only to name the type of a tensor:
# 2.8 s of every start instead of 0.2.
with _hidden("torch"):
    from tensorboardX import SummaryWriter

METRICS = "metrics.jsonl"
_SHOWN = ("loss", "accuracy")


class Progress:
    """Show a bar (loss, accuracy, clips/s, time left) and write the metrics.

    ``metrics.jsonl`` has one object a line: step, seconds since the start of this
    process, the means of the metrics over the steps since the last line, clips/s, and
    ``waiting``: the share of that time spent waiting for the next batch. Lines of steps
    that a killed run took beyond its last checkpoint are removed. TensorBoard files are
    in ``tensorboard/``. Use it as a context manager.
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
        self.waited = 0.0
        self.rows: list[Mapping[str, float]] = []
        # None: a bar where there is a terminal.
        quiet = None if writes else True
        self.bar = tqdm(initial=first, total=total, unit="step", disable=quiet)
        self.board: SummaryWriter | None = None
        self.lines: TextIO | None = None
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
    def waiting(self) -> Generator[None]:
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
        self.rows = []
        self.waited, self.marked = 0.0, time.monotonic()

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
        """Write the scores of the validation clips, if they were scored."""
        self.flush(step)
        if scores:
            self.write(step, {f"validation_{n}": v for n, v in scores.items()})
            self.say([f"step {step}: validation accuracy {scores['accuracy']:.1%}"])

    def show(self, step: int, name: str, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Write an image for TensorBoard, which shows those of one name as a sequence."""
        if self.board is not None:
            self.board.add_image(name, image, step, dataformats="HWC")

    def say(self, sentences: Iterable[str]) -> None:
        """Print above the bar, once for all processes."""
        for sentence in sentences if self.writes else ():
            self.bar.write(files.printable(sentence))


class UnreadableClips:
    """Count the training clips that became unreadable during a run; too many end it."""

    def __init__(self, clips: int, share: float):
        """Start with none.

        Args:
            clips: number of training clips.
            share: of them that may become unreadable.
        """
        self.sentences: set[str] = set()
        self.clips, self.share = clips, share

    def add(self, sentences: Iterable[str]) -> list[str]:
        """Count some clips; return a message for each that was not counted before.

        Args:
            sentences: one for each unreadable clip of a batch.

        Raises:
            InputError: more than the allowed share of the clips is unreadable.
        """
        new = [s for s in dict.fromkeys(sentences) if s not in self.sentences]
        self.sentences |= set(new)
        if len(self.sentences) > self.share * self.clips:
            raise InputError(
                f"{len(self.sentences)} of {self.clips} training clips cannot be read "
                f"any more, above --config.data.max_broken={self.share}: {new[0]}"
            )
        return [f"skipped from now on: {sentence}" for sentence in new]


class StopRequest:
    """Whether to stop: SIGTERM was sent to this process or to another one of the run."""

    def __init__(self):
        self.received = False
        signal.signal(signal.SIGTERM, self._receive)

    def __call__(self, step: int) -> bool:
        """Return the answer after ``step``, the same in every process."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.received

    def _receive(self, *_: object) -> None:
        self.received = True


def check_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Stop a run whose metrics are not finite.

    Raises:
        InputError: names the step.
    """
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    if bad:
        raise InputError(
            f"training diverged at step {step} ({bad[0]} is {metrics[bad[0]]:g}): "
            "lower --config.learning_rate; the last good checkpoint is preserved"
        )


def _open_lines(workdir: Path, first: int) -> TextIO:
    """Open ``metrics.jsonl`` behind its line of step ``first``."""
    file = workdir / METRICS
    try:
        lines = [line for line in _lines(file) if _step(line) <= first]
        files.write_text(file, "".join(line + "\n" for line in lines))
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
