"""Statistics of a run's training clips, by which clips unlike them are found later."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.data import pipeline
from rgcam.data.clips import Batch, Clips, Indexed
from rgcam.models import out_of_distribution
from rgcam.models.out_of_distribution import FeatureStatistics
from rgcam.training import mesh
from rgcam.training.fields import Config
from rgcam.training.run import Run
from rgcam.training.step import TrainState, merge
from rgcam.types import Tensor, Variables

CLIPS = 1000  # of the training clips, at most: more hardly change the statistics


class Pooled(NamedTuple):
    """Feature vectors of N clips.

    Attributes:
        vectors: averages of the feature maps over cells and frames.
        groups: the recording of each clip.
    """

    vectors: Float[np.ndarray, "N K"]
    groups: list[str]


def fit_statistics(
    config: Config, run: Run, state: TrainState
) -> FeatureStatistics | None:
    """Compute the statistics of a trained model's training clips, as they are stored.

    Training clips are seen whole and without augmentation. Every process computes with
    all others, and returns the same.

    Args:
        config: of the run.
        run: its parts.
        state: the trained state.

    Returns:
        None if there are too few clips or recordings.
    """
    training = pool_clips(config, run, state, choose(run.source.train, CLIPS))
    validation = None
    if run.source.validation is not None:
        validation = pool_clips(config, run, state, run.source.validation).vectors
    return out_of_distribution.fit(training.vectors, training.groups, validation)


def pool_clips(config: Config, run: Run, state: TrainState, clips: Clips) -> Pooled:
    """Compute the feature vectors of clips on all devices; unreadable ones are left out."""
    pool_batch = jax.jit(_pool_batch(run, config.model.head))
    variables = {"params": merge(state.frozen, state.params)}
    share = jax.process_index(), jax.process_count()
    vectors: list[np.ndarray] = []
    groups: list[str] = []
    for numbers, loaded in pipeline.evaluation_batches(
        clips, batch_size=config.batch_size, share=share
    ):
        batch = mesh.divide(run.devices, loaded.batch)
        # TF32 is not float32, in which a clip is compared later.
        with jax.default_matmul_precision("highest"):
            pooled = pool_batch(variables, batch)
        lengths, pooled = mesh.gather((batch.lengths, pooled))
        readable = lengths > 0
        vectors.append(pooled[readable])
        groups += [clips.groups[number] for number in numbers[readable]]
    return Pooled(np.concatenate(vectors), groups)


def choose(clips: Clips, count: int) -> Clips:
    """Choose at most ``count`` clips at random, by one fixed seed."""
    total = len(clips.labels)
    if total <= count:
        return clips
    indices = np.random.default_rng(0).permutation(total)[:count]
    return Clips(
        inputs=_Subset(clips.inputs, indices),
        labels=clips.labels[indices],
        names=[clips.names[index] for index in indices],
        groups=[clips.groups[index] for index in indices],
        lengths=clips.lengths[indices],
        words=None if clips.words is None else clips.words[indices],
    )


class _Subset:
    """Some clips of an ``Indexed``, each read when it is indexed."""

    def __init__(self, inputs: Indexed, indices: Int[np.ndarray, " n"]):
        self.inputs, self.indices = inputs, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.inputs[int(self.indices[index])]


def _pool_batch(
    run: Run, head: str
) -> Callable[[Variables, Batch], Float[Array, "B K"]]:
    def pool_clip(
        variables: Variables, inputs: Tensor, length: Int[Tensor, ""]
    ) -> Float[Array, " K"]:
        maps = run.feature_maps(variables, inputs)
        return out_of_distribution.pool(maps, length, head)

    def pool_batch(variables: Variables, batch: Batch) -> Float[Array, "B K"]:
        pool = jax.vmap(pool_clip, in_axes=(None, 0, 0))
        return pool(variables, batch.inputs, batch.lengths)

    return pool_batch
