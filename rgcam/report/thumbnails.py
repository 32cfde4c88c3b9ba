"""A strip of a clip's frames under their heat maps, small enough for a list of videos."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgcam import files
from rgcam.report import overlay
from rgcam.report.record import ExplainedClip

COUNT = 6  # frames, at equal distances
SIDE = 72  # pixels of each
QUALITY = 75


def strip(
    frames: UInt8[np.ndarray, "T S S 3"], explained: ExplainedClip
) -> UInt8[np.ndarray, "SIDE W 3"]:
    """Return the frames one beside the other, by one scale of colours for the clip.

    Args:
        frames: resized, as the model sees them.
        explained: the clip's shown maps.
    """
    steps = np.unique(np.linspace(0, len(frames) - 1, COUNT).round().astype(int))
    small = [
        np.asarray(
            Image.fromarray(frames[t]).resize((SIDE, SIDE), Image.Resampling.BOX)
        )
        for t in steps
    ]
    maps = explained.shown.shown_maps
    unit_maps = overlay.normalize(maps)[steps]
    heated = overlay.blend(np.stack(small), unit_maps, overlay.colour_scale(maps))
    return np.concatenate(list(heated), 1)


def write(
    file: Path, frames: UInt8[np.ndarray, "T S S 3"], explained: ExplainedClip
) -> None:
    """Write ``strip`` as a JPEG."""
    with files.atomic(file) as temporary:
        Image.fromarray(strip(frames, explained)).save(
            temporary, "JPEG", quality=QUALITY
        )
