"""The tensorflow-datasets builders: what a record of a clip holds; no TensorFlow."""

import collections
import concurrent.futures
import contextlib
import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float
from tqdm import tqdm

from rgcam.data import decoding, folder
from rgcam.errors import InputError

SPLIT = "clips"
LONGEST = 100_000  # frames, an hour: a span may say that it lasts for ever


class VideoTree(tfds.core.GeneratorBasedBuilder):
    """The clips of root/<class>/**/<clip>, one record each."""

    VERSION = tfds.core.Version("1.0.0")
    name = "video_tree"

    def __init__(
        self,
        *,
        items: Sequence[folder.Item],
        classes: Sequence[str],
        workers: int = 0,
        beam: bool = False,
        **fields: Any,
    ):
        """Describe a dataset.

        Args:
            items: the clips, files.
            classes: names of the classes.
            workers: threads that read and check clips; 0: one a core.
            beam: read on a Beam cluster instead.
            **fields: of a TFDS builder, such as data_dir.
        """
        self.items, self.classes = list(items), list(classes)
        self.workers, self.beam = workers, beam
        super().__init__(file_format="array_record", **fields)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "video": tfds.features.Text(),  # bytes; tfds' Video needs TensorFlow
                "label": tfds.features.ClassLabel(names=self.classes),
                "group": tfds.features.Text(),
                "place": tfds.features.Text(),
                "times": tfds.features.Tensor(shape=(None,), dtype=np.float64),
                "boxes": tfds.features.Tensor(shape=(None, 5), dtype=np.float32),
                "notes": tfds.features.Text(),  # what is damaged or odd about it
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager) -> Mapping[str, Any]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        if not self.beam:
            return self._examples()
        beam: Any = importlib.import_module("apache_beam")
        return beam.Create(self.items) | beam.FlatMap(_beam_records)

    def _examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        threads = self.workers or os.cpu_count() or 1
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            made = _read_ahead(pool, self.items, 4 * threads)
            bar = tqdm(made, "clips", len(self.items), unit="clip", disable=None)
            yield from filter(None, bar)


class Ucf11(VideoTree):
    """UCF11, the YouTube Action dataset (Liu, Luo and Shah, CVPR 2009)."""

    VERSION = tfds.core.Version("1.0.0")
    name = "ucf11"


def record(item: folder.Item) -> dict[str, Any]:
    """Read one clip; InputError where it cannot be decoded."""
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
    """Return a clip's boxes (N, 5), and what ails its annotation or ""."""
    none, file = np.zeros((0, 5), np.float32), _annotation(clip)
    try:
        return (none if file is None else read_boxes(file, frames)), ""
    except InputError as error:
        return none, str(error)


def read_boxes(file: Path, frames: int = LONGEST) -> Float[np.ndarray, "N 5"]:
    """Read the boxes of a ViPER file: every ``bbox`` element, in the file's order.

    ViPER counts frames from 1; a ``framespan`` such as "3:5 9:9" gives the box in each
    of its frames. What lies outside the clip's ``frames`` is left out.

    Returns:
        Frame from 0, left, top, width, height in pixels; float32. No row where the
        file holds no box.

    Raises:
        InputError: the file is no XML or a box has no whole numbers.
    """
    try:
        root = ElementTree.parse(file).getroot()
        rows = [
            row for box in root.iter() if _is_box(box) for row in _rows(box, frames)
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{file} holds no ViPER annotation: {error}") from error
    return np.array(rows, np.float32).reshape(-1, 5)


def _is_box(element: ElementTree.Element) -> bool:
    return element.tag.rpartition("}")[2] == "bbox"


def _rows(box: ElementTree.Element, frames: int) -> list[list[float]]:
    """Return the box once for each frame of its span."""
    place = [float(box.get(name, "")) for name in ("x", "y", "width", "height")]
    spans = re.findall(r"(\d+):(\d+)", box.get("framespan", ""))
    ranges = [range(max(int(a), 1), min(int(b), frames) + 1) for a, b in spans]
    return [[float(number - 1), *place] for span in ranges for number in span]


def frame_times(path: Path) -> tuple[np.ndarray, str]:
    """Decode a whole clip; return its frames' times (T,) in seconds, and its notes.

    Raises:
        InputError: it gives fewer than two frames.
    """
    tally = decoding.Tally()
    with contextlib.closing(decoding.shots_from(path, 0, tally)) as shots:
        times = np.array([time for _, (time, _) in decoding.reaches(shots, tally)])
    if len(times) < 2:
        raise InputError(f"{path} has {len(times)} readable frames")
    return times, "; ".join(decoding.notes(tally))


def _read_ahead(
    pool: concurrent.futures.Executor, items: Sequence[folder.Item], count: int
) -> Iterator[tuple[str, dict[str, Any]] | None]:
    """Read clips, in order; at most ``count`` lie in memory before they are written."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(_record_or_none, item))
        if len(waiting) == count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _record_or_none(item: folder.Item) -> tuple[str, dict[str, Any]] | None:
    try:
        return item.place, record(item)
    except InputError:  # ``write_index`` tells which, and why
        return None


def _beam_records(item: folder.Item) -> list[tuple[str, dict[str, Any]]]:
    made = _record_or_none(item)
    return [made] if made else []


def _annotation(clip: Path) -> Path | None:
    """Find <class>/Annotation/<clip>.xgtf, or one beside the clip."""
    name = f"{clip.stem}.xgtf"
    near = (clip.parent, clip.parent / "Annotation", clip.parents[1] / "Annotation")
    return next((d / name for d in near if (d / name).is_file()), None)
