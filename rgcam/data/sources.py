"""A config's data and frozen backbone -> the clips to train, validate and test on."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from rgcam import files
from rgcam.data import augment, cache, clips, folder, splits
from rgcam.data.synthetic import draw
from rgcam.data.tfds import prepare
from rgcam.errors import InputError
from rgcam.models import classifiers, layers, preprocessing
from rgcam.models.backbones import Preprocess

CHUNK = {"cpu": 2}  # frames a call; 2 fit the cache: 10 ms a frame, 16 with 16 at once
DEVICE_CHUNK = 64
IN_MEMORY = 4 << 30  # bytes of features of one split; more are read from disk


class Source(NamedTuple):
    """What a run trains and tests on.

    Attributes:
        train: clips to train on.
        validation: clips by which the best checkpoint is chosen, or None.
        test: clips to test on; nothing is chosen by them.
        classes: names of the C classes.
        split: how train and test were divided, for every table that quotes a figure.
        unreadable: one sentence for each clip that was left out.
        warning: what the split makes of the figures, or "".
    """

    train: clips.Clips
    validation: clips.Clips | None
    test: clips.Clips
    classes: tuple[str, ...]
    split: str
    unreadable: tuple[str, ...] = ()
    warning: str = ""


class Frozen(NamedTuple):
    """The frozen blocks of a backbone, computed once a clip and kept on disk.

    Attributes:
        apply: normalised frames (T S S 3) float32 -> features (T h w K).
        name: what tells these blocks and weights from any others.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    name: str


def load(config: Mapping[str, Any], spec: Preprocess, frozen: Frozen | None) -> Source:
    """Load the clips that ``config.data`` describes.

    With ``random_labels`` those of the training clips change places, by one fixed
    seed: what can be learnt is by heart only (Zhang et al., arXiv:1611.03530), and an
    explanation of such a model is what a right one must differ from.

    Args:
        config: the ``data`` part of a config; its ``source`` is folder, dataset or one
            of ``synthetic.draw.KINDS``.
        spec: what the model's frames look like.
        frozen: the clips are then features from ``frozen_features``; None: frames.

    Raises:
        InputError: another source, or what ``scan`` and ``split`` raise.
    """
    drawn = config["source"] in draw.KINDS
    found = (_drawn if drawn else _read)(config, spec, frozen)
    if not config.get("random_labels"):
        return found
    labels = np.random.default_rng(0).permutation(found.train.labels)
    return found._replace(train=found.train._replace(labels=labels))


def _read(config: Mapping[str, Any], spec: Preprocess, frozen: Frozen | None) -> Source:
    """Read the clips of a folder or a dataset."""
    items, classes = _scan(config)
    place = Path(config["cache"] or files.default_cache_folder()).expanduser()
    make = lambda items: cache.Frames(
        [i.clip for i in items], spec, config["fps"], place
    )
    readable, unreadable = _decode_all(items, make(items))
    parts = splits.split(readable, **{_SPLIT[n]: config[n] for n in _SPLIT})
    names = classes if config["groups_per_class"] else None
    mirror = augment.from_config(config["augment"]).mirror
    train, validation, test = (
        _clips(part, names, make(part), frozen, mirror and part is parts.train)
        if part
        else None
        for part in parts[:3]
    )
    assert train is not None and test is not None  # ``split`` sees to it
    return Source(
        train, validation, test, classes, parts.name, unreadable, parts.warning
    )


