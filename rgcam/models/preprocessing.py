"""From the frames of a video to a model's input: crop, resize, normalise.

The record ``Preprocess`` is in ``backbones``, because this module loads Pillow.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rgcam.models.backbones import Preprocess
from rgcam.types import Box


def crop_box(spec: Preprocess, height: int, width: int) -> Box:
    """Return the rectangle of a frame that the model sees, in pixels.

    Returns:
        (top, left, bottom, right); bottom and right are exclusive.
    """
    if spec.crop is None:
        return 0, 0, height, width
    side = max(1, round(spec.crop * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return top, left, top + side, left + side


def resize(frames: UInt8[np.ndarray, "T H W 3"], spec: Preprocess) -> np.ndarray:
    """Crop and resize (antialiased bicubic) frames to (T, S, S, 3) uint8."""
    top, left, bottom, right = crop_box(spec, *frames.shape[1:3])
    cropped, size = frames[:, top:bottom, left:right], (spec.size, spec.size)
    if cropped.shape[1:3] == size:
        return cropped
    images = (Image.fromarray(frame) for frame in cropped)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(image.resize(size, bicubic)) for image in images])


def normalize(frames: UInt8[np.ndarray, "*T S S 3"], spec: Preprocess) -> np.ndarray:
    """Map 0..255 to the backbone's range: (x - offset) / scale, float32."""
    offset, scale = (np.asarray(x, np.float32) for x in (spec.offset, spec.scale))
    return (frames.astype(np.float32) - offset) / scale


def preprocess(
    spec: Preprocess, frames: UInt8[np.ndarray, "T H W 3"]
) -> Float[np.ndarray, "T S S 3"]:
    """Crop, resize and normalise a clip's frames to the model's input, float32."""
    return normalize(resize(frames, spec), spec)
