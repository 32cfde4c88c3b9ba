"""One explained clip: the record from which everything that is shown is derived.

``rgcam.report.explain.explain_clip`` computes an ``ExplainedClip``. The terminal,
summary.json, the figures, the page, the notebook and the manifest of a corpus read
their numbers and sentences from its fields and properties, and none computes its own
version of them:

==================  ==================================================================
predicted class     the class with the highest score at the last output step
unchanged since     time of the first output step from which the predicted class stays
shown maps          of the first attribution, for the output steps that it aggregates
faithfulness        of exactly the shown maps, or "not checked for this view"
share of a frame    its part of the sum of all positive values of the shown row
top moments         the frames with the largest values of the shown row, some time apart
==================  ==================================================================
"""

import dataclasses
import functools
import math
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from rgcam.attribution import explain, targets
from rgcam.attribution import maps as attribution_maps
from rgcam.attribution.explain import ClassMaps, Explanation, Method
from rgcam.attribution.maps import Aggregation
from rgcam.attribution.perturbation import Baseline, baseline_name
from rgcam.data.video import Clip
from rgcam.metrics.faithfulness import THRESHOLD, FaithfulnessCheck
from rgcam.models.out_of_distribution import DistributionCheck
from rgcam.models.zoo import Model
from rgcam.types import Box, Fields, Tensor

STEP_CLASSES = "the given class of each step"  # name of such a target
EACH_WORD = "each word"  # the same, of a sentence
STEP = "step"  # what is shown, where one output step was chosen
TOP_WORDS = 4  # words with the most support that are listed and drawn
WHOLE_CLIP = "the whole clip"  # label of the only output step of a score of a clip
APART = 0.4  # seconds between two top moments
TIME_ERROR = 1e-4  # seconds: times nearer than this are equal
MOMENTS = 5  # top moments that are listed
RECENT = 0.1  # of the visible frames: the last ones, whose support is compared with all
FEWEST_FOR_RECENCY = 8  # visible frames
NOT_CHECKED = "not checked for this view"
NO_EVIDENCE = "no positive evidence"
# Names that are ours, in the field's terms.
DESCRIPTIONS = {
    "gradient": "gradient times the difference from the baseline",
    "path": "integrated gradients from the baseline's feature map",
    "fade": "expected gradients over independently interpolated frames",
    "cells": "occlusion of single cells of the feature map",
}
FAITHFULNESS = "Faithfulness check: {verdict}."
NONE_PASSED = (
    "no method passed its faithfulness check: do not read these maps as what the model "
    "used"
)
POSITION_SENSITIVE = ("grid", "fc")  # heads that weigh each position by itself
MEANING = {  # of a check that passed, failed, was not made
    True: " When parts of the clip are replaced, the score changes as these maps predict.",
    False: " When parts of the clip are replaced, the score does not change as these maps "
    "predict: do not read them as what the model used.",
    None: "",
}
# What is shown: {kind} is of KINDS, by whether the maps are rectified.
VIEW = "Shown: {method} for {target} ({kind}), {steps}."
KINDS = {True: "supporting only", False: "supporting and opposing"}


