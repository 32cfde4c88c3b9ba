"""From the frames of a video to a model's input: crop, resize, normalise.

The record ``Preprocess`` is in ``backbones``, because this module loads Pillow.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image

from rgcam.errors import InputError
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


def resize(frames: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Crop and resize (antialiased bicubic) frames to (T, S, S, 3) uint8.

    Args:
        frames: (T, H, W, 3) uint8, 0..255.
        spec: the model's crop and size.

    Raises:
        InputError: frames of another dtype or shape, or none.
    """
    frames = np.asarray(frames)
    _check_dtype(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(
            f"frames have shape {frames.shape}: give one clip of at least one RGB frame, "
            "(T, H, W, 3)"
        )
    top, left, bottom, right = crop_box(spec, *frames.shape[1:3])
    cropped, size = frames[:, top:bottom, left:right], (spec.size, spec.size)
    if cropped.shape[1:3] == size:
        return cropped
    images = (Image.fromarray(frame) for frame in cropped)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(image.resize(size, bicubic)) for image in images])


def normalize(frames: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Map 0..255 to the backbone's range: (x - offset) / scale, float32.

    Args:
        frames: (..., S, S, 3) uint8, 0..255.
        spec: the model's offset and scale.

    Raises:
        InputError: frames of another dtype.
    """
    _check_dtype(frames)
    offset, scale = (np.asarray(x, np.float32) for x in (spec.offset, spec.scale))
    return (frames.astype(np.float32) - offset) / scale


def preprocess(
    spec: Preprocess,
    frames: np.ndarray,  # validated below, with a sentence
) -> Float[np.ndarray, "T S S 3"]:
    """Crop, resize and normalise a clip's frames to the model's input, float32.

    Args:
        spec: the model's crop, size and range.
        frames: (T, H, W, 3) uint8, 0..255.

    Raises:
        InputError: frames of another dtype or shape, or none.
    """
    return normalize(resize(frames, spec), spec)


def _check_dtype(frames: np.ndarray) -> None:
    """Validate uint8: other ranges would pass for black, or wrap around."""
    if frames.dtype == np.uint8:
        return
    low, high = (frames.min(), frames.max()) if frames.size else (0, 0)
    if frames.dtype.kind == "f" and low < 0:
        advice = "they look preprocessed already, so pass them to explain as they are"
    elif frames.dtype.kind == "b" or (frames.dtype.kind == "f" and high <= 1):
        advice = "convert them by np.uint8(np.round(frames * 255.0))"
    elif frames.dtype == np.uint16:
        advice = "convert 16-bit frames by np.uint8(frames // 257)"
    else:
        advice = "scale them to 0 to 255 and convert them by np.uint8(np.round(frames))"
    raise InputError(
        f"frames are {frames.dtype} from {low:g} to {high:g}, and uint8 from 0 to 255 "
        f"is expected: {advice}"
    )
