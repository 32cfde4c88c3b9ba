"""Many explained videos: accuracy, faithfulness and attribution by class, in one record.

``summarize_videos`` reads the rows of a manifest and the explanation.npz files that they
name. The terminal, summary.csv and index.html (``rgcam.report.summary_page``) read their
numbers from its ``Summary``:

====================  ================================================================
label                 the class that a folder of the video names, the nearest first
accuracy              share of the labelled videos whose predicted class is the label
share of support      a frame's part of all positive values of the shown row
attribution over      mean share of support in each twentieth of the videos, of which
relative time         the duration is 1
attribution over lag  mean of each video's ``|M[t', t' - lag]|`` profile, as a share of
                      its sum over lags
mean map              mean over videos of the sum over time of the positive part of the
                      shown maps, as a share of its sum over cells
====================  ================================================================

Attribution is averaged over the videos of one explained class. Those whose faithfulness
check failed are left out: their maps do not say what the model used.
"""

import concurrent.futures
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from rgcam.attribution import maps as attribution_maps
from rgcam.data import folder as folders
from rgcam.data import near_duplicates
from rgcam.data.video import read_clip
from rgcam.errors import InputError
from rgcam.metrics import statistics
from rgcam.metrics.statistics import Interval
from rgcam.types import Fields

BINS = 20  # of relative time
REPORT = "report.html"
ARRAYS = "explanation.npz"
THUMBNAILS = "thumbnails.jpg"


class VideoSummary(NamedTuple):
    """One video of a corpus.

    Attributes:
        video: its name in the manifest.
        error: why it could not be explained; "": it was.
        label: the class that its folder names; "": none.
        group: its recording.
        prediction: predicted class; this and all below are empty where there is an error.
        probability: of the predicted class.
        target: explained class.
        shown: method whose maps are shown.
        passed: whether they passed the faithfulness check; None: not checked.
        scores: of the check, by method; None: not checked, or nothing changed.
        half_life: of the attribution, in seconds; None: it does not fall.
        recurrent_share: part of the attribution that is to earlier frames, or None.
        top_moment: time (s) of the frame with the largest share of support, or None.
        top_share: its share.
        seconds: of the last frame.
        frames: T.
        report: path of its page below the folder of the corpus; "": not written.
        thumbnails: of its thumbnails, likewise.
    """

    video: str
    error: str
    label: str
    group: str
    prediction: str = ""
    probability: float | None = None
    target: str = ""
    shown: str = ""
    passed: bool | None = None
    scores: Mapping[str, float | None] = {}
    half_life: float | None = None
    recurrent_share: float | None = None
    top_moment: float | None = None
    top_share: float | None = None
    seconds: float | None = None
    frames: int | None = None
    report: str = ""
    thumbnails: str = ""

    @property
    def correct(self) -> bool | None:
        """Tell whether the prediction is the label; None: one of them is missing."""
        if not self.label or self.error:
            return None
        return self.prediction == self.label

    @property
    def score(self) -> float | None:
        """Return the faithfulness score of the shown maps."""
        return self.scores.get(self.shown)


class Accuracy(NamedTuple):
    """Predictions compared with the labels that folders give.

    Attributes:
        overall: share of correct predictions.
        classes: names that label or predict a video, in the model's order.
        table: confusion: videos of a label (row) by predicted class (column).
        by_class: share of correct predictions of each label.
    """

    overall: Interval
    classes: tuple[str, ...]
    table: Int[np.ndarray, "C C"]
    by_class: tuple[Interval, ...]


class ClassAttribution(NamedTuple):
    """What the videos of one explained class have in common.

    Attributes:
        name: of the class.
        videos: that explain it.
        methods: how many of them show each method.
        passed: share that passed the faithfulness check, of those that were checked.
        averaged: number of videos whose check did not fail: those below.
        time: share of support in each of BINS parts of the video.
        lag: share of the attribution at each lag, in frames from 0; up to the lag that
            half of the videos have.
        lag_seconds: of one frame.
        space: (h w), share of the positive attribution in each cell; None: nothing is
            positive, or the videos' maps differ in size.
    """

    name: str
    videos: int
    methods: Mapping[str, int]
    passed: Interval
    averaged: int
    time: tuple[Interval, ...]
    lag: tuple[Interval, ...]
    lag_seconds: float
    space: Float[np.ndarray, "h w"] | None


