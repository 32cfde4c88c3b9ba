"""Frames and features on disk: made once, made again when the source changes."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rgcam.data import cache, folder, video
from rgcam.errors import InputError
from rgcam.models.backbones import Preprocess
from rgcam.report import writer

SPEC = Preprocess(32, None, 127.5, 127.5)


def scene(seed, count=8):
    """Return smooth pictures, bright on the left."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(220, 30, 48, dtype=np.float32)[None, None, :, None]
    level = rng.uniform(-20, 20, (count, 1, 1, 3))
    return np.broadcast_to(np.clip(ramp + level, 0, 255), (count, 40, 48, 3)).astype(
        np.uint8
    )


def make_videos(root):
    """Write root/<class>/<clip>: two classes, three groups of one clip."""
    for c, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for group in (1, 2, 3):
            file = root / name / f"v_g{group}_c1.mp4"
            writer.write_video(file, scene(10 * c + group), 7.5)
    return root


@pytest.fixture
def root(tmp_path):
    return make_videos(tmp_path / "root")


def frames_of(root, tmp_path):
    items = folder.scan(root).items
    return cache.Frames([i.clip for i in items], SPEC, 7.5, tmp_path / "cache")


def test_frames_are_decoded_once(root, tmp_path, monkeypatch):
    frames = frames_of(root, tmp_path)
    first = frames[0]
    assert first.shape == (8, 32, 32, 3) and first.dtype == np.uint8
    monkeypatch.setattr(video, "read_clip", None)
    np.testing.assert_array_equal(frames[0], first)
    truth = scene(1)[:, ::1, ::1].mean((1, 2))
    np.testing.assert_allclose(first.mean((1, 2)), truth, atol=6)


def test_a_changed_file_is_decoded_again(root, tmp_path):
    frames = frames_of(root, tmp_path)
    before, key = frames[0], frames.keys[0]
    writer.write_video(frames.clips[0], scene(77), 7.5)
    os.utime(frames.clips[0], ns=(1, 1))
    frames = frames_of(root, tmp_path)
    assert frames.keys[0] != key and (frames[0] != before).any()


def test_a_cached_clip_outlives_its_file(root, tmp_path):
    frames = frames_of(root, tmp_path)
    first = frames[0]
    assert frames.length(0) == len(first) == 8
    frames.clips[0].unlink(), frames.clips[1].unlink()
    np.testing.assert_array_equal(frames[0], first)
    with pytest.raises(InputError, match="v_g2_c1.mp4"):
        frames[1]


class Stored:
    """A clip inside a dataset."""

    def __init__(self, path):
        self.name, self.key, self.path = path.name, "one", path

    def read(self):
        return self.path.read_bytes()


def test_stored_clips_are_decoded_from_their_bytes(root, tmp_path):
    files = frames_of(root, tmp_path)
    make = lambda: cache.Frames([Stored(files.clips[0])], SPEC, 7.5, tmp_path / "other")
    frames = make()
    np.testing.assert_array_equal(frames[0], files[0])
    assert frames.keys == make().keys != files.keys[:1]


def test_mirrored_frames(root, tmp_path):
    frames = frames_of(root, tmp_path)
    np.testing.assert_array_equal(cache.Mirrored(frames)[1], frames[1][:, :, ::-1])


def test_features_are_computed_once(root, tmp_path):
    frames, calls = frames_of(root, tmp_path), []

    def backbone(x):
        calls.append(1)
        return x[:, ::16, ::16]

    load = lambda name, m=False: cache.Features(frames, name, m).make(0, backbone)
    one, two = load("x"), load("x")
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float16 and one.shape == (8, 2, 2, 3) and len(calls) == 1
    assert (load("x", True) != one).any() and len(calls) == 2
    load("y")
    assert len(calls) == 3
    saved = cache.Features(frames, "x")
    np.testing.assert_array_equal(saved[0], one)
    with pytest.raises(InputError, match="are missing"):
        saved[1]


def test_a_damaged_cache_file_is_made_again(root, tmp_path):
    frames = frames_of(root, tmp_path)
    first = frames[0]
    frames.decode(0).write_bytes(b"half")
    np.testing.assert_array_equal(frames[0], first)


def test_an_unwritable_cache_is_one_sentence(root, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot write the cache"):
        frames_of(root, tmp_path)[0]


def test_many_threads_read_at_once(tmp_path):
    """Before Python 3.11.9, two threads that parse a header may break each other."""
    cache.save(
        tmp_path / "a.npz", {"ends": np.arange(3), "jpeg": np.zeros(9, np.uint8)}
    )
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet in the parser
    try:
        with ThreadPoolExecutor(8) as pool:
            read = [*pool.map(lambda _: cache._load(tmp_path / "a.npz"), range(2000))]
    finally:
        sys.setswitchinterval(usual)
    assert all(arrays["ends"].tolist() == [0, 1, 2] for arrays in read)
