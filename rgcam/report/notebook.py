"""The explorer in a notebook: Jupyter, Colab, VS Code and others that show HTML."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from rgcam.attribution import targets
from rgcam.attribution.explain import Explanation
from rgcam.attribution.targets import StepClasses
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.report import explorer, record
from rgcam.report.record import ClassMaps, ExplainedClip, ModelInfo
from rgcam.types import Box, Tensor


class Page(NamedTuple):
    """An explorer; a notebook shows it where it is the last value of a cell.

    Attributes:
        html: the whole page, as explain.py writes report.html.
        height: of the frame in the notebook, in pixels.
    """

    html: str
    height: int

    def save(self, path: str | Path) -> None:
        """Write the page as a file that opens in any browser."""
        Path(path).write_text(self.html, "utf-8", newline="\n")

    def _repr_html_(self) -> str:
        """Return the page in a frame that can run its script and nothing more."""
        # Sandboxed: its scripts and styles cannot touch the notebook's.
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" width="100%" '
            f'height="{self.height}" frameborder="0" title="rgcam explorer" '
            'sandbox="allow-scripts allow-downloads"></iframe>'
        )


def show(
    explanation: Explanation,
    clip: Clip | UInt8[np.ndarray, "T H W 3"],
    classes: Sequence[str],
    target: int | Sequence[int] | StepClasses | None = None,
    *,
    labels: Sequence[str] = (),
    fps: float = 7.5,
    box: Box | None = None,
    title: str = "",
    height: int = 900,
) -> Page:
    """Show an explanation in a notebook, as the page that explain.py writes.

    Args:
        explanation: from ``explain``; of several classes (a leading axis), they can be
            chosen and compared. With ``relu=False`` the page shows both signs.
        clip: the frames that were explained, before preprocessing; with their times,
            or at ``fps``.
        classes: the C names, such as ``model.classes``.
        target: what was given to ``explain``: class numbers, or one for each output step;
            None: the predicted class.
        labels: what the output steps are where they are no times, such as the words of a
            sentence, or clips; (): the frames' times.
        fps: frames per second, where clip is an array.
        box: (top, left, bottom, right) in pixels of what the model saw of the frames;
            None: all.
        title: above the page; "": it says what is explained.
        height: of the frame in the notebook, in pixels.

    Raises:
        InputError: the explanation is of other frames, or of another number of classes or
            output steps.
    """
    explained = explained_clip(
        explanation, clip, classes, target, labels=labels, fps=fps, box=box
    )
    return Page(explorer.page(explained, title or None), height)


def explained_clip(
    explanation: Explanation,
    clip: Clip | UInt8[np.ndarray, "T H W 3"],
    classes: Sequence[str],
    target: int | Sequence[int] | StepClasses | None = None,
    *,
    labels: Sequence[str] = (),
    fps: float = 7.5,
    box: Box | None = None,
) -> ExplainedClip:
    """Return an explanation as the record from which figures, page and files are made.

    ``rgcam.report.writer.write(folder, record)`` writes all files, and
    ``rgcam.report.plots.clip_figures(record)`` draws the figures.

    Args:
        explanation: see ``show``; so are all others.
        clip: likewise.
        classes: likewise.
        target: likewise.
        labels: likewise.
        fps: likewise.
        box: likewise.

    Raises:
        InputError: as ``show``.
    """
    if not isinstance(clip, Clip):
        clip = Clip(clip, np.arange(len(clip)) / fps)
    scores = np.asarray(explanation.scores)
    step_classes = None
    if isinstance(target, StepClasses):
        step_classes = np.asarray(targets.class_index(target, scores.shape))
        # The class of each step stands behind the classes.
        class_maps = _class_maps(explanation, scores.shape[1])
        last_class = int(step_classes[-1])
    else:
        class_maps = _class_maps(explanation, target)
        last_class = int(class_maps.targets[0])
    _check(class_maps, scores, clip, classes, explanation.frames_of_steps, labels)
    # An explanation does not say whether it was rectified; its values do.
    signed = bool((class_maps.maps < 0).any())
    maps = np.asarray(class_maps.maps[0])
    matrices = np.asarray(explanation.matrix).reshape(-1, *maps.shape[:2])
    shown = record.attribution(
        scores,
        last_class if step_classes is None else step_classes,
        method="",
        baseline="",
        rectified=not signed,
        aggregate="last",
        matrix=matrices[0],
        maps=maps,
        beta=_beta(explanation),
        class_maps=class_maps,
    )
    tall, wide = clip.frames.shape[1:3]
    spans = explanation.frames_of_steps
    return ExplainedClip(
        clip=clip,
        source="",
        model=ModelInfo(name="the model", classes=classes),
        box=box or (0, 0, tall, wide),
        scores=scores,
        times_out=record.output_times(clip.times, len(scores)),
        target=last_class,
        step_classes=step_classes,
        attributions=(shown,),
        frames_of_steps=None if spans is None else np.asarray(spans),
        labels=tuple(labels),
    )


def _beta(explanation: Explanation) -> Float[np.ndarray, "out in K"] | None:
    """Return beta of the first class; its zeros tell what no output step can see."""
    if explanation.beta is None:
        return None
    beta = np.asarray(explanation.beta)
    return beta.reshape(-1, *beta.shape[-3:])[0]


def _class_maps(
    explanation: Explanation, target: int | Sequence[int] | None
) -> ClassMaps:
    """Return the maps with an axis of classes, and the numbers of these."""
    maps = np.asarray(explanation.maps)
    if target is None:
        target = int(targets.predicted_class(jnp.asarray(explanation.scores)))
    indices = tuple(int(t) for t in np.atleast_1d(target))
    maps = maps[None] if maps.ndim == 4 else maps
    if len(indices) != len(maps):
        raise InputError(
            f"the explanation is of {len(maps)} classes and target names "
            f"{len(indices)}: pass show the target that explain was given"
        )
    return ClassMaps(indices, maps)


def _check(
    class_maps: ClassMaps,
    scores: Float[np.ndarray, "out C"],
    clip: Clip,
    classes: Sequence[str],
    frames_of_steps: Int[Tensor, "in 2"] | None,
    labels: Sequence[str],
) -> None:
    out, steps = class_maps.maps.shape[1:3]
    frames = len(clip.frames)
    if frames_of_steps is None and frames != steps:
        raise InputError(
            f"the explanation is of {steps} frames and the clip has {frames}: pass the "
            "frames that were explained; of a model that strides over time, explained in a "
            "batch, say which frames its steps cover: explanation._replace("
            "frames_of_steps=rgcam.frames_of_steps(module, variables, inputs))"
        )
    if frames_of_steps is not None and (
        np.shape(frames_of_steps) != (steps, 2) or np.max(frames_of_steps) >= frames
    ):
        raise InputError(
            f"the explanation's {np.shape(frames_of_steps)} frames_of_steps do not fit "
            f"{steps} steps of a clip of {frames} frames: pass the frames that were explained"
        )
    if labels and len(labels) != out:
        raise InputError(
            f"{len(labels)} labels for {out} output steps: pass one for each"
        )
    if len(classes) != scores.shape[1]:
        raise InputError(
            f"{len(classes)} class names for {scores.shape[1]} scores: "
            "pass all names, in the order of the scores"
        )
