"""UCF11 and trees like UCF101's, UCF50's and HMDB51's as tensorflow-datasets, no TF.

    python -m rgcam.datasets --dataset=ucf11 --data_dir=DIR      # downloads 1 GB
    python -m rgcam.datasets --dataset=tree --source=FOLDER --group='_g([0-9]+)_' ...

``--source`` is a URL, a .rar archive or an extracted folder. Each record holds a clip's
encoded bytes as published, its label, group, name, frame times in seconds and, where
there are .xgtf annotations, boxes. Bytes are exact, leave the frame rate open, and are
small: 44 clips of UCF101 at 224 x 168 take 2.9 MB, as JPEG frames at 7.5 fps (quality
90) 16.8 MB, raw 179 MB. Training reads the dataset with
``--config.data.source=dataset --config.data.root=DIR``.
"""

import contextlib
import functools
import importlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from tqdm import tqdm

from rgcam import archive, cli, folder
from rgcam.download import download
from rgcam.errors import InputError

UCF11_URL = "https://www.crcv.ucf.edu/data/UCF11_updated_mpg.rar"
UCF11_GROUP = r"_(\d+)_\d+\.\w+$"  # v_shooting_24_01.mpg is of group 24
INDEX = "clips.json"
DATASET = flags.DEFINE_enum("dataset", "ucf11", ["ucf11", "tree"], "which layout")
SOURCE = flags.DEFINE_string("source", UCF11_URL, "URL, .rar file or folder")
DATA_DIR = flags.DEFINE_string("data_dir", None, "folder of the dataset, made")
GROUP = flags.DEFINE_string("group", "", "of a tree: regular expression; (...) names")
WORKERS = flags.DEFINE_integer("workers", 0, "threads that read; 0: one a core")
BEAM = flags.DEFINE_string("beam", "", "Beam runner, such as DirectRunner; needs Beam")


class Stored:
    """A clip in a prepared dataset: a ``folder.Stored``, picklable."""

    def __init__(self, root: Path, number: int, name: str, key: str):
        self.root, self.number, self.name, self.key = root, number, name, key

    def read(self) -> bytes:
        """Return the encoded video."""
        return _records(self.root)[self.number]["video"]


def prepare(
    dataset: str,
    source: str,
    data_dir: Path,
    *,
    group: str = "",
    workers: int = 0,
    beam: str = "",
) -> Path:
    """Make a dataset from a URL, an archive or a folder; return its folder.

    Args:
        dataset: ``ucf11`` or ``tree``.
        source: see the module.
        data_dir: the dataset, and what is downloaded, are written below it.
        group: of a tree, as in ``folder.scan``.
        workers: threads that read and check clips; 0: one a core.
        beam: a Beam runner that reads them instead, such as DirectRunner.

    Raises:
        InputError: what ``download``, ``extract`` and ``folder.scan`` raise, or none of
            the clips can be read.
    """
    data_dir = data_dir.expanduser().absolute()
    root = fetch(source, data_dir)
    from rgcam import builders  # imports tensorflow_datasets, which takes seconds

    ucf11 = dataset == "ucf11"
    kind = builders.Ucf11 if ucf11 else builders.VideoTree
    pattern = UCF11_GROUP if ucf11 else group
    items, classes = folder.scan(_class_root(root), pattern)
    about = {"items": items, "classes": classes, "workers": workers}
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        builder = kind(**about, beam=bool(beam), data_dir=str(data_dir))
        if not builder.data_path.exists():
            with contextlib.redirect_stdout(io.StringIO()):  # it speaks of downloads
                builder.download_and_prepare(download_config=_download_config(beam))
    except (OSError, AssertionError) as error:
        raise InputError(f"cannot make the dataset in {data_dir}: {error}") from error
    place = Path(os.fspath(builder.data_path))
    write_index(place, items)
    return place


def fetch(source: str, data_dir: Path) -> Path:
    """Return the folder of a source: downloaded and unpacked where it must be."""
    if source.startswith(("http://", "https://")):
        name = source.rsplit("/", 1)[-1] or "archive.rar"
        source = str(download(source, data_dir / "downloads" / name))
    path = Path(source).expanduser()
    if path.is_file():
        return archive.extract(path, data_dir / "extracted" / path.stem)
    if not path.is_dir():
        raise InputError(f"there is no archive or folder {path}")
    return path


