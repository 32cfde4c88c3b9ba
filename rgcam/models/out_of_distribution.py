"""Out-of-distribution detection: is a clip unlike the training data of a model? Pure.

The feature map A of a clip is averaged over its cells and frames to one vector of K
channels, and compared with the vectors of the training clips by the Mahalanobis distance
(Lee et al. 2018, arXiv:1807.03888), here with these departures:

* One Gaussian for all classes, which needs no labels.
* Each vector is replaced by the square roots of its entries and divided by its norm (the
  Hellinger transform). Clips unlike the training data excite a backbone less, and what is
  near zero lies near the mean: without the normalisation their distance is small (Mueller
  and Hein 2025, arXiv:2505.18032).
* K may exceed the number of clips. The covariance is that of probabilistic principal
  component analysis (Tipping and Bishop 1999): the largest RANK eigenvalues and their
  eigenvectors, and one variance in all other directions. RANK x K numbers are stored.

The threshold is an upper tolerance limit of the distances of clips that did not take part in
the statistics (Wilks 1941): with a confidence of CONFIDENCE, at most a share of ALLOWED of
new clips of the same distribution exceeds it. All clips of a recording are held out
together; the limit takes clips as independent, so that with few recordings it is less sure.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam import programs
from rgcam.errors import InputError
from rgcam.models import layers
from rgcam.types import Tensor

RANK = 32  # eigenvectors that are stored, at most
CLIPS_PER_DIRECTION = 4  # fewer clips do not determine a variance
FOLDS = 20  # of the cross-validation over groups
ALLOWED, CONFIDENCE = 0.05, 0.95  # of the threshold
FEWEST = 19  # clips: of fewer, a new one exceeds the largest distance in over 5 %
SMALLEST = 1e-6  # variance in all other directions, of the mean of all: never zero
WARNING = (
    "this clip is unlike the model's training data (distance {distance:.1f}, usual: below "
    "{threshold:.1f}): do not rely on the prediction"
)


class FeatureStatistics(NamedTuple):
    """The distribution of the normalised feature vectors of training clips.

    Attributes:
        mean: of the vectors.
        basis: orthonormal eigenvectors of the covariance with the largest eigenvalues.
        variances: these eigenvalues.
        residual_variance: the variance in each direction orthogonal to the basis.
        threshold: distances above it are rare among clips of the same distribution.
        clips: number of clips that the statistics are of.
    """

    mean: Float[np.ndarray, " K"]
    basis: Float[np.ndarray, "rank K"]
    variances: Float[np.ndarray, " rank"]
    residual_variance: float
    threshold: float
    clips: int


class DistributionCheck(NamedTuple):
    """How far a clip is from the training clips of a model.

    Attributes:
        distance: Mahalanobis distance to the mean of the training clips.
        threshold: what few clips of the same distribution exceed.
    """

    distance: float
    threshold: float

    @property
    def is_unlike(self) -> bool:
        """Tell whether the clip is unlike the training data."""
        return self.distance > self.threshold

    @property
    def warning(self) -> str:
        """Return the sentence that warns of such a clip, or ""."""
        return WARNING.format_map(self._asdict()) if self.is_unlike else ""


def check(
    statistics: FeatureStatistics,
    features: Float[Tensor, "padded h w K"],
    length: int,
    head: str,
) -> DistributionCheck:
    """Compare one clip with the training clips.

    Args:
        statistics: of the model, from ``fit``.
        features: A of the clip, padded or not.
        length: T, the frames that are not padding.
        head: of the model, one of ``layers.HEADS``.

    Raises:
        InputError: the statistics are of features with another number of channels.
    """
    if features.shape[-1] != len(statistics.mean):
        raise InputError(
            f"the model has {features.shape[-1]} feature channels, and the statistics of "
            f"its training data have {len(statistics.mean)}: they are another model's; "
            "remove feature_statistics.npz from the model's folder, or train again"
        )
    pooled = np.asarray(pool(features, jnp.asarray(length), head))
    return DistributionCheck(
        distance=float(distances(statistics, pooled[None])[0]),
        threshold=statistics.threshold,
    )


@programs.kept("head")
def pool(
    features: Float[Tensor, "padded h w K"], length: Int[Tensor, ""], head: str
) -> Float[Array, " K"]:
    """Average A over its cells and its first ``length`` frames.

    Args:
        features: A, or its averages over the regions that the head reads.
        length: T.
        head: of the model: it says what these regions are. Any other head than ``grid``
            and ``gap`` reads single cells.
    """
    # As training stores regions alone, a clip's cells are averaged over regions first.
    regions = layers.pool(features, layers.GRID.get(head, 1)).mean((1, 2))
    is_frame = jnp.arange(len(regions)) < length
    total = jnp.where(is_frame[:, None], regions, 0).sum(0)
    return total / jnp.asarray(length, total.dtype)


def fit(
    pooled: Float[np.ndarray, "N K"],
    groups: Sequence[str],
    held_out: Float[np.ndarray, "M K"] | None = None,
) -> FeatureStatistics | None:
    """Compute the statistics of training clips, with a threshold.

    Args:
        pooled: one vector from ``pool`` for each training clip.
        groups: the recording of each clip; each is held out as a whole.
        held_out: vectors of validation clips. A backbone that was trained on the training
            clips may know them better than any others; the larger of the two thresholds
            counts.

    Returns:
        None if there are too few clips or recordings for a threshold.
    """
    names, numbers = np.unique(np.asarray(groups, str), return_inverse=True)
    if len(pooled) < FEWEST or len(names) < 2:
        return None
    vectors = normalize(pooled)
    statistics = _gaussian(vectors)
    # Few groups are divided among fewer folds, so that none is empty.
    folds = np.random.default_rng(0).permutation(len(names)) % min(FOLDS, len(names))
    fold_of_clip = folds[numbers]
    unseen = np.zeros(len(vectors))
    for fold in range(folds.max() + 1):
        outside = fold_of_clip == fold
        if (~outside).sum() < 2:  # no variance
            return None
        unseen[outside] = _distances(_gaussian(vectors[~outside]), vectors[outside])
    thresholds = [tolerance_limit(unseen)]
    if held_out is not None and len(held_out) >= FEWEST:
        thresholds.append(tolerance_limit(distances(statistics, held_out)))
    return statistics._replace(threshold=max(thresholds))


def distances(
    statistics: FeatureStatistics, pooled: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, " N"]:
    """Return the Mahalanobis distance of each clip to the mean of the training clips.

    Args:
        statistics: from ``fit``.
        pooled: one vector from ``pool`` for each clip.
    """
    return _distances(statistics, normalize(pooled))


def normalize(pooled: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Return square roots with the signs of the entries, each row of norm 1; float64."""
    pooled = np.asarray(pooled, np.float64)
    norms = np.sqrt(np.abs(pooled).sum(1, keepdims=True))
    roots = np.sign(pooled) * np.sqrt(np.abs(pooled))
    return roots / np.where(norms > 0, norms, 1)  # of a dead backbone: zeros


