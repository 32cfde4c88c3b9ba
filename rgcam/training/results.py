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
from jaxtyping import Int
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
        labels: (N,) their classes.
        lengths: (N,) their steps.
        predictions: fields of (N,) arrays.
        broken: one sentence for each clip that could not be read.
    """

    clips: Int[np.ndarray, " N"]
    labels: Int[np.ndarray, " N"]
    lengths: Int[np.ndarray, " N"]
    predictions: step.Predictions
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


def score(
    devices: Mesh, state: step.TrainState, clips: data.Clips, batch_size: int
) -> Scored:
    """Score every clip, on all devices; every process returns all of them."""
    step_fn = jax.jit(step.eval_step)
    share = jax.process_index(), jax.process_count()
    parts: list[Scored] = []
    for numbers, loaded in pipeline.evaluation_batches(
        clips, batch_size=batch_size, share=share
    ):
        batch = mesh.divide(devices, loaded.batch)
        labels, lengths, predictions = mesh.gather(
            (batch.labels, batch.lengths, step_fn(state, batch))
        )
        readable = labels >= 0
        parts.append(
            Scored(
                clips=numbers[readable],
                labels=labels[readable],
                lengths=lengths[readable],
                predictions=step.Predictions(*(x[readable] for x in predictions)),
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
    correct = _predicted(scored, config.model.kind) == scored.labels
    loss = np.asarray(scored.predictions.loss)
    return {"accuracy": float(correct.mean()), "loss": float(loss.mean())}


def test(
    config: Config, run: Run, state: step.TrainState, *, steps: int, command: str
) -> Results:
    """Score the test clips.

    Args:
        config: of the run.
        run: its parts.
        state: the trained state.
        steps: number of steps that it was trained for.
        command: the command line, for the record.
    """
    scored = score(run.devices, state, run.source.test, config.batch_size)
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


def write(workdir: Path, results: Results, classes: tuple[str, ...]) -> None:
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


def text(results: Results, classes: tuple[str, ...]) -> str:
    """Return the results as text, which any terminal and file can hold."""
    shares = results.accuracy_by_class.items()
    width = max(map(len, classes))
    lines = "\n".join(
        [
            "confusion (rows: true class, columns: predicted class)",
            statistics.confusion_text(np.array(results.confusion), classes),
            "",
            *(f"{n:>{width}} {s:7.1%}" for n, s in shares if s is not None),
            "",
            f"{results.clips} test clips of {results.groups} groups, split "
            f"{results.split}: accuracy {results.accuracy:.1%} "
            f"({statistics.interval_text(results.interval_95)})",
            f"accuracy at the last step {results.accuracy_last_step:.1%}, of the mean "
            f"over steps {results.accuracy_mean_of_steps:.1%}, of single steps "
            f"{results.accuracy_of_steps:.1%}",
            *_warnings(results),
        ]
    )
    return files.printable(lines)


@contextlib.contextmanager
def _any_glyph() -> Generator[None]:
    """Let a character that no installed font has be drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _warnings(results: Results) -> Iterator[str]:
    if results.warning:
        yield f"warning: {results.warning}"
    if results.left_out:
        yield f"{len(results.left_out)} clips could not be read and were skipped"
    if results.unreadable:
        yield f"{len(results.unreadable)} test clips became unreadable after that"


def _predicted(scored: Scored, kind: str) -> Int[np.ndarray, " N"]:
    predictions = scored.predictions
    return np.asarray(predictions.mean if kind == "cnn" else predictions.last)
