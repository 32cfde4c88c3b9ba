"""How clips that were read become batches."""

from typing import NamedTuple

import numpy as np

from rgcam.corpus import batches, worker
from rgcam.corpus.jobs import Seen, Task
from rgcam.data.video import Clip
from rgcam.training import mesh


class Job(NamedTuple):
    max_bytes: int


def seen(number, length, error=""):
    frames = np.zeros((length, 8, 8, 3), np.uint8)
    task = Task(str(number), "", "")
    return Seen(task, Clip(frames, np.arange(float(length))), (frames,), error)


def collected(clips, max_bytes):
    limits = batches.Limits(frame=1, pair=1, total=10**9, most=1)
    it = worker.Worker(Job(max_bytes), mesh.make(), (), limits, {})
    found = list(worker._batches(it, clips))
    return [[int(clip.task.video) for clip in batch] for batch in found]


def test_batches_hold_clips_of_one_bucket_and_no_clip_is_lost():
    clips = [seen(n, (10, 40)[n % 2]) for n in range(18)]
    found = collected(clips, 10**9)
    assert found[:2] == [[*range(0, 16, 2)], [*range(1, 17, 2)]]
    assert sorted(sum(found, [])) == list(range(18))


def test_clips_that_wait_are_bounded_in_memory():
    """The fullest bucket goes before its batch is full."""
    each = 2 * 10 * 8 * 8 * 3
    clips = [seen(n, 10) for n in range(4)]
    assert collected(clips, 10**9) == [[0, 1, 2, 3]]
    assert collected(clips, 2 * each) == [[0, 1, 2], [3]]


def test_a_clip_that_was_not_read_comes_alone_and_at_once():
    clips = [seen(0, 10), seen(1, 2, "broken"), seen(2, 10)]
    assert collected(clips, 10**9) == [[1], [0, 2]]