def tolerance_limit(values: Float[np.ndarray, " N"]) -> float:
    """Return the smallest value that is an upper tolerance limit of ALLOWED, CONFIDENCE.

    If k of N values exceed the limit, more than ALLOWED of the distribution do so with a
    probability of at most P(Binomial(N, ALLOWED) <= k). Fewer than 59 values have no such
    limit; the largest value is then returned, which a new one exceeds with a probability of
    1 / (N + 1).
    """
    # Imported here: SciPy is not needed to compare a clip.
    from scipy import special

    counts = np.arange(len(values))
    risk = special.bdtr(counts, len(values), ALLOWED)
    exceeding = max(int((risk <= 1 - CONFIDENCE).sum()) - 1, 0)
    return float(np.sort(values)[len(values) - 1 - exceeding])


def _gaussian(vectors: Float[np.ndarray, "N K"]) -> FeatureStatistics:
    """Fit mean and covariance; the threshold is not known yet: infinity."""
    # Imported here: SciPy's linear algebra is not needed to compare a clip.
    from scipy import linalg

    clips, channels = vectors.shape
    mean = vectors.mean(0)
    centred = vectors - mean
    rank = min(RANK, clips // CLIPS_PER_DIRECTION, channels - 1)
    # The eigenvalues of the covariance X'X / (N - 1) are those of X X' / (N - 1), of
    # which the smaller one is decomposed.
    small = centred @ centred.T if clips < channels else centred.T @ centred
    size = len(small)
    total = float(np.trace(small)) / (clips - 1)
    smallest = max(SMALLEST * total / channels, np.finfo(np.float64).tiny)
    variances, basis = np.zeros(0), np.zeros((0, channels))
    if rank > 0:
        # What SciPy returns depends on an option, so that its type is wider.
        eigenvalues, eigenvectors = map(
            np.asarray,
            linalg.eigh(small / (clips - 1), subset_by_index=(size - rank, size - 1)),
        )
        useful = eigenvalues > smallest
        variances, basis = eigenvalues[useful], eigenvectors[:, useful].T
        if clips < channels:
            basis = basis @ centred / np.sqrt(variances * (clips - 1))[:, None]
    residual = (total - float(variances.sum())) / (channels - len(variances))
    return FeatureStatistics(
        mean=mean,
        basis=basis,
        variances=variances,
        residual_variance=max(residual, smallest),
        threshold=math.inf,
        clips=clips,
    )


def _distances(
    statistics: FeatureStatistics, vectors: Float[np.ndarray, "N K"]
) -> Float[np.ndarray, " N"]:
    centred = vectors - statistics.mean
    coordinates = centred @ statistics.basis.T
    residual = np.maximum((centred**2).sum(1) - (coordinates**2).sum(1), 0)
    return np.sqrt(
        (coordinates**2 / statistics.variances).sum(1)
        + residual / statistics.residual_variance
    )