class Summary(NamedTuple):
    """Everything that is shown of a corpus.

    Attributes:
        name: of the corpus: the folder of its videos.
        model: what is explained.
        videos: failures first, then wrong predictions, each with the most confident
            first.
        passed: share of the explanations that passed the check, of those checked.
        accuracy: None: no folder names a class.
        attributions: one for each explained class.
        notes: one sentence for each thing that is unusual.
    """

    name: str
    model: str
    videos: tuple[VideoSummary, ...]
    passed: Interval
    accuracy: Accuracy | None
    attributions: tuple[ClassAttribution, ...]
    notes: tuple[str, ...]


class ClipProfile(NamedTuple):
    """Where one explanation lies in time, over lags and in the frame.

    Attributes:
        time: share of support in each of BINS parts of the video; NaN: no support.
        lag: share of the attribution at each lag in frames; NaN: there is none.
        lag_seconds: of one frame.
        space: (h w), share of the positive attribution in each cell; NaN: no support.
    """

    time: Float[np.ndarray, " BINS"]
    lag: Float[np.ndarray, " T"]
    lag_seconds: float
    space: Float[np.ndarray, "h w"]


def summarize_videos(
    folder: Path, rows: Sequence[Fields], options: Fields, group: str = ""
) -> Summary:
    """Read what was explained and put the record together.

    Args:
        folder: of the corpus.
        rows: of its manifest, the newest of each video.
        options: of the corpus (corpus.json).
        group: regular expression searched in file names; its first parenthesis is the
            recording. Empty: every video is a recording of its own.

    Raises:
        InputError: no row, an array file that cannot be read, or a pattern that is none
            or matches no file name.
    """
    if not rows:
        raise InputError(f"{folder} has no explained video yet")
    root = Path(str(options.get("videos", "")))
    paths = {str(row["video"]): folder / _file(row, ARRAYS) for row in rows if _ok(row)}
    classes = _classes(paths)
    groups, notes = _groups([str(row["video"]) for row in rows], group)
    labels = {video: folder_label(root / video, classes) for video in map(_name, rows)}
    unlabelled = sorted(video for video, label in labels.items() if not label)
    if unlabelled and len(unlabelled) < len(rows):
        notes = (
            *notes,
            f"{len(unlabelled)} videos lie in no folder named like a class of the model, "
            f"such as {unlabelled[0]}: they have no label",
        )
    if not group:
        notes = (*notes, *_shared_recordings(labels, root))
    videos = tuple(
        sorted(
            (_video(row, labels[_name(row)], groups[_name(row)]) for row in rows),
            key=_errors_first,
        )
    )
    explained = [video for video in videos if not video.error]
    return Summary(
        name=root.name or str(root),
        model=Path(str(options.get("model", ""))).name,
        videos=videos,
        passed=_passed(explained),
        accuracy=_accuracy(explained, classes),
        attributions=_attributions(explained, paths, classes),
        notes=notes,
    )


def _shared_recordings(labels: Mapping[str, str], root: Path) -> Iterator[str]:
    """Yield a sentence if several videos seem to be of one recording.

    Names tell, or else first frames do, as far as the videos are still there.
    """
    names = sorted(set(labels.values()))
    items = [
        folders.Item(
            clip=Path(video), label=names.index(label), group=video, place=video
        )
        for video, label in labels.items()
        if label
    ]
    pattern = folders.suggest_pattern(items)
    if pattern:
        yield (
            "by their names, several videos are parts of one recording, and the intervals "
            f"take each for one: group them by --group='{pattern}'"
        )
        return
    videos = sorted(item.place for item in items)[: near_duplicates.MOST]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        frames = list(pool.map(_first_frame, [root / video for video in videos]))
    there = [
        (video, near_duplicates.signature(frame))
        for video, frame in zip(videos, frames, strict=True)
        if frame is not None
    ]
    twins = near_duplicates.closest([signature for _, signature in there])
    if near_duplicates.is_shared(twins):
        alike = np.flatnonzero(twins >= 0)
        first, second = there[alike[0]][0], there[twins[alike[0]]][0]
        yield (
            f"{len(alike)} of {len(there)} videos begin with nearly the same frame as "
            f"another, such as {first} and {second}: if they are parts of one recording, "
            "the intervals, which take each for one, are too narrow; group them by --group"
        )


