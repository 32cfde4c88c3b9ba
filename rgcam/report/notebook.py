"""The explorer in a notebook: Jupyter, Colab, VS Code, whatever shows HTML."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from rgcam.attribution.contrast import Signed
from rgcam.attribution.gradcam import Explanation
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.report import explorer
from rgcam.types import Box

TRUST = (
    "It follows from the model's own gradients and was not checked by removing frames "
    "of this clip, so take it as a first guess at what the model used."
)


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
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" width="100%" '
            f'height="{self.height}" frameborder="0" title="rgcam explorer" '
            'sandbox="allow-scripts allow-downloads"></iframe>'
        )


def show(
    explanation: Explanation,
    clip: Clip | UInt8[np.ndarray, "T H W 3"],
    classes: Sequence[str],
    target: int | Sequence[int] | None = None,
    *,
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
        target: what was given to ``explain``: class numbers; None: what the last step
            decides for.
        fps: frames a second, where clip is an array.
        box: (top, left, bottom, right) in pixels of what the model saw of the frames;
            None: all.
        title: above the page.
        height: of the frame in the notebook, in pixels.

    Raises:
        InputError: the explanation is of other frames, or of another number of classes.
    """
    if not isinstance(clip, Clip):
        clip = Clip(clip, np.arange(len(clip)) / fps)
    shown, scores = _shown(explanation, target), np.asarray(explanation.scores)
    _check(shown, scores, clip, classes)
    name = classes[int(shown.targets[0])]
    tall, wide = clip.frames.shape[1:3]
    maps = np.asarray(shown.maps)
    view = explorer.View(
        *(title or f"Why the model sees “{name}”", "", explorer.seen(name)),
        *(TRUST, None, clip.frames, clip.times, _times_out(clip.times, len(scores))),
        *(box or (0, 0, tall, wide), classes, scores, shown, bool((maps < 0).any())),
        matrix=np.maximum(maps[0], 0).sum((-2, -1)),
        beside=None,
        about={"Made by": f"rgcam.show, rgcam {explorer.version()}"},
    )
    return Page(explorer.page(view), height)


def _times_out(times: np.ndarray, steps: int) -> np.ndarray:
    """Return the output steps' times: the last frames', or evenly spread if more."""
    if steps <= len(times):
        return times[len(times) - steps :]
    return np.linspace(times[0], times[-1], steps)


def _shown(explanation: Explanation, target) -> Signed:
    """Return the maps with an axis of classes, and the numbers of these."""
    maps = np.asarray(explanation.maps)
    if target is None:
        target = int(np.asarray(explanation.scores)[-1].argmax())
    targets = tuple(int(t) for t in np.atleast_1d(target))
    maps = maps[None] if maps.ndim == 4 else maps
    if len(targets) != len(maps):
        raise InputError(
            f"the explanation is of {len(maps)} classes and target names "
            f"{len(targets)}: pass show the target that explain was given"
        )
    return Signed(targets, maps)


def _check(shown: Signed, scores, clip: Clip, classes: Sequence[str]) -> None:
    steps = shown.maps.shape[2]
    if len(clip.frames) != steps:
        raise InputError(
            f"the explanation is of {steps} frames and the clip has "
            f"{len(clip.frames)}: pass the frames that were explained"
        )
    if len(classes) != scores.shape[1]:
        raise InputError(
            f"{len(classes)} class names for {scores.shape[1]} scores: "
            "pass all names, in the order of the scores"
        )
