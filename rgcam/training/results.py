"""What a trained model scores on clips: measures, text, and the files of the results."""

import contextlib
import dataclasses
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int
from matplotlib.figure import Figure

from rgcam import files
from rgcam.data import clips as data
from rgcam.data import pipeline, sources
from rgcam.errors import InputError
from rgcam.metrics import statistics
from rgcam.training import mesh, step
from rgcam.training.fields import Config
from rgcam.training.run import Run


class Scored(NamedTuple):
    """The predictions of a model for N clips, with their labels.

    Attributes:
        clips: (N,) numbers of the clips.
        labels: (N,) their classes, or (N S L) the words to predict.
        lengths: (N,) their steps.
        predictions: of each clip: fields of arrays (N ...).
        broken: one sentence for each clip that could not be read.
    """

    clips: Int[np.ndarray, " N"]
    labels: Int[np.ndarray, "N *sentences"]
    lengths: Int[np.ndarray, " N"]
    predictions: step.Predictions | step.SentencePredictions
    broken: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """What ``results.json`` holds.

    Attributes:
        split: how training and test clips were divided.
        warning: what the split makes of the accuracy, or "".
        left_out: one sentence for each clip that could not be read.
        notes: one sentence for each kind of file in the folder that is no clip.
        clips: number of test clips, N.
        groups: number of their recordings.
        accuracy: share of the N clips whose predicted class is the label. The predicted
            class of an LRCN is that of the last step; of a frame CNN, that of the mean
            of its frames' log-probabilities.
        interval_95: its 95 % confidence interval over groups, as
            ``statistics.share_interval`` says; None: too few groups.
        accuracy_last_step: accuracy of the prediction at the last step.
        accuracy_mean_of_steps: accuracy of the mean log-probability over steps.
        accuracy_of_steps: share of all steps whose predicted class is the label.
        loss: mean over the clips of the cross-entropy of their steps, in nats.
        accuracy_by_class: by the name of the class; None: no test clip has it.
        confusion: (C, C) numbers of clips, rows true and columns predicted classes.
        unreadable: one sentence for each test clip that became unreadable later.
        steps: of training.
        command: the command line.
    """

    split: str
    warning: str
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    clips: int
    groups: int
    accuracy: float
    interval_95: tuple[float, float] | None
    accuracy_last_step: float
    accuracy_mean_of_steps: float
    accuracy_of_steps: float
    loss: float
    accuracy_by_class: dict[str, float | None]
    confusion: list[list[int]]
    unreadable: tuple[str, ...]
    steps: int
    command: str

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceResults:
    """What ``results.json`` of a captioner holds.

    Attributes:
        split: how training and test clips were divided.
        warning: what the split makes of the accuracy, or "".
        left_out: one sentence for each clip that could not be read.
        notes: one sentence for each kind of file in the folder that is no clip.
        clips: number of test clips, N.
        groups: number of their recordings.
        accuracy: share of the captions that are written without an error.
        interval_95: its 95 % confidence interval over groups; None: too few groups.
        accuracy_answers: mean over the clips of the share of right answers.
        interval_95_answers: its 95 % confidence interval over groups; None: too few.
        accuracy_words: mean over the clips of the share of their captions' words that are
            predicted, given the right words before them.
        accuracy_by_question: share of right answers by the question; of "caption", of the
            right captions.
        loss: mean over the clips of the cross-entropy of their words, in nats.
        accuracy_by_class: by the word, over all sentences; None: no test clip has it.
        confusion: (C, C) numbers of words, rows right and columns predicted ones.
        unreadable: one sentence for each test clip that became unreadable later.
        steps: of training.
        command: the command line.
    """

    split: str
    warning: str
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    clips: int
    groups: int
    accuracy: float
    interval_95: tuple[float, float] | None
    accuracy_answers: float
    interval_95_answers: tuple[float, float] | None
    accuracy_words: float
    accuracy_by_question: dict[str, float]
    loss: float
    accuracy_by_class: dict[str, float | None]
    confusion: list[list[int]]
    unreadable: tuple[str, ...]
    steps: int
    command: str

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain data."""
        return dataclasses.asdict(self)


def score(
    devices: Mesh, state: step.TrainState, clips: data.Clips, batch_size: int
) -> Scored:
    """Score every clip, on all devices; every process returns all of them."""
    step_fn = jax.jit(step.eval_step if clips.words is None else step.eval_sentences)
    share = jax.process_index(), jax.process_count()
    parts: list[Scored] = []
    for numbers, loaded in pipeline.evaluation_batches(
        clips, batch_size=batch_size, share=share
    ):
        batch = mesh.divide(devices, loaded.batch)
        labels, lengths, predictions = mesh.gather(
            (batch.labels, batch.lengths, step_fn(state, batch))
        )
        readable = lengths > 0
        parts.append(
            Scored(
                clips=numbers[readable],
                labels=labels[readable],
                lengths=lengths[readable],
                predictions=jax.tree.map(lambda x, rows=readable: x[rows], predictions),
                broken=loaded.broken,
            )
        )
    return Scored(
        clips=np.concatenate([part.clips for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        predictions=jax.tree.map(
            lambda *x: np.concatenate(x), *(part.predictions for part in parts)
        ),
        broken=tuple(sentence for part in parts for sentence in part.broken),
    )


def validate(config: Config, run: Run, state: step.TrainState) -> dict[str, float]:
    """Return accuracy and loss of the validation clips, which rank the checkpoints."""
    assert run.source.validation is not None
    scored = score(run.devices, state, run.source.validation, config.batch_size)
    if isinstance(scored.predictions, step.SentencePredictions):
        correct = _right_sentences(scored)[:, 0]
    else:
        correct = _predicted(scored, config.model.kind) == scored.labels
    loss = np.asarray(scored.predictions.loss)
    return {"accuracy": float(correct.mean()), "loss": float(loss.mean())}


def test(
    config: Config, run: Run, state: step.TrainState, *, steps: int, command: str
) -> Results | SentenceResults:
    """Score the test clips.

    Args:
        config: of the run.
        run: its parts.
        state: the trained state.
        steps: number of steps that it was trained for.
        command: the command line, for the record.
    """
    scored = score(run.devices, state, run.source.test, config.batch_size)
    if isinstance(scored.predictions, step.SentencePredictions):
        return measure_sentences(scored, run.source, steps=steps, command=command)
    return measure(
        scored,
        run.source,
        kind=config.model.kind,
        steps=steps,
        command=command,
    )


def measure(
    scored: Scored, source: sources.Source, *, kind: str, steps: int, command: str
) -> Results:
    """Compute the results from the predictions for the test clips.

    Args:
        scored: from ``score``, of the test clips.
        source: all clips, their classes and split.
        kind: "cnn", predicted by the mean of its frames' log-probabilities, or "lrcn",
            predicted at the last step.
        steps: number of steps of the training.
        command: the command line, for the record.
    """
    labels, predictions = scored.labels, scored.predictions
    assert isinstance(predictions, step.Predictions)
    predicted = _predicted(scored, kind)
    groups = [source.test.groups[i] for i in scored.clips]
    table = statistics.confusion(labels, predicted, len(source.classes))
    correct = predicted == labels
    correct_steps = np.asarray(predictions.correct_steps)
    return Results(
        split=source.split,
        warning=source.warning,
        left_out=source.unreadable,
        notes=source.notes,
        clips=len(labels),
        groups=len(set(groups)),
        accuracy=float(correct.mean()),
        interval_95=statistics.share_interval(correct, groups).bounds,
        accuracy_last_step=float((np.asarray(predictions.last) == labels).mean()),
        accuracy_mean_of_steps=float((np.asarray(predictions.mean) == labels).mean()),
        accuracy_of_steps=float(correct_steps.sum() / scored.lengths.sum()),
        loss=float(np.asarray(predictions.loss).mean()),
        accuracy_by_class=statistics.class_accuracy(table, source.classes),
        confusion=table.tolist(),
        unreadable=scored.broken,
        steps=steps,
        command=command,
    )


def measure_sentences(
    scored: Scored, source: sources.Source, *, steps: int, command: str
) -> SentenceResults:
    """Compute a captioner's results from its predictions for the test clips.

    A sentence that is predicted word by word without an error, each word given the right
    ones before it, is the one that the captioner writes. The first sentence of a clip is
    its caption.

    Args:
        scored: from ``score``, of the test clips.
        source: all clips, their words and split.
        steps: number of steps of the training.
        command: the command line, for the record.
    """
    labels, predictions, words = scored.labels, scored.predictions, source.test.words
    assert isinstance(predictions, step.SentencePredictions) and words is not None
    predicted, words = np.asarray(predictions.words), words[scored.clips]
    is_label = labels >= 0
    groups = [source.test.groups[i] for i in scored.clips]
    right = _right_sentences(scored)
    answers = right[:, 1:].mean(1)
    of_caption = is_label[:, 0]
    hits = (predicted == labels)[:, 0] & of_caption
    of_question: dict[str, list[bool]] = {}
    for row, sentence in np.ndindex(right.shape):
        start = int(is_label[row, sentence].argmax())  # the words before: a question
        question = " ".join(source.classes[w] for w in words[row, sentence, :start])
        is_right = bool(right[row, sentence])
        of_question.setdefault(question or "caption", []).append(is_right)
    table = statistics.confusion(
        labels[is_label], predicted[is_label], len(source.classes)
    )
    return SentenceResults(
        split=source.split,
        warning=source.warning,
        left_out=source.unreadable,
        notes=source.notes,
        clips=len(labels),
        groups=len(set(groups)),
        accuracy=float(right[:, 0].mean()),
        interval_95=statistics.share_interval(right[:, 0], groups).bounds,
        accuracy_answers=float(answers.mean()),
        interval_95_answers=statistics.mean_interval(
            answers, groups, limits=(0.0, 1.0)
        ).bounds,
        accuracy_words=float((hits.sum(1) / of_caption.sum(1)).mean()),
        accuracy_by_question={
            question: float(np.mean(of_clips))
            for question, of_clips in of_question.items()
        },
        loss=float(np.asarray(predictions.loss).mean()),
        accuracy_by_class=statistics.class_accuracy(table, source.classes),
        confusion=table.tolist(),
        unreadable=scored.broken,
        steps=steps,
        command=command,
    )


def write(
    workdir: Path, results: Results | SentenceResults, classes: tuple[str, ...]
) -> None:
    """Write ``results.json`` and ``confusion.png``.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        files.write_json(workdir / "results.json", results.to_dict())
        figure = confusion_figure(np.array(results.confusion), classes)
        with files.atomic(workdir / "confusion.png") as temporary, _any_glyph():
            figure.savefig(temporary, format="png", dpi=150)
    except OSError as error:
        raise InputError(f"cannot write the results in {workdir}: {error}") from error


