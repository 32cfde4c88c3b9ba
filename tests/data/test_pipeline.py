"""Batches are a function of (seed, step), whoever loads them and wherever they begin."""

import itertools
import pickle

import numpy as np
import pytest

from rgcam.data import clips as data
from rgcam.data import pipeline
from rgcam.data.augment import Augmentation
from rgcam.errors import InputError

PLAIN = Augmentation()


def make_clips(lengths=(3, 5, 20, 7), mirrored=False):
    """Clip i shows the value 3 i; mirrored 3 i + 1. Its words are i, i + 1, i + 2."""
    frames = [np.full((n, 8, 8, 3), 3 * i, np.uint8) for i, n in enumerate(lengths)]
    other = [f + 1 for f in frames] if mirrored else None
    names = [f"clip{i}" for i in range(len(lengths))]
    labels = np.arange(len(lengths), dtype=np.int32)
    words = labels[:, None, None] + np.arange(3, dtype=np.int32)
    return data.Clips(frames, labels, names, names, np.array(lengths), other, words)


def make_plan(clips, batch_size=4, length=6, bucket=0, seed=0):
    return pipeline.Plan(
        clips.lengths, batch_size=batch_size, length=length, bucket=bucket, seed=seed
    )


def batches(clips, options=PLAIN, count=6, share=(0, 1), **fields):
    plan = make_plan(clips, **fields)
    return pipeline.TrainingBatches(clips, plan, options, count, share)


def shown(batch):
    """Tell which clip each row shows."""
    return batch.inputs[:, 0, 0, 0, 0].astype(int) // 3


def same(a, b):
    for x, y in zip(a.batch, b.batch, strict=True):
        np.testing.assert_array_equal(x, y)


def test_rows_are_padded_windows():
    batch = batches(make_clips())[0].batch
    assert batch.inputs.shape == (4, 6, 8, 8, 3) and batch.inputs.dtype == np.uint8
    expected = {0: 3, 1: 5, 2: 6, 3: 6}
    assert dict(zip(batch.labels, batch.lengths, strict=True)) == expected
    for row, length in zip(batch.inputs, batch.lengths, strict=True):
        assert not row[length:].any()
    assert (shown(batch) == batch.labels).all()


def test_each_epoch_is_another_permutation_of_all_clips():
    source = batches(make_clips((4,) * 8), seed=3)
    orders = [
        tuple(np.concatenate([source[2 * epoch + i].batch.labels for i in range(2)]))
        for epoch in range(3)
    ]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len(set(orders)) == 3


def test_a_last_batch_that_is_not_full_repeats_clips_of_the_epoch():
    plan = make_plan(make_clips((4,) * 5))
    assert plan.per_epoch == 2
    drawn = np.concatenate([plan[0][0], plan[1][0]])
    assert set(drawn) == set(range(5)) and len(drawn) == 8


def test_buckets_hold_clips_of_like_length_and_every_clip():
    lengths = np.random.default_rng(0).integers(1, 33, 64)
    plan = pipeline.Plan(lengths, batch_size=8, length=32, bucket=8, seed=0)
    drawn = [plan[n] for n in range(8)]
    assert sorted(np.concatenate([c for c, _ in drawn])) == list(range(64))
    for chosen, padded in drawn:
        longest = lengths[chosen].max()
        assert padded % 8 == 0 and padded - 8 < longest <= padded
    used = sum(p * 8 for _, p in drawn)
    assert used < 0.75 * 32 * 64  # without buckets every row has 32 steps
    assert [p for _, p in drawn] != sorted(p for _, p in drawn)


def test_a_bucket_is_never_longer_than_the_window():
    plan = pipeline.Plan(np.array([20, 20]), batch_size=2, length=10, bucket=8, seed=0)
    assert plan[0][1] == 10


def test_a_batch_depends_on_seed_and_step_only():
    clips = make_clips((20,) * 5, mirrored=True)
    options = Augmentation(True, 0.5, 0.5, 2)
    make = lambda seed: batches(clips, options, 12, batch_size=3, length=4, seed=seed)
    same(make(1)[9], make(1)[9])
    assert (make(1)[9].batch.inputs != make(2)[9].batch.inputs).any()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_taken_up_in_the_middle_sees_the_batches_of_an_unbroken_one(workers):
    clips = make_clips((20,) * 5, mirrored=True)
    source = batches(clips, Augmentation(mirror=True, crop=0.7), 9, batch_size=3)
    whole = list(pipeline.training_batches(source, 0))
    assert len(whole) == 9
    rest = list(pipeline.training_batches(source, 4, workers))
    assert len(rest) == 5
    for a, b in zip(whole[4:], rest, strict=True):
        same(a, b)


