"""Does an explanation follow what the model uses? Measures by interventions; pure.

Frames are replaced by a baseline and the scores computed again
(``rgcam.metrics.deletion.removal_losses``); the measures here compare what an
explanation says of the frames with what the scores lose. Measure a method with its own
baseline: every map answers a question that contains one.
"""

import numpy as np
from jaxtyping import Float

from rgcam.attribution.maps import is_causal
from rgcam.metrics.statistics import correlation, partial_correlation, spearman

RECENCY_FRAMES = 4.0  # in which the weight of recency falls to 1 / e


def subset_fidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
    *,
    beyond_recency: bool = False,
    visible: Float[np.ndarray, "out in"] | None = None,
) -> Float[np.ndarray, " out"]:
    """Correlate sums of the matrix with the effect of removing sets of frames.

    ``corr_S( sum_{t in S} M[t', t], y[t'](A) - y[t'](A without S) | n_S )``, for each t',
    given n_S, how many of the frames that t' can see were removed: t <= t' of a causal
    model.

    Faithfulness correlation (Bhatt et al., arXiv:2005.00631) over time; unlike there
    the sets are random and of no fixed size. That is why their size is taken out of both
    by partial correlation: removing more frames usually costs more, so that any positive
    constant matrix has a high ``raw_subset_fidelity``. Higher is better, 1 is the best.
    What no matrix can reach is the share that frames contribute only together: compare
    with ``best_fidelity``.

    Args:
        matrix: the temporal importances to measure.
        removed: 1 where a frame of a set is removed.
        losses: what the removal takes from the score of every step.
        beyond_recency: take out, too, how recent the removed frames are: the sum of
            ``recency``. Many a model's last frames matter more than earlier ones, and
            maps that know nothing else of it can say so.
        visible: 1 where an output step can see a frame
            (``rgcam.metrics.selfcheck.visible_frames``); None: where t <= t', as of a
            causal model, or all where output steps and frames differ in number.

    Returns:
        A correlation for each output step: 0 where the matrix says no more than how many
        frames were removed (and how recent they are), NaN where nothing more can be said
        of the losses.
    """
    out, length = matrix.shape
    if visible is None:
        visible = np.ones((out, length))
        visible = np.tril(visible) if out == length else visible
    covariates = [removed @ visible.T]
    if beyond_recency:
        covariates.append(removed @ (recency(out, length) * visible).T)
    fidelity = partial_correlation(removed @ matrix.T, losses, *covariates)
    defined = np.isfinite(partial_correlation(losses, losses, *covariates))
    return np.where(np.isnan(fidelity) & defined, 0, fidelity)


def recency(out: int, length: int) -> Float[np.ndarray, "out in"]:
    """Return weights that fall with the distance in time of a frame and an output step.

    Fewer output steps than frames are those of the last frames; more of them lie evenly
    between the first and the last frame.
    """
    places = np.linspace(0, length - 1, out)
    if out <= length:
        places = np.arange(length - out, length)
    return np.exp(-np.abs(places[:, None] - np.arange(length)) / RECENCY_FRAMES)


def raw_subset_fidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
) -> Float[np.ndarray, " out"]:
    """Correlate as ``subset_fidelity`` does, without taking out how many were removed.

    It is no measure to compare explanations by, since a matrix of ones can score high.

    Returns:
        A correlation for each output step; NaN where all sets lose the same, or the
        matrix gives all sets the same sum.
    """
    return correlation(removed @ matrix.T, losses)


def best_fidelity(
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
    *,
    visible: Float[np.ndarray, "out in"] | None = None,
) -> Float[np.ndarray, " out"]:
    """Return the subset fidelity of the matrix that fits these losses best.

    Least squares of the losses on the sets: an upper bound, for it is fitted to the
    sets by which it is measured.

    Args:
        removed: 1 where a frame of a set is removed.
        losses: what the removal takes from the score of every step.
        visible: see ``subset_fidelity``.
    """
    # An intercept on both sides: a correlation does not depend on constants. The size of
    # a set is a sum over frames, too: the fit is the best one given the size as well.
    centred = removed - removed.mean(0)
    matrix = np.linalg.lstsq(centred, losses - losses.mean(0), rcond=None)[0].T
    return subset_fidelity(matrix, removed, losses, visible=visible)


def infidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
) -> Float[np.ndarray, " out"]:
    """Return the mean squared error of those sums, relative to the effect's square.

    ``E_S (sum_{t in S} M - loss)^2 / E_S loss^2``

    Yeh et al., arXiv:1901.09392, with removals as perturbations. Lower is better; 0 is
    the best, a matrix of zeros has 1. Unlike a correlation it needs the right units.
    """
    # Yeh et al. weigh by the perturbation's distribution: the sets are samples of it.
    error = ((removed @ matrix.T - losses) ** 2).mean(0)
    square = (losses**2).mean(0)
    return np.where(square > 0, error / np.where(square > 0, square, 1), np.nan)


def matrix_fidelity(
    matrix: Float[np.ndarray, "out in"],
    effects: Float[np.ndarray, "out in"],
    *,
    ranks: bool = False,
) -> float:
    """Correlate a matrix with the effect of removing one frame, over all pairs.

    Of a causal model over pairs t <= t' alone: pairs t > t' are 0 by structure and would
    raise any correlation. Higher is better.
    Methods that compute single interventions score 1 by definition: prefer
    ``subset_fidelity``.

    Args:
        matrix: the temporal importances to measure.
        effects: what the removal of one frame takes from the score of every step, as
            ``rgcam.attribution.perturbation.occlusion`` returns it.
        ranks: Spearman's correlation instead of Pearson's.
    """
    # The pairs t <= t' are the only ones that a causal model can make differ from 0.
    pairs = np.tril if is_causal(matrix) else np.asarray
    compared = pairs(np.ones(matrix.shape, bool))
    correlate = spearman if ranks else correlation
    return float(correlate(matrix[compared], effects[compared]))


def completeness_error(
    matrix: Float[np.ndarray, "out in"], change: Float[np.ndarray, " out"]
) -> float:
    """Return the largest error of a row's sum, relative to the largest change.

    ``max_t' | sum_t M[t', t] - (y[t'](A) - y[t'](b)) | / max_t' | y(A) - y(b) |``, the
    completeness of integrated gradients (Sundararajan et al., arXiv:1703.01365).

    Args:
        matrix: the temporal importances to measure.
        change: y(A) - y(b), the score less that of the baseline's feature map.
    """
    scale = float(np.abs(change).max())
    error = float(np.abs(matrix.sum(1) - change).max())
    return error / scale if scale > 0 else float("nan")
