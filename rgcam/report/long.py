"""Explain a video file of any length, and write what was found."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam import files
from rgcam.attribution import gradcam, long
from rgcam.attribution.long import LongExplanation, Out
from rgcam.data import video
from rgcam.errors import InputError
from rgcam.models.zoo import Model, cut_shape
from rgcam.report import plots, record, writer

FILES = "explanation.npz matrix.png summary.json".split()
BINS = 400  # of the picture's axes, at most


class LongStory(NamedTuple):
    """One long video explained, everything that the files say.

    Attributes:
        source: the file's path.
        model: what was explained.
        explanation: rows of the matrix.
        times: (T,) seconds of the frames.
        notes: one sentence for each thing that was odd about the file.
        window: W, or None.
        arguments: the command's options, for the record.
    """

    source: str
    model: Model
    explanation: LongExplanation
    times: Float[np.ndarray, " T"]
    notes: tuple[str, ...]
    window: int | None
    arguments: Mapping[str, Any]


def explain_file(
    model: Model,
    path: str,
    target: int | None = None,
    *,
    fps: float,
    start: float = 0.0,
    end: float | None = None,
    out: Out = None,
    window: int | None = None,
    max_bytes: int = 2 * 2**30,
    arguments: Mapping[str, Any] | None = None,
) -> LongStory:
    """Decode, explain and let go of a video piece by piece.

    Args:
        model: a causal one.
        path: the video.
        target: class index, or None: the one decided for at the end.
        fps: frames a second to look at.
        start: first second.
        end: last second, or None.
        out: see ``long.explain_long``; so are window and max_bytes.
        window: frames to look back on.
        max_bytes: of results and working memory.
        arguments: for the record.

    Raises:
        InputError: as ``video.read_pieces`` and ``long.explain_long``.
    """
    times: list[np.ndarray] = []
    notes: list[str] = []

    def pieces() -> Iterator[np.ndarray]:
        for clip in video.read_pieces(path, fps, start=start, end=end):
            times.append(clip.times)
            notes.extend(clip.notes)
            yield model.preprocess(clip.frames)

    found = long.explain_long(
        *(model.module, model.variables, pieces(), target),
        out=out,
        window=window,
        max_bytes=max_bytes,
    )
    return LongStory(
        *(path, model, found, np.concatenate(times), tuple(notes), window),
        arguments or {},
    )


def whole_bytes(
    model: Model, path: str, *, fps: float, start: float, end: float | None
) -> float:
    """Estimate from the header what all frames or all pairs take, if that is more.

    Returns:
        Bytes; 0 where the header does not say how long the video is.
    """
    info, size = video.probe(path), model.description.preprocess.size
    seconds = np.fmin(info.duration, np.inf if end is None else end) - start
    steps = max(seconds, 0) * np.fmin(fps, info.fps)
    if not np.isfinite(steps):
        return 0.0
    height, width, channels = cut_shape(model.module, size)
    pair = gradcam.explanation_bytes(1, 1, height * width, channels)
    return float(max(steps**2 * pair, steps * 3 * info.width * info.height))


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


def frame_mass(e: LongExplanation, window: int | None) -> Float[np.ndarray, " T"]:
    """Sum over the explained output steps: what each frame contributed to them."""
    mass = np.zeros(len(e.scores))
    if window is None:
        mass += e.matrix.sum(0)
        return mass
    for lag in range(e.matrix.shape[1]):
        there = e.out >= lag
        np.add.at(mass, e.out[there] - lag, e.matrix[there, lag])
    return mass


def write(folder: Path, story: LongStory) -> dict[str, Any]:
    """Write explanation.npz, matrix.png and summary.json; return what that says."""
    return files.replace_files(folder, lambda part: _write_all(part, story))


def summarize(story: LongStory) -> dict[str, Any]:
    """Say in plain data what was explained, what was decided and when."""
    e, classes = story.explanation, story.model.classes
    decided = int(e.scores[-1].argmax())
    mass = frame_mass(e, story.window)
    return {
        "prediction": classes[decided],
        "target": classes[e.target],
        "target_score": float(e.scores[-1, e.target]),
        "output_steps": len(e.out),
        "window": story.window,
        "left_out": float(np.abs(e.dropped).sum() / max(_whole(e), 1e-30)),
        "top_moments": [
            dataclasses.asdict(m) for m in record.top_moments(mass, story.times)
        ],
        "video": {
            "source": story.source,
            "frames": len(story.times),
            "seconds": round(float(story.times[-1]), 1),
            "notes": list(story.notes),
        },
        "model": record.model_fields(record.model_info(story.model)),
        "arguments": dict(story.arguments),
        "versions": record.versions(),
    }


def text(summary: Mapping[str, Any], folder: Path) -> str:
    """Say in a few lines what was decided, when, and where the files are."""
    seen, window, count = (summary[n] for n in ("video", "window", "output_steps"))
    moments = ", ".join(
        f"{m['time']:.2f} s ({m['share']:.0%})" for m in summary["top_moments"]
    )
    looked = f", each with the {window} frames before it" if window else ""
    lines = {
        "video": f"{seen['source']}, {seen['frames']:,} frames, {seen['seconds']} s",
        "note": "; ".join(seen["notes"]),
        "decided": f"{summary['prediction']} at the end",
        "by": summary["model"]["name"],
        "explained": f"{summary['target']} at {count:,} steps{looked}",
        "left out": f"{summary['left_out']:.1%} of the signed mass" if window else "",
        "moments": moments or f"{record.NO_EVIDENCE} for {summary['target']}",
        "files": f"{folder}/: {', '.join(sorted(FILES))}",
    }
    return "\n".join(f"{name:<10}{line}" for name, line in lines.items() if line)


def pooled(
    story: LongStory, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sum the matrix over at most ``bins`` x ``bins`` stretches of time.

    Returns:
        Matrix (out in), times in, times out (seconds, of each stretch's last step) and
        the scores there.
    """
    e, steps = story.explanation, len(story.times)
    columns = _bins(np.arange(steps), steps, bins)
    rows = _bins(np.arange(len(e.out)), len(e.out), bins)
    total = np.zeros((rows[-1] + 1, columns[-1] + 1))
    for n, t in enumerate(e.out):
        lags = np.arange(min(t + 1, e.matrix.shape[1]))
        own = e.matrix[n, : t + 1] if story.window is None else e.matrix[n, lags]
        places = np.arange(t + 1) if story.window is None else t - lags
        np.add.at(total[rows[n]], columns[places], own)
    ends = lambda groups: np.flatnonzero(np.diff(groups, append=groups[-1] + 1))
    last = e.out[ends(rows)]
    return total, story.times[ends(columns)], story.times[last], e.scores[last]


def _bins(places: np.ndarray, count: int, bins: int) -> np.ndarray:
    return places * min(bins, count) // count


def _whole(e: LongExplanation) -> float:
    return float(np.abs(e.matrix).sum() + np.abs(e.dropped).sum())


def _write_all(folder: Path, story: LongStory) -> dict[str, Any]:
    e, summary = story.explanation, summarize(story)
    np.savez_compressed(
        folder / "explanation.npz",
        scores=e.scores,
        out=e.out,
        matrix=e.matrix,
        dropped=e.dropped,
        window=0 if story.window is None else story.window,
        times=story.times,
        classes=np.array(story.model.classes),
        target=e.target,
    )
    matrix, times_in, times_out, scores = pooled(story)
    title = f"why {story.model.name} sees “{story.model.classes[e.target]}”"
    figure = plots.matrix(
        *(matrix, times_in, times_out, scores, story.model.classes, e.target),
        title=f"{title} in {Path(story.source).name}",
    )
    writer.write_image(folder / "matrix.png", plots.figure_to_array(figure))
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary
