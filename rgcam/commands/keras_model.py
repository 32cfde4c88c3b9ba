"""A Keras file for the command line: its classes, its preprocessing, its frames."""

import math
from pathlib import Path

import numpy as np

from rgcam.data import video
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.models.zoo import Model

SUFFIXES = (".keras", ".h5", ".hdf5")
OVERSAMPLING = 4  # frames that are decoded for each that is chosen
FALLBACK_FPS = 30.0  # of a video whose header does not say it


def load(
    path: str,
    *,
    classes: str | None,
    preprocess: str | None,
    layer: str | None,
    every_step: bool,
) -> tuple[Model, int | None, str]:
    """Load a Keras file as a model with classes and preprocessing.

    Args:
        path: of the file.
        classes: file with one class name per line; None: they have numbers.
        preprocess: range of the pixels; None: 0 to 1, or 0 to 255 where the model
            rescales them itself.
        layer: whose output is A; None: the last map with time and place.
        every_step: score every step of a model that scores the clip once.

    Returns:
        The model, the number of frames that it takes (None: any), and a sentence that
        says how it was cut.

    Raises:
        InputError: see ``rgcam.from_keras``; a model of frames that are not square RGB;
            or a file of classes that cannot be read or has another number of names.
    """
    from rgcam.interop.keras import load_keras
    from rgcam.interop.video_models import video_model

    loaded = load_keras(path, layer, every_step=every_step)
    height, width, channels = loaded.size
    if height != width or channels != 3:
        raise InputError(
            f"{path} takes frames {loaded.size}: the command line takes models of square "
            "RGB frames; use rgcam.from_keras in Python for others"
        )
    if preprocess is None:
        preprocess = "none" if loaded.rescales else "unit"
    names = (
        [f"class {number}" for number in range(loaded.classes)]
        if classes is None
        else _read_names(classes)
    )
    module = loaded.module
    model = video_model(
        module,
        loaded.variables,
        names,
        size=height,
        frames=loaded.frames,
        preprocess=preprocess,
        name=path,
        architecture={"framework": "Keras", "layer": module.layer},
    )
    cells = " x ".join(map(str, (model.feature_map or ())[:2]))
    sentence = f"cut at layer {module.layer}, {cells} cells; pixels: {preprocess}"
    return model, loaded.frames, sentence


def rate_for(
    frames: int, path: str, start: float, end: float | None, stream: int | None
) -> float:
    """Return a rate at which a video gives more frames than a model takes.

    Args:
        frames: that the model takes.
        path: of the video.
        start: first second.
        end: last second; None: the video's end.
        stream: of the file.
    """
    info = video.probe(path, stream)
    seconds = min(info.duration, math.inf if end is None else end) - start
    own_rate = info.fps if math.isfinite(info.fps) else FALLBACK_FPS
    if not (math.isfinite(seconds) and seconds > 0):
        return own_rate
    return min(own_rate, OVERSAMPLING * frames / seconds)


def evenly_spaced(clip: Clip, frames: int, path: str) -> Clip:
    """Choose the frames that a model of clips of one length takes, evenly over a clip.

    Raises:
        InputError: the clip has fewer.
    """
    steps = len(clip.frames)
    if steps < frames:
        raise InputError(
            f"{path} takes {frames} frames and the clip has {steps}: give a longer video, "
            "a higher --fps, or an earlier --start"
        )
    chosen = np.linspace(0, steps - 1, frames).round().astype(int)
    return clip._replace(frames=clip.frames[chosen], times=clip.times[chosen])


def _read_names(path: str) -> list[str]:
    """Read class names, one per line."""
    try:
        lines = Path(path).expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the class names {path} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]