class Titles(NamedTuple):
    """Templates of titles, by what is explained; the names in braces are filled in.

    Attributes:
        of_prediction: of the predicted class.
        of_class: of another class.
        of_pair: of a class rather than another.
    """

    of_prediction: str
    of_class: str
    of_pair: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What an explanation says of a model.

    Attributes:
        name: of the model, without the folders of a run's path.
        classes: the C class names, in the order of the scores.
        arch: fields of its architecture.
        results: how it was trained and what it scored.
        fps: frames per second that it was trained at.
    """

    name: str
    classes: Sequence[str]
    arch: Fields = dataclasses.field(default_factory=dict)
    results: Fields = dataclasses.field(default_factory=dict)
    fps: float = 7.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """What a captioner wrote about a clip.

    Attributes:
        words: of the caption or the answer.
        question: that it answers; "": it is a caption.
    """

    words: tuple[str, ...]
    question: str = ""

    @property
    def text(self) -> str:
        """Return the words in a line."""
        return " ".join(self.words)

    @property
    def kind(self) -> str:
        """Return "caption" or "answer"."""
        return "answer" if self.question else "caption"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordSupport:
    """A word of a sentence, and what the clip contributes to it.

    Attributes:
        word: of the sentence.
        position: among its words.
        probability: of the word, given the words before it.
        support: sum of the positive values of its row of the matrix, in logits.
        time: of the frame with the largest value, in seconds; None: no frame supports it.
    """

    word: str
    position: int
    probability: float
    support: float
    time: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameBaseline:
    """The frame-CNN baseline: ordinary Grad-CAM of each frame by itself.

    Attributes:
        model: the frame CNN.
        scores: (in C), of its own classes.
        maps: (classes in h w) rectified, in its logits: L[t, t] of the explained class
            and then of the next classes of ``Attribution.class_maps``, as far as the
            CNN has them.
    """

    model: ModelInfo
    scores: Float[np.ndarray, "in C"]
    maps: Float[np.ndarray, "classes in h w"]

    @property
    def prediction(self) -> str:
        """Return the class with the highest mean log-probability over the frames."""
        return self.model.classes[int(np.log(softmax(self.scores)).mean(0).argmax())]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedView:
    """The faithfulness check of one view of an attribution to the explained class.

    Attributes:
        step: output step t' whose maps were checked.
        rectified: whether the positive part of the maps was checked.
        check: its result.
    """

    step: int
    rectified: bool
    check: FaithfulnessCheck


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """What one method attributes the explained class's score to.

    Attributes:
        method: one of ``explain.METHODS``, or the name of a function; "" if it is not
            known.
        baseline: name of what the method, and its check, replaces frames by; "" likewise.
        rectified: whether matrix and maps hold the positive part of signed maps.
        aggregation: one of ``maps.AGGREGATIONS``, the name of a function, or STEP: which
            output steps are shown.
        step: the output step t' that is shown; None: all, by their mean or maximum.
        matrix: (out in), sum of each map, in logits.
        shown_maps: (in h w), the maps that figures and page show, in logits.
        shown_row: (in,), sum of each of the shown maps: importance of each frame.
        maps: (out in h w), of all pairs; None where only the shown ones were kept.
        beta: (out in K) of Eq. 1; None where it was not kept, or the method has none.
        checks: faithfulness checks of views: of the shown maps, if anything was
            checked, and of other views that the page offers.
        class_maps: signed maps of the explained class and other classes, for the page.
            Rectified maps where signed ones are not known.
        own_title: the title of a method that is a function; "": that of its name.
    """

    method: str
    baseline: str
    rectified: bool
    aggregation: str
    step: int | None
    matrix: Float[np.ndarray, "out in"]
    shown_maps: Float[np.ndarray, "in h w"]
    shown_row: Float[np.ndarray, " in"]
    maps: Float[np.ndarray, "out in h w"] | None = None
    beta: Float[np.ndarray, "out in K"] | None = None
    checks: tuple[CheckedView, ...] = ()
    class_maps: ClassMaps | None = None
    own_title: str = ""

    @functools.cached_property
    def causal(self) -> bool:
        """Tell whether no output step looks ahead: exactly 0 wherever t > t'."""
        if not attribution_maps.is_causal(self.matrix):
            return False
        # What is 0 because it was rectified is not 0 by structure.
        if self.beta is not None:
            return attribution_maps.is_causal(self.beta)
        signed = self.class_maps
        return signed is None or attribution_maps.is_causal(np.asarray(signed.maps[0]))

    @property
    def title(self) -> str:
        """Return the method's name in the field's terms."""
        return self.own_title or explain.method_title(self.method)

    @property
    def description(self) -> str:
        """Return the title and, where that is not the field's, what it stands for."""
        words = DESCRIPTIONS.get(self.method)
        return f"{self.title} ({words})" if words else self.title

    @property
    def faithfulness(self) -> FaithfulnessCheck | None:
        """Return the check of exactly the shown maps; None if they were not checked."""
        # Checks are of single steps: no aggregation over all steps is among them.
        return None if self.step is None else self.check_at(self.step)

    def check_at(self, step: int) -> FaithfulnessCheck | None:
        """Return the check of the maps of one output step, with the shown signs."""
        view = step, self.rectified
        return next(
            (c.check for c in self.checks if (c.step, c.rectified) == view), None
        )

    @property
    def verdict(self) -> str:
        """Return the sentence about the faithfulness of the shown maps."""
        return verdict(self.faithfulness)

    @property
    def label(self) -> str:
        """Name the method with its verdict: "fade attribution: PASSED (0.98, ...)"."""
        return f"{self.title}: {self.verdict}"

    @property
    def passed(self) -> bool | None:
        """Tell whether the shown maps passed the check; None: not checked."""
        return None if self.faithfulness is None else self.faithfulness.passed

    @functools.cached_property
    def reach(self) -> attribution_maps.LagProfile:
        """Return how the attribution falls with the lag t' - t, if nothing looks ahead."""
        if not self.causal:
            return attribution_maps.NO_LAGS
        return attribution_maps.lag_profile(self.matrix)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A frame that contributes much to the shown output step.

    Attributes:
        frame: its index t; of a step of A that covers several, the middle one.
        time: in seconds.
        importance: its value of the shown row, in logits.
        share: its part of the sum of all positive values of that row.
    """

    frame: int
    time: float
    importance: float
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedClip:
    """One explained clip.

    Attributes:
        clip: the frames that were explained, uint8, and their times.
        source: path of the video, or what the clip is.
        model: what was explained.
        box: pixels of the frames that the model saw.
        scores: y (out C), logits.
        times_out: (out,), seconds of the output steps.
        target: index of the explained class.
        attributions: one per method; the first is the one that is shown.
        selection: why the first is shown, where that was chosen by the checks.
        frame_baseline: the frame-CNN baseline, or None.
        options: of the command, for the record.
        features: A, or None where they were not kept.
        distribution_check: how far the clip is from the model's training clips; None
            where the model has no statistics of them. If it warns, the warning is one of
            the clip's notes.
        frames_of_steps: first and last frame of each step of A; None: one step for each
            frame.
        labels: what the output steps are, such as words; (): the times of ``times_out``.
        step_classes: (out,) the explained class of each output step, where they are given;
            ``target`` is the last one's. None: ``target`` at all of them.
        sentence: what a captioner wrote, whose words are the ``labels`` and, as numbers,
            the ``step_classes``; None: the model is a classifier.
    """

    clip: Clip
    source: str
    model: ModelInfo
    box: Box
    scores: Float[np.ndarray, "out C"]
    times_out: Float[np.ndarray, " out"]
    target: int
    attributions: tuple[Attribution, ...]
    selection: str = ""
    frame_baseline: FrameBaseline | None = None
    options: Fields = dataclasses.field(default_factory=dict)
    features: Float[Tensor, "in h w K"] | None = None
    distribution_check: DistributionCheck | None = None
    frames_of_steps: Int[np.ndarray, "in 2"] | None = None
    labels: tuple[str, ...] = ()
    step_classes: Int[np.ndarray, " out"] | None = None
    sentence: Sentence | None = None

    @property
    def explained_class(self) -> int | Int[np.ndarray, " out"]:
        """Return the explained class, or that of each output step."""
        return self.target if self.step_classes is None else self.step_classes

    @property
    def shown_classes(self) -> tuple[str, ...]:
        """Return the classes' names and, behind them, that of classes of steps."""
        names = tuple(self.model.classes)
        if self.step_classes is None:
            return names
        return (*names, STEP_CLASSES if self.sentence is None else EACH_WORD)

    @property
    def shown_target(self) -> int:
        """Return where the target is among ``shown_classes``."""
        return self.target if self.step_classes is None else len(self.model.classes)

    @property
    def shown_scores(self) -> Float[np.ndarray, "out shown"]:
        """Return the scores of ``shown_classes``."""
        if self.step_classes is None:
            return self.scores
        of_steps = self.scores[np.arange(len(self.scores)), self.step_classes]
        return np.column_stack([self.scores, of_steps])

    @functools.cached_property
    def positions(self) -> Float[np.ndarray, " in"]:
        """Return where each step of A lies, in frames: the middle of those it covers."""
        frames = len(self.clip.frames)
        if self.frames_of_steps is None:
            return np.arange(frames, dtype=np.float64)
        return attribution_maps.step_positions(self.frames_of_steps, frames)

    @property
    def times_in(self) -> Float[np.ndarray, " in"]:
        """Return the time (s) of each step of A, which is a frame's where they are one."""
        if self.frames_of_steps is None:
            return self.clip.times
        times = self.clip.times
        return np.interp(self.positions, np.arange(len(times)), times)

    @property
    def middle_frames(self) -> Int[np.ndarray, " in"]:
        """Return the frame in the middle of each step of A."""
        return np.rint(self.positions).astype(int)

    @property
    def steps_of_frames(self) -> Int[np.ndarray, " T"]:
        """Return the step of A that is shown with each frame."""
        return attribution_maps.steps_of_frames(self.positions, len(self.clip.frames))

    def maps_of_frames(self, attribution: Attribution) -> Float[np.ndarray, "T h w"]:
        """Return the shown map of each frame: that of the step of A nearest to it."""
        maps = attribution.shown_maps
        return maps if self.frames_of_steps is None else maps[self.steps_of_frames]

    @property
    def step_labels(self) -> tuple[str, ...]:
        """Return what the output steps are, where they are no times; else ()."""
        if self.labels or len(self.scores) > 1 or len(self.clip.frames) == 1:
            return self.labels
        return (WHOLE_CLIP,)

    @property
    def shown(self) -> Attribution:
        """Return the attribution that figures and page show."""
        return self.attributions[0]

    def showing(self, attribution: Attribution) -> "ExplainedClip":
        """Return the same record with another of its attributions shown."""
        others = tuple(a for a in self.attributions if a is not attribution)
        return dataclasses.replace(self, attributions=(attribution, *others))

    @property
    def explanation(self) -> Explanation:
        """Return the shown attribution as ``explain`` returns it."""
        assert self.shown.maps is not None and self.features is not None
        return Explanation(
            scores=jnp.asarray(self.scores),
            features=jnp.asarray(self.features),
            beta=None if self.shown.beta is None else jnp.asarray(self.shown.beta),
            maps=jnp.asarray(self.shown.maps),
            matrix=jnp.asarray(self.shown.matrix),
        )

    @property
    def source_name(self) -> str:
        """Return the file's name without its folders, or what the clip is."""
        return Path(self.source).name

    @property
    def target_name(self) -> str:
        """Return the name of the explained class."""
        return self.shown_classes[self.shown_target]

    @property
    def predicted(self) -> int:
        """Return the index of the predicted class."""
        return int(targets.predicted_class(jnp.asarray(self.scores)))

    @property
    def prediction(self) -> str:
        """Return the name of the predicted class, or the sentence that was written."""
        if self.sentence is not None:
            return self.sentence.text
        return self.model.classes[self.predicted]

    @property
    def probability(self) -> float:
        """Return the predicted class's probability at the last output step.

        Of a sentence: the product of its words' probabilities.
        """
        if self.sentence is not None:
            return math.prod(word.probability for word in self.words)
        return float(softmax(self.scores[-1])[self.predicted])

    @functools.cached_property
    def words(self) -> tuple[WordSupport, ...]:
        """Return the words of the sentence, in their order; () without one."""
        if self.sentence is None or self.step_classes is None:
            return ()
        steps = np.arange(len(self.scores))
        of_words = softmax(self.scores.astype(np.float64))[steps, self.step_classes]
        rows = np.maximum(self.shown.matrix.astype(np.float64), 0)
        return tuple(
            WordSupport(
                word=word,
                position=position,
                probability=float(of_words[position]),
                support=float(rows[position].sum()),
                time=round(float(self.times_in[rows[position].argmax()]), 3)
                if rows[position].any()
                else None,
            )
            for position, word in enumerate(self.sentence.words)
        )

    @property
    def top_words(self) -> tuple[WordSupport, ...]:
        """Return the words with the most support, in the order of the sentence."""
        supported = [word for word in self.words if word.support > 0]
        best = sorted(supported, key=lambda word: -word.support)[:TOP_WORDS]
        return tuple(sorted(best, key=lambda word: word.position))

    @property
    def unchanged_since(self) -> float | None:
        """Return the time (s) of the first step from which the prediction stays.

        None where the output steps are no times.
        """
        if self.step_labels:
            return None
        step = attribution_maps.choose_step(self.scores, None, "settled")
        return round(float(self.times_out[step]), 3)

    @property
    def prediction_text(self) -> str:
        """Say what was predicted: "Diving (p = 0.93), unchanged since 0.00 s"."""
        prediction = f"{self.prediction} (p = {self.probability:.2f})"
        if self.unchanged_since is None:
            return prediction
        return f"{prediction}, unchanged since {self.unchanged_since:.2f} s"

    @property
    def lead(self) -> str:
        """Say in a sentence what was predicted, and after how much of the clip."""
        times = self.clip.times
        if self.sentence is not None:
            question = self.sentence.question
            to = f" to “{question}”" if question else ""
            return (
                f"{self.sentence.kind.capitalize()} of the whole clip{to}, "
                f"{times[-1]:.1f} s ({len(times)} frames): “{self.sentence.text}” "
                f"(p = {self.probability:.2f})."
            )
        if self.step_labels:
            of = (
                ""
                if len(self.scores) == 1
                else f" at the last step (“{self.labels[-1]}”)"
            )
            return (
                f"Prediction of the whole clip, {times[-1]:.1f} s ({len(times)} frames)"
                f"{of}: {self.prediction_text}."
            )
        return (
            f"Prediction after {times[-1]:.1f} s ({len(times)} frames): "
            f"{self.prediction_text}."
        )

    @property
    def titles(self) -> Titles:
        """Return the templates of ``title``."""
        if self.sentence is not None:
            return sentence_titles(self.sentence, self.source)
        return titles(self.source)

    @property
    def title(self) -> str:
        """Say in one line what is explained."""
        if self.sentence is not None:
            template = self.titles.of_prediction
            return template.format(model=self.model.name, source=self.source_name)
        return title(
            model=self.model.name,
            source=self.source_name,
            target=self.target_name,
            prediction=self.prediction,
        )

    @property
    def shown_text(self) -> str:
        """Say which output steps t' the shown maps are of."""
        how = self.shown.aggregation
        if self.step_labels == (WHOLE_CLIP,):
            return f"score of {WHOLE_CLIP}"
        if how == STEP and self.shown.step is not None:
            kind = "output step" if self.sentence is None else "word"
            name = attribution_maps.step_name(
                self.times_out, self.step_labels, self.shown.step
            )
            return f"{kind} {name}"
        if how not in attribution_maps.AGGREGATIONS:  # a function's name
            return how.replace("_", " ")
        return attribution_maps.describe(
            self.scores, self.explained_class, how, self.times_out, self.step_labels
        )

    @property
    def view_text(self) -> str:
        """Say which maps are shown: their method, class, signs and output steps."""
        return VIEW.format(
            method=self.shown.title,
            target=f"“{self.target_name}”",
            kind=KINDS[self.shown.rectified],
            steps=self.shown_text,
        )

    def caption(self, content: str) -> str:
        """Say below a figure what it shows, and how faithful that is."""
        # Several words are shown together, and one of them was checked.
        of = "" if self.sentence is None else f" of {self.shown_text}"
        content = f"{content[0].upper()}{content[1:]}"
        return f"{content}; faithfulness check{of}: {self.shown.verdict}"

    @property
    def top_moments(self) -> tuple[Moment, ...]:
        """Return the frames with the largest values of the shown row."""
        moments = top_moments(self.shown.shown_row, self.times_in)
        if self.frames_of_steps is None:
            return moments
        frames = self.middle_frames
        return tuple(
            dataclasses.replace(m, frame=int(frames[m.frame])) for m in moments
        )

    @property
    def half_life(self) -> float | None:
        """Return the lag (s) over which attribution halves; None: it does not fall."""
        frames = self.shown.reach.half_life  # infinite where it rises, NaN without any
        if not math.isfinite(frames):
            return None
        # In frames it is fitted; the mean gap between frames makes seconds of it.
        times = self.times_in
        return frames * float(times[-1] - times[0]) / max(len(times) - 1, 1)

    @property
    def recurrent_share(self) -> float | None:
        """Return the part of all attribution to earlier frames; None: there is none."""
        share = self.shown.reach.recurrent_share
        return None if math.isnan(share) else share

    @property
    def recency_text(self) -> str:
        """Say so where most of the support lies in the last frames; else ""."""
        shown = self.shown
        if shown.step is None or not shown.causal:
            return ""
        support = np.maximum(shown.shown_row[: shown.step + 1], 0)
        count = max(1, round(RECENT * len(support)))
        share = float(support[-count:].sum()) / max(float(support.sum()), 1e-30)
        if share <= 0.5 or len(support) < FEWEST_FOR_RECENCY:
            return ""
        frames = "the last frame" if count == 1 else f"the last {count} frames"
        return (
            f"{100 * share:.0f} % of the support lies in {frames} of {len(support)}: "
            "earlier evidence may show at other output steps (--aggregate=settled or max)"
        )

    @property
    def reach_text(self) -> str:
        """Say how far back attribution reaches; "" where there is none."""
        share, half_life = self.recurrent_share, self.half_life
        if share is None:
            return ""
        through = (
            f"{100 * share:.0f} % reaches the prediction through the recurrent state"
        )
        if share == 0:
            return through
        # A longer one would be an extrapolation beyond what was seen.
        if half_life is None or half_life > float(self.clip.times[-1]):
            return f"attribution does not halve within the clip; {through}"
        return f"attribution half-life {half_life:.2f} s; {through}"


