"""Clips -> batches, by Grain: shuffled, augmented, padded, shared among processes.

Batch n of a run is a function of the seed and n alone, whatever the number of threads,
workers and processes, so that a run resumes from the number of its step.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from rgcam.data import augment
from rgcam.data.augment import Augmentation
from rgcam.data.cache import CacheError
from rgcam.data.clips import Batch, Clips, Indexed
from rgcam.errors import InputError

POOL = 8  # batches whose clips are sorted by length together
THREADS = 2  # threads that load batches, in this process or in each worker
PREFETCH = 4  # batches that are loaded ahead


class Loaded(NamedTuple):
    """A batch, and one sentence for each of its clips that could not be read."""

    batch: Batch
    broken: tuple[str, ...] = ()


class Plan:
    """Which clips make batch n, and to how many steps they are padded.

    An epoch is a new permutation of all clips (the first few again where the last
    batch would not be full). Within pools of 8 batches the clips are sorted by
    length, so that a batch's clips are nearly as long as each other; the batches of
    an epoch then come in random order.

    Attributes:
        per_epoch: batches in an epoch.
    """

    def __init__(
        self,
        lengths: Int[np.ndarray, " N"],
        *,
        batch_size: int,
        length: int,
        bucket: int,
        seed: int,
    ):
        """Plan global batches of windows of at most ``length`` steps.

        Args:
            lengths: steps of each clip.
            batch_size: B, over all processes.
            length: steps of the longest window.
            bucket: padded lengths are multiples of it, and ``length``; 0: ``length``.
            seed: of the order and of every random view.
        """
        self.lengths = np.minimum(lengths, length)
        self.batch_size, self.length, self.seed = batch_size, length, seed
        self.bucket = bucket or length
        self.per_epoch = -(-len(lengths) // batch_size)
        self._order = functools.lru_cache(2)(self._shuffled)

    def __getitem__(self, step: int) -> tuple[Int[np.ndarray, " B"], int]:
        """Return the clips of batch ``step`` and their padded length."""
        clips = self._order(step // self.per_epoch)[step % self.per_epoch]
        longest = int(self.lengths[clips].max())
        return clips, min(-(-longest // self.bucket) * self.bucket, self.length)

    def _shuffled(self, epoch: int) -> Int[np.ndarray, "batches B"]:
        rng = np.random.default_rng((self.seed, 0, epoch))
        order = rng.permutation(len(self.lengths))
        order = np.resize(order, self.per_epoch * self.batch_size)
        if self.bucket < self.length:
            pools = np.split(order, range(0, len(order), POOL * self.batch_size)[1:])
            order = np.concatenate([p[self._by_length(p)] for p in pools])
        batches = order.reshape(self.per_epoch, self.batch_size)
        return batches[rng.permutation(self.per_epoch)]

    def _by_length(self, clips: np.ndarray) -> np.ndarray:
        return np.argsort(self.lengths[clips], kind="stable")

    def __getstate__(self) -> dict[str, object]:
        """Leave out the cache of orders, which cannot be pickled."""
        return {k: v for k, v in self.__dict__.items() if k != "_order"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore a plan in a worker process, with a cache of its own."""
        self.__dict__.update(state)
        self._order = functools.lru_cache(2)(self._shuffled)


class TrainingBatches:
    """Grain's random-access source of a run's batches: ``[n]`` is batch n."""

    def __init__(
        self,
        clips: Clips,
        plan: Plan,
        options: Augmentation,
        total: int,
        share: tuple[int, int] = (0, 1),
    ):
        """Describe the batches.

        Args:
            clips: to train on.
            plan: of the global batches.
            options: how clips are changed.
            total: number of batches in the run.
            share: (i, n): this process is number i of n and loads its rows only.
        """
        self.clips, self.plan, self.options = clips, plan, options
        self.total, self.like = total, example(clips)
        self.rows = _rows(plan.batch_size, share)

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, step: int) -> Loaded:
        """Load batch ``step``: this process's rows of it."""
        batch, length = self.plan[step]
        rows = range(len(batch))[self.rows]
        views = [self._view(int(batch[row]), step, row) for row in rows]
        return collate(self.clips, batch[self.rows], views, length, self.like)

    def _view(self, index: int, step: int, row: int) -> np.ndarray | str:
        rng = np.random.default_rng((self.plan.seed, 1, step, row))
        mirror = self.options.mirror and rng.random() < 0.5
        source = self.clips.mirrored if mirror else self.clips.inputs
        steps = read(source or self.clips.inputs, self.clips.names, index)
        if isinstance(steps, str):
            return steps
        steps = augment.window(steps, self.plan.length, self.options.stride, rng)
        frames = steps.dtype == np.uint8
        return augment.pixels(steps, self.options, rng) if frames else steps


