"""Peak memory of methods, measured in a separate process.

Resident memory is sampled every 2 ms during a second run and counted above its lowest
then (weights, frames, libraries). glibc hands every freed block of 64 KiB or
more back to the system there, or the first run's leftovers would hide the second's
peak. The process may have 0.8 of the free memory: what needs more is said to, and does
not bring down the machine. A method called once per t' is called for two of them: the
results of the others are not counted.
"""

import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import methods
from benchmarks.work import Case, Rows, Work, build, samples

SHARE = 0.8


def peaks(case: Case, names: Iterable[str]) -> dict[str, int | None]:
    """Return the bytes that each method takes; None where memory does not suffice.

    A process that is killed is started again for the methods after the one that killed
    it. Methods that are not installed are omitted.
    """
    peak_bytes, pending = {}, list(names)
    while pending:
        child = subprocess.run(
            [sys.executable, __file__, json.dumps(case), *pending],
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
            stdout=subprocess.PIPE,
            text=True,
        )
        if child.returncode > 0:
            sys.exit(f"error: {' '.join(pending)}: see above")  # a mistake, not memory
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        peak_bytes |= {name: peak for name, peak in lines if peak != "absent"}
        pending = pending[len(lines) :]
        if pending:
            peak_bytes[pending.pop(0)] = None
    return peak_bytes


def main(arguments: list[str]) -> None:
    """Print a line for each method, as soon as it is known."""
    case, *names = arguments
    work = build(Case(*json.loads(case)))
    for name in names:
        print(json.dumps([name, _peak(name, work)]), flush=True)


def _peak(name: str, work: Work) -> int | str | None:
    try:
        method = methods.make(name, work)
    except ImportError:
        return "absent"
    outs = samples(len(work.frames))
    try:
        with _limit():
            _settle(method.run(outs))
            gc.collect()
            with _Sampler() as sampler:
                _settle(method.run(outs))
    except (MemoryError, RuntimeError) as error:
        if "memory" in str(error).lower() or isinstance(error, MemoryError):
            return None
        raise
    return sampler.peak - sampler.lowest


class _Sampler(threading.Thread):
    """Watch the resident memory of this process until the end of a ``with``."""

    def __enter__(self):
        self.lowest = self.peak = _resident()
        self.stopped = threading.Event()
        self.start()
        return self

    def run(self):
        while not self.stopped.wait(0.002):
            now = _resident()
            self.peak, self.lowest = max(self.peak, now), min(self.lowest, now)

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    """Let this process grow by a share of the memory that is free now."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    pages = Path("/proc/self/statm").read_text().split()[0]
    limit = int(pages) * resource.getpagesize() + int(SHARE * 1024 * free)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _settle(rows: Rows) -> None:
    import jax

    jax.block_until_ready(tuple(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
