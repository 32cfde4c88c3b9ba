"""The tensorflow-datasets builders, and the record of a clip; without TensorFlow.

Importing this module imports tensorflow_datasets, which takes seconds: functions that
need it import it themselves.
"""

import collections
import concurrent.futures
import contextlib
import importlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float
from tqdm import tqdm

from rgcam.data import decoding, folder
from rgcam.errors import InputError

SPLIT = "clips"
# An hour of frames: an annotation's span may claim to be endless.
LONGEST = 100_000

Record: TypeAlias = Mapping[str, object]
"""A clip as TFDS stores it: its fields by the names in ``VideoTree._info``."""


class VideoTree(tfds.core.GeneratorBasedBuilder):
    """A dataset of the clips root/<class>/**/<clip>, one record each."""

    VERSION = tfds.core.Version("1.0.0")
    name = "video_tree"

    def __init__(
        self,
        *,
        items: Sequence[folder.Item],
        classes: Sequence[str],
        workers: int = 0,
        beam: bool = False,
        data_dir: str | None = None,
        version: str | None = None,
    ):
        """Describe a dataset.

        Args:
            items: the clips, as files.
            classes: names of the classes.
            workers: threads that read and check clips; 0 for one per core.
            beam: read the clips on a Beam cluster instead.
            data_dir: root folder of TFDS datasets; None for the default of TFDS.
            version: of the dataset, such as ``"1.0.0"``; None for the newest.
        """
        self.items, self.classes = list(items), list(classes)
        self.workers, self.beam = workers, beam
        super().__init__(file_format="array_record", data_dir=data_dir, version=version)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "video": tfds.features.Text(),  # bytes: tfds.features.Video needs TensorFlow
                "label": tfds.features.ClassLabel(names=self.classes),
                "group": tfds.features.Text(),
                "place": tfds.features.Text(),
                "times": tfds.features.Tensor(shape=(None,), dtype=np.float64),
                "boxes": tfds.features.Tensor(shape=(None, 5), dtype=np.float32),
                "notes": tfds.features.Text(),  # of damage or irregularities
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, object]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        if not self.beam:
            return self._examples()
        beam: ModuleType = importlib.import_module("apache_beam")
        return beam.Create(self.items) | beam.FlatMap(_beam_records)

    def _examples(self) -> Iterator[tuple[str, Record]]:
        threads = self.workers or os.cpu_count() or 1
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            records = _read_ahead(pool, self.items, 4 * threads)
            progress_bar = tqdm(
                records, "clips", len(self.items), unit="clip", disable=None
            )
            yield from filter(None, progress_bar)


class Ucf11(VideoTree):
    """UCF11, the YouTube Action dataset (Liu, Luo and Shah, CVPR 2009)."""

    VERSION = tfds.core.Version("1.0.0")
    name = "ucf11"


def download_config(runner: str, options: str) -> tfds.download.DownloadConfig:
    """Configure ``download_and_prepare``.

    Args:
        runner: a Beam runner such as DirectRunner; "" to read the clips in this process.
        options: options of the Beam pipeline, as on a command line.

    Raises:
        InputError: a runner is given and Apache Beam is not installed.
    """
    tfds.disable_progress_bar()  # the bar of ``VideoTree`` counts clips
    if not runner:
        return tfds.download.DownloadConfig()
    try:
        beam = importlib.import_module("apache_beam.options.pipeline_options")
    except ImportError as error:
        raise InputError("--beam needs Apache Beam: pip install apache-beam") from error
    return tfds.download.DownloadConfig(
        beam_runner=runner,
        beam_options=beam.PipelineOptions(shlex.split(options)),
    )


def record(item: folder.Item) -> Record:
    """Read one clip.

    Raises:
        InputError: the clip cannot be decoded.
    """
    assert isinstance(item.clip, Path)
    times, notes = frame_times(item.clip)
    return {
        "video": item.clip.read_bytes(),
        "label": item.label,
        "group": item.group,
        "place": item.place,
        "times": times,
        "boxes": boxes_of(item.clip, len(times))[0],
        "notes": notes,
    }


