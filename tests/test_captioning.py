"""benchmarks/captioning.py trains on what its docstring says, and averages over seeds."""

import numpy as np

from benchmarks import captioning
from rgcam.data.synthetic import captions
from rgcam.models import captioner


def test_a_decoder_learns_captions_and_answers_but_not_questions():
    clip = captions.clip(5)
    caption, *answers = captioning.lessons(clip)
    written = [captions.WORDS[i] for i in caption.words[caption.weights > 0]]
    assert tuple(written) == (*clip.words, "<end>")
    for lesson, question, answer in zip(
        answers, captions.QUESTIONS, clip.answers, strict=True
    ):
        words = [captions.WORDS[i] for i in lesson.words]
        asked = question.split()
        assert words[: len(asked)] == asked and not lesson.weights[: len(asked)].any()
        learnt = [captions.WORDS[i] for i in lesson.words[lesson.weights > 0]]
        assert learnt == [answer, "<end>"]
        assert (lesson.words[len(asked) + 2 :] == captioner.END).all()


def test_a_clip_is_one_observation_however_many_seeds():
    nan = float("nan")
    text = captioning.row("verbs", [[0.2, 0.4, nan], [0.4, nan, nan]])
    assert text == "| verbs | 0.350 | too few clips | 2 |"
    values = np.tile([0.0, 1.0], 20).tolist()
    assert captioning.row("x", [values]) == captioning.row("x", [values, values])
    assert "| 0.500 | 0.34 to 0.66 | 40 |" in captioning.row("x", [values])


def test_every_measure_comes_with_its_chance():
    names = captioning.measure_names()
    assert len(names) == len(set(names))
    for kind in ("verb", "answer"):
        assert f"{kind}: chance: AUPRC" in names
        assert f"{kind}: fade (first): AUPRC of the other action" in names
