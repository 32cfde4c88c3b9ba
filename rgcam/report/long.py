"""One video file of any length: explained piece by piece, its files and its text."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from rgcam import files
from rgcam.attribution import long, targets
from rgcam.attribution.long import LongExplanation, Out
from rgcam.data import video
from rgcam.errors import InputError
from rgcam.models.zoo import Model
from rgcam.report import plots, record, writer
from rgcam.report.record import ModelInfo, Moment
from rgcam.types import Fields

FILES = ("explanation.npz", "matrix.png", "summary.json")
# The axes of the arrays in explanation.npz: a row is an output step of ``out``.
AXES = {
    "scores": "in class",
    "out": "row",
    "matrix": "row in",
    "dropped": "row",
    "window": "",
    "times": "in",
    "classes": "class",
    "target": "",
}
BINS = 400  # of an axis of the figure, at most


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedVideo:
    """One explained video of any length: everything that its files and text say.

    Attributes:
        source: path of the video.
        model: what was explained.
        explanation: rows of the matrix.
        times: of the frames, in seconds.
        notes: one sentence for each oddity of the file.
        window: number of frames that each output step looks back on; None: all.
        options: of the command, for the record.
    """

    source: str
    model: ModelInfo
    explanation: LongExplanation
    times: Float[np.ndarray, " T"]
    notes: tuple[str, ...]
    window: int | None
    options: Fields

    @property
    def prediction(self) -> str:
        """Return the predicted class: of the highest score at the last step."""
        return self.model.classes[
            int(targets.predicted_class(jnp.asarray(self.explanation.scores)))
        ]

    @property
    def target_name(self) -> str:
        """Return the name of the explained class."""
        return self.model.classes[self.explanation.target]

    @property
    def title(self) -> str:
        """Say in one line what is explained."""
        return record.title(
            model=self.model.name,
            source=Path(self.source).name,
            target=self.target_name,
            prediction=self.prediction,
        )

    @functools.cached_property
    def importance(self) -> Float[np.ndarray, " T"]:
        """Return each frame's importance, summed over the explained output steps."""
        explanation = self.explanation
        total = np.zeros(len(explanation.scores))
        if self.window is None:
            total += explanation.matrix.sum(0)
            return total
        for lag in range(explanation.matrix.shape[1]):
            exists = explanation.out >= lag
            frames = explanation.out[exists] - lag
            np.add.at(total, frames, explanation.matrix[exists, lag])
        return total

    @property
    def top_moments(self) -> tuple[Moment, ...]:
        """Return the frames with the largest importance."""
        return record.top_moments(self.importance, self.times)

    @property
    def left_out(self) -> float:
        """Return the part of the signed mass that the window leaves out."""
        matrix, dropped = self.explanation.matrix, self.explanation.dropped
        left_out = float(np.abs(dropped).sum())
        return left_out / max(float(np.abs(matrix).sum()) + left_out, 1e-30)


def explain_file(
    model: Model,
    path: str,
    target: int | None = None,
    *,
    fps: float,
    start: float = 0.0,
    end: float | None = None,
    stream: int | None = None,
    out: Out = None,
    window: int | None = None,
    max_bytes: int | None = None,
    options: Fields | None = None,
) -> ExplainedVideo:
    """Decode and explain a video piece by piece, without holding all its frames.

    Args:
        model: a causal one.
        path: the video.
        target: class index; None: the predicted class.
        fps: frames per second to sample.
        start: first second.
        end: last second; None: the video's end.
        stream: number of the video stream; None: the file's default, or the largest.
        out: see ``attribution.long.explain_long``; so are window and max_bytes.
        window: frames to look back on; None: all.
        max_bytes: of results and working memory; None: by the device's memory.
        options: of the command, for the record.

    Raises:
        InputError: as ``video.read_pieces`` and ``attribution.long.explain_long``.
    """
    times: list[np.ndarray] = []
    notes: list[str] = []

    def pieces() -> Iterator[np.ndarray]:
        for clip in video.read_pieces(path, fps, start=start, end=end, stream=stream):
            times.append(clip.times)
            notes.extend(clip.notes)
            yield model.preprocess(clip.frames)

    explanation = long.explain_long(
        model.module,
        model.variables,
        pieces(),
        target,
        out=out,
        window=window,
        max_bytes=max_bytes,
    )
    return ExplainedVideo(
        source=files.printable(path),
        model=record.model_info(model),
        explanation=explanation,
        times=np.concatenate(times),
        notes=tuple(notes),
        window=window,
        options=options or {},
    )


def parse_steps(text: str | None) -> Out:
    """Read which output steps to explain: "-1", "3,10,20" or "0:500:50"."""
    if not text:
        return None
    try:
        if ":" in text:
            return slice(*(int(part) if part else None for part in text.split(":")))
        return [int(part) for part in text.split(",")]
    except (ValueError, TypeError):
        raise InputError(
            f"output steps are {text!r}; give numbers such as -1 or 3,10,20, or "
            "first:end:stride such as ::100"
        ) from None


