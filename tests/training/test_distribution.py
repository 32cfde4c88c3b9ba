"""Statistics of training clips: the vectors are those that an explanation computes."""

import functools

import jax
import numpy as np
import pytest

from rgcam.attribution import padding
from rgcam.commands import config as configs
from rgcam.data.clips import Clips
from rgcam.data.synthetic import draw
from rgcam.models import backbones, out_of_distribution
from rgcam.training import distribution
from rgcam.training import run as runs
from rgcam.training.step import merge

TINY = [
    "--config.data.train_clips=20",
    "--config.data.test_clips=8",
    "--config.data.length=8",
    "--config.batch_size=8",
    "--config.model.width=8",
    "--config.model.hidden=6",
]
FROZEN = [
    "--config.init_from=stickman-cnn",
    "--config.finetune=0",
    "--config.model.width=128",
]


@functools.cache
def prepare(*overrides):
    config = configs.load("stickman_lrcn", [*TINY, *overrides])
    return config, runs.prepare(config)


def vectors_of_explanations(parts, head):
    """Return the vector of each training clip, computed from its frames alone."""
    variables = {"params": merge(parts.state.frozen, parts.state.params)}
    variables = jax.tree.map(np.asarray, variables)
    vectors = []
    for frames in draw.draw_clips("stickman", 1, 20, length=8).inputs:
        inputs = backbones.preprocess(parts.description.preprocess, frames)
        features = padding.clip_features(parts.module, variables, inputs)
        pooled = out_of_distribution.pool(features, np.asarray(len(frames)), head)
        vectors.append(np.asarray(pooled))
    return np.stack(vectors)


@pytest.mark.parametrize(
    ("head", "overrides"),
    [
        ("fc", []),
        ("fc", FROZEN),  # trained on features that were computed once, in float16
        ("grid", [*FROZEN, "--config.model.head=grid"]),  # on averages of four quarters
    ],
)
def test_training_pools_the_features_that_an_explanation_pools(head, overrides):
    config, parts = prepare(*overrides)
    pooled = distribution.pool_clips(config, parts, parts.state, parts.source.train)
    assert pooled.groups == list(parts.source.train.groups)  # clips of one length
    expected = vectors_of_explanations(parts, head)
    assert expected.std(0).max() > 1e-3
    np.testing.assert_allclose(pooled.vectors, expected, rtol=2e-3, atol=1e-4)


def test_statistics_are_of_the_training_clips_and_heed_validation_clips():
    config, parts = prepare()
    statistics = distribution.fit_statistics(config, parts, parts.state)
    pooled = distribution.pool_clips(config, parts, parts.state, parts.source.train)
    assert statistics.clips == 20
    expected = out_of_distribution.fit(pooled.vectors, pooled.groups)
    assert statistics.threshold == pytest.approx(expected.threshold)
    dark = [clip // 4 for clip in draw.draw_clips("stickman", 3, 20, length=8).inputs]
    validation = parts.source.train._replace(inputs=dark)
    parts = parts._replace(source=parts.source._replace(validation=validation))
    cautious = distribution.fit_statistics(config, parts, parts.state)
    assert cautious.threshold > 1.5 * statistics.threshold


def test_unreadable_clips_are_left_out():
    config, parts = prepare()

    class Broken(list):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("gone")
            return super().__getitem__(index)

    clips = parts.source.train._replace(inputs=Broken(parts.source.train.inputs))
    pooled = distribution.pool_clips(config, parts, parts.state, clips)
    whole = distribution.pool_clips(config, parts, parts.state, parts.source.train)
    assert "stickman-1-3" not in pooled.groups and len(pooled.groups) == 19
    np.testing.assert_allclose(
        pooled.vectors, np.delete(whole.vectors, 3, 0), rtol=1e-4, atol=1e-6
    )


def test_some_clips_of_many_are_chosen_by_one_seed():
    names = [f"clip{i}" for i in range(50)]
    clips = Clips(
        inputs=[np.full((2, 1), i) for i in range(50)],
        labels=np.arange(50, dtype=np.int32),
        names=names,
        groups=names,
        lengths=np.arange(50),
    )
    assert distribution.choose(clips, 50) is clips
    few = distribution.choose(clips, 20)
    numbers = [int(few.inputs[i][0, 0]) for i in range(len(few.inputs))]
    assert len(set(numbers)) == 20 and numbers != sorted(numbers)
    assert few.labels.tolist() == few.lengths.tolist() == numbers
    assert few.groups == few.names == [names[i] for i in numbers]
    assert distribution.choose(clips, 20).names == few.names
