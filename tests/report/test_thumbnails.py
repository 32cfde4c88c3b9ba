"""Thumbnails: frames at equal distances, under maps by one scale for the clip."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip
from rgcam.models import zoo
from rgcam.report import thumbnails
from rgcam.report.explain import explain_clip

SIDE = thumbnails.SIDE


@pytest.fixture(scope="module")
def explained():
    drawn = stickman.clip(7)
    clip = Clip(drawn.frames, drawn.times, ())
    return explain_clip(zoo.load_model("stickman-lrcn"), clip, checks="none")


def with_maps(explained, maps):
    shown = dataclasses.replace(explained.shown, shown_maps=maps)
    return dataclasses.replace(explained, attributions=(shown,))


def parts(strip):
    return np.split(strip, strip.shape[1] // SIDE, axis=1)


def test_without_attribution_they_are_the_frames(explained):
    nothing = with_maps(explained, np.zeros_like(explained.shown.shown_maps))
    strip = thumbnails.strip(explained.clip.frames, nothing)
    assert strip.shape == (SIDE, 6 * SIDE, 3)
    for part, t in zip(parts(strip), (0, 3, 6, 9, 12, 15), strict=True):
        image = Image.fromarray(explained.clip.frames[t])
        small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
        np.testing.assert_array_equal(part, small)


def test_heat_lies_where_the_maps_are_strong(explained):
    maps = np.zeros_like(explained.shown.shown_maps)
    maps[9, 0, 0] = 1
    plain = thumbnails.strip(
        explained.clip.frames, with_maps(explained, np.zeros_like(maps))
    )
    heated = thumbnails.strip(explained.clip.frames, with_maps(explained, maps))
    changed = [
        (a != b).any(2) for a, b in zip(parts(plain), parts(heated), strict=True)
    ]
    assert [part.any() for part in changed] == [False] * 3 + [True] + [False] * 2
    assert not changed[3][SIDE // 2 :].any() and changed[3][:9, :9].all()


def test_a_short_clip_has_fewer(tmp_path):
    drawn = stickman.clip(7)
    clip = Clip(drawn.frames[:2], drawn.times[:2], ())
    short = explain_clip(zoo.load_model("stickman-lrcn"), clip, checks="none")
    thumbnails.write(tmp_path / "x.jpg", clip.frames, short)
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.size == (2 * SIDE, SIDE)