def training_batches(
    source: TrainingBatches, first: int, workers: int = 0
) -> Iterator[Loaded]:
    """Yield batches number ``first`` and on, loaded ahead by threads or workers.

    Args:
        source: the batches of the run.
        first: where to begin; the batches are those of a run begun at 0.
        workers: processes that load; 0: threads of this process, enough where
            decoding releases Python's lock, as it does here.
    """
    if not flags.FLAGS.is_parsed():  # Grain's workers read flags
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=PREFETCH)
    # Grain's type asks for slices too; it indexes by whole numbers only.
    dataset = grain.MapDataset.source(source)  # pyrefly: ignore[bad-argument-type]
    batches = dataset[first:].to_iter_dataset(options)
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(workers))
    yield from batches


def evaluation_batches(
    clips: Clips,
    *,
    batch_size: int,
    multiple: int = 16,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Int[np.ndarray, " B"], Loaded]]:
    """Yield every clip once, whole, shortest first; the last batch is filled up.

    Lengths are padded to a multiple of ``multiple``, so that few shapes compile.

    Yields:
        The clips of the global batch, -1 in rows that only fill it up, and this
        process's rows of the batch.
    """
    like, rows = example(clips), _rows(batch_size, share)
    order = np.argsort(clips.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        batch = np.full(batch_size, -1)
        part = order[start : start + batch_size]
        batch[: len(part)] = part
        length = -(-int(clips.lengths[part].max()) // multiple) * multiple
        views = [_whole_clip(clips, int(i)) for i in batch[rows]]
        yield batch, collate(clips, batch[rows], views, length, like)


def collate(
    clips: Clips,
    indices: Int[np.ndarray, " b"],
    views: Sequence[np.ndarray | str],
    length: int,
    like: np.ndarray,
) -> Loaded:
    """Pad the views of some clips to one length; a broken one becomes an empty row.

    Args:
        clips: all clips.
        indices: numbers of those in the batch; -1: none.
        views: (t ...) each, or the error of reading the clip; "" where there is none.
        length: T.
        like: one step of any clip, for its shape and type.
    """
    inputs = np.zeros((len(indices), length, *like.shape), like.dtype)
    labels = clips.labels[indices].astype(np.int32)
    lengths = np.zeros(len(indices), np.int32)
    for row, view in enumerate(views):
        if isinstance(view, str):
            labels[row] = -1
            continue
        lengths[row] = min(len(view), length)
        inputs[row, : lengths[row]] = view[:length]
    broken = tuple(v for v in views if isinstance(v, str) and v)
    words = None if clips.words is None else clips.words[indices].astype(np.int32)
    return Loaded(Batch(inputs, labels, lengths, words), broken)


def read(inputs: Indexed, names: Sequence[str], index: int) -> np.ndarray | str:
    """Return a clip, or one sentence that says why it cannot be read any more."""
    try:
        return inputs[index]
    except CacheError:
        raise
    except (InputError, OSError) as error:
        text = str(error)
        return text if names[index] in text else f"{names[index]}: {text}"


def example(clips: Clips) -> np.ndarray:
    """Return one step of the first clip that can be read.

    Raises:
        InputError: there is none.
    """
    clip: np.ndarray | str = "there is none"
    for index in range(len(clips.labels)):
        clip = read(clips.inputs, clips.names, index)
        if not isinstance(clip, str):
            return clip[0]
    raise InputError(f"none of the clips can be read: {clip}")


def _whole_clip(clips: Clips, index: int) -> np.ndarray | str:
    return read(clips.inputs, clips.names, index) if index >= 0 else ""


def _rows(batch_size: int, share: tuple[int, int]) -> slice:
    number, processes = share
    part = batch_size // processes
    return slice(number * part, (number + 1) * part)
