"""Explanations of fixed clips during a run: those of the trained model at that step."""

import functools

import jax
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from rgcam.attribution import explain as attribution
from rgcam.commands import config as configs
from rgcam.commands import train
from rgcam.models import backbones
from rgcam.report import plots
from rgcam.training import explanations
from rgcam.training import run as runs
from rgcam.training.progress import Progress
from rgcam.training.step import merge

TINY = [
    "--config.data.train_clips=12",
    "--config.data.test_clips=4",
    "--config.data.length=8",
    "--config.batch_size=8",
    "--config.model.width=8",
    "--config.model.hidden=6",
    "--config.explain_every=3",
    "--config.explain_clips=2",
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


def images(folder):
    """Return (step, name, PNG) of each image in the event files of a folder."""
    found = []
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        # A record is its length, a checksum, itself and another checksum.
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            found += [
                (event.step, value.tag, value.image.encoded_image_string)
                for value in event.summary.value
                if value.HasField("image")
            ]
    return found


@pytest.mark.parametrize("overrides", [[], FROZEN])
def test_a_clip_is_explained_as_the_model_of_that_step_is(overrides):
    config, parts = prepare(*overrides)
    clips = explanations.choose_clips(config, parts)
    again = explanations.choose_clips(config, parts)
    assert len(clips) == 2 and [c.name for c in clips] == [c.name for c in again]
    results = explanations.explainer(parts)(parts.state, clips)
    variables = {"params": merge(parts.state.frozen, parts.state.params)}
    variables = jax.tree.map(np.asarray, variables)
    for result, clip in zip(results, clips, strict=True):
        assert result.clip is clip and result.scores.shape == (8, 11)
        # Of features that were computed once, in float16, there are no frames.
        assert (clip.frames is None) == bool(overrides)
        if clip.frames is None:
            assert np.isfinite(result.matrix).all() and result.matrix.any()
            continue
        inputs = backbones.preprocess(parts.description.preprocess, clip.frames)
        e = attribution.explain(
            parts.module, variables, inputs, clip.label, method="fade"
        )
        size = np.abs(e.matrix).max()
        np.testing.assert_allclose(result.matrix, e.matrix, atol=1e-4 * size)
        np.testing.assert_allclose(result.maps, e.maps[-1], atol=1e-4 * size)


def test_explanations_are_due_every_so_many_steps_and_at_the_end():
    config, parts = prepare()
    parts = parts._replace(total=7)
    due = [step for step in range(1, 8) if explanations.is_due(config, parts, step)]
    assert due == [3, 6, 7]
    config, parts = prepare("--config.explain_every=0")
    assert not explanations.is_due(config, parts, parts.total)


def test_the_event_file_holds_the_images_of_each_step(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "DPI", 72)
    config, parts = prepare()
    clips = explanations.choose_clips(config, parts)
    explained = explanations.explainer(parts)(parts.state, clips)
    with Progress(tmp_path, 0, 7, 4) as progress:
        train.show(progress, 3, explained, config, parts)
        train.show(progress, 6, explained[:1], config, parts)
    found = images(tmp_path / "tensorboard")
    names = [f"{kind}/{clip.name}" for clip in clips for kind in ("matrix", "strip")]
    tags = [name.replace(" ", "_") for name in names]
    expected = [(3, tag) for tag in tags] + [(6, tag) for tag in tags[:2]]
    assert [(step, tag) for step, tag, _ in found] == expected
    assert all(png.startswith(b"\x89PNG") and len(png) > 2000 for _, _, png in found)