def confusion_figure(table: Int[np.ndarray, "C C"], classes: tuple[str, ...]) -> Figure:
    """Draw a confusion table: rows true, columns predicted, shade the share of the row.

    Names of classes are drawn as they stand: $ begins no formula, and what is not UTF-8
    is escaped.
    """
    size = 2.2 + 0.42 * len(classes)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        if count:
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    ticks = range(len(classes))
    names = [files.printable(name) for name in classes]
    axes.set_xticks(
        ticks,
        names,
        rotation=45,
        ha="right",
        rotation_mode="anchor",
        parse_math=False,
    )
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def text(results: Results | SentenceResults, classes: tuple[str, ...]) -> str:
    """Return the results as text, which any terminal and file can hold."""
    width = max(map(len, classes))
    by_class = [
        f"{name:>{width}} {share:7.1%}"
        for name, share in results.accuracy_by_class.items()
        if share is not None
    ]
    clips = (
        f"{results.clips} test clips of {results.groups} groups, split {results.split}"
    )
    if isinstance(results, SentenceResults):
        lines = [*by_class, "", *_sentence_lines(results, clips)]
    else:
        lines = [
            "confusion (rows: true class, columns: predicted class)",
            statistics.confusion_text(np.array(results.confusion), classes),
            "",
            *by_class,
            "",
            f"{clips}: accuracy {results.accuracy:.1%} "
            f"({statistics.interval_text(results.interval_95)})",
            f"accuracy at the last step {results.accuracy_last_step:.1%}, of the mean "
            f"over steps {results.accuracy_mean_of_steps:.1%}, of single steps "
            f"{results.accuracy_of_steps:.1%}",
        ]
    return files.printable("\n".join([*lines, *_warnings(results)]))


