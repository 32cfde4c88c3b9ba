"""From the frames of a video to a model's input: crop, resize, normalise.

Apart from ``backbones``, which holds the ``Preprocess`` record, because it loads Pillow.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rgcam.models.backbones import Preprocess


def crop_box(spec: Preprocess, height: int, width: int) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) in pixels of what the model sees of a frame."""
    if spec.crop is None:
        return 0, 0, height, width
    side = round(spec.crop * min(height, width))
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
    """Make a clip's frames the model's input: crop, resize, normalise; float32."""
    return normalize(resize(frames, spec), spec)
