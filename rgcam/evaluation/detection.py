"""Does the faithfulness check tell genuine explanations from corrupted ones? Pure.

Corrupted explanations cannot be faithful: another clip's, frames in a random order, a
randomised model's. Genuine ones below a threshold are false alarms; corrupted ones at or
above it are missed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam.evaluation.measure import CheckOutcomes
from rgcam.evaluation.tables import HEADINGS, Column, Row, column, grid
from rgcam.metrics.faithfulness import ranks, spearman
from rgcam.metrics.statistics import Interval, share_interval

THRESHOLDS = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))
SCORE = Column("check_score", "genuine")
# The same by more sets of frames: what the score estimates.
ORACLE = Column("faithfulness", "subset_last")
TRUTHS = (
    Column("localization", "energy"),
    Column("localization", "moments"),
    Column("localization_max", "energy"),
    Column("localization_max", "moments"),
    ORACLE,
)
ALL = "all methods"


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation of a score with a measure of truth.

    Attributes:
        across: over all methods and clips.
        within: mean over methods of the correlation over clips.
    """

    across: float
    within: float


class Detection(NamedTuple):
    """How well the score tells genuine explanations from corrupted ones.

    Attributes:
        genuine: number of genuine explanations.
        corrupted: number of corrupted ones.
        area: under the ROC curve: how often a genuine one has the higher score, ties
            counting half. 1 is the best, 0.5 chance (Hanley and McNeil 1982).
        false_alarms: share of genuine ones below each of THRESHOLDS; lower is better.
        missed: share of corrupted ones at or above it; lower is better.
    """

    genuine: int
    corrupted: int
    area: float
    false_alarms: tuple[float, ...]
    missed: tuple[float, ...]


class PassRates(NamedTuple):
    """What one threshold makes of genuine explanations and of corrupted ones.

    Attributes:
        threshold: the score from which the check passes.
        genuine: share of the genuine ones that pass, with its interval over recordings.
        corrupted: share of the corrupted ones that pass.
        area: under the ROC curve, as in ``Detection``.
    """

    threshold: float
    genuine: Interval
    corrupted: Interval
    area: float


TruthCorrelations = dict[Column, dict[Column, RankCorrelation]]
"""By measure of truth, then by score."""

Detections = dict[str, Detection]
"""By method."""


def truth_correlations(
    rows: Sequence[Row], methods: Sequence[str]
) -> TruthCorrelations:
    """Correlate the check's score with measures of truth, clip by clip.

    The oracle's correlation stands next to it: subset fidelity by many sets instead of
    the check's few. What the oracle misses of the truth, too, is no fault of the check:
    being faithful to the model and lying on the truth are different things.
    """
    correlations: TruthCorrelations = {}
    for truth in TRUTHS:
        scores = (SCORE,) if truth == ORACLE else (SCORE, ORACLE)
        values = {score: _correlate(rows, methods, score, truth) for score in scores}
        defined = {score: value for score, value in values.items() if value is not None}
        if defined:
            correlations[truth] = defined
    return correlations


def detect_corrupted(rows: Sequence[Row], methods: Sequence[str]) -> Detections:
    """Compare scores of genuine and corrupted explanations, by method and over all.

    An explanation without a score (it says nothing, or nothing is lost) fails the
    check: it counts as below every threshold.
    """
    without_nan = lambda scores: scores[~np.isnan(scores)]
    scores = {
        method: tuple(without_nan(kind) for kind in _scores(rows, method, SCORE.group))
        for method in methods
    }
    # Pooled scores show what one threshold for all methods would do.
    genuine, corrupted = zip(*scores.values(), strict=True)
    scores[ALL] = np.concatenate(genuine), np.concatenate(corrupted)
    return {
        method: detection(*pair)
        for method, pair in scores.items()
        if min(map(len, pair)) > 0
    }


def detection(
    genuine: Float[np.ndarray, " N"], corrupted: Float[np.ndarray, " M"]
) -> Detection:
    """Compare scores of genuine and of corrupted explanations."""
    # Mann and Whitney's U: a genuine score's rank among all, less its rank among the
    # genuine ones, is how many corrupted ones it beats.
    rank_sum = ranks(np.concatenate([genuine, corrupted]))[: len(genuine)].sum()
    wins = rank_sum - len(genuine) * (len(genuine) + 1) / 2
    return Detection(
        genuine=len(genuine),
        corrupted=len(corrupted),
        area=float(wins / (len(genuine) * len(corrupted))),
        false_alarms=tuple(float((genuine < level).mean()) for level in THRESHOLDS),
        missed=tuple(float((corrupted >= level).mean()) for level in THRESHOLDS),
    )


def halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Divide clips: a threshold that is chosen on one half is tested on the other.

    No recording is in both halves; nor are sets of frames, whose seed is the clip's.
    """
    first = set(sorted({row.group for row in rows})[::2])
    return (
        [row for row in rows if row.group in first],
        [row for row in rows if row.group not in first],
    )


def choose_threshold(
    rows: Sequence[Row],
    methods: Sequence[str],
    *,
    allowed: float = 0.02,
    group: str = SCORE.group,
) -> float:
    """Return the lowest of THRESHOLDS at which few corrupted explanations pass.

    The lowest, so that as few genuine ones fail as can be.

    Args:
        rows: measures of clips.
        methods: names of those whose explanations are judged.
        allowed: share of the corrupted explanations that may pass.
        group: field of ``MethodMeasures`` that holds the scores.

    Raises:
        ValueError: more pass at every threshold.
    """
    for threshold in THRESHOLDS:
        rates = pass_rates(rows, methods, threshold, group=group)
        if rates.corrupted.mean is not None and rates.corrupted.mean <= allowed:
            return threshold
    raise ValueError(f"more than {allowed:.0%} corrupted explanations always pass")


def pass_rates(
    rows: Sequence[Row],
    methods: Sequence[str],
    threshold: float,
    *,
    group: str = SCORE.group,
) -> PassRates:
    """Return the shares of genuine and of corrupted explanations that pass.

    Args:
        rows: measures of clips.
        methods: names of those whose explanations are judged together.
        threshold: the score from which the check passes.
        group: field of ``MethodMeasures`` that holds the scores.
    """
    genuine, corrupted = zip(
        *(_scores(rows, method, group) for method in methods), strict=True
    )
    genuine, corrupted = np.concatenate(genuine), np.concatenate(corrupted)
    recordings = np.array([row.group for row in rows])
    of_all = lambda count: np.tile(recordings, count)
    # Scores that were not measured have no recording to count for.
    shares = [
        share_interval(
            np.where(np.isnan(scores), np.nan, scores >= threshold),
            of_all(len(scores) // max(1, len(rows))).tolist(),
        )
        for scores in (genuine, corrupted)
    ]
    genuine_scores = genuine[~np.isnan(genuine)]
    corrupted_scores = corrupted[~np.isnan(corrupted)]
    has_both = len(genuine_scores) > 0 and len(corrupted_scores) > 0
    area = detection(genuine_scores, corrupted_scores).area if has_both else math.nan
    return PassRates(
        threshold=threshold, genuine=shares[0], corrupted=shares[1], area=area
    )


def markdown(correlations: TruthCorrelations, detections: Detections) -> str:
    """Format both: false alarms / missed ones at each threshold, and correlations."""
    parts = []
    if detections:
        top = ["method", "area", *(f"{level:.2f}" for level in THRESHOLDS)]
        lines = {method: _cells(value) for method, value in detections.items()}
        heading = (
            "Faithfulness check: genuine explanations below the threshold / corrupted "
            "ones at or above it"
        )
        parts.append(grid(heading, top, lines))
    if correlations:
        oracle = ORACLE.title
        top = ["truth", "check, across", "within", f"{oracle}, across", "within"]
        lines = {
            _words(truth): [
                *_numbers(by_score.get(SCORE)),
                *_numbers(by_score.get(ORACLE)),
            ]
            for truth, by_score in correlations.items()
        }
        heading = "Faithfulness check: rank correlation with the truth"
        parts.append(grid(heading, top, lines))
    return "\n".join(parts)


def fields(
    correlations: TruthCorrelations, detections: Detections
) -> dict[str, object]:
    """Return both as plain data for table.json."""
    # JSON has no NaN.
    finite = lambda x: x if math.isfinite(x) else None
    numbers = lambda value: {k: finite(v) for k, v in value._asdict().items()}
    return {
        "thresholds": THRESHOLDS,
        "detection": {method: value._asdict() for method, value in detections.items()},
        "truth": {
            f"{truth.group}.{truth.name}": {
                f"{score.group}.{score.name}": numbers(value)
                for score, value in by_score.items()
            }
            for truth, by_score in correlations.items()
        },
    }


def _correlate(
    rows: Sequence[Row], methods: Sequence[str], score: Column, truth: Column
) -> RankCorrelation | None:
    """Correlate two measures; None where no method has both of three clips."""
    # Across methods a score may only tell methods apart; within one, it tells clips.
    pairs, within = [], []
    for method in methods:
        pair = np.stack([column(rows, method, score), column(rows, method, truth)])
        # Of two clips any ranks agree or disagree perfectly: three at least.
        pair = pair[:, np.isfinite(pair).all(0)]
        if pair.shape[1] > 2:
            pairs.append(pair)
            within.append(spearman(*pair))
    if not pairs:
        return None
    defined = [value for value in within if math.isfinite(value)]
    return RankCorrelation(
        across=spearman(*np.concatenate(pairs, 1)),
        within=float(np.mean(defined)) if defined else math.nan,
    )


def _scores(
    rows: Sequence[Row], method: str, group: str
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " M"]]:
    """Return the scores of a method's genuine maps, and of its corrupted ones.

    Returns:
        One score for each row, and one for each row of each kind of corruption; NaN of
        what was not checked.
    """
    by_kind = {}
    for kind in CheckOutcomes._fields:
        score = column(rows, method, Column(group, kind))
        was_checked = np.isfinite(column(rows, method, Column("check_passed", kind)))
        # Checked, but without a score: below every threshold.
        score = np.where(np.isfinite(score), score, -np.inf)
        by_kind[kind] = np.where(was_checked, score, np.nan)
    genuine = by_kind.pop("genuine")
    return genuine, np.concatenate(list(by_kind.values()))


def _cells(value: Detection) -> list[str]:
    pairs = zip(value.false_alarms, value.missed, strict=True)
    return [f"{value.area:.3f}", *(f"{low:.2f} / {high:.2f}" for low, high in pairs)]


def _numbers(value: RankCorrelation | None) -> list[str]:
    if value is None:
        return ["", ""]
    return [f"{value.across:.2f}", f"{value.within:.2f}"]


def _words(truth: Column) -> str:
    return f"{truth.title} ({HEADINGS[truth.group].lower()})"