def attribution(
    scores: Float[np.ndarray, "out C"],
    target: int | Int[np.ndarray, " out"],
    *,
    method: Method,
    baseline: Baseline,
    rectified: bool,
    aggregate: Aggregation,
    matrix: Float[np.ndarray, "out in"],
    maps: Float[np.ndarray, "rows in h w"],
    beta: Float[np.ndarray, "out in K"] | None = None,
    checks: tuple[CheckedView, ...] = (),
    class_maps: ClassMaps | None = None,
    step: int | None = None,
) -> Attribution:
    """Choose the maps and the row that are shown, and put an ``Attribution`` together.

    Args:
        scores: y, logits.
        target: index of the explained class, or one for each output step.
        method: see ``Attribution``; so are baseline, rectified, matrix, beta, checks
            and class_maps.
        baseline: likewise.
        rectified: likewise.
        aggregate: which output steps are shown, unless ``step`` is given.
        matrix: likewise.
        maps: of all output steps; or of the last one alone, if that is shown.
        beta: likewise.
        checks: likewise.
        class_maps: likewise.
        step: the output step that is shown; None: what ``aggregate`` chooses.
    """
    name = attribution_maps.aggregation_name(aggregate)
    if step is not None:
        name = STEP
    elif isinstance(aggregate, str) and name in attribution_maps.STEPS:
        step = attribution_maps.choose_step(scores, target, name)
    if step is not None:
        # A corpus keeps the maps of the last step alone.
        shown_maps = maps[step] if len(maps) == len(scores) else maps[-1]
        shown_row = matrix[step]  # the sums of these maps, as the matrix has them
    else:
        shown_maps = attribution_maps.aggregate(maps, scores, target, aggregate)
        shown_row = shown_maps.sum((1, 2))
    return Attribution(
        method=explain.method_name(method),
        own_title="" if isinstance(method, str) else explain.method_title(method),
        baseline=baseline_name(baseline),
        rectified=rectified,
        aggregation=name,
        step=step,
        matrix=matrix,
        shown_maps=shown_maps,
        shown_row=shown_row,
        maps=maps if len(maps) == len(scores) else None,
        beta=beta,
        checks=checks,
        class_maps=class_maps,
    )


