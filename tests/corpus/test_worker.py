"""How decoded videos become batches."""

from typing import NamedTuple

import numpy as np

from rgcam.corpus import batches, worker
from rgcam.corpus.jobs import DecodedVideo, Task
from rgcam.data.video import Clip
from rgcam.training import mesh


class Job(NamedTuple):
    max_bytes: int


def decoded(number, length, error=""):
    frames = np.zeros((length, 8, 8, 3), np.uint8)
    return DecodedVideo(
        task=Task(str(number), "", ""),
        clip=Clip(frames, np.arange(float(length))),
        inputs=(frames,),
        error=error,
    )


def grouped(videos, max_bytes):
    limits = batches.MemoryLimits(frame=1, pair=1, total=10**9, most=1)
    one_worker = worker.Worker(Job(max_bytes), mesh.make(), (), limits, {})
    groups = worker.group_by_length(one_worker, videos)
    return [[int(video.task.video) for video in group] for group in groups]


def test_batches_hold_clips_of_one_bucket_and_no_clip_is_lost():
    groups = grouped([decoded(n, (10, 40)[n % 2]) for n in range(18)], 10**9)
    assert groups[:2] == [[*range(0, 16, 2)], [*range(1, 17, 2)]]
    assert sorted(sum(groups, [])) == list(range(18))


def test_clips_that_wait_are_bounded_in_memory():
    """The fullest bucket goes before its batch is full."""
    each = 2 * 10 * 8 * 8 * 3
    videos = [decoded(n, 10) for n in range(4)]
    assert grouped(videos, 10**9) == [[0, 1, 2, 3]]
    assert grouped(videos, 2 * each) == [[0, 1, 2], [3]]


def test_a_video_that_was_not_decoded_comes_alone_and_at_once():
    videos = [decoded(0, 10), decoded(1, 2, "unreadable"), decoded(2, 10)]
    assert grouped(videos, 10**9) == [[1], [0, 2]]
