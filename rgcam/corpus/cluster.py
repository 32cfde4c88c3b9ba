"""The same work by the workers of a Ray cluster, one for each of its GPUs.

Ray Data gives groups of videos to actors, each of which holds the loaded, compiled
model. Scheduling, restarts and retries are Ray's: an actor that dies is started again
and its group is explained again, over the same files. Workers read the videos and
write the files themselves, so both must be in folders that all nodes share; rgcam must
be installed there. The manifest is written by the process that was started.
"""

import contextlib
import functools
import importlib
import json
import logging
import os
import socket
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np

from rgcam.corpus import worker
from rgcam.corpus.jobs import Job, Task
from rgcam.corpus.manifest import Row
from rgcam.corpus.run import Engine
from rgcam.errors import InputError

GROUP = 32  # videos that a worker is given at once, and that its death repeats
TRIES = 5  # times that a group is given out again after its worker died


class Share(NamedTuple):
    """How the workers share a cluster.

    Attributes:
        workers: their number.
        gpus: of each worker.
        cpus: of each worker; a fraction where nodes have fewer cores than workers.
    """

    workers: int
    gpus: int = 0
    cpus: float = 0


class Explainer:
    """What each actor holds: a job on its devices."""

    def __init__(self, job: Job):
        """Put the models on the devices that Ray gave to this actor."""
        self.worker = worker.start(job)

    def __call__(
        self, batch: Mapping[str, np.ndarray]
    ) -> Iterator[dict[str, list[str]]]:
        """Explain a group of videos; yield its rows, or the error that ends the run."""
        tasks = [Task(*task) for task in json.loads(str(batch["group"][0]))]
        try:
            for row in worker.explain_videos(self.worker, tasks):
                yield {"row": [json.dumps(row)]}
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            yield {"row": [json.dumps({"stop": f"{kind}{error}"})]}


def engine(address: str | None, workers: int) -> Engine:
    """Return the engine of a cluster, and leave the accelerators to its workers.

    Args:
        address: of the cluster; None: one on this machine, for this run.
        workers: processes that explain; 0: one per GPU, or per node without GPUs.

    Raises:
        InputError: Ray is not installed.
    """
    _import_ray()
    jax.config.update("jax_platforms", "cpu")  # of this process alone
    return functools.partial(explain_on_cluster, address=address, workers=workers)


def explain_on_cluster(
    job: Job, tasks: Sequence[Task], *, address: str | None, workers: int
) -> Iterator[Row]:
    """Explain on a Ray cluster; yield a manifest row for each video, in any order.

    Args:
        job: what to do.
        tasks: the videos.
        address: see ``engine``.
        workers: see ``engine``.

    Raises:
        InputError: the cluster cannot be reached, no worker starts, nothing can be
            written, or a batch does not fit on the devices.
    """
    ray = _import_ray()
    remaining = {task.video: task for task in tasks}
    _connect(ray, address)
    try:
        # Then one by one: a video that kills its workers affects no other.
        for size in (GROUP, 1):
            groups = list(remaining.values())
            for result in _explain_groups(ray, job, groups, workers, size):
                row = json.loads(result["row"])
                if "stop" in row:
                    raise InputError(row["stop"])
                if remaining.pop(row["video"], None):  # not twice, after a restart
                    yield row
    except ray.exceptions.RayError as error:
        text = str(error).strip().splitlines()[-1]
        raise InputError(
            f"Ray gave up ({text}): look at its logs, then run the same command again"
        ) from error
    finally:
        ray.shutdown()
    for video in remaining:
        error = "every worker that was given it died"
        yield {"video": video, "status": "failed", "error": error}


def _explain_groups(
    ray: ModuleType, job: Job, tasks: Sequence[Task], workers: int, size: int
) -> Iterable[Mapping[str, str]]:
    """Return what the actors yield, each of which is given ``size`` tasks at a time."""
    if not tasks:
        return ()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a group that is given up does not end the run
    context.max_consecutive_actor_init_deaths = TRIES
    starts = range(0, len(tasks), size)
    groups = [{"group": json.dumps(tasks[i : i + size])} for i in starts]
    data = ray.data.from_items(groups, override_num_blocks=len(groups))
    share = share_cluster(ray.nodes(), workers)
    pool = ray.data.ActorPoolStrategy(
        size=min(share.workers, len(groups)), max_tasks_in_flight_per_actor=1
    )
    # Ray 2.60 deprecates the last two; the extra [ray] allows no version without them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explained = data.map_batches(
            Explainer,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=pool,
            num_gpus=share.gpus or None,
            num_cpus=share.cpus or None,
            max_restarts=-1,
            max_task_retries=TRIES,
        )
    return explained.iter_rows()


def share_cluster(nodes: Sequence[Mapping[str, object]], workers: int) -> Share:
    """Divide a cluster among workers.

    Args:
        nodes: as ``ray.nodes()`` describes them.
        workers: as many as are wanted; 0: one per GPU, or per node without GPUs.
    """
    alive = [_resources(node) for node in nodes if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in alive))
    if gpus:
        return Share(workers=min(workers, gpus) or gpus, gpus=1)
    cpus = [node.get("CPU", 0) for node in alive]
    count = workers or sum(cpu > 0 for cpu in cpus)
    each = sum(cpus) / max(count, 1)
    return Share(workers=count, cpus=min(each, max(cpus)) if each < 1 else int(each))


def _resources(node: Mapping[str, object]) -> Mapping[str, float]:
    resources = node["Resources"]
    assert isinstance(resources, Mapping)
    return resources


def _connect(ray: ModuleType, address: str | None) -> None:
    """Join a cluster, or start one for this run alone."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _check_reachable(address or "")
        with _silence():
            ray.init(
                address or "local",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                # A cluster that exists has its dashboard, or none, already.
                include_dashboard=None if address else False,
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
def _silence() -> Generator[None]:
    """Discard what Ray's C++ code prints on stderr at any log level."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _import_ray() -> ModuleType:
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            "--engine=ray needs Ray: pip install 'rgcam[ray]', or -e '.[ray]'"
        ) from error
