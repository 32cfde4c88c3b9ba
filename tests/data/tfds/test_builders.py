"""What is stored of a clip, and how far reading runs ahead of writing."""

import concurrent.futures

import numpy as np
import pytest

from rgcam.data import folder
from rgcam.data.tfds import builders
from rgcam.errors import InputError
from tests.data.tfds.test_prepare import write_mpg
from tests.data.tfds.test_xgtf import VIPER


def test_few_clips_wait_in_memory(monkeypatch, tmp_path):
    items = [folder.Item(tmp_path, n, "", str(n)) for n in range(99)]
    made = []
    monkeypatch.setattr(builders, "_record_or_none", lambda i: made.append(i.label))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        reading = builders._read_ahead(pool, items, 8)
        next(reading)
        next(reading)
        assert len(made) <= 9
        assert len([*reading]) == 97
    assert sorted(made) == [*range(99)]


@pytest.mark.parametrize("place", [".", "Annotation", "../Annotation"])
def test_a_clip_with_its_boxes(tmp_path, place):
    clip = tmp_path / "biking" / "v_biking_01" / "v_biking_01_01.mpg"
    write_mpg(clip, 0, count=3)
    (clip.parent / place).mkdir(exist_ok=True)
    (clip.parent / place / "v_biking_01_01.xgtf").write_text(VIPER)
    record = builders.record(folder.Item(clip, 1, "01", "biking/..."))
    assert record["video"] == clip.read_bytes() and record["notes"] == ""
    np.testing.assert_allclose(record["times"], np.arange(3) / 25, atol=1e-6)
    assert record["boxes"][:, 0].tolist() == [0, 1, 2]  # VIPER goes on to frame 3


def test_a_clip_of_one_frame_is_refused(tmp_path):
    write_mpg(tmp_path / "a.mpg", 0, count=1)
    with pytest.raises(InputError, match="a.mpg has 1 readable frames"):
        builders.frame_times(tmp_path / "a.mpg")
