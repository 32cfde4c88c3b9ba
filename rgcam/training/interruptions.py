"""What may befall a run: a signal, clips that break, numbers that are none."""

import signal
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from rgcam.errors import InputError


class Breakage:
    """Count the training clips that broke since the run began; too many end it."""

    def __init__(self, clips: int, share: float):
        self.names, self.clips, self.share = set(), clips, share

    def add(self, sentences: tuple[str, ...]) -> list[str]:
        """Return the sentences that are new.

        Raises:
            InputError: more than the set share of the clips is broken.
        """
        new = [s for s in dict.fromkeys(sentences) if s not in self.names]
        self.names |= set(new)
        if len(self.names) > self.share * self.clips:
            raise InputError(
                f"{len(self.names)} of {self.clips} training clips cannot be read any "
                f"more, above --config.data.max_broken={self.share}: {new[0]}"
            )
        return [f"left out from now on: {sentence}" for sentence in new]


class Stop:
    """Ask whether to stop: SIGTERM came, to this process or to any of the run's."""

    def __init__(self):
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def __call__(self, step: int) -> bool:
        """Return the answer after ``step``, the same in every process."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.asked

    def _ask(self, *_: object) -> None:
        self.asked = True


def check_finite(step: int, metrics: Mapping[str, float]) -> None:
    """Stop a run whose numbers are none any more.

    Raises:
        InputError: names the step.
    """
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    if bad:
        raise InputError(
            f"training diverged at step {step} ({bad[0]} is {metrics[bad[0]]:g}): "
            "lower --config.learning_rate; the last good checkpoint is kept"
        )
