"""ViPER boxes, with and without name spaces."""

import numpy as np
import pytest

from rgcam.data.tfds import xgtf
from rgcam.errors import InputError

VIPER = """<?xml version="1.0" encoding="UTF-8"?>
<viper xmlns="http://lamp.cfar.umd.edu/viper#"
       xmlns:data="http://lamp.cfar.umd.edu/viperdata#">
  <config><descriptor name="PERSON" type="OBJECT"/></config>
  <data><sourcefile filename="v_shooting_01_01.mpg">
    <object framespan="1:4" id="0" name="PERSON">
      <attribute name="Location">
        <data:bbox framespan="1:2 4:4" height="90" width="40" x="10" y="20"/>
        <data:bbox framespan="3:3" height="91" width="41" x="11" y="21"/>
      </attribute>
    </object>
  </sourcefile></data>
</viper>"""


def test_every_frame_of_every_span(tmp_path):
    (tmp_path / "a.xgtf").write_text(VIPER)
    found = xgtf.boxes(tmp_path / "a.xgtf")
    first = [10, 20, 40, 90]
    expected = [[0, *first], [1, *first], [3, *first], [2, 11, 21, 41, 91]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_no_box_is_no_row(tmp_path):
    (tmp_path / "a.xgtf").write_text("<viper><data/></viper>")
    assert xgtf.boxes(tmp_path / "a.xgtf").shape == (0, 5)


def test_a_span_without_end_stops_with_the_clip(tmp_path):
    text = '<viper><bbox framespan="0:2147483647" height="4" width="3" x="1" y="2"/></viper>'
    (tmp_path / "a.xgtf").write_text(text)
    found = xgtf.boxes(tmp_path / "a.xgtf", 3)
    np.testing.assert_array_equal(found, [[n, 1, 2, 3, 4] for n in range(3)])
    assert len(xgtf.boxes(tmp_path / "a.xgtf")) == xgtf.LONGEST


@pytest.mark.parametrize(
    "text", ["", "<viper>", '<viper><bbox framespan="1:1"/></viper>']
)
def test_other_files_are_one_sentence(tmp_path, text):
    (tmp_path / "a.xgtf").write_text(text)
    with pytest.raises(InputError, match="a.xgtf holds no ViPER annotation"):
        xgtf.boxes(tmp_path / "a.xgtf")
