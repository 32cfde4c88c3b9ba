"""Does an explanation lie where the truth is? Measures for known masks; pure.

Maps are resized to the pixels of the masks first (``rgcam.report.overlay.upsample``), as a
person sees them; only what speaks for the target counts, so that values below 0 are 0.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from rgcam.report import overlay

TOLERANCE = 1 / 16  # of the side, by which pointing may miss: 15 of 224 pixels, 4 of 64
Maps = Float[np.ndarray, "T H W"]
Masks = Bool[np.ndarray, "T H W"]


def measures(
    heat: Float[np.ndarray, "T h w"],
    mask: Masks | None,
    true: Bool[np.ndarray, " T"] | None,
) -> dict[str, float]:
    """Return every measure for which the truth is known; what is below 0 counts as 0.

    Args:
        heat: one map for each frame, as of the feature map.
        mask: pixels where the truth is.
        true: frames where it is.
    """
    found, heat = {}, np.maximum(heat, 0)
    if true is not None:
        row = heat.sum((1, 2))
        found["moments"] = average_precision(row, true)
        found["inside"] = mass_inside(row, true)
    if mask is not None:
        shown = overlay.upsample(heat, (mask.shape[1], mask.shape[2]))
        near = TOLERANCE * mask.shape[1]
        found["energy"] = energy(shown, mask)
        found["pointing"] = float(pointing(shown, mask, near))
        found["IoU"] = best_iou(shown, mask)
    return found


def energy(maps: Maps, mask: Masks) -> float:
    """Return the share of a clip's heat that lies inside the mask.

    Energy-based pointing game (Wang et al., arXiv:1910.01279), over the whole clip.
    Higher is better; a uniform map has the mask's share of the pixels. NaN without
    heat.
    """
    maps = np.maximum(maps, 0)
    return _ratio(maps[mask].sum(), maps.sum())


def pointing(maps: Maps, mask: Masks, tolerance: float = 0.0) -> bool:
    """Tell whether the hottest pixel of the clip lies in the mask, or near it.

    Pointing game (Zhang et al., arXiv:1608.00507).

    Args:
        maps: heat.
        mask: the truth.
        tolerance: pixels, within the same frame.
    """
    t, i, j = np.unravel_index(np.argmax(maps), maps.shape)
    rows, columns = np.nonzero(mask[t])
    near = np.hypot(rows - i, columns - j).min(initial=np.inf)
    return bool(maps.max() > 0 and near <= tolerance)


def best_iou(maps: Maps, mask: Masks, thresholds: int = 20) -> float:
    """Return the intersection over union at the best threshold, over the whole clip.

    Higher is better. The threshold is chosen with the truth in hand: an upper bound.
    """
    maps = np.maximum(maps, 0)
    levels = np.linspace(0, 1, thresholds, endpoint=False) * float(maps.max())
    below = np.searchsorted(levels, maps)  # how many levels a pixel is above
    above = lambda part: np.bincount(part, minlength=thresholds + 1)[:0:-1].cumsum()
    hot, both = above(below.ravel()), above(below[mask])
    either = hot + mask.sum() - both
    return float((both / np.maximum(either, 1)).max())


def average_precision(
    importance: Float[np.ndarray, " T"], true: Bool[np.ndarray, " T"]
) -> float:
    """Return the area under the precision-recall curve of true moments (AUPRC).

    ``sum_k (R_k - R_{k-1}) P_k`` over thresholds, frames of equal importance together.
    Higher is better; chance is the share of true frames. NaN where none is true.
    """
    levels = np.unique(importance)[::-1]
    recall, total, before = 0.0, 0.0, 0.0
    for level in levels:
        chosen = importance >= level
        recall = _ratio((chosen & true).sum(), true.sum())
        total += (recall - before) * float(true[chosen].mean())
        before = recall
    return total if true.any() else float("nan")


def mass_inside(
    importance: Float[np.ndarray, " T"], true: Bool[np.ndarray, " T"]
) -> float:
    """Return the share of a row's positive mass on true frames; higher is better."""
    positive = np.maximum(importance, 0)
    return _ratio(positive[true].sum(), positive.sum())


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole > 0 else float("nan")
