"""Preprocessing, and batches that are a function of (seed, step)."""

import numpy as np
import pytest

from rgcam import data
from rgcam.backbones import Preprocess

SPEC = Preprocess(size=8, crop=None, offset=127.5, scale=127.5)


def clips(lengths=(3, 5, 20, 7), mirrored=False):
    frames = [np.full((n, 8, 8, 3), 10 * i, np.uint8) for i, n in enumerate(lengths)]
    other = [f + 1 for f in frames] if mirrored else None
    names = [str(i) for i in range(len(lengths))]
    return data.Clips(frames, np.arange(len(lengths), dtype=np.int32), names, other)


def identity(batch):
    """Tell which clip each row shows: its pixel value tens."""
    return np.rint((batch.inputs[:, 0, 0, 0, 0] + 1) * 127.5).astype(int) // 10


def test_crop_box_is_centred_and_relative_to_the_short_side():
    square = Preprocess(224, 0.875, 0, 1)
    assert data.crop_box(square, 160, 320) == (10, 90, 150, 230)
    assert data.crop_box(square, 320, 160) == (90, 10, 230, 150)
    assert data.crop_box(SPEC, 160, 320) == (0, 0, 160, 320)


def test_resize_shows_the_crop_only():
    frames = np.zeros((2, 16, 32, 3), np.uint8)
    frames[:, :, 8:24] = 200  # the centre crop
    cropped = data.resize(frames, Preprocess(8, 1.0, 0, 1))
    assert cropped.shape == (2, 8, 8, 3) and (cropped == 200).all()
    whole = data.resize(frames, SPEC)
    assert whole[0, 0, 0, 0] == 0 and whole[0, 0, 4, 0] > 190


def test_preprocess_maps_the_range():
    frames = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1) * np.ones(
        (1, 8, 8, 3), np.uint8
    )
    made = data.preprocess(SPEC, frames)
    assert made.dtype == np.float32 and made.shape == (2, 8, 8, 3)
    assert (made[0] == -1).all() and (made[1] == 1).all()


def test_training_batches_pad_crop_and_tell_lengths():
    batch = data.training_batch(clips(), SPEC, 0, batch_size=4, length=6, seed=0)
    assert batch.inputs.shape == (4, 6, 8, 8, 3) and batch.inputs.dtype == np.float32
    expected = {0: 3, 1: 5, 2: 6, 3: 6}
    assert {i: n for i, n in zip(batch.labels, batch.lengths, strict=True)} == expected
    for row, length in zip(batch.inputs, batch.lengths, strict=True):
        assert not row[length:].any()
    assert (identity(batch) == batch.labels).all()


def test_each_epoch_is_another_permutation_of_all_clips():
    source = clips((4,) * 8)
    orders = []
    for epoch in range(3):
        labels = [
            data.training_batch(
                source, SPEC, 2 * epoch + i, batch_size=4, length=4, seed=3
            ).labels
            for i in range(2)
        ]
        orders.append(tuple(np.concatenate(labels)))
        assert sorted(orders[-1]) == list(range(8))
    assert len(set(orders)) == 3


def test_a_batch_depends_on_seed_and_step_only():
    source = clips((20,) * 5, mirrored=True)
    make = lambda seed, step: data.training_batch(
        source, SPEC, step, batch_size=3, length=4, seed=seed
    )
    for a, b in zip(make(1, 9), make(1, 9), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((make(1, 9).inputs != make(2, 9).inputs).flat)


def test_half_of_the_clips_are_mirrored():
    plain, mirrored = (np.full((4, 8, 8, 3), v, np.uint8) for v in (0, 255))
    labels = np.zeros(64, np.int32)
    source = data.Clips([plain] * 64, labels, [""] * 64, [mirrored] * 64)
    batch = data.training_batch(source, SPEC, 0, batch_size=64, length=4, seed=0)
    assert 16 < (batch.inputs[:, 0, 0, 0, 0] == 1).sum() < 48


def test_evaluation_batches_give_every_clip_once_and_whole():
    batches = list(data.evaluation_batches(clips(), SPEC, batch_size=3, multiple=4))
    labels = np.concatenate([b.labels for b in batches])
    lengths = np.concatenate([b.lengths for b in batches])
    assert labels.tolist() == [0, 1, 2, 3, -1, -1]
    assert lengths[:4].tolist() == [3, 5, 20, 7]
    assert [b.inputs.shape[1] for b in batches] == [20, 8]


def test_features_pass_through_unchanged():
    features = [np.full((n, 1, 1, 5), n, np.float16) for n in (2, 3)]
    source = data.Clips(features, np.zeros(2, np.int32), ["a", "b"])
    batch = next(data.evaluation_batches(source, SPEC, batch_size=2, multiple=4))
    assert batch.inputs.shape == (2, 4, 1, 1, 5)
    assert (batch.inputs[1, :3] == 3).all() and not batch.inputs[1, 3:].any()


@pytest.mark.parametrize("seed", [1, 2])
def test_stickman_clips_are_those_of_stickman(seed):
    from rgcam import stickman

    source = data.stickman_clips(seed, 3)
    for i in range(3):
        clip = stickman.clip((seed, i))
        np.testing.assert_array_equal(source.inputs[i], clip.frames)
        assert source.labels[i] == clip.label