def _first_frame(file: Path) -> UInt8[np.ndarray, "H W 3"] | None:
    """Return the first frame of a video; None where it is gone or cannot be read."""
    try:
        return read_clip(file, 10.0, end=0.5).frames[0]
    except InputError:
        return None


def folder_label(path: Path, classes: Sequence[str]) -> str:
    """Return the class that the nearest folder of a video names; "": none does.

    The exact name first; else case, spaces, - and _ do not matter, as for --target.
    """
    loose = {_loose_name(name): name for name in reversed(classes)}
    for parent in path.parent.parts[::-1]:
        if parent in classes:
            return parent
        if _loose_name(parent) in loose:
            return loose[_loose_name(parent)]
    return ""


def clip_profile(
    maps: Float[np.ndarray, "T h w"],
    matrix: Float[np.ndarray, "out T"],
    times: Float[np.ndarray, " T"],
) -> ClipProfile:
    """Return where one explanation lies in time, over lags and in the frame.

    Args:
        maps: shown maps, in logits.
        matrix: of all pairs.
        times: of the frames, in seconds.
    """
    positive = np.maximum(np.asarray(maps, np.float64), 0)
    support = np.maximum(np.asarray(maps, np.float64).sum((1, 2)), 0)
    profile = attribution_maps.lag_profile(np.asarray(matrix, np.float64)).profile
    space = positive.sum(0)
    return ClipProfile(
        time=_relative_time(_share(support)),
        lag=_share(profile),
        lag_seconds=float(times[-1] - times[0]) / max(len(times) - 1, 1),
        space=_share(space),
    )


def csv_text(summary: Summary) -> str:
    """Return summary.csv: a row for each video."""
    methods = list(dict.fromkeys(m for video in summary.videos for m in video.scores))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    names = (
        "video,error,label,group,prediction,correct,probability,explained_class,method,"
        "passed,half_life_s,recurrent_share,top_moment_s,top_share,seconds,frames,report"
    ).split(",")
    lines.writerow([*names, *(f"score_{method}" for method in methods)])
    for video in summary.videos:
        values = (
            video.video,
            video.error,
            video.label,
            video.group,
            video.prediction,
            _yes_or_no(video.correct),
            video.probability,
            video.target,
            video.shown,
            _yes_or_no(video.passed),
            video.half_life,
            video.recurrent_share,
            video.top_moment,
            video.top_share,
            video.seconds,
            video.frames,
            video.report,
        )
        lines.writerow([*values, *(video.scores.get(method) for method in methods)])
    return text.getvalue()


def text(summary: Summary) -> str:
    """Say in a few lines how accurate and how faithful."""
    failed = sum(bool(video.error) for video in summary.videos)
    lines = [accuracy_sentence(summary), passed_sentence(summary)]
    if failed:
        lines.append(
            f"could not be explained: {failed} of {len(summary.videos)} videos"
        )
    lines += [f"note: {note}" for note in summary.notes]
    accuracy = summary.accuracy
    if accuracy is not None:
        width = max(len(name) for name in accuracy.classes)
        lines.append("accuracy by class:")
        lines += [
            f"  {name:{width}}  {interval_sentence(interval)}"
            for name, interval in zip(accuracy.classes, accuracy.by_class, strict=True)
            if interval.mean is not None
        ]
        lines += [
            f"most often confused: {label} predicted as {prediction} ({count})"
            for label, prediction, count in confused(accuracy)[:3]
        ]
    return "\n".join(line for line in lines if line)


def accuracy_sentence(summary: Summary) -> str:
    """Say how many predictions are correct, of those whose label is known."""
    if summary.accuracy is None:
        return "accuracy: unknown, no folder is named like a class of the model"
    return f"accuracy: {interval_sentence(summary.accuracy.overall)}"