def frozen_features(
    module: Any, params: Any, *, stop: int | None = None, cells: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function frames (T S S 3) -> features, compiled once for any T.

    Args:
        module: FrameCNN or LRCN.
        params: its backbone's weights.
        stop: number of blocks to run, to (T V h w C); None: all, to A (T h w K).
        cells: average A over so many cells a side, to (T cells cells K): all that the
            head reads; 0: keep A.
    """
    size = CHUNK.get(jax.default_backend(), DEVICE_CHUNK)
    see = jax.jit(functools.partial(classifiers.see, view=module.view))

    @jax.jit
    def chunk(params, seen):
        maps: Any = module.backbone.apply({"params": params}, seen, stop=stop)
        maps = classifiers.join(maps) if stop is None else maps
        return layers.pool(maps, cells) if cells else maps

    def features(frames: np.ndarray) -> np.ndarray:
        padding = -len(frames) % size
        padded = np.pad(frames, ((0, padding), (0, 0), (0, 0), (0, 0)), "edge")
        seen = np.asarray(see(padded))
        chunks = seen.reshape(-1, size, *seen.shape[1:])
        made = [np.asarray(chunk(params, jnp.asarray(c))) for c in chunks]
        return np.concatenate(made)[: len(frames)]

    return features


def _drawn(
    config: Mapping[str, Any], spec: Preprocess, frozen: Frozen | None
) -> Source:
    """Draw the clips of a module of ``synthetic.draw.KINDS``."""
    kind = config["source"]
    shape = {"size": spec.size, "length": config["length"]}
    parts = [
        draw.draw_clips(kind, seed, config[count], **shape)
        for seed, count in ((1, "train_clips"), (2, "test_clips"))
    ]
    if frozen is not None:
        below = lambda frames: frozen.apply(preprocessing.normalize(frames, spec))
        numbers = lambda part: range(len(part.labels))
        parts = [
            p._replace(inputs=[below(p.inputs[i]) for i in numbers(p)]) for p in parts
        ]
    return Source(parts[0], None, parts[1], draw.KINDS[kind].CLASSES, "fresh clips")


def _scan(config: Mapping[str, Any]) -> tuple[list[folder.Item], tuple[str, ...]]:
    if config["source"] not in _ROOT:
        raise InputError(
            f"data.source is {config['source']!r}; use folder, dataset, "
            f"{' or '.join(draw.KINDS)}"
        )
    if not config["root"]:
        raise InputError(_ROOT[config["source"]])
    if config["source"] == "dataset":
        return prepare.scan(Path(config["root"]).expanduser())
    return folder.scan(config["root"], config["group"])


def _decode_all(
    items: Sequence[folder.Item], frames: cache.Frames
) -> tuple[list[folder.Item], tuple[str, ...]]:
    """Decode every clip once; return the readable ones and what ails the others."""

    def problem(index: int) -> str:
        try:
            frames.decode(index)
        except InputError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = pool.map(problem, range(len(items)))
        bar = tqdm(problems, "decoding", len(items), unit="clip", disable=None)
        found = list(bar)
    readable = [i for i, p in zip(items, found, strict=True) if not p]
    unreadable = tuple(filter(None, found))
    if not readable:
        raise InputError(f"none of the {len(items)} clips can be read: {unreadable[0]}")
    return readable, unreadable


def _clips(
    items: Sequence[folder.Item],
    classes: Sequence[str] | None,
    frames: cache.Frames,
    frozen: Frozen | None,
    mirror: bool,
) -> clips.Clips:
    """Make a part's clips; with ``classes`` a group's name holds its class."""
    labels = np.array([item.label for item in items], np.int32)
    prefix = lambda label: f"{classes[label]} " if classes else ""
    groups = [prefix(item.label) + item.group for item in items]
    lengths = np.array([frames.length(i) for i in range(len(items))])
    about = labels, [item.name for item in items], groups, lengths
    if frozen is None:
        mirrored = cache.Mirrored(frames) if mirror else None
        return clips.Clips(frames, *about, mirrored)
    plain, *other = (
        _features(frames, frozen, mirrored)
        for mirrored in ((False, True) if mirror else (False,))
    )
    return clips.Clips(plain, *about, other[0] if other else None)


def _features(frames: cache.Frames, frozen: Frozen, mirrored: bool) -> clips.Indexed:
    """Compute what is not on disk; hold the features in memory where they fit."""
    saved, held, size = cache.Features(frames, frozen.name, mirrored), [], 0
    for index in tqdm(range(len(frames)), "features", unit="clip", disable=None):
        features = saved.make(index, frozen.apply)
        size += features.nbytes
        held.append(features) if size <= IN_MEMORY else held.clear()
    return held or saved


_ROOT = {
    "folder": "say where your videos are: --config.data.root=FOLDER, which holds one "
    "sub-folder of videos for each class",
    "dataset": "say where the dataset was prepared: --config.data.root=FOLDER, the "
    "--data_dir of rgcam prepare",
}
_SPLIT = {  # field of the config: argument of ``split``
    "split": "kind",
    "split_seed": "seed",
    **{name: name for name in ("test_groups", "test_list", "test_fraction", "fold")},
    **{name: name for name in ("validation_groups", "validation_fraction")},
}
