"""A config's data and backbone -> the clips to train and to test on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from rgcam import cache, data, folder, stickman
from rgcam.backbones import Preprocess
from rgcam.errors import InputError

FPS = 7.5  # the paper's rate
CHUNK = {"cpu": 2}  # frames a call; 2 fit the cache: 10 ms a frame, 16 with 16 at once
DEVICE_CHUNK = 64


class Source(NamedTuple):
    """What a run trains and tests on.

    Attributes:
        train: clips to train on.
        test: clips to test on; no group is in both.
        classes: names of the C classes.
        unreadable: one sentence for each clip that was left out.
    """

    train: data.Clips
    test: data.Clips
    classes: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


def load(
    config: Mapping[str, Any],
    spec: Preprocess,
    frozen: Callable[[np.ndarray], np.ndarray] | None,
    name: str,
) -> Source:
    """Load the clips that ``config.data`` describes.

    Args:
        config: the ``data`` part of a config; its ``source`` is stickman or folder.
        spec: what the model's frames look like.
        frozen: features of a frozen backbone, as from ``frozen_features``: the clips
            are then its features, computed once and kept on disk; None: frames.
        name: what tells those features from another backbone's.

    Raises:
        InputError: another source, or what ``folder.scan`` and ``split`` raise.
    """
    if config["source"] == "stickman":
        return _stickman(config, spec)
    if config["source"] == "folder":
        return _folder(config, spec, frozen, name)
    raise InputError(f"data.source is {config['source']!r}; use stickman or folder")


def frozen_features(
    backbone: nn.Module, params: Any, pooled: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function frames (T S S 3) -> features, compiled once for any T.

    Args:
        backbone: the module below the cut.
        params: its weights.
        pooled: average over (h, w), to (T 1 1 K): all that a ``gap`` head reads.
    """
    size = CHUNK.get(jax.default_backend(), DEVICE_CHUNK)

    @jax.jit
    def chunk(params, frames):
        features: Any = backbone.apply({"params": params}, frames)
        return features.mean((-3, -2), keepdims=True) if pooled else features

    def features(frames: np.ndarray) -> np.ndarray:
        padding = -len(frames) % size
        padded = np.pad(frames, ((0, padding), (0, 0), (0, 0), (0, 0)))
        chunks = padded.reshape(-1, size, *frames.shape[1:])
        made = [np.asarray(chunk(params, jnp.asarray(c))) for c in chunks]
        return np.concatenate(made)[: len(frames)]

    return features


def _stickman(config: Mapping[str, Any], spec: Preprocess) -> Source:
    shape = {"size": spec.size, "length": config["length"]}
    train = data.stickman_clips(1, config["train_clips"], **shape)
    test = data.stickman_clips(2, config["test_clips"], **shape)
    return Source(train, test, stickman.CLASSES)


def _folder(
    config: Mapping[str, Any],
    spec: Preprocess,
    frozen: Callable[[np.ndarray], np.ndarray] | None,
    name: str,
) -> Source:
    if not config["root"]:
        raise InputError(
            "say where your videos are: --config.data.root=FOLDER, "
            "which holds one sub-folder of videos for each class"
        )
    items, classes = folder.scan(config["root"], config["group"])
    options = {k: config[k] for k in ("test_groups", "test_list", "test_fraction")}
    place = Path(config["cache"]).expanduser() if config["cache"] else None
    readable, unreadable = _decode_all(items, spec, config["fps"], place)
    parts = folder.split(readable, **options)
    train, test = (
        _clips(part, _frames(part, spec, config["fps"], place), frozen, name, mirror)
        for part, mirror in zip(parts, (config["mirror"], False), strict=True)
    )
    return Source(train, test, classes, unreadable)


def _decode_all(
    items: Sequence[folder.Item], spec: Preprocess, fps: float, place: Path | None
) -> tuple[list[folder.Item], tuple[str, ...]]:
    """Decode every clip once; return the readable ones and what ails the others."""
    frames = _frames(items, spec, fps, place)
    readable, unreadable = [], []
    for i, item in enumerate(tqdm(items, "decoding", unit="clip", disable=None)):
        try:
            frames.decode(i)
            readable.append(item)
        except InputError as error:
            unreadable.append(str(error))
    if not readable:
        raise InputError(f"none of the {len(items)} clips can be read: {unreadable[0]}")
    return readable, tuple(unreadable)


def _clips(
    items: Sequence[folder.Item],
    frames: cache.Frames,
    frozen: Callable[[np.ndarray], np.ndarray] | None,
    name: str,
    mirror: bool,
) -> data.Clips:
    labels = np.array([item.label for item in items], np.int32)
    names = [item.path.name for item in items]
    if frozen is None:
        mirrored = cache.Mirrored(frames) if mirror else None
        return data.Clips(frames, labels, names, mirrored)
    plain, *other = (
        [
            cache.load_features(frames, frozen, name, i, mirrored)
            for i in tqdm(range(len(items)), "features", unit="clip", disable=None)
        ]
        for mirrored in ((False, True) if mirror else (False,))
    )
    return data.Clips(plain, labels, names, other[0] if other else None)


def _frames(
    items: Sequence[folder.Item], spec: Preprocess, fps: float, place: Path | None
) -> cache.Frames:
    paths = [item.path for item in items]
    return cache.Frames(paths, spec, fps, place or cache.default_folder())
