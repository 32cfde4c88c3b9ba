"""A run's numbers: on the terminal, in a JSON-lines file and for TensorBoard."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from rgcam.errors import InputError


class Progress:
    """Show a bar (loss, accuracy, clips/s, time left) and write the metrics.

    ``metrics.jsonl`` has one object a line: step, seconds since the start of this
    process, and the metrics. TensorBoard files lie in ``tensorboard/``. Use it as a
    context manager.
    """

    def __init__(self, workdir: Path, first: int, total: int, clips_per_step: int):
        self.start = time.monotonic()
        self.clips = clips_per_step
        try:
            self.lines = (workdir / "metrics.jsonl").open("a")
        except OSError as error:
            raise InputError(f"cannot write in {workdir}: {error}") from error
        self.board = SummaryWriter(str(workdir / "tensorboard"))
        self.bar = tqdm(initial=first, total=total, unit="step", disable=None)
        self.first = first

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self.bar, self.board, self.lines):
            part.close()

    def advance(self) -> None:
        """Count one step."""
        self.bar.update()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of a step; the bar shows loss, accuracy and clips/s."""
        seconds = time.monotonic() - self.start
        row = {"step": step, "seconds": round(seconds, 3), **metrics}
        self.lines.write(json.dumps(row) + "\n")
        self.lines.flush()
        for name, value in metrics.items():
            self.board.add_scalar(name, value, step)
        shown = {k: f"{v:.3f}" for k, v in metrics.items() if k in _SHOWN}
        rate = (step - self.first) * self.clips / seconds
        self.bar.set_postfix(shown | {"clips/s": f"{rate:.0f}"})

    def say(self, lines: Iterable[str]) -> None:
        """Print above the bar."""
        for line in lines:
            self.bar.write(line)


_SHOWN = ("loss", "accuracy")