def _sentence_lines(results: SentenceResults, clips: str) -> Iterator[str]:
    yield (
        f"{clips}: captions without an error {results.accuracy:.1%} "
        f"({statistics.interval_text(results.interval_95)}), "
        f"right answers {results.accuracy_answers:.1%} "
        f"({statistics.interval_text(results.interval_95_answers)})"
    )
    yield (
        "words of the captions, each given the right ones before it: "
        f"{results.accuracy_words:.1%}"
    )
    for question, share in results.accuracy_by_question.items():
        if question != "caption":
            yield f"{question} {share:.1%}"


@contextlib.contextmanager
def _any_glyph() -> Generator[None]:
    """Let a character that no installed font has be drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _warnings(results: Results | SentenceResults) -> Iterator[str]:
    if results.warning:
        yield f"warning: {results.warning}"
    if results.left_out:
        yield f"{len(results.left_out)} clips could not be read and were skipped"
    if results.unreadable:
        yield f"{len(results.unreadable)} test clips became unreadable after that"


def _right_sentences(scored: Scored) -> Bool[np.ndarray, "N S"]:
    """Tell which sentences are predicted without an error, ``<end>`` included."""
    assert isinstance(scored.predictions, step.SentencePredictions)
    words = np.asarray(scored.predictions.words)
    return ((words == scored.labels) | (scored.labels < 0)).all(2)


def _predicted(scored: Scored, kind: str) -> Int[np.ndarray, " N"]:
    predictions = scored.predictions
    assert isinstance(predictions, step.Predictions)
    return np.asarray(predictions.mean if kind == "cnn" else predictions.last)