def select(
    attributions: Sequence[Attribution], scores: Float[np.ndarray, "out C"], head: str
) -> tuple[tuple[Attribution, ...], str]:
    """Put the attribution first that is to be shown, by the faithfulness checks.

    The first that passes its check, in the order given; if none does, the one with the
    highest score. Where all output steps are shown together, which is not checked, the
    checks of the last step decide.

    Args:
        attributions: of one clip and class, the preferred one first.
        scores: y, logits.
        head: of the model: "gap", "grid" or "fc"; "": unknown.

    Returns:
        The attributions in the order in which they are shown, and a sentence that says
        why the preferred one is not the first, or that none passed; "" otherwise.
    """
    checks = [
        a.faithfulness if a.step is not None else a.check_at(len(scores) - 1)
        for a in attributions
    ]
    values = [
        -math.inf if c is None or math.isnan(c.score) else c.score for c in checks
    ]
    passing = [
        i for i, check in enumerate(checks) if check is not None and check.passed
    ]
    best = passing[0] if passing else values.index(max(values))
    order = [best, *(i for i in range(len(attributions)) if i != best)]
    ordered = tuple(attributions[i] for i in order)
    if not passing:
        return ordered, NONE_PASSED
    preferred, check = attributions[0], checks[0]
    if best == 0 or check is None:
        return ordered, ""
    sentence = (
        f"{attributions[best].title} is shown instead of {preferred.title}, which failed "
        f"its faithfulness check ({check.score:.2f}, threshold {check.threshold:g})"
    )
    if preferred.method not in explain.CAMS:
        return ordered, sentence
    sentence += (
        ": Grad-CAM compares with a feature map of zeros, which no frame produces"
    )
    if head in POSITION_SENSITIVE:
        sentence += (
            ", and averages gradients over the frame, while this model's head weighs "
            "each position by itself"
        )
    return ordered, sentence