def passed_sentence(summary: Summary) -> str:
    """Say how many of the shown maps passed the faithfulness check."""
    if summary.passed.mean is None:
        return "faithfulness check: not made"
    return f"faithfulness check passed: {interval_sentence(summary.passed)}"


def interval_sentence(interval: Interval) -> str:
    """Say a share: "9 of 10 (90.0 %), 95 % interval over groups 55.5 % to 99.7 %"."""
    if interval.mean is None:
        return "none"
    count = round(interval.mean * interval.clips)
    share = f"{100 * interval.mean:.1f} %"
    bounds = statistics.interval_text(interval.bounds).replace("%", " %")
    bounds = bounds.replace("95  %", "95 %")
    return f"{count} of {interval.clips} ({share}), {bounds}"


def confused(accuracy: Accuracy) -> list[tuple[str, str, int]]:
    """List (label, other class that was predicted, count), the most frequent first."""
    pairs = [
        (accuracy.classes[i], accuracy.classes[j], int(accuracy.table[i, j]))
        for i, j in zip(*np.nonzero(accuracy.table), strict=True)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def _ok(row: Fields) -> bool:
    return row["status"] == "ok"


def _name(row: Fields) -> str:
    return str(row["video"])


def _file(row: Fields, name: str) -> str:
    """Return the path of a video's file below the corpus; "": it was not written."""
    names = row.get("files")
    assert isinstance(names, list)
    return next((file for file in names if PurePosixPath(file).name == name), "")


def _classes(paths: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the model's class names, which every array file holds."""
    for path in paths.values():
        with _arrays(path) as arrays:
            return tuple(str(name) for name in arrays["classes"])
    return ()


def _arrays(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        return np.load(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): run rgcam explain --videos again, which "
            "explains what is missing"
        ) from error


def _groups(
    videos: Sequence[str], group: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the recording of each video, and a sentence on names without one."""
    pattern = folders.group_pattern(group)
    names = {video: PurePosixPath(video).name for video in videos}
    groups = {
        video: folders.group_of(pattern, name, video) for video, name in names.items()
    }
    if pattern is None:
        return groups, ()
    unmatched = [name for name in names.values() if not pattern.search(name)]
    if len(unmatched) == len(videos):
        raise InputError(
            f"group pattern {group!r} matches no file name, such as {unmatched[0]}: "
            "correct it, or leave it out"
        )
    if not unmatched:
        return groups, ()
    sentence = (
        f"group pattern {group!r} does not match {len(unmatched)} of {len(videos)} file "
        f"names, such as {unmatched[0]}: each of these is a group of its own"
    )
    return groups, (sentence,)


def _loose_name(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in " _-")


def _video(row: Fields, label: str, group: str) -> VideoSummary:
    """Return the typed record of a row of the manifest."""
    if not _ok(row):
        error = str(row.get("error", "unknown"))
        return VideoSummary(video=_name(row), error=error, label=label, group=group)
    moments, methods = row["top_moments"], row.get("methods", {})
    assert isinstance(moments, list) and isinstance(methods, Mapping)
    number = lambda name: _number(row.get(name))
    passed = row.get("passed")
    return VideoSummary(
        video=_name(row),
        error="",
        label=label,
        group=group,
        prediction=str(row["prediction"]),
        probability=number("probability"),
        target=str(row["target"]),
        shown=str(row.get("shown", "")),
        passed=None if passed is None else bool(passed),
        scores={name: _number(fields["score"]) for name, fields in methods.items()},
        half_life=number("half_life"),
        recurrent_share=number("recurrent_share"),
        top_moment=_number(moments[0]["time"]) if moments else None,
        top_share=_number(moments[0]["share"]) if moments else None,
        seconds=number("seconds"),
        frames=int(number("frames") or 0),
        report=_file(row, REPORT),
        thumbnails=_file(row, THUMBNAILS),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _errors_first(video: VideoSummary) -> tuple[bool, bool, float, str]:
    """Order failures, then wrong predictions, each with the most confident first."""
    return (
        not video.error,
        video.correct is not False,
        -(video.probability or 0.0),
        video.video,
    )


def _passed(videos: Sequence[VideoSummary]) -> Interval:
    checked = [video for video in videos if video.passed is not None]
    values = np.array([bool(video.passed) for video in checked], bool)
    return statistics.share_interval(values, [video.group for video in checked])


def _accuracy(
    videos: Sequence[VideoSummary], classes: Sequence[str]
) -> Accuracy | None:
    labelled = [video for video in videos if video.label]
    if not labelled:
        return None
    used = {name for v in labelled for name in (v.label, v.prediction)}
    names = tuple(name for name in classes if name in used)
    index = {name: number for number, name in enumerate(names)}
    labels = np.array([index[video.label] for video in labelled])
    predictions = np.array([index[video.prediction] for video in labelled])
    groups = np.array([video.group for video in labelled])
    correct = labels == predictions
    return Accuracy(
        overall=statistics.share_interval(correct, list(groups)),
        classes=names,
        table=statistics.confusion(labels, predictions, len(names)),
        by_class=tuple(
            statistics.share_interval(correct[labels == i], list(groups[labels == i]))
            for i in range(len(names))
        ),
    )


def _attributions(
    videos: Sequence[VideoSummary], paths: Mapping[str, Path], classes: Sequence[str]
) -> tuple[ClassAttribution, ...]:
    """Average the attributions of the videos of each explained class."""
    of_class: dict[str, list[VideoSummary]] = {}
    for video in videos:
        of_class.setdefault(video.target, []).append(video)
    return tuple(
        _attribution(name, of_class[name], paths)
        for name in classes
        if name in of_class
    )


def _attribution(
    name: str, videos: Sequence[VideoSummary], paths: Mapping[str, Path]
) -> ClassAttribution:
    averaged = [video for video in videos if video.passed is not False]
    groups = [video.group for video in averaged]
    profiles = []
    for video in averaged:
        with _arrays(paths[video.video]) as arrays:
            profiles.append(
                clip_profile(arrays["maps"], arrays["matrix"], arrays["times"])
            )
    # Up to the lag that half of the videos have: of fewer, the mean would be of others.
    lags = sorted(len(profile.lag) for profile in profiles)
    count = lags[len(lags) // 2] if lags else 0
    lag_values = np.full((len(profiles), count), np.nan)
    for row, profile in zip(lag_values, profiles, strict=True):
        row[: len(profile.lag)] = profile.lag[:count]
    time_values = np.array([profile.time for profile in profiles])
    over = lambda values: tuple(
        statistics.mean_interval(column, groups) for column in values.T
    )
    return ClassAttribution(
        name=name,
        videos=len(videos),
        methods=Counter(video.shown for video in videos),
        passed=_passed(videos),
        averaged=len(averaged),
        time=over(time_values) if profiles else (),
        lag=over(lag_values) if profiles else (),
        lag_seconds=float(np.median([p.lag_seconds for p in profiles]))
        if profiles
        else 0.0,
        space=_mean_map([profile.space for profile in profiles]),
    )


def _mean_map(
    maps: Sequence[Float[np.ndarray, "..."]],
) -> Float[np.ndarray, "h w"] | None:
    """Return the mean of the maps that have support, if all are of one size."""
    finite = [cells for cells in maps if np.isfinite(cells).all()]
    if not finite or len({cells.shape for cells in finite}) > 1:
        return None
    return np.mean(finite, axis=0)


def _share(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Divide by the sum; NaN where it is not positive."""
    total = values.sum()
    return values / total if total > 0 else np.full_like(values, np.nan)


def _relative_time(shares: Float[np.ndarray, " T"]) -> Float[np.ndarray, " BINS"]:
    """Divide T frames of equal duration among BINS equal parts of the whole."""
    # The cumulative share at the ends of the parts: linear within each frame.
    ends = np.concatenate([[0.0], np.cumsum(shares)])
    places = np.linspace(0, len(shares), BINS + 1)
    return np.diff(np.interp(places, np.arange(len(ends)), ends))


def _yes_or_no(value: bool | None) -> str:
    return "" if value is None else ("no", "yes")[value]
