"""Frames and features on disk: made once, made again when the source changes."""

import os

import numpy as np
import pytest

from rgcam import cache, folder, sources, video
from rgcam.backbones import Preprocess
from rgcam.errors import InputError

SPEC = Preprocess(32, None, 127.5, 127.5)
CONFIG = {
    "source": "folder",
    "group": r"_g(\d+)_",
    "test_groups": "2",
    "test_list": "",
    "test_fraction": 0.2,
    "fps": 7.5,
    "mirror": True,
}


def scene(seed, count=8):
    """Return smooth pictures, bright on the left."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(220, 30, 48, dtype=np.float32)[None, None, :, None]
    level = rng.uniform(-20, 20, (count, 1, 1, 3))
    return np.broadcast_to(np.clip(ramp + level, 0, 255), (count, 40, 48, 3)).astype(
        np.uint8
    )


@pytest.fixture
def root(tmp_path):
    for c, name in enumerate(("a", "b")):
        (tmp_path / "root" / name).mkdir(parents=True)
        for group in (1, 2, 3):
            file = tmp_path / "root" / name / f"v_g{group}_c1.mp4"
            video.write_video(file, scene(10 * c + group), 7.5)
    return tmp_path / "root"


def frames_of(root, tmp_path):
    items, _ = folder.scan(root)
    return cache.Frames([i.path for i in items], SPEC, 7.5, tmp_path / "cache")


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
    before, key = frames[0], frames.key(0)
    video.write_video(frames.paths[0], scene(77), 7.5)
    os.utime(frames.paths[0], ns=(1, 1))
    assert frames.key(0) != key and (frames[0] != before).any()


def test_mirrored_frames(root, tmp_path):
    frames = frames_of(root, tmp_path)
    np.testing.assert_array_equal(cache.Mirrored(frames)[1], frames[1][:, :, ::-1])


def test_features_are_computed_once(root, tmp_path):
    frames, calls = frames_of(root, tmp_path), []

    def backbone(x):
        calls.append(1)
        return x[:, ::16, ::16]

    load = lambda name, **k: cache.load_features(frames, backbone, name, 0, **k)
    one, two = load("x"), load("x")
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float16 and one.shape == (8, 2, 2, 3) and len(calls) == 1
    assert (load("x", mirrored=True) != one).any() and len(calls) == 2
    load("y")
    assert len(calls) == 3


def test_folder_source_splits_mirrors_and_reports(root, tmp_path):
    (root / "a" / "v_g4_c1.mp4").write_text("no video")
    config = CONFIG | {"root": str(root), "cache": str(tmp_path / "cache")}
    source = sources.load(config, SPEC, None, "")
    assert source.classes == ("a", "b")
    assert len(source.train.labels) == 4 and len(source.test.labels) == 2
    assert source.test.names == ["v_g2_c1.mp4"] * 2
    assert len(source.unreadable) == 1 and "v_g4_c1.mp4" in source.unreadable[0]
    assert source.train.mirrored is not None
    features = sources.load(config, SPEC, lambda x: x[:, :1, :1], "f")
    assert features.train.inputs[0].shape == (8, 1, 1, 3)
    assert len(features.train.mirrored) == 4 and features.test.mirrored is None


def test_no_readable_clip_and_no_root(root, tmp_path):
    config = CONFIG | {"root": "", "cache": str(tmp_path / "cache")}
    with pytest.raises(InputError, match=r"--config.data.root=FOLDER"):
        sources.load(config, SPEC, None, "")
    with pytest.raises(InputError, match="data.source is 'web'"):
        sources.load(config | {"source": "web"}, SPEC, None, "")
    for file in root.rglob("*.mp4"):
        file.write_text("no video")
    with pytest.raises(InputError, match="none of the 6 clips can be read"):
        sources.load(config | {"root": str(root)}, SPEC, None, "")


def test_a_damaged_cache_file_is_made_again(root, tmp_path):
    frames = frames_of(root, tmp_path)
    first = frames[0]
    frames.decode(0).write_bytes(b"half")
    np.testing.assert_array_equal(frames[0], first)


def test_an_unwritable_cache_is_one_sentence(root, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot write the cache"):
        frames_of(root, tmp_path)[0]