def sentence_titles(sentence: Sentence, source: str) -> Titles:
    """Return the title of a sentence's explanation, as templates."""
    # A word that holds a brace is no name to be filled in.
    text = _without_braces(sentence.text)
    where = " about {source}" if source else ""
    template = f"Why {{model}} writes “{text}”{where}"
    if sentence.question:
        question = _without_braces(sentence.question)
        template = f"Why {{model}} answers “{text}” to “{question}”{where}"
    return Titles(of_prediction=template, of_class=template, of_pair=template)


def _without_braces(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")


def titles(source: str) -> Titles:
    """Return the templates of titles; the source is named where it is known."""
    where = " in {source}" if source else ""
    predicts = "({model} predicts “{prediction}”)"
    return Titles(
        of_prediction=f"Why {{model}} predicts “{{target}}”{where}",
        of_class=f"What supports “{{target}}”{where} {predicts}",
        of_pair=f"Why “{{target}}” rather than “{{other}}”{where} {predicts}",
    )


def title(*, model: str, source: str, target: str, prediction: str) -> str:
    """Say in one line which class is explained, of which model and video."""
    templates = titles(source)
    # "Why the model predicts" is said of the predicted class alone.
    predicted = target == prediction
    template = templates.of_prediction if predicted else templates.of_class
    return template.format(
        model=model, source=source, target=target, prediction=prediction
    )


def model_info(model: Model) -> ModelInfo:
    """Return what an explanation says of a model."""
    return ModelInfo(
        name=Path(model.name).name,
        classes=model.classes,
        arch=model.description.arch,
        results=model.description.results,
        fps=model.description.fps,
    )


def output_times(
    times: Float[np.ndarray, " T"], steps: int
) -> Float[np.ndarray, " out"]:
    """Return the output steps' times: the last frames', or evenly spread if more."""
    if steps <= len(times):
        return times[len(times) - steps :]
    return np.linspace(times[0], times[-1], steps)


def top_moments(
    row: Float[np.ndarray, " in"],
    times: Float[np.ndarray, " in"],
    count: int = MOMENTS,
) -> tuple[Moment, ...]:
    """Return the frames with the largest values, at least APART seconds apart.

    Args:
        row: importance of each frame, in logits.
        times: of the frames, in seconds.
        count: at most this many.

    Returns:
        The largest first. Frames without positive importance are not listed.
    """
    row = np.asarray(row, np.float64)  # as the page's scripts compute
    positive = float(np.maximum(row, 0).sum())
    frames: list[int] = []
    for t in np.argsort(-row, kind="stable"):
        if row[t] <= 0 or len(frames) == count:
            break
        # Neighbouring frames show the same moment: the largest stands for them.
        if all(abs(times[t] - times[c]) >= APART - TIME_ERROR for c in frames):
            frames.append(int(t))
    return tuple(
        Moment(
            frame=t,
            time=round(float(times[t]), 3),
            importance=float(row[t]),
            share=float(row[t] / positive),
        )
        for t in frames
    )


def moments_text(moments: Sequence[Moment]) -> str:
    """List moments in a line: "0.93 s (12 %), 1.87 s (9 %)"."""
    return ", ".join(f"{m.time:.2f} s ({100 * m.share:.0f} %)" for m in moments)


def words_text(words: Sequence[WordSupport]) -> str:
    """List words and their moments in a line: "“kicks” 0.93 s, “walks” 2.13 s"."""
    return ", ".join(
        f"“{word.word}” {word.time:.2f} s" for word in words if word.time is not None
    )


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def verdict(check: FaithfulnessCheck | None) -> str:
    """Say in one sentence what a faithfulness check found."""
    return NOT_CHECKED if check is None else check.verdict


def advice(attribution: Attribution) -> str:
    """Return the verdict for the terminal: of failed maps, with what to try instead."""
    if attribution.passed is not False:
        return attribution.verdict
    alternative = "path" if attribution.method == "fade" else "fade"
    return f"{attribution.verdict}: try --method={alternative}"


def verdict_sentence(check: FaithfulnessCheck | None) -> str:
    """Say what a faithfulness check found, and what it means for a reader."""
    passed = None if check is None else check.passed
    return FAITHFULNESS.format(verdict=verdict(check)) + MEANING[passed]


def summarize(record: ExplainedClip) -> dict[str, object]:
    """Return summary.json: what was predicted, explained and found, as plain data."""
    shown, baseline = record.shown, record.frame_baseline
    half_life, share = record.half_life, record.recurrent_share
    distribution_check = record.distribution_check
    return {
        "prediction": record.prediction,
        "probability": record.probability,
        "unchanged_since": record.unchanged_since,
        "target": record.target_name,
        "target_score": float(record.scores[-1, record.target]),
        "target_of_steps": None
        if record.step_classes is None
        else [record.model.classes[index] for index in record.step_classes],
        "shown": {
            "method": shown.method,
            "aggregation": shown.aggregation,
            "description": record.shown_text,
            "step": shown.step,
            "time": None
            if shown.step is None
            else round(float(record.times_out[shown.step]), 3),
        },
        "positive_evidence": bool((shown.shown_row > 0).any()),
        "top_moments": [dataclasses.asdict(m) for m in record.top_moments],
        "half_life": None if half_life is None else round(half_life, 3),
        "half_life_frames": None
        if half_life is None
        else round(shown.reach.half_life, 2),
        "recency": record.recency_text,
        "recurrent_share": None if share is None else round(share, 4),
        "selection": record.selection,
        "attributions": [_attribution_fields(a) for a in record.attributions],
        "video": {
            "source": record.source,
            "frames": len(record.clip.frames),
            "size": list(record.clip.frames.shape[1:3]),
            "seconds": float(record.clip.times[-1]),
            "notes": list(record.clip.notes),
        },
        "frames_of_steps": None
        if record.frames_of_steps is None
        else np.asarray(record.frames_of_steps).tolist(),
        "output_steps": list(record.step_labels) or None,
        "sentence": None if record.sentence is None else _sentence_fields(record),
        "model": model_fields(record.model),
        "training_distribution": None
        if distribution_check is None
        else distribution_check._asdict() | {"warning": distribution_check.warning},
        "frame_cnn": None
        if baseline is None
        else model_fields(baseline.model) | {"prediction": baseline.prediction},
        "arguments": dict(record.options),
        "versions": versions(),
    }


def text(record: ExplainedClip, files: str = "") -> str:
    """Say in a few lines what was predicted, explained and found.

    Args:
        record: what was explained.
        files: what to say of the files that were written.
    """
    clip, shown, baseline = record.clip, record.shown, record.frame_baseline
    moments = moments_text(record.top_moments)
    sentence = record.sentence
    lines = {
        "video": f"{record.source}, {len(clip.frames)} frames, {clip.times[-1]:.1f} s",
        "note": "; ".join(clip.notes),
        "model": record.model.name,
        "question": "" if sentence is None else sentence.question,
        "prediction" if sentence is None else sentence.kind: record.prediction_text,
        "moments of words": words_text(record.top_words),
        "frame-CNN baseline": baseline
        and f"{baseline.model.name} predicts {baseline.prediction}",
        "explained": f"{record.target_name}, "
        + ("shown: " if sentence is not None else "")
        + f"{record.shown_text}, by {shown.title}",
        "faithfulness check": shown.verdict if record.selection else advice(shown),
        "why this method": record.selection,
        "for comparison": "; ".join(a.label for a in record.attributions[1:]),
        "temporal reach": record.reach_text,
        "recency": record.recency_text,
        "top moments": moments or f"{NO_EVIDENCE} for {record.target_name}",
        "files": files,
    }
    return "\n".join(f"{name}: {line}" for name, line in lines.items() if line)


def model_fields(model: ModelInfo) -> dict[str, object]:
    """Return what summary.json says of a model."""
    return {"name": model.name, "arch": model.arch, "results": model.results}


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the software that made an explanation."""
    names = ("rgcam", "jax", "jaxlib", "flax", "numpy", "av")
    installed = {name: metadata.version(name) for name in names}
    return installed | {"python": platform.python_version()}


def softmax(scores: Float[np.ndarray, "*steps C"]) -> Float[np.ndarray, "*steps C"]:
    """Return the probabilities of the classes."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sentence_fields(record: ExplainedClip) -> dict[str, object]:
    """Return what summary.json says of a sentence and its words."""
    sentence = record.sentence
    assert sentence is not None
    return {
        "kind": sentence.kind,
        "question": sentence.question or None,
        "text": sentence.text,
        "words": [dataclasses.asdict(word) for word in record.words],
    }


def _attribution_fields(attribution: Attribution) -> dict[str, object]:
    """Return what summary.json says of one method."""
    check = attribution.faithfulness
    finite = lambda x: x if not isinstance(x, float) or math.isfinite(x) else None
    scores = {}  # JSON has no NaN: it is null
    if check is not None:
        scores = {
            "score": finite(check.score),
            "threshold": THRESHOLD,
            "time": finite(check.time),
            "space": finite(check.space),
            "deletion": finite(check.deletion),
            "completeness": finite(check.completeness),
        }
    return {
        "method": attribution.method,
        "baseline": attribution.baseline,
        "rectified": attribution.rectified,
        "faithfulness": {
            "verdict": attribution.verdict,
            "passed": attribution.passed,
        }
        | scores,
    }
