"""The same work by the workers of a Ray cluster, one to each of its GPUs.

Ray Data gives groups of videos to actors, each of which holds the loaded, compiled
model. Scheduling, restarts and retries are Ray's: an actor that dies is started again
and its group is explained again, over the same files. Workers read the videos and
write the files themselves, so both must lie where all nodes see them; rgcam must be
installed there. The manifest is written by the process that was started.
"""

import contextlib
import functools
import importlib
import json
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax

from rgcam.corpus import worker
from rgcam.corpus.jobs import Job, Task
from rgcam.corpus.manifest import Row
from rgcam.errors import InputError

GROUP = 32  # videos that a worker is given at once, and that its death repeats
TRIES = 5  # times that a group is given out again after its worker died


class Explainer:
    """What each actor holds: a job on its devices."""

    def __init__(self, job: Job):
        """Put the models on the devices that Ray gave to this actor."""
        self.worker = worker.start(job)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        """Explain a group of videos; yield its rows, or what stops the run."""
        tasks = [Task(*task) for task in json.loads(str(batch["group"][0]))]
        try:
            for row in worker.rows(self.worker, tasks):
                yield {"row": [json.dumps(row)]}
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            yield {"row": [json.dumps({"stop": f"{kind}{error}"})]}


def prepare() -> None:
    """Make sure that Ray is there, and leave the accelerators to the workers.

    Raises:
        InputError: Ray is not installed.
    """
    _ray()
    jax.config.update("jax_platforms", "cpu")  # of this process alone


def engine(
    address: str | None, workers: int
) -> Callable[[Job, Sequence[Task]], Iterator[Row]]:
    """Return ``rows`` on one cluster."""
    return functools.partial(rows, address=address, workers=workers)


def rows(
    job: Job, tasks: Sequence[Task], address: str | None, workers: int
) -> Iterator[Row]:
    """Explain on a Ray cluster; yield a manifest row for each video, in any order.

    Args:
        job: what to do.
        tasks: the videos.
        address: of the cluster; None: one on this machine, for this run.
        workers: processes that explain; 0: one a GPU, or a node where there is none.

    Raises:
        InputError: there is no such cluster, no worker starts, or what
            ``worker.rows`` raises.
    """
    ray, left = _ray(), {task.video: task for task in tasks}
    _connect(ray, address)
    try:
        for size in (GROUP, 1):  # one video that kills its workers spoils no other
            for found in _explained(ray, job, list(left.values()), workers, size):
                row = json.loads(found["row"])
                if "stop" in row:
                    raise InputError(row["stop"])
                if left.pop(row["video"], None):
                    yield row
    except ray.exceptions.RayError as error:
        text = str(error).strip().splitlines()[-1]
        raise InputError(
            f"Ray gave up ({text}): look at its logs, then run the same command again"
        ) from error
    finally:
        ray.shutdown()
    error = "every worker that was given it died"
    yield from ({"video": v, "status": "failed", "error": error} for v in left)


def _explained(
    ray: Any, job: Job, tasks: Sequence[Task], workers: int, size: int
) -> Iterable[Any]:
    """Return what the actors yield, given ``size`` tasks at a time."""
    if not tasks:
        return ()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a group that is given up does not end the run
    context.max_consecutive_actor_init_deaths = TRIES
    starts = range(0, len(tasks), size)
    groups = [{"group": json.dumps(tasks[i : i + size])} for i in starts]
    data = ray.data.from_items(groups, override_num_blocks=len(groups))
    count, resources = share(ray.nodes(), workers)
    pool = ray.data.ActorPoolStrategy(
        size=min(count, len(groups)), max_tasks_in_flight_per_actor=1
    )
    with warnings.catch_warnings():  # Ray 2.60 deprecates the last two; the extra
        warnings.simplefilter("ignore")  # [ray] allows no version without them
        explained = data.map_batches(
            Explainer,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=pool,
            **resources,
            max_restarts=-1,
            max_task_retries=TRIES,
        )
    return explained.iter_rows()


def share(nodes: Sequence[dict[str, Any]], workers: int) -> tuple[int, dict[str, Any]]:
    """Return the number of workers and what each of them asks of its node.

    Args:
        nodes: as ``ray.nodes()`` describes them.
        workers: as many as are wanted; 0: one a GPU, or a node where there is none.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in alive))
    if gpus:
        return min(workers, gpus) or gpus, {"num_gpus": 1}
    cpus = [node.get("CPU", 0) for node in alive]
    count = workers or sum(cpu > 0 for cpu in cpus)
    each = sum(cpus) / max(count, 1)
    return count, {"num_cpus": min(each, max(cpus)) if each < 1 else int(each)}


def _connect(ray: Any, address: str | None) -> None:
    """Join a cluster, or start one for this run alone."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options = {} if address else {"include_dashboard": False}
    try:
        _check_reachable(address or "")
        with _silence():
            ray.init(
                address or "local",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **options,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot reach a Ray cluster at --ray_address={address}: {error}"
        ) from error


def _check_reachable(address: str) -> None:
    """Fail at once where nothing answers; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep off the terminal what Ray's C++ prints whatever its log level."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _ray() -> Any:
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            "--engine=ray needs Ray: pip install 'rgcam[ray]', or -e '.[ray]'"
        ) from error