def boxes_of(clip: Path, frames: int = LONGEST) -> tuple[np.ndarray, str]:
    """Read a clip's boxes from its annotation file, if there is one.

    Args:
        clip: the video file.
        frames: number of its frames.

    Returns:
        The boxes (N, 5) as ``read_boxes`` returns them, and the reason why the
        annotation cannot be read; "" if it can or there is none.
    """
    no_boxes, file = np.zeros((0, 5), np.float32), _annotation(clip)
    try:
        return (no_boxes if file is None else read_boxes(file, frames)), ""
    except InputError as error:
        return no_boxes, str(error)


def read_boxes(file: Path, frames: int = LONGEST) -> Float[np.ndarray, "N 5"]:
    """Read the boxes of a ViPER file: every ``bbox`` element, in the file's order.

    ViPER counts frames from 1. A ``framespan`` such as "3:5 9:9" places the box in each
    of these frames; frames beyond the end of the clip are omitted.

    Args:
        file: the annotation.
        frames: number of frames of the clip.

    Returns:
        One row per box and frame: frame index from 0, left, top, width and height in
        pixels; float32.

    Raises:
        InputError: the file is not XML, or a box has no coordinates.
    """
    try:
        root = ElementTree.parse(file).getroot()
        boxes = [element for element in root.iter() if _is_box(element)]
        rows = [row for box in boxes for row in _rows(box, frames)]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"{file} is not a ViPER annotation ({error}): correct or remove it"
        ) from error
    return np.array(rows, np.float32).reshape(-1, 5)


def _is_box(element: ElementTree.Element) -> bool:
    """Return whether an element is a ``bbox`` of any XML namespace."""
    return element.tag.rpartition("}")[2] == "bbox"


def _rows(box: ElementTree.Element, frames: int) -> list[list[float]]:
    """Return one row for each frame of a box's span."""
    rectangle = [float(box.get(name, "")) for name in ("x", "y", "width", "height")]
    spans = re.findall(r"(\d+):(\d+)", box.get("framespan", ""))
    ranges = [range(max(int(a), 1), min(int(b), frames) + 1) for a, b in spans]
    return [[float(number - 1), *rectangle] for span in ranges for number in span]


def frame_times(path: Path) -> tuple[np.ndarray, str]:
    """Decode a whole clip.

    Returns:
        The times of its frames, (T,) float64 seconds, and notes on damage or
        irregularities; "" if there are none.

    Raises:
        InputError: fewer than two frames can be decoded.
    """
    stats = decoding.DecodeStats()
    with contextlib.closing(decoding.timed_frames(path, 0, stats)) as frames:
        times = np.array(
            [time for _, (time, _) in decoding.with_nearest_until(frames, stats)]
        )
    if len(times) < 2:
        raise InputError(
            f"{path} has {len(times)} readable frames; a clip needs two or more"
        )
    return times, "; ".join(decoding.notes(stats))


def _read_ahead(
    pool: concurrent.futures.Executor, items: Sequence[folder.Item], count: int
) -> Iterator[tuple[str, Record] | None]:
    """Read clips in order, with at most ``count`` records in memory at a time."""
    futures = collections.deque()
    for item in items:
        futures.append(pool.submit(_record_or_none, item))
        if len(futures) == count:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _record_or_none(item: folder.Item) -> tuple[str, Record] | None:
    """Return a clip's key and record; None if it cannot be decoded."""
    try:
        return item.place, record(item)
    except InputError:  # ``prepare.write_index`` reports which clip, and why
        return None


def _beam_records(item: folder.Item) -> list[tuple[str, Record]]:
    """Return a list of one record or none, as ``beam.FlatMap`` takes it."""
    keyed_record = _record_or_none(item)
    return [keyed_record] if keyed_record else []


def _annotation(clip: Path) -> Path | None:
    """Find CLIP.xgtf in the folder of the clip, or in a folder Annotation there or above."""
    name = f"{clip.stem}.xgtf"
    folders = (clip.parent, clip.parent / "Annotation", clip.parents[1] / "Annotation")
    return next((path / name for path in folders if (path / name).is_file()), None)
