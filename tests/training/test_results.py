"""What a run scored, by hand, and the files that say so."""

import dataclasses
import json
import os

import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from rgcam import files
from rgcam.data import clips as data
from rgcam.data import sources
from rgcam.errors import InputError
from rgcam.training import mesh, results, step

CLASSES = ("a", "b", "c")


def scored():
    """Four clips of two groups; the first three are correct at their last step."""
    predictions = step.Predictions(
        last=np.array([0, 1, 2, 0]),
        mean=np.array([0, 1, 1, 0]),
        correct_steps=np.array([3, 1, 2, 0]),
        loss=np.array([0.1, 0.2, 0.3, 2.0]),
    )
    labels, lengths = np.array([0, 1, 2, 2]), np.array([4, 2, 2, 2])
    return results.Scored(
        clips=np.arange(4),
        labels=labels,
        lengths=lengths,
        predictions=predictions,
        broken=("clip9: gone",),
    )


def source(classes=CLASSES):
    clips = data.Clips(
        inputs=[],
        labels=np.array([0, 1, 2, 2]),
        names=list("wxyz"),
        groups=list("ppqq"),
        lengths=np.full(4, 4),
    )
    return sources.Source(
        train=clips,
        validation=None,
        test=clips,
        classes=classes,
        split="group (3-7)",
    )


def measured(kind="lrcn", classes=CLASSES):
    return results.measure(
        scored(), source(classes), kind=kind, steps=5, command="rgcam train"
    )


def test_measures_by_hand():
    found = measured()
    assert found.accuracy == found.accuracy_last_step == 0.75
    assert found.accuracy_mean_of_steps == 0.5
    assert found.accuracy_of_steps == 6 / 10
    assert found.loss == pytest.approx(0.65)
    assert found.clips == 4 and found.groups == 2
    assert found.interval_95 is None  # two groups of two clips say too little
    assert found.accuracy_by_class == {"a": 1, "b": 1, "c": 0.5}
    assert found.confusion == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert found.unreadable == ("clip9: gone",)


def test_a_cnn_predicts_by_the_mean_of_its_steps():
    assert measured("cnn").accuracy == 0.5


def test_the_text_names_split_interval_and_what_is_missing():
    found = dataclasses.replace(measured(), warning="groups are divided")
    text = results.text(found, CLASSES)
    assert "split group (3-7): accuracy 75.0% (too few groups for an interval)" in text
    assert "warning: groups are divided" in text
    assert "1 test clips became unreadable" in text


def measured_sentences():
    """Two clips: a caption of two words, and the answer to a question (word 2)."""
    words = np.array([[[3, 4, 1], [2, 3, 1]], [[4, 4, 1], [2, 4, 1]]])
    labels = words.copy()
    labels[:, 1, 0] = -1
    predicted = words.copy()
    predicted[1, 0, 1] = 3  # one word of the second caption is wrong
    predicted[:, 1, 0] = 0  # what is said of a question does not count
    clips = data.Clips([], labels, list("xy"), list("xy"), np.full(2, 5), words=words)
    classes = ("<start>", "<end>", "who", "kick", "wave")
    part = source(classes)._replace(test=clips)
    scored = results.Scored(
        clips=np.arange(2),
        labels=labels,
        lengths=np.full(2, 5),
        predictions=step.SentencePredictions(predicted, np.array([0.5, 1.5])),
        broken=(),
    )
    return results.measure_sentences(scored, part, steps=5, command="x"), classes


def test_sentences_by_hand():
    found, classes = measured_sentences()
    assert found.accuracy == 0.5 and found.accuracy_answers == 1
    assert found.accuracy_words == pytest.approx((1 + 2 / 3) / 2)
    assert found.accuracy_by_question == {"caption": 0.5, "who": 1}
    assert found.loss == 1 and found.clips == found.groups == 2
    assert found.accuracy_by_class["wave"] == 0.75 and np.sum(found.confusion) == 10
    assert found.confusion[4][3] == 1 and found.accuracy_by_class["who"] is None
    text = results.text(found, classes)
    assert "captions without an error 50.0%" in text and "right answers 100.0%" in text
    assert "who 100.0%" in text and "right ones before it: 83.3%" in text


def test_files_of_sentences(tmp_path):
    found, classes = measured_sentences()
    results.write(tmp_path, found, classes)
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["accuracy_by_question"]["who"] == 1
    assert (tmp_path / "confusion.png").stat().st_size > 5000


def test_files(tmp_path):
    results.write(tmp_path, measured(), CLASSES)
    assert json.loads((tmp_path / "results.json").read_text())["accuracy"] == 0.75
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write the results"):
        results.write(tmp_path / "file", measured(), CLASSES)


@pytest.mark.parametrize("name", ["$^$", r"$\frac{1$", os.fsdecode(b"caf\xe9"), "日本"])
def test_any_class_name_is_drawn_and_printed_as_it_stands(tmp_path, name):
    classes = ("a", name, "c")
    found = measured(classes=classes)
    results.write(tmp_path, found, classes)
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    saved = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert saved["accuracy_by_class"][name] == 1
    figure = results.confusion_figure(np.array(found.confusion), classes)
    (axes, _) = figure.axes
    for label in (axes.get_xticklabels()[1], axes.get_yticklabels()[1]):
        assert label.get_text() == files.printable(name)
        assert not label.get_parse_math()
    assert files.printable(name) in results.text(found, classes).encode().decode()


def test_score_returns_every_clip_once_whatever_the_devices():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(n, 3)).astype(np.float32) for n in (3, 9, 4, 6, 2)]
    labels = np.array([0, 1, 2, 0, 1], np.int32)
    names, lengths = list("abcde"), np.array([len(x) for x in inputs])
    source = data.Clips(inputs, labels, names, names, lengths)
    state = step.create_state(lambda v, x: x, {}, optax.identity(), 0)
    one, many = (
        results.score(
            Mesh(np.array(mesh.make().devices[:n]), ("data",)), state, source, 4
        )
        for n in (1, 4)
    )
    for found in (one, many):
        assert sorted(found.clips) == [0, 1, 2, 3, 4]
        for clip, last, length in zip(
            found.clips, found.predictions.last, found.lengths, strict=True
        ):
            assert last == inputs[clip][-1].argmax() and length == lengths[clip]
        np.testing.assert_array_equal(found.labels, labels[found.clips])
