"""Does an explanation follow what the model uses? Measures by interventions; pure.

Frames are replaced by a baseline and the scores computed again (see
``rgcam.attribution.perturbation``); here what an explanation says is held against what was lost.
Measure a method with its own baseline: every map answers a question with a baseline.
"""

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, "..."]


def correlation(a: Numbers, b: Numbers, axis: int = 0) -> Numbers:
    """Return Pearson's correlation along an axis; NaN where one does not vary."""
    a, b = (x - x.mean(axis, keepdims=True) for x in (a, b))
    size = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, (a * b).sum(axis) / size, np.nan)


def beyond(a: Numbers, b: Numbers, given: Numbers) -> Numbers:
    """Correlate what is left of a and b when all that ``given`` says is taken out.

    Partial correlation along the first axis: a line of least squares through ``given``
    is taken from both. NaN where nothing is left of one.
    """
    centred = given - given.mean(0)
    size = (centred**2).sum(0)
    share = np.where(size > 0, 1 / np.where(size > 0, size, 1), 0)
    rest = lambda x: x - x.mean(0) - centred * (centred * x).sum(0) * share
    own, other = rest(a), rest(b)
    small = lambda x, whole: (
        (x**2).sum(0) <= 1e-10 * ((whole - whole.mean(0)) ** 2).sum(0)
    )
    nothing = small(own, a) | small(other, b)
    return np.where(nothing, np.nan, correlation(own, other))


def rank(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks from 0, those of equal values their mean (for Spearman's)."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[number]


def subset_fidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    lost: Float[np.ndarray, "N out"],
) -> Float[np.ndarray, " out"]:
    """Correlate sums of the matrix with the effect of removing sets of frames.

    ``corr_S( sum_{t in S} M[t', t], y[t'](A) - y[t'](A without S) )``, for each t'.

    Faithfulness correlation (Bhatt et al., arXiv:2005.00631) over time; the sets are
    random, of no fixed size. Higher is better, 1 is the best. What no matrix can reach
    is the share that frames contribute only together: compare with a least-squares fit.

    Args:
        matrix: what is measured.
        removed: 1 where a frame of a set is removed.
        lost: what the removal takes from the score of every step.

    Returns:
        A correlation for each output step; NaN where nothing is lost whatever is
        removed, or nothing is said.
    """
    return correlation(removed @ matrix.T, lost)


def infidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    lost: Float[np.ndarray, "N out"],
) -> Float[np.ndarray, " out"]:
    """Return the mean squared error of those sums, as a share of the effect's square.

    ``E_S (sum_{t in S} M - lost)^2 / E_S lost^2``

    Yeh et al., arXiv:1901.09392, with removals as perturbations. Lower is better; 0 is
    the best, a matrix of zeros has 1. Unlike a correlation it asks for true units.
    """
    error = ((removed @ matrix.T - lost) ** 2).mean(0)
    size = (lost**2).mean(0)
    return np.where(size > 0, error / np.where(size > 0, size, 1), np.nan)


def matrix_fidelity(
    matrix: Float[np.ndarray, "out in"],
    effects: Float[np.ndarray, "out in"],
    *,
    ranks: bool = False,
) -> float:
    """Correlate a matrix with the effect of removing one frame, over pairs t <= t'.

    Pairs t > t' are 0 by structure and would raise any correlation. Higher is better.
    Methods that compute single interventions get it for free: prefer subset fidelity.

    Args:
        matrix: what is measured.
        effects: from ``interventions.occlusion``.
        ranks: Spearman's instead of Pearson's.
    """
    there = np.tril_indices(len(matrix), 0, matrix.shape[1])
    a, b = matrix[there], effects[there]
    a, b = (rank(a), rank(b)) if ranks else (a, b)
    return float(correlation(a, b))


def order(importance: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n+1 n"]:
    """Return masks that remove the most important first: row k lacks k of them."""
    place = np.argsort(np.argsort(-importance, kind="stable"), kind="stable")
    removed = np.arange(len(importance) + 1)[:, None]
    return (place >= removed).astype(np.float32)


def area(curve: Float[np.ndarray, "N ..."]) -> Numbers:
    """Return the mean height of a deletion or insertion curve, by trapezoids.

    Petsiuk et al., arXiv:1806.07421. Of a deletion curve (scores for ``order``) lower
    is better, of an insertion curve (scores for ``1 - order``) higher.
    """
    return np.asarray((curve[1:] + curve[:-1]).mean(0) / 2)


def below_random(
    curve: Float[np.ndarray, " N"], random: Float[np.ndarray, "orders N"]
) -> float:
    """Compare a deletion curve's area with random orders', in units of the whole drop.

    Above 0 is better than chance; an insertion curve gives the negative.
    """
    whole = abs(float(curve[0] - curve[-1]))
    gain = float(area(random.T).mean() - area(curve))
    return gain / whole if whole > 0 else float("nan")


def average_drop(
    probability: Float[np.ndarray, " N"], kept: Float[np.ndarray, " N"]
) -> float:
    """Return by what share the probability falls where only the map's places are kept.

    ``mean(relu(p - p_kept) / p)``, Chattopadhay et al., arXiv:1710.11063; lower is
    better. A map that is everywhere has none: read it with ``increase``.
    """
    return float((np.maximum(probability - kept, 0) / probability).mean())


def increase(
    probability: Float[np.ndarray, " N"], kept: Float[np.ndarray, " N"]
) -> float:
    """Return the share of clips whose probability rises where only those are kept.

    The same source; higher is better.
    """
    return float((kept > probability).mean())


def completeness_error(
    matrix: Float[np.ndarray, "out in"], change: Float[np.ndarray, " out"]
) -> float:
    """Return how far rows are from summing to y(A) - y(b), of the largest change."""
    size = float(np.abs(change).max())
    worst = float(np.abs(matrix.sum(1) - change).max())
    return worst / size if size > 0 else float("nan")
