"""The files of one explained clip: all are written, or none; and frames to files.

imageio writes PNG, Pillow GIF, PyAV MP4: imageio does not reach MP4's colour tags and
fast start.
"""

import contextlib
import io
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgcam import files
from rgcam.errors import InputError
from rgcam.report import explorer, overlay, plots, record
from rgcam.report.record import ExplainedClip
from rgcam.types import File, Number

FILES = (
    "explanation.npz",
    "report.html",
    "strip.png",
    "matrix.png",
    "overlay.mp4",
    "overlay.gif",
    "summary.json",
)
# The axes of the arrays in explanation.npz, by the names of rgcam's glossary.
AXES = {
    "scores": "out class",
    "maps": "in h w",
    "aggregate": "",
    "matrix": "out in",
    "times": "in",
    "classes": "class",
    "target": "",
    "frames_of_steps": "in end",
    "output_steps": "out",
    "beta": "out in channel",
}
# For libx264: files as small as by the default preset, written three times as fast.
QUALITY = {"crf": "18", "preset": "veryfast"}
LONGEST_DELAY = 65535  # of a GIF's frame, in hundredths of a second: it has 16 bits
# Frames per second of an MP4. At 1 / 32767 FFmpeg fails to write 30 frames, though not 3.
SLOWEST = Fraction(1, 20000)
WRITERS = 2  # threads that encode while figures are drawn


def write(folder: Path, explained: ExplainedClip, *, figures: bool = True) -> None:
    """Write the FILES of an explanation.

    All are made in a temporary folder first: a failure leaves what was there as it
    was. Files of the same names are replaced, others kept.

    Args:
        folder: where the files belong.
        explained: the clip.
        figures: False: write explanation.npz alone.

    Raises:
        InputError: the folder cannot be written.
    """
    files.replace_files(folder, lambda part: _write_all(part, explained, figures))


def file_names(vector: object = None) -> list[str]:
    """Name what ``write`` writes, with strip and matrix as ``vector`` (pdf, svg) too."""
    return [*FILES, *(f"{name}.{vector}" for name in ("strip", "matrix") if vector)]


def text(explained: ExplainedClip, folder: Path) -> str:
    """Say in a few lines what was explained, and where its files are."""
    names = file_names(explained.options.get("vector"))
    return record.text(explained, f"{folder}/: {', '.join(sorted(names))}")


