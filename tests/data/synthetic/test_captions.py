"""Clips of two actions in sequence: their sentences, and the truth about them."""

import numpy as np
import pytest

from rgcam.data.synthetic import captions
from rgcam.errors import InputError

CLIPS = [captions.clip((11, seed), size=32) for seed in range(24)]


def test_a_seed_draws_the_same_clip_again():
    again = captions.clip((11, 0), size=32)
    assert again.words == CLIPS[0].words
    assert np.array_equal(again.frames, CLIPS[0].frames)
    assert not np.array_equal(again.frames, CLIPS[1].frames)


def test_the_two_actions_do_not_overlap_and_have_rest_around_them():
    for clip in CLIPS:
        (start, stop), (second_start, second_stop) = clip.intervals
        assert 1 <= start < stop < second_start < second_stop < len(clip.frames)
        assert 7 <= stop - start <= 9 and 7 <= second_stop - second_start <= 9


def test_verbs_and_answers_are_those_of_the_sentence():
    verbs = {action.phrase.split()[0]: action.answer for action in captions.ACTIONS}
    for clip in CLIPS:
        first, second = (clip.words[position] for position in clip.verbs)
        assert clip.answers == (verbs[first], verbs[second], clip.words[3])
        assert first != second
        text = " ".join(clip.words)
        assert " ".join(captions.WORDS[i] for i in captions.numbers(text)) == text


def test_the_figure_moves_in_the_intervals_more_than_in_the_rest():
    inside, outside = [], []
    for clip in CLIPS:
        active = np.zeros(len(clip.frames), bool)
        for start, stop in clip.intervals:
            active[start : stop + 1] = True  # a change ends in the frame after it
        change = np.abs(np.diff(clip.frames.astype(float), axis=0)).mean((1, 2, 3))
        inside.append(change[active[1:]].mean())
        outside.append(change[~active[1:]].mean())
    assert (np.array(inside) > np.array(outside)).mean() > 0.9


def test_captions_and_answers_are_learnt_but_not_questions_and_padding():
    clip = CLIPS[5]
    (caption, *answers), labels = captions.lessons(clip)
    texts = [*clip.words, "<end>"]
    assert [captions.WORDS[i] for i in caption[labels[0] >= 0]] == texts
    for words, label, question, answer in zip(
        answers, labels[1:], captions.QUESTIONS, clip.answers, strict=True
    ):
        asked = len(question.split())
        assert " ".join(captions.WORDS[i] for i in words[:asked]) == question
        assert (label[:asked] == -1).all() and (label[asked + 2 :] == -1).all()
        learnt = [captions.WORDS[i] for i in label[asked : asked + 2]]
        assert learnt == [answer, "<end>"]
    assert (words == np.where(label >= 0, label, words)).all()


def test_every_sentence_has_room():
    longest = max(len(action.phrase.split()) for action in captions.ACTIONS)
    assert 4 + longest + 2 + longest + 1 <= captions.LONGEST
    assert max(len(q.split()) for q in captions.QUESTIONS) + 2 <= captions.LONGEST


def test_a_word_outside_the_vocabulary_is_an_error():
    with pytest.raises(InputError, match="'flies' is no word"):
        captions.numbers("a person flies")


def test_a_clip_too_short_for_two_actions_is_an_error():
    with pytest.raises(InputError, match="16 frames or more"):
        captions.clip(0, length=12)
