"""Frames to files: imageio writes pictures, Pillow GIFs, PyAV MP4.

PyAV because imageio does not reach MP4's colour tags and fast start.
"""

import contextlib
import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgcam.data.decoding import File, Number, absolute
from rgcam.errors import InputError

QUALITY = {"crf": "18", "preset": "veryfast"}  # as small as the default's, 3 x as fast


def write_video(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write an H.264 MP4 that plays everywhere; odd sides grow by a copied pixel.

    ``fps`` need not be whole. InputError if it is not above 0 or path not writable.
    """
    check_rate(fps)
    rate, start = Fraction(fps).limit_denominator(65535), {"movflags": "+faststart"}
    height, width = frames.shape[1:3]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    with _writing(path) as file, av.open(file, "w", "mp4", options=start) as container:
        stream = container.add_stream("libx264", rate, options=QUALITY)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context  # 1 is BT.709, and limited range
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.pad(frame, padding, "edge"))
            yuv = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(yuv))
        container.mux(stream.encode(None))


def write_gif(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write a GIF that loops for ever; its delays, in hundredths, add up to fps.

    InputError if fps is not above 0 or path not writable.
    """
    check_rate(fps)
    ends = np.rint(np.arange(len(frames) + 1) * 100 / fps)
    delays = [10 * max(int(d), 2) for d in np.diff(ends)]  # browsers slow down 10 ms
    quick = Image.Quantize.FASTOCTREE  # a fiftieth of the default's time
    first, *others = (Image.fromarray(f).quantize(method=quick) for f in frames)
    options = {"save_all": True, "append_images": others, "loop": 0}
    with io.BytesIO() as data, _writing(path) as file:
        first.save(data, "GIF", duration=delays, **options)
        Path(file).write_bytes(data.getvalue())


def write_image(path: File, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG; InputError if path is not writable."""
    data = iio.imwrite("<bytes>", image, plugin="pillow", extension=".png")
    with _writing(path) as file:
        Path(file).write_bytes(data)


def check_rate(fps: Number) -> None:
    """Refuse a rate that is none."""
    if not 0 < fps < math.inf:
        raise InputError(f"fps is {fps:g}; it must be above 0, such as 7.5")


@contextlib.contextmanager
def _writing(path: File) -> Iterator[str]:
    try:
        yield absolute(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write {path} ({reason}): choose another place"
        ) from error