def write_video(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write an H.264 MP4 that plays everywhere; odd sides grow by a copied pixel.

    Args:
        path: of the file.
        frames: RGB.
        fps: frames per second, not necessarily whole; below SLOWEST, SLOWEST.

    Raises:
        InputError: fps is not above 0, or path cannot be written.
    """
    files.check_rate(fps)
    rate = max(Fraction(fps).limit_denominator(65535), SLOWEST)
    start = {"movflags": "+faststart"}
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
            # BT.709 by hand: libx264 stores which matrix was used and does not apply it.
            image = av.VideoFrame.from_ndarray(np.pad(frame, padding, "edge"))
            yuv = image.reformat(format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(yuv))
        container.mux(stream.encode(None))


def write_gif(path: File, frames: UInt8[np.ndarray, "T H W 3"], fps: Number) -> None:
    """Write a GIF that loops for ever; its delays, in hundredths, add up to fps.

    No frame is shown for longer than LONGEST_DELAY.

    Raises:
        InputError: fps is not above 0, or path cannot be written.
    """
    files.check_rate(fps)
    ends = np.rint(np.arange(len(frames) + 1) * 100 / fps)
    # Browsers slow down where a delay is 10 ms.
    delays = [10 * min(max(int(d), 2), LONGEST_DELAY) for d in np.diff(ends)]
    quick = Image.Quantize.FASTOCTREE  # a fiftieth of the default's time
    first, *following = (Image.fromarray(f).quantize(method=quick) for f in frames)
    with io.BytesIO() as data, _writing(path) as file:
        first.save(
            data,
            "GIF",
            duration=delays,
            save_all=True,
            append_images=following,
            loop=0,
        )
        Path(file).write_bytes(data.getvalue())


def write_image(path: File, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG.

    Raises:
        InputError: path cannot be written.
    """
    data = iio.imwrite("<bytes>", image, plugin="pillow", extension=".png")
    with _writing(path) as file:
        Path(file).write_bytes(data)


def _write_all(folder: Path, explained: ExplainedClip, figures: bool) -> None:
    if not figures:
        return _write_arrays(folder / "explanation.npz", explained)
    # Compression and encoding leave the interpreter free: meanwhile, figures are drawn.
    with ThreadPoolExecutor(WRITERS) as writers:
        tasks = [
            writers.submit(_write_overlay, folder, explained),
            writers.submit(_write_arrays, folder / "explanation.npz", explained),
        ]
        kind = explained.options.get("vector")
        # Every figure is drawn once, and rasterized and written as a vector figure from it.
        for name, figure in plots.clip_figures(explained).items():
            image = plots.figure_to_array(figure)
            tasks.append(writers.submit(write_image, folder / f"{name}.png", image))
            if kind:
                content = plots.figure_to_vector(figure, str(kind))
                (folder / f"{name}.{kind}").write_bytes(content)
        files.write_text(folder / "report.html", explorer.page(explained))
        files.write_json(folder / "summary.json", record.summarize(explained))
        for task in tasks:
            task.result()


def _write_overlay(folder: Path, explained: ExplainedClip) -> None:
    fps = overlay.frame_rate(explained.clip.times, explained.model.fps)
    frames = overlay.clip_overlay(explained)
    write_video(folder / "overlay.mp4", frames, fps)
    small_frames, gif_fps = overlay.small(frames, fps)
    write_gif(folder / "overlay.gif", small_frames, gif_fps)


def axes_entry(arrays: Mapping[str, np.ndarray], axes: Mapping[str, str]) -> np.ndarray:
    """Return the entry ``axes`` of explanation.npz: "matrix: out in", one per array."""
    return np.array([f"{name}: {axes[name]}".rstrip() for name in arrays])


def _write_arrays(file: Path, explained: ExplainedClip) -> None:
    shown = explained.shown
    # Names as arrays of characters: the file is read without pickle.
    arrays = {
        "scores": explained.scores,
        "maps": shown.shown_maps,
        "aggregate": np.array(shown.aggregation),
        "matrix": shown.matrix,
        "times": explained.clip.times,
        "classes": np.array(explained.model.classes),
        "target": np.array(explained.explained_class),
    }
    if explained.frames_of_steps is not None:
        arrays["frames_of_steps"] = np.asarray(explained.frames_of_steps)
    if explained.step_labels:
        arrays["output_steps"] = np.array(explained.step_labels)
    for other in explained.attributions[1:]:
        arrays[f"maps_{other.method}"] = other.shown_maps
        arrays[f"matrix_{other.method}"] = other.matrix
    for attribution in explained.attributions:
        if attribution.beta is not None:
            arrays["beta"] = attribution.beta
    axes = dict(AXES)
    if explained.frames_of_steps is not None:  # frames are no steps of A
        axes["times"] = "frame"
    if explained.step_classes is not None:
        axes["target"] = "out"
    for other in explained.attributions[1:]:
        axes[f"maps_{other.method}"] = AXES["maps"]
        axes[f"matrix_{other.method}"] = AXES["matrix"]
    arrays["axes"] = axes_entry(arrays, axes)
    np.savez_compressed(file, allow_pickle=False, **arrays)


@contextlib.contextmanager
def _writing(path: File) -> Generator[str]:
    """Yield the path as PyAV needs it; say in a sentence why it cannot be written."""
    try:
        yield files.absolute(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write {path} ({reason}): choose another place"
        ) from error
