"""Synthetic clips by the name of their kind."""

import numpy as np
import pytest

from rgcam.data.synthetic import captions, draw


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", draw.KINDS)
def test_drawn_clips_are_those_of_their_module(kind, seed):
    source = draw.draw_clips(kind, seed, 3)
    for i in range(3):
        clip = draw.KINDS[kind].clip((seed, i))
        np.testing.assert_array_equal(source.inputs[i], clip.frames)
        assert source.labels[i] == clip.label
        assert source.lengths[i] == len(clip.frames) == 16
    assert len(set(source.groups)) == 3


def test_drawn_captions_are_those_of_their_module():
    source = draw.draw_captions(3, 2, size=32, length=16)
    assert source.words.shape == source.labels.shape == (2, *draw.SENTENCES)
    for i in range(2):
        clip = captions.clip((3, i), size=32, length=16)
        np.testing.assert_array_equal(source.inputs[i], clip.frames)
        words, labels = captions.lessons(clip)
        np.testing.assert_array_equal(source.words[i], words)
        np.testing.assert_array_equal(source.labels[i], labels)
    assert source.lengths.tolist() == [16, 16]
