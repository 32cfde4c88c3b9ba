"""Does an explanation lie where the truth is? Measures for known masks; pure.

Maps are resized to the pixels of the masks first (``rgcam.attribution.maps.upsample``), as
a person sees them. Only what supports the target counts: values below 0 are taken as 0.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from rgcam.attribution import maps as attribution_maps

TOLERANCE = 1 / 16  # of the side, by which pointing may miss: 15 of 224 pixels, 4 of 64
Maps = Float[np.ndarray, "T H W"]
Masks = Bool[np.ndarray, "T H W"]


class LocalizationMeasures(NamedTuple):
    """How well one clip's maps lie on the truth; NaN where the truth is not known.

    Attributes:
        energy: share of the heat inside the mask (``energy``).
        pointing: 1 where the hottest pixel lies in the mask or near it, else 0.
        iou: intersection over union at the best threshold.
        moments: average precision of the true frames.
        inside: share of the heat on the true frames.
    """

    energy: float = math.nan
    pointing: float = math.nan
    iou: float = math.nan
    moments: float = math.nan
    inside: float = math.nan


def measures(
    heat: Float[np.ndarray, "T h w"],
    mask: Masks | None,
    true_frames: Bool[np.ndarray, " T"] | None,
) -> LocalizationMeasures:
    """Return every measure for which the truth is known.

    Args:
        heat: one map for each frame, at the resolution of the feature map.
        mask: pixels where the truth is.
        true_frames: frames where it is.
    """
    heat = np.maximum(heat, 0)
    result = LocalizationMeasures()
    if true_frames is not None:
        row = heat.sum((1, 2))
        result = result._replace(
            moments=average_precision(row, true_frames),
            inside=mass_inside(row, true_frames),
        )
    if mask is not None:
        pixels = attribution_maps.upsample(heat, (mask.shape[1], mask.shape[2]))
        tolerance = TOLERANCE * mask.shape[1]
        result = result._replace(
            energy=energy(pixels, mask),
            pointing=float(pointing(pixels, mask, tolerance)),
            iou=best_iou(pixels, mask),
        )
    return result


def energy(maps: Maps, mask: Masks) -> float:
    """Return the share of a clip's heat that lies inside the mask.

    Energy-based pointing game (Wang et al., arXiv:1910.01279), over the whole clip.
    Higher is better; a uniform map has the mask's share of the pixels. NaN without
    heat.
    """
    maps = np.maximum(maps, 0)
    return _share(maps[mask].sum(), maps.sum())


def pointing(maps: Maps, mask: Masks, tolerance: float = 0.0) -> bool:
    """Tell whether the hottest pixel of the clip lies in the mask, or near it.

    Pointing game (Zhang et al., arXiv:1608.00507).

    Args:
        maps: heat.
        mask: the truth.
        tolerance: pixels, within the same frame.
    """
    # One pixel of the whole clip, not one per frame: the scale is the clip's.
    t, i, j = np.unravel_index(np.argmax(maps), maps.shape)
    rows, columns = np.nonzero(mask[t])
    distance = np.hypot(rows - i, columns - j).min(initial=np.inf)
    return bool(maps.max() > 0 and distance <= tolerance)


def best_iou(maps: Maps, mask: Masks, thresholds: int = 20) -> float:
    """Return the intersection over union at the best threshold, over the whole clip.

    Higher is better. The threshold is chosen with the truth in hand: an upper bound.
    """
    maps = np.maximum(maps, 0)
    levels = np.linspace(0, 1, thresholds, endpoint=False) * float(maps.max())
    # One pass over the pixels for all thresholds: how many levels each pixel exceeds,
    # and from the histogram of that, how many pixels exceed each level.
    exceeded = np.searchsorted(levels, maps)
    pixels_above = lambda counts: np.bincount(counts, minlength=thresholds + 1)[
        :0:-1
    ].cumsum()
    hot, intersection = pixels_above(exceeded.ravel()), pixels_above(exceeded[mask])
    union = hot + mask.sum() - intersection
    return float((intersection / np.maximum(union, 1)).max())


def average_precision(
    importance: Float[np.ndarray, " T"], true_frames: Bool[np.ndarray, " T"]
) -> float:
    """Return the area under the precision-recall curve of true moments (AUPRC).

    ``sum_k (R_k - R_{k-1}) P_k`` over thresholds, frames of equal importance together.
    Higher is better; chance is the share of true frames. NaN where none is true.
    """
    recall, total, previous = 0.0, 0.0, 0.0
    # From the highest threshold down, so that recall only grows.
    for threshold in np.unique(importance)[::-1]:
        is_above = importance >= threshold
        recall = _share((is_above & true_frames).sum(), true_frames.sum())
        total += (recall - previous) * float(true_frames[is_above].mean())
        previous = recall
    return total if true_frames.any() else math.nan


def mass_inside(
    importance: Float[np.ndarray, " T"], true_frames: Bool[np.ndarray, " T"]
) -> float:
    """Return the share of a row's positive mass on true frames; higher is better."""
    positive = np.maximum(importance, 0)
    return _share(positive[true_frames].sum(), positive.sum())


def _share(part: float | np.number, total: float | np.number) -> float:
    return float(part / total) if total > 0 else math.nan
