"""Does the self-check's score tell right pictures from broken ones? Pure.

A broken picture is one that cannot be right: another clip's, frames in another order, a
random model's. What of right ones lies below a threshold is a false alarm, what of
broken ones does not is missed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam.evaluation.tables import BROKEN, Row, column, grid
from rgcam.metrics.faithfulness import correlation, rank

THRESHOLDS = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))
TRUTHS = ("energy", "moments", "energy, all", "moments, all", "subset")
ORACLE = "subset"  # what the score estimates, by many more sets of frames
ALL = "all methods"


class Correlation(NamedTuple):
    """Spearman's rank correlation of a score with a measure of truth.

    Attributes:
        across: over all methods and clips.
        within: mean over methods of the correlation over clips.
    """

    across: float
    within: float


class Detection(NamedTuple):
    """How well the score tells right pictures from broken ones.

    Attributes:
        right: number of right pictures.
        broken: number of broken ones.
        area: under the ROC curve: how often a right one has the higher score, ties
            counting half. 1 is the best, 0.5 chance (Hanley and McNeil 1982).
        right_below: share of right pictures below each of ``THRESHOLDS``; lower is
            better.
        broken_from: share of broken ones at or above it; lower is better.
    """

    right: int
    broken: int
    area: float
    right_below: tuple[float, ...]
    broken_from: tuple[float, ...]


Agreement = dict[str, dict[str, Correlation]]  # by truth, then by score
Detections = dict[str, Detection]  # by method


def with_truth(rows: Sequence[Row], names: Sequence[str]) -> Agreement:
    """Correlate the check's score with the truth, clip by clip.

    Beside it the oracle's: subset fidelity by many sets, instead of the check's few.
    What the score misses of the truth and the oracle too is no fault of the check:
    being faithful and lying on the truth are two things.
    """
    found: Agreement = {}
    for truth in TRUTHS:
        scores = ("check",) if truth == ORACLE else ("check", ORACLE)
        made = {score: _correlation(rows, names, score, truth) for score in scores}
        known = {score: value for score, value in made.items() if value}
        found |= {truth: known} if known else {}
    return found


def with_broken(rows: Sequence[Row], names: Sequence[str]) -> Detections:
    """Hold scores of right pictures against broken ones', by method and over all.

    A picture without a score (nothing said, or nothing lost) is not trusted: it counts
    as below every threshold.
    """
    scores = {name: _scores(rows, name) for name in names}
    pooled = [np.concatenate(part) for part in zip(*scores.values(), strict=True)]
    scores |= {ALL: (pooled[0], pooled[1])}
    return {n: detection(*s) for n, s in scores.items() if min(map(len, s)) > 0}


def detection(
    right: Float[np.ndarray, " N"], broken: Float[np.ndarray, " M"]
) -> Detection:
    """Compare scores of right and of broken pictures."""
    ranks = rank(np.concatenate([right, broken]))[: len(right)]
    wins = ranks.sum() - len(right) * (len(right) - 1) / 2
    return Detection(
        len(right),
        len(broken),
        float(wins / (len(right) * len(broken))),
        tuple(float((right < level).mean()) for level in THRESHOLDS),
        tuple(float((broken >= level).mean()) for level in THRESHOLDS),
    )


def markdown(truth: Agreement, detections: Detections) -> str:
    """Lay out both: the share of false alarms / of missed ones at each threshold."""
    parts = []
    if detections:
        top = ["method", "area", *(f"{level:.2f}" for level in THRESHOLDS)]
        lines = {name: _line(found) for name, found in detections.items()}
        heading = "Self-check: right pictures below / broken ones at or above"
        parts.append(grid(heading, top, lines))
    if truth:
        top = ["truth", "check, across", "within", f"{ORACLE}, across", "within"]
        lines = {name: _numbers(found) for name, found in truth.items()}
        parts.append(grid("Self-check: rank correlation with the truth", top, lines))
    return "\n".join(parts)


def plain(truth: Agreement, detections: Detections) -> dict[str, Any]:
    """Return both as table.json has them."""
    finite = lambda x: x if math.isfinite(x) else None
    return {
        "thresholds": THRESHOLDS,
        "broken": {name: found._asdict() for name, found in detections.items()},
        "truth": {
            name: {
                score: {k: finite(v) for k, v in value._asdict().items()}
                for score, value in found.items()
            }
            for name, found in truth.items()
        },
    }


def _correlation(rows, names, score: str, truth: str) -> Correlation | None:
    pairs, within = [], []
    for name in names:
        both = np.stack([column(rows, name, score), column(rows, name, truth)])
        both = both[:, np.isfinite(both).all(0)]
        if both.shape[1] > 2:
            within.append(_spearman(both))
            pairs.append(both)
    if not pairs:
        return None
    some = [value for value in within if math.isfinite(value)]
    mean = float(np.mean(some)) if some else math.nan
    return Correlation(_spearman(np.concatenate(pairs, 1)), mean)


def _spearman(both: Float[np.ndarray, "2 N"]) -> float:
    return float(correlation(rank(both[0]), rank(both[1])))


def _scores(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of a method's right pictures, and of its broken ones."""
    measured = [row["measures"].get(name, {}) for row in rows]
    of = lambda key: [m[key] for m in measured if key in m]
    number = lambda values: np.array([-np.inf if v is None else v for v in values])
    broken = [value for kind in BROKEN for value in of(f"check {kind}")]
    return number(of("check")), number(broken)


def _line(found: Detection) -> list[str]:
    pairs = zip(found.right_below, found.broken_from, strict=True)
    return [f"{found.area:.3f}", *(f"{low:.2f} / {high:.2f}" for low, high in pairs)]


def _numbers(found: dict[str, Correlation]) -> list[str]:
    values = [x for score in ("check", ORACLE) for x in found.get(score, ("", ""))]
    return [x if isinstance(x, str) else f"{x:.2f}" for x in values]