def write(folder: Path, explained: ExplainedVideo) -> None:
    """Write the FILES of an explanation, all or none.

    Raises:
        InputError: the folder cannot be written.
    """
    files.replace_files(folder, lambda part: _write_all(part, explained))


def summarize(explained: ExplainedVideo) -> dict[str, object]:
    """Return summary.json: what was predicted and explained, as plain data."""
    explanation = explained.explanation
    return {
        "prediction": explained.prediction,
        "target": explained.target_name,
        "target_score": float(explanation.scores[-1, explanation.target]),
        "output_steps": len(explanation.out),
        "window": explained.window,
        "left_out": explained.left_out,
        "top_moments": [dataclasses.asdict(m) for m in explained.top_moments],
        "video": {
            "source": explained.source,
            "frames": len(explained.times),
            "seconds": round(float(explained.times[-1]), 1),
            "notes": list(explained.notes),
        },
        "model": record.model_fields(explained.model),
        "arguments": dict(explained.options),
        "versions": record.versions(),
    }


def text(explained: ExplainedVideo, folder: Path) -> str:
    """Say in a few lines what was predicted and explained, and where the files are."""
    frames, seconds = len(explained.times), round(float(explained.times[-1]), 1)
    steps = f"{len(explained.explanation.out):,} output steps"
    moments = record.moments_text(explained.top_moments)
    no_moments = f"{record.NO_EVIDENCE} for {explained.target_name}"
    explained_steps, left_out = f"{explained.target_name} at {steps}", ""
    if explained.window:
        explained_steps += f", each with the {explained.window} frames before it"
        left_out = f"{100 * explained.left_out:.1f} % of the signed mass"
    lines = {
        "video": f"{explained.source}, {frames:,} frames, {seconds} s",
        "note": "; ".join(explained.notes),
        "model": explained.model.name,
        "prediction": f"{explained.prediction} at the last step",
        "explained": explained_steps,
        "left out": left_out,
        "top moments": moments or no_moments,
        "files": f"{folder}/: {', '.join(sorted(FILES))}",
    }
    return "\n".join(f"{name}: {line}" for name, line in lines.items() if line)


def pooled(
    explained: ExplainedVideo, bins: int = BINS
) -> tuple[
    Float[np.ndarray, "rows columns"],
    Float[np.ndarray, " columns"],
    Float[np.ndarray, " rows"],
    Float[np.ndarray, "rows C"],
]:
    """Sum the matrix over at most ``bins`` x ``bins`` stretches of time.

    Returns:
        Matrix (out in), times in, times out (seconds, of each stretch's last step) and
        the scores there.
    """
    explanation, steps = explained.explanation, len(explained.times)
    columns = _bins(np.arange(steps), steps, bins)
    rows = _bins(np.arange(len(explanation.out)), len(explanation.out), bins)
    total = np.zeros((rows[-1] + 1, columns[-1] + 1))
    for n, t in enumerate(explanation.out):
        if explained.window is None:
            frames = np.arange(t + 1)
            values = explanation.matrix[n, : t + 1]
        else:  # a row holds the frames by their lag
            lags = np.arange(min(t + 1, explanation.matrix.shape[1]))
            frames = t - lags
            values = explanation.matrix[n, lags]
        np.add.at(total[rows[n]], columns[frames], values)
    # A stretch of steps stands at its last one: nothing in it was seen later.
    ends = lambda bins: np.flatnonzero(np.diff(bins, append=bins[-1] + 1))
    last = explanation.out[ends(rows)]
    times = explained.times
    return total, times[ends(columns)], times[last], explanation.scores[last]


def _bins(
    indices: Int[np.ndarray, " n"], count: int, bins: int
) -> Int[np.ndarray, " n"]:
    """Return the bin of each of ``count`` steps."""
    return indices * min(bins, count) // count


def _write_all(folder: Path, explained: ExplainedVideo) -> None:
    explanation = explained.explanation
    arrays = {
        "scores": explanation.scores,
        "out": explanation.out,
        "matrix": explanation.matrix,
        "dropped": explanation.dropped,
        "window": np.array(explained.window or 0),
        "times": explained.times,
        "classes": np.array(explained.model.classes),
        "target": np.array(explanation.target),
    }
    axes = dict(AXES)
    if explained.window is not None:
        axes["matrix"] = "row lag"
    arrays["axes"] = writer.axes_entry(arrays, axes)
    np.savez_compressed(folder / "explanation.npz", allow_pickle=False, **arrays)
    matrix, times_in, times_out, scores = pooled(explained)
    figure = plots.matrix(
        matrix,
        times_in,
        times_out,
        scores,
        explained.model.classes,
        explanation.target,
        title=explained.title,
    )
    writer.write_image(folder / "matrix.png", plots.figure_to_array(figure))
    files.write_json(folder / "summary.json", summarize(explained))
