"""A config's data and frozen backbone -> the clips to train, validate and test on."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from tqdm import tqdm

from rgcam import files
from rgcam.data import augment, cache, clips, folder, near_duplicates, splits
from rgcam.data.synthetic import draw
from rgcam.data.tfds import prepare
from rgcam.errors import InputError
from rgcam.models import backbones, captioner, classifiers, layers
from rgcam.models.backbones import Preprocess
from rgcam.types import Variables

# Frames per call of a frozen backbone. On a CPU two stay in its cache: 10 ms per frame,
# where 16 at once take 16 ms.
CHUNK = {"cpu": 2}
DEVICE_CHUNK = 64
IN_MEMORY = 4 << 30  # bytes of features of one split; more are read from disk


class DataConfig(TypedDict, total=False):
    """The ``data`` part of a config; ``rgcam.training.config`` describes each field."""

    source: str
    root: str
    group: str
    groups_per_class: bool
    cache: str | None
    fps: float
    length: int
    train_clips: int
    test_clips: int
    random_labels: bool
    augment: Mapping[str, Any]  # the fields of ``Augmentation``, of several types
    split: str
    split_seed: int
    test_groups: str
    test_list: str
    test_fraction: float
    fold: int
    validation_groups: str
    validation_fraction: float


class Source(NamedTuple):
    """What a run trains and tests on.

    Attributes:
        train: clips to train on.
        validation: clips by which the best checkpoint is chosen, or None.
        test: clips to test on; nothing is chosen by them.
        classes: names of the C classes.
        split: how train and test were divided, for every table that quotes a figure.
        unreadable: one sentence for each clip that was left out.
        warning: what to keep in mind with figures on this split, or "".
        notes: one sentence for each kind of thing in the folder that is no clip.
    """

    train: clips.Clips
    validation: clips.Clips | None
    test: clips.Clips
    classes: tuple[str, ...]
    split: str
    unreadable: tuple[str, ...] = ()
    warning: str = ""
    notes: tuple[str, ...] = ()


class Frozen(NamedTuple):
    """The frozen blocks of a backbone, computed once per clip and kept on disk.

    Attributes:
        apply: normalised frames (T S S 3) float32 -> features (T h w K).
        name: identifies these blocks and their weights.
    """

    apply: Callable[[np.ndarray], np.ndarray]
    name: str


def load(config: DataConfig, spec: Preprocess, frozen: Frozen | None) -> Source:
    """Load the clips that ``config.data`` describes.

    With ``random_labels`` the labels of the training clips are permuted, by one fixed
    seed: a model can only learn them by heart (Zhang et al., arXiv:1611.03530), and the
    explanation of a model that learnt something must differ from such a model's.

    Args:
        config: the ``data`` part of a config; its ``source`` is folder, dataset or one
            of ``synthetic.draw.SOURCES``.
        spec: size, crop and normalisation of the model's frames.
        frozen: the clips are then features from ``frozen_features``; None: frames.

    Raises:
        InputError: another source, or what ``scan`` and ``split`` raise.
    """
    if config["source"] in draw.SOURCES:
        source = _drawn(config, spec, frozen)
    else:
        source = _read(config, spec, frozen)
    if not config.get("random_labels"):
        return source
    train = source.train
    order = np.random.default_rng(0).permutation(len(train.labels))
    words = None if train.words is None else train.words[order]
    train = train._replace(labels=train.labels[order], words=words)
    return source._replace(train=train)


def _read(config: DataConfig, spec: Preprocess, frozen: Frozen | None) -> Source:
    """Read the clips of a folder or a dataset."""
    listing = _scan(config)
    folder_of_cache = Path(config["cache"] or files.default_cache_folder())

    def frames_of(items: Sequence[folder.Item]) -> cache.Frames:
        return cache.Frames(
            [item.clip for item in items],
            spec,
            config["fps"],
            folder_of_cache.expanduser(),
        )

    readable, unreadable = _decode_all(listing.items, frames_of(listing.items))
    parts = splits.split(
        readable,
        kind=config["split"],
        seed=config["split_seed"],
        test_groups=config["test_groups"],
        test_list=config["test_list"],
        test_fraction=config["test_fraction"],
        fold=config["fold"],
        validation_groups=config["validation_groups"],
        validation_fraction=config["validation_fraction"],
    )
    # Where groups are numbered in each class anew, a group's name holds its class.
    class_names = listing.classes if config["groups_per_class"] else None
    mirror = augment.from_config(config["augment"]).mirror

    def clips_of(items: list[folder.Item], mirror: bool = False) -> clips.Clips:
        return _clips(items, class_names, frames_of(items), frozen, mirror)

    return Source(
        train=clips_of(parts.train, mirror),
        validation=clips_of(parts.validation) if parts.validation else None,
        test=clips_of(parts.test),
        classes=listing.classes,
        split=parts.name,
        unreadable=unreadable,
        warning="; ".join(
            filter(None, (parts.warning, _near_duplicates(parts, frames_of)))
        ),
        notes=listing.notes,
    )


def _near_duplicates(
    parts: splits.Parts, frames_of: Callable[[Sequence[folder.Item]], cache.Frames]
) -> str:
    """Return a sentence if test clips begin like clips to train on, else "".

    Only clips without a known recording are looked at, and only where their names tell
    of none: else the split has said so.
    """
    train, test = (
        sorted(
            (item for item in part if item.group == item.place), key=lambda i: i.place
        )
        for part in (parts.train, parts.test)
    )
    if not (train and test) or folder.suggest_pattern([*train, *test]):
        return ""
    train, test = train[: near_duplicates.MOST], test[: near_duplicates.MOST]
    tested, trained = (
        [near_duplicates.signature(frames.first(i)) for i in range(len(frames))]
        for frames in (frames_of(test), frames_of(train))
    )
    twins = near_duplicates.closest(tested, trained)
    if not near_duplicates.is_shared(twins):
        return ""
    alike = np.flatnonzero(twins >= 0)
    return (
        f"{len(alike)} of {len(test)} test clips begin with nearly the same frame as a clip "
        f"to train on, such as {test[alike[0]].name} and {train[twins[alike[0]]].name}: if "
        "they are parts of one recording, the accuracy says little about new recordings; "
        "keep recordings together by --config.data.group"
    )


def frozen_features(
    module: nn.Module,
    params: Variables,
    *,
    stop: int | None = None,
    cells: int = 0,
) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function frames (T S S 3) -> features, compiled once for any T.

    Args:
        module: from ``classifiers.build``.
        params: its backbone's weights.
        stop: number of blocks to run, to (T V h w C); None: all, to A (T h w K).
        cells: average A over so many cells a side, to (T cells cells K): all that the
            head reads; 0: keep A.
    """
    assert isinstance(module, classifiers.Classifier | captioner.Captioner)
    size = CHUNK.get(jax.default_backend(), DEVICE_CHUNK)
    see = jax.jit(functools.partial(classifiers.see, view=module.view))

    @jax.jit
    def chunk(params: Variables, views: jax.Array) -> jax.Array:
        features = module.backbone.apply({"params": params}, views, stop=stop)
        assert isinstance(features, jax.Array)  # ``apply`` may return variables too
        if stop is None:
            features = classifiers.join(features)
        return layers.pool(features, cells) if cells else features

    def features(frames: np.ndarray) -> np.ndarray:
        # Repeat the last frame, so that every call has the same shape.
        padding = -len(frames) % size
        padded = np.pad(frames, ((0, padding), (0, 0), (0, 0), (0, 0)), "edge")
        views = np.asarray(see(padded))
        chunks = views.reshape(-1, size, *views.shape[1:])
        outputs = [np.asarray(chunk(params, jnp.asarray(c))) for c in chunks]
        return np.concatenate(outputs)[: len(frames)]

    return features