def scan(root: Path) -> tuple[list[folder.Item], tuple[str, ...]]:
    """List the clips of a prepared dataset and its classes.

    Args:
        root: the dataset's folder, or a --data_dir that holds one dataset.

    Raises:
        InputError: it holds none, or several.
    """
    place = _dataset_in(root)
    index = _read_index(place)
    items = []
    for number, (clip, label, group, key) in enumerate(index["clips"]):
        stored = Stored(place, number, clip.rsplit("/", 1)[-1], key)
        items.append(folder.Item(stored, label, group, clip))
    return items, tuple(index["classes"])


def write_index(place: Path, items: Sequence[folder.Item]) -> None:
    """Write clips.json: what each record is, and why clips of the tree are missing."""
    from rgcam import builders

    records = _records(place)
    clips = []
    for record in tqdm(records, "index", unit="clip", disable=None):
        key = f"{place.name}/{record['place'].decode()}/{len(record['video'])}"
        about = [record[name].decode() for name in ("place", "group")]
        clips.append([about[0], int(record["label"]), about[1], key])
    stored = {clip[0] for clip in clips}
    missing = {i.place: problem_of(i) for i in items if i.place not in stored}
    classes = records.dataset_info.features["label"].names
    files = [(i.place, i.clip) for i in items if isinstance(i.clip, Path)]
    unboxed = {place: builders.boxes_of(clip)[1] for place, clip in files}
    index = {
        "classes": list(classes),
        "clips": clips,
        "left_out": missing,
        "without_boxes": {place: text for place, text in unboxed.items() if text},
    }
    part = place / f"{INDEX}.part"
    part.write_text(json.dumps(index))
    os.replace(part, place / INDEX)


def problem_of(item: folder.Item) -> str:
    """Say what ails a clip that was left out."""
    from rgcam import builders

    try:
        builders.record(item)
    except InputError as error:
        return str(error)
    return "it was not stored"


def main() -> None:
    """Prepare what the flags say and tell what was made."""
    if not DATA_DIR.value:
        raise InputError("say where the dataset is made: --data_dir=FOLDER")
    if DATASET.value == "tree" and SOURCE.value == UCF11_URL:
        raise InputError("say where the clips are: --source=FOLDER (or URL, .rar file)")
    place = prepare(
        DATASET.value,
        SOURCE.value,
        Path(DATA_DIR.value),
        group=GROUP.value,
        workers=WORKERS.value,
        beam=BEAM.value,
    )
    index = _read_index(place)
    groups = {(label, group) for _, label, group, _ in index["clips"]}
    size = sum(f.stat().st_size for f in place.iterdir()) / 1e6
    print(
        f"{len(index['clips'])} clips, {len(index['classes'])} classes, {len(groups)} "
        f"groups, {size:.1f} MB: {place}"
    )
    for name, reason in index["left_out"].items():
        print(f"left out {name}: {reason}")
    for reason in index["without_boxes"].values():
        print(f"no boxes: {reason}")
    if index["left_out"]:
        print(f"{len(index['left_out'])} clips were left out")


def _class_root(root: Path) -> Path:
    """Go down where the archive wraps its classes in one folder."""
    inner = [p for p in root.iterdir() if p.is_dir() and p.name[0] != "."]
    return _class_root(inner[0]) if len(inner) == 1 else root


def _download_config(runner: str) -> Any:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()  # ours counts clips
    if not runner:
        return tfds.download.DownloadConfig()
    try:
        options: Any = importlib.import_module("apache_beam.options.pipeline_options")
    except ImportError as error:
        raise InputError("--beam needs Apache Beam: pip install apache-beam") from error
    return tfds.download.DownloadConfig(
        beam_runner=runner, beam_options=options.PipelineOptions()
    )


@functools.lru_cache(4)
def _records(place: Path) -> Any:
    """Open a dataset's records; [n] reads one."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(str(place)).as_data_source(split="all")


def _dataset_in(root: Path) -> Path:
    found = sorted(p.parent for p in root.rglob("dataset_info.json"))
    if len(found) != 1:
        names = ", ".join(str(p) for p in found) or "none"
        raise InputError(
            f"{root} holds {len(found)} datasets ({names}); give the folder of one "
            "that python -m rgcam.datasets made"
        )
    return found[0]


def _read_index(place: Path) -> dict[str, Any]:
    try:
        return json.loads((place / INDEX).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"the dataset {place} is not complete: run python -m rgcam.datasets again "
            f"({error})"
        ) from error


if __name__ == "__main__":
    cli.run(main)
