"""Records and boxes of clips, and the number of clips in memory."""

import concurrent.futures

import numpy as np
import pytest

from rgcam.data import folder
from rgcam.data.tfds import builders
from rgcam.errors import InputError
from tests.data.tfds.test_prepare import VIPER, write_mpg


def test_few_clips_are_in_memory_at_a_time(monkeypatch, tmp_path):
    items = [folder.Item(tmp_path, n, "", str(n)) for n in range(99)]
    labels_read = []
    monkeypatch.setattr(
        builders, "_record_or_none", lambda i: labels_read.append(i.label)
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        reading = builders._read_ahead(pool, items, 8)
        next(reading)
        next(reading)
        assert len(labels_read) <= 9
        assert len([*reading]) == 97
    assert sorted(labels_read) == [*range(99)]


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


def test_a_clip_of_one_frame_is_rejected(tmp_path):
    write_mpg(tmp_path / "a.mpg", 0, count=1)
    with pytest.raises(InputError, match="a.mpg has 1 readable frames"):
        builders.frame_times(tmp_path / "a.mpg")


def test_every_frame_of_every_span(tmp_path):
    (tmp_path / "a.xgtf").write_text(VIPER)
    boxes = builders.read_boxes(tmp_path / "a.xgtf")
    first = [10, 20, 40, 90]
    expected = [[0, *first], [1, *first], [3, *first], [2, 11, 21, 41, 91]]
    np.testing.assert_array_equal(boxes, expected)
    assert boxes.dtype == np.float32


def test_a_file_without_boxes_has_no_rows(tmp_path):
    (tmp_path / "a.xgtf").write_text("<viper><data/></viper>")
    assert builders.read_boxes(tmp_path / "a.xgtf").shape == (0, 5)


def test_a_span_without_end_stops_with_the_clip(tmp_path):
    text = '<viper><bbox framespan="0:2147483647" height="4" width="3" x="1" y="2"/></viper>'
    (tmp_path / "a.xgtf").write_text(text)
    boxes = builders.read_boxes(tmp_path / "a.xgtf", 3)
    np.testing.assert_array_equal(boxes, [[n, 1, 2, 3, 4] for n in range(3)])
    assert len(builders.read_boxes(tmp_path / "a.xgtf")) == builders.LONGEST


@pytest.mark.parametrize(
    "text", ["", "<viper>", '<viper><bbox framespan="1:1"/></viper>']
)
def test_a_file_that_is_not_viper_is_one_sentence(tmp_path, text):
    (tmp_path / "a.xgtf").write_text(text)
    with pytest.raises(InputError, match="a.xgtf is not a ViPER annotation"):
        builders.read_boxes(tmp_path / "a.xgtf")