def test_words_are_those_of_their_clips():
    batch = batches(make_clips(), batch_size=2)[0].batch
    assert batch.words.tolist() == [[[i, i + 1, i + 2]] for i in batch.labels]
    without = make_clips()._replace(words=None)
    assert batches(without, batch_size=2)[0].batch.words is None


def test_shares_of_processes_make_up_the_global_batch():
    clips, options = make_clips((9, 4, 7, 20)), Augmentation(crop=0.7, colour=0.2)
    whole = batches(clips, options)[2].batch
    parts = [batches(clips, options, share=(i, 2))[2].batch for i in range(2)]
    for field, *pieces in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(field, np.concatenate(pieces))


def test_half_of_the_clips_are_mirrored():
    clips = make_clips((4,) * 64, mirrored=True)
    clips = clips._replace(mirrored=[np.full((4, 8, 8, 3), 255, np.uint8)] * 64)
    source = batches(clips, Augmentation(mirror=True), batch_size=64)
    assert 16 < (source[0].batch.inputs[:, 0, 0, 0, 0] == 255).sum() < 48
    plain = batches(clips, PLAIN, batch_size=64)
    assert not (plain[0].batch.inputs == 255).any()


def test_features_are_neither_cropped_nor_coloured():
    features = [np.full((n, 2, 2, 5), n, np.float16) for n in (2, 3)]
    clips = make_clips((2, 3))._replace(inputs=features)
    batch = batches(clips, Augmentation(crop=0.5, colour=0.5), batch_size=2)[0].batch
    assert batch.inputs.dtype == np.float16
    for row, length in zip(batch.inputs, batch.lengths, strict=True):
        assert (row[:length] == length).all() and not row[length:].any()


class Broken:
    """Clips of which number 2 has gone."""

    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        if index == 2:
            raise InputError("clip2 cannot be read: it has gone")
        return self.clips[index]


def test_a_clip_that_breaks_is_an_empty_row_and_one_sentence():
    clips = make_clips()
    clips = clips._replace(inputs=Broken(clips.inputs))
    loaded = batches(clips)[0]
    assert loaded.broken == ("clip2 cannot be read: it has gone",)
    batch = loaded.batch
    row = int(np.flatnonzero(batch.labels == -1)[0])
    assert sorted(batch.labels) == [-1, 0, 1, 3]
    assert batch.lengths[row] == 0 and not batch.inputs[row].any()


def test_no_readable_clip_at_all_is_one_sentence():
    clips = make_clips((4,))._replace(inputs=[], names=["gone"])
    clips = clips._replace(inputs=Broken([None]), labels=np.zeros(0, np.int32))
    with pytest.raises(InputError, match="none of the clips can be read"):
        pipeline.example(clips)


def test_a_plan_travels_to_worker_processes():
    plan = make_plan(make_clips())
    plan[0]
    other = pickle.loads(pickle.dumps(plan))
    for step in range(4):
        np.testing.assert_array_equal(plan[step][0], other[step][0])


def test_evaluation_gives_every_clip_once_whole_and_shortest_first():
    found = list(pipeline.evaluation_batches(make_clips(), batch_size=3, multiple=4))
    clips = np.concatenate([c for c, _ in found])
    assert clips.tolist() == [0, 1, 3, 2, -1, -1]
    labels = np.concatenate([loaded.batch.labels for _, loaded in found])
    assert labels.tolist() == [0, 1, 3, 2, -1, -1]
    lengths = np.concatenate([loaded.batch.lengths for _, loaded in found])
    assert lengths.tolist() == [3, 5, 7, 20, 0, 0]
    assert [loaded.batch.inputs.shape[1] for _, loaded in found] == [8, 20]


def test_evaluation_is_shared_among_processes():
    clips = make_clips((3, 5, 20, 7, 2))
    whole = list(pipeline.evaluation_batches(clips, batch_size=4))
    parts = [
        list(pipeline.evaluation_batches(clips, batch_size=4, share=(i, 2)))
        for i in range(2)
    ]
    for (chosen, loaded), first, second in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(chosen, first[0])
        for field, *pieces in zip(
            loaded.batch, first[1].batch, second[1].batch, strict=True
        ):
            np.testing.assert_array_equal(field, np.concatenate(pieces))


def test_no_batch_is_loaded_long_before_it_is_asked_for():
    asked = []

    class Counting(Broken):
        def __getitem__(self, index):
            asked.append(index)
            return self.clips[index]

    clips = make_clips()
    clips = clips._replace(inputs=Counting(clips.inputs))
    source = batches(clips, count=1000)
    taken = pipeline.training_batches(source, 0)
    list(itertools.islice(taken, 2))
    taken.close()
    assert len(asked) < 4 * 20
