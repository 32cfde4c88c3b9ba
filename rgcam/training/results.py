"""What a run scored: its measures, its text, and the only writer of its results."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from matplotlib.figure import Figure

from rgcam.data import clips as data
from rgcam.data import pipeline
from rgcam.errors import InputError
from rgcam.metrics import statistics
from rgcam.training import mesh, step
from rgcam.training.run import Run


class Decisions(NamedTuple):
    """What a model says of N clips, and what is true.

    Attributes:
        clips: numbers of the clips.
        labels: their classes.
        lengths: their steps.
        predictions: fields of (N,) arrays.
        broken: one sentence for each clip that could not be read.
    """

    clips: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    predictions: step.Predictions
    broken: tuple[str, ...]


def decide(
    devices: Mesh, state: step.TrainState, clips: data.Clips, batch_size: int
) -> Decisions:
    """Score every clip, on all devices; every process returns the whole."""
    step_fn = jax.jit(step.eval_step)
    share = jax.process_index(), jax.process_count()
    parts, broken = [], []
    for chosen, loaded in pipeline.evaluation_batches(
        clips, batch_size=batch_size, share=share
    ):
        batch = mesh.divide(devices, loaded.batch)
        found = mesh.gather((batch.labels, batch.lengths, step_fn(state, batch)))
        keep = found[0] >= 0
        parts.append(jax.tree.map(lambda x, keep=keep: x[keep], (chosen, *found)))
        broken += loaded.broken
    joined: Any = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return Decisions(*joined[:4], broken=tuple(broken))


def validate(config: Any, run: Run, state: step.TrainState) -> dict[str, float]:
    """Return the validation clips' accuracy and loss: the best is chosen by them."""
    assert run.source.validation is not None
    found = decide(run.devices, state, run.source.validation, config.batch_size)
    right = _decided(found, config.model.kind) == found.labels
    loss = found.predictions.loss
    return {"accuracy": float(right.mean()), "loss": float(loss.mean())}


def test(config: Any, run: Run, state: step.TrainState) -> dict[str, Any]:
    """Score the test clips: all that ``results.json`` says but step and command."""
    clips, classes = run.source.test, run.source.classes
    found = decide(run.devices, state, clips, config.batch_size)
    about = {
        "split": run.source.split,
        "warning": run.source.warning,
        "left_out": list(run.source.unreadable),
    }
    return about | measure(found, clips, classes, config.model.kind)


def measure(
    decisions: Decisions, clips: data.Clips, classes: tuple[str, ...], kind: str
) -> dict[str, Any]:
    """Compute everything that ``results.json`` says of the test clips.

    Args:
        decisions: from ``decide``.
        clips: that were decided.
        classes: names of the C classes.
        kind: "cnn", decided by the mean of its frames' log-probabilities, or "lrcn",
            decided at the last step.
    """
    labels, found = decisions.labels, decisions.predictions
    decided = _decided(decisions, kind)
    groups = [clips.groups[i] for i in decisions.clips]
    table = statistics.confusion(labels, decided, len(classes))
    right = decided == labels
    return {
        "clips": len(labels),
        "groups": len(set(groups)),
        "accuracy": float(right.mean()),
        "interval_95": statistics.bootstrap_interval(right, groups),
        "accuracy_last_step": float((found.last == labels).mean()),
        "accuracy_mean_of_steps": float((found.mean == labels).mean()),
        "accuracy_of_steps": float(found.right_steps.sum() / decisions.lengths.sum()),
        "loss": float(found.loss.mean()),
        "accuracy_by_class": statistics.class_accuracy(table, classes),
        "confusion": table.tolist(),
        "unreadable": list(decisions.broken),
    }


def write(workdir: Path, results: Mapping[str, Any], classes: tuple[str, ...]) -> None:
    """Write ``results.json`` and ``confusion.png``.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        part = workdir / "results.part"
        part.write_text(json.dumps(results, indent=2) + "\n")
        os.replace(part, workdir / "results.json")
        figure = confusion_figure(np.array(results["confusion"]), classes)
        figure.savefig(workdir / "confusion.png", dpi=150)
    except OSError as error:
        raise InputError(f"cannot write the results in {workdir}: {error}") from error


def confusion_figure(table: np.ndarray, classes: tuple[str, ...]) -> Figure:
    """Draw a confusion table (C, C): rows true, shade the share of the row."""
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
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="decided", ylabel="true class")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def text(results: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    """Say in text what ``measure`` found."""
    table = np.array(results["confusion"])
    shares = results["accuracy_by_class"].items()
    width = max(map(len, classes))
    low, high = results["interval_95"]
    return "\n".join(
        [
            "confusion (rows: true class, columns: decided)",
            statistics.confusion_text(table, classes),
            "",
            *(f"{n:>{width}} {s:7.1%}" for n, s in shares if s is not None),
            "",
            f"{results['clips']} test clips of {results['groups']} groups, split "
            f"{results['split']}: {results['accuracy']:.1%} right "
            f"(95 % interval over groups {low:.1%} to {high:.1%})",
            f"last step {results['accuracy_last_step']:.1%}, mean of the steps "
            f"{results['accuracy_mean_of_steps']:.1%}, single steps "
            f"{results['accuracy_of_steps']:.1%}",
            *_warnings(results),
        ]
    )


def _warnings(results: Mapping[str, Any]) -> Iterable[str]:
    if results["warning"]:
        yield f"warning: {results['warning']}"
    if results["left_out"]:
        yield f"{len(results['left_out'])} clips could not be read and were left out"
    if results["unreadable"]:
        yield f"{len(results['unreadable'])} test clips broke after that"


def _decided(decisions: Decisions, kind: str) -> np.ndarray:
    found = decisions.predictions
    return np.asarray(found.mean if kind == "cnn" else found.last)