def _drawn(config: DataConfig, spec: Preprocess, frozen: Frozen | None) -> Source:
    """Draw the clips of one of ``synthetic.draw.SOURCES``."""
    kind = config["source"]

    def draw_part(seed: int, count: int) -> clips.Clips:
        size, length = spec.size, config["length"]
        if kind == draw.CAPTIONS:
            part = draw.draw_captions(seed, count, size=size, length=length)
        else:
            part = draw.draw_clips(kind, seed, count, size=size, length=length)
        if frozen is None:
            return part
        features = [
            # In half precision, as those of videos are kept.
            frozen.apply(backbones.normalize(part.inputs[i], spec)).astype(np.float16)
            for i in range(len(part.labels))
        ]
        return part._replace(inputs=features)

    return Source(
        train=draw_part(1, config["train_clips"]),
        validation=None,
        test=draw_part(2, config["test_clips"]),
        classes=draw.class_names(kind),
        split="fresh clips",
    )


def _scan(config: DataConfig) -> folder.Listing:
    source, root = config["source"], config["root"]
    if source not in _MISSING_ROOT:
        raise InputError(
            f"data.source is {source!r}; use folder, dataset, {' or '.join(draw.SOURCES)}"
        )
    if not root:
        raise InputError(_MISSING_ROOT[source])
    if source == "dataset":
        return prepare.scan(Path(root).expanduser())
    return folder.scan(root, config["group"])


