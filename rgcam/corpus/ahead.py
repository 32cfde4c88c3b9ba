"""Decode while the devices compute: threads that read ahead, bounded in memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Task = TypeVar("Task")
Item = TypeVar("Item")


def read_ahead(
    tasks: Iterable[Task],
    read: Callable[[Task], Item],
    cost: Callable[[Task], int],
    *,
    threads: int,
    max_bytes: int,
) -> Iterator[Item]:
    """Yield ``read(task)`` of every task, in the order in which they are done.

    At most two tasks a thread, and tasks of at most ``max_bytes`` together, are begun
    and not yet taken; one that costs more is read alone. What ``read`` raises is
    raised here.

    Args:
        tasks: what to read.
        read: called in the threads.
        cost: bytes that a task may take; called here, so it should be quick.
        threads: how many read at once.
        max_bytes: of everything that is read ahead.
    """
    begun: dict[Future[Item], int] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        try:
            for task in tasks:
                need = min(cost(task), max_bytes)
                full = max_bytes - need
                while len(begun) >= 2 * threads or sum(begun.values()) > full:
                    yield from _take(begun)
                begun[pool.submit(read, task)] = need
            while begun:
                yield from _take(begun)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _take(begun: dict[Future[Item], int]) -> Iterator[Item]:
    """Wait until something is read; give its bytes back."""
    for future in wait(begun, return_when=FIRST_COMPLETED).done:
        del begun[future]
        yield future.result()