def _decode_all(
    items: Sequence[folder.Item], frames: cache.Frames
) -> tuple[list[folder.Item], tuple[str, ...]]:
    """Decode every clip once; return the readable ones and the errors of the others."""

    def error_of(index: int) -> str:
        try:
            frames.decode(index)
        except cache.CacheError:  # no clip could be kept: stop at the first
            raise
        except InputError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        pending = pool.map(error_of, range(len(items)))
        errors = list(tqdm(pending, "decoding", len(items), unit="clip", disable=None))
    readable = [item for item, error in zip(items, errors, strict=True) if not error]
    unreadable = tuple(filter(None, errors))
    if not readable:
        raise InputError(f"none of the {len(items)} clips can be read: {unreadable[0]}")
    return readable, unreadable


def _clips(
    items: Sequence[folder.Item],
    class_names: Sequence[str] | None,
    frames: cache.Frames,
    frozen: Frozen | None,
    mirror: bool,
) -> clips.Clips:
    """Describe the clips of a part; with ``class_names``, groups are named after them."""
    groups = [
        f"{class_names[item.label]} {item.group}" if class_names else item.group
        for item in items
    ]
    inputs: clips.Indexed = frames
    mirrored: clips.Indexed | None = cache.Mirrored(frames) if mirror else None
    if frozen is not None:
        inputs = _features(frames, frozen, mirrored=False)
        mirrored = _features(frames, frozen, mirrored=True) if mirror else None
    return clips.Clips(
        inputs=inputs,
        labels=np.array([item.label for item in items], np.int32),
        names=[item.name for item in items],
        groups=groups,
        lengths=np.array([frames.length(i) for i in range(len(items))]),
        mirrored=mirrored,
    )


def _features(frames: cache.Frames, frozen: Frozen, mirrored: bool) -> clips.Indexed:
    """Compute what is not on disk; hold the features in memory where they fit."""
    on_disk = cache.Features(frames, frozen.name, mirrored)
    in_memory: list[np.ndarray] = []
    size = 0
    for index in tqdm(range(len(frames)), "features", unit="clip", disable=None):
        features = on_disk.make(index, frozen.apply)
        size += features.nbytes
        if size <= IN_MEMORY:
            in_memory.append(features)
        else:
            in_memory.clear()
    return in_memory or on_disk


_MISSING_ROOT = {
    "folder": "say where your videos are: --config.data.root=FOLDER, which holds one "
    "sub-folder of videos for each class",
    "dataset": "say where the dataset was prepared: --config.data.root=FOLDER, the "
    "--data_dir of rgcam prepare",
}
