"""Trained models by name: bundled with the package, exported, or a run's folder."""

import dataclasses
import difflib
import functools
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from rgcam import files
from rgcam.errors import InputError
from rgcam.models import backbones, classifiers
from rgcam.models.backbones import named_arrays
from rgcam.models.description import Description, from_fields, to_fields
from rgcam.models.out_of_distribution import FeatureStatistics
from rgcam.types import Fields, Params

BUNDLED = Path(__file__).parent / "bundled"
DESCRIPTION, WEIGHTS = "model.json", "weights.npz"
STATISTICS, SHAPES = "feature_statistics.npz", "shapes.json"


class Shapes(NamedTuple):
    """Shapes that follow from a model's description, by a trace that takes seconds.

    Attributes:
        params: of all parameters by name, a frozen backbone's among them.
        feature_map: (h, w, K) of A.
    """

    params: dict[str, tuple[int, ...]]
    feature_map: tuple[int, int, int]


class Model(NamedTuple):
    """A trained model, ready for ``explain(m.module, m.variables, ...)``.

    Attributes:
        module: FrameCNN or LRCN.
        variables: its variables, float32.
        classes: names of the C classes.
        preprocess: frames (T, H, W, 3) uint8 -> model input (T, S, S, 3) float32.
        name: the name or folder that ``load_model`` was called with.
        description: architecture, preprocessing, training and results.
        statistics: of the features of the training clips, by which a clip unlike them is
            found; None if they were not computed.
        feature_map: (h, w, K) of A; None if it is not known without a trace.
    """

    module: nn.Module
    variables: dict[str, Params]
    classes: tuple[str, ...]
    preprocess: Callable[[np.ndarray], np.ndarray]
    name: str
    description: Description
    statistics: FeatureStatistics | None = None
    feature_map: tuple[int, int, int] | None = None


def load_model(name: str | Path) -> Model:
    """Load a bundled model by name, or a training run or exported model by folder.

    Raises:
        InputError: neither a bundled name nor a folder with a model; a description with
            values that are not allowed; a checkpoint that is damaged or of another model;
            weights that are not finite; damaged statistics.
    """
    folder = _find(name)
    description = read_description(folder)
    module = classifiers.build(description.arch, len(description.classes))
    shapes = _read_shapes(folder, description) or trace_shapes(description)
    template = _template(description, shapes)
    exported = (folder / WEIGHTS).is_file()
    params = (_read_export if exported else _read_run)(folder, template)
    _check_finite(folder, params)
    if description.frozen:
        # Reads weight files of PyTorch, which a model that holds all of its own lacks.
        from rgcam.models import torch_files

        backbone = torch_files.pretrained(
            description.arch["backbone"], shapes=_below("backbone", shapes.params)
        )
        params = params | {"backbone": backbone["params"]}
    return Model(
        module=module,
        variables={"params": params},
        classes=description.classes,
        preprocess=functools.partial(backbones.preprocess, description.preprocess),
        name=str(name),
        description=description,
        statistics=read_statistics(folder),
        feature_map=shapes.feature_map,
    )


def bundled_names() -> list[str]:
    """Return the names of the models that ship inside the package."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{DESCRIPTION}"))


def load_cnn(model: str, cnn: str | None = None) -> Model | None:
    """Load the frame-CNN baseline of a model: ``cnn``, or NAME-cnn of a NAME-lrcn."""
    sibling = model.replace("-lrcn", "-cnn")
    bundled = {model, sibling} <= set(bundled_names())
    name = cnn or (sibling if bundled and sibling != model else None)
    return load_model(name) if name else None


def class_index(model: Model, name: str) -> int:
    """Return the number of a class by its name.

    The class of exactly this name comes first. Without one, case, spaces, - and _ do
    not matter. A text is always a name: of the classes "-1", "0" and "1", "1" is the
    class of that name, number 2.

    Args:
        model: whose classes are searched.
        name: of the class.

    Raises:
        InputError: no such class (names the nearest ones), or several that differ in
            nothing but these (names all of them).
    """
    loose_names = [_loose_name(class_name) for class_name in model.classes]
    matches = _indices(model.classes, name) or _indices(loose_names, _loose_name(name))
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(f"{model.classes[i]!r} (class {i})" for i in matches)
        raise InputError(
            f"{name!r} may be any of several classes of {model.name}: {names}; give "
            "one of these names exactly"
        )
    near = difflib.get_close_matches(_loose_name(name), loose_names, 3, cutoff=0.5)
    nearest = [model.classes[loose_names.index(n)] for n in near] or model.classes
    raise InputError(
        f"{model.name} has no class {name!r}; did you mean {', '.join(nearest)}?"
    )


def _indices(names: Sequence[str], name: str) -> list[int]:
    return [index for index, other in enumerate(names) if other == name]


def _loose_name(name: str) -> str:
    """Leave out what may differ between two spellings of one class's name."""
    # The sign of a number is no separator: "-1" is not "1".
    sign = "-" if re.match(r"\s*-\s*\d", name) else ""
    return sign + re.sub(r"[\s_-]", "", name).casefold()


def initial_params(description: Description, module: nn.Module, seed: int) -> Params:
    """Initialise what is trained: everything, or all but the frozen backbone."""
    size, key = description.preprocess.size, jax.random.key(seed)
    if not description.frozen:
        frames = jnp.zeros((2, size, size, 3), jnp.float32)
        return classifiers.init(module, key, frames)["params"]
    features = jnp.zeros((2, *cut_shape(module, size)))
    return classifiers.init(module, key, features, "classify")["params"]


@functools.cache
def cut_shape(module: nn.Module, size: int) -> tuple[int, int, int]:
    """Return (h, w, K) of a model's feature map, for frames of size x size."""
    frames = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    init = functools.partial(module.init_with_output, method="features")
    features, _ = jax.eval_shape(init, jax.random.key(0), frames)
    return features.shape[1:]


def trace_shapes(description: Description) -> Shapes:
    """Return the shapes of the model that a description states, by tracing it."""
    module = classifiers.build(description.arch, len(description.classes))
    size, key = description.preprocess.size, jax.random.key(0)
    frames = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    initialise = functools.partial(module.init_with_output, method="features")
    features, below = jax.eval_shape(initialise, key, frames)
    above = jax.eval_shape(
        lambda key, features: classifiers.init(module, key, features, "classify"),
        key,
        features,
    )
    params = named_arrays(below["params"] | above["params"])
    return Shapes(
        params={name: leaf.shape for name, leaf in params.items()},
        feature_map=features.shape[1:],
    )


def write_shapes(
    folder: Path, description: Description, shapes: Shapes | None = None
) -> None:
    """Write shapes.json, with which a model loads without a trace.

    Args:
        folder: of the model.
        description: of the model.
        shapes: of ``trace_shapes``; None: they are traced.
    """
    shapes = shapes or trace_shapes(description)
    files.write_json(
        folder / SHAPES, {"of": _shaping_fields(description), **shapes._asdict()}
    )


def write_description(folder: Path, description: Description) -> None:
    """Write model.json.

    Raises:
        InputError: a field has a value that is not allowed.
    """
    files.write_json(folder / DESCRIPTION, to_fields(description))


def read_description(folder: Path) -> Description:
    """Read model.json.

    Raises:
        InputError: it cannot be read, or a field is missing, unknown, or has a value that
            is not allowed; the message names the file, the field and the allowed values.
    """
    file = folder / DESCRIPTION
    try:
        return from_fields(json.loads(file.read_text("utf-8")))
    # RecursionError: JSON nested too deeply.
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} does not describe an rgcam model: {error}") from error


def export(workdir: Path, folder: Path, results: Fields) -> None:
    """Write a run's best model as model.json and weights.npz, in half precision.

    Args:
        workdir: the run's folder.
        folder: where the model is written; created if missing.
        results: what it scored, for model.json.

    Raises:
        InputError: the run has no description or no checkpoint that can be read.
    """
    description = read_description(workdir)
    shapes = trace_shapes(description)
    params = named_arrays(_read_run(workdir, _template(description, shapes)))
    half_precision = {
        name: np.asarray(leaf, np.float16) for name, leaf in params.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic(folder / WEIGHTS) as part, part.open("wb") as file:
        # No parameter has the name of NumPy's option.
        np.savez_compressed(file, **half_precision)  # pyrefly: ignore[bad-argument-type]
    write_description(folder, dataclasses.replace(description, results=dict(results)))
    write_shapes(folder, description, shapes)
    write_statistics(folder, read_statistics(workdir))


def write_statistics(folder: Path, statistics: FeatureStatistics | None) -> None:
    """Write the statistics of a model beside its weights; None: remove older ones."""
    if statistics is None:
        (folder / STATISTICS).unlink(missing_ok=True)
        return
    with files.atomic(folder / STATISTICS) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            mean=statistics.mean.astype(np.float32),
            # Most of the file. Its rounding errors are small beside the threshold's.
            basis=statistics.basis.astype(np.float16),
            variances=statistics.variances,
            residual_variance=statistics.residual_variance,
            threshold=statistics.threshold,
            clips=statistics.clips,
        )


def read_statistics(folder: Path) -> FeatureStatistics | None:
    """Read the statistics of a model; None where it has none.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / STATISTICS
    if not file.is_file():
        return None
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            statistics = FeatureStatistics(
                mean=arrays["mean"].astype(np.float64),
                basis=arrays["basis"].astype(np.float64),
                variances=arrays["variances"],
                residual_variance=float(arrays["residual_variance"]),
                threshold=float(arrays["threshold"]),
                clips=int(arrays["clips"]),
            )
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
    ) as e:
        raise InputError(
            f"{file} is damaged or holds no statistics: {e}; without this file no clip "
            "is compared with the training data"
        ) from e
    return statistics


def _find(name: str | Path) -> Path:
    for folder in (BUNDLED / name, Path(name).expanduser()):
        if (folder / DESCRIPTION).is_file():
            return folder
    raise InputError(
        f"there is no model {str(name)!r}: give a folder written by train.py or one "
        f"of the bundled models: {', '.join(bundled_names())}"
    )


def _template(description: Description, shapes: Shapes) -> Params:
    """Return the parameters that are stored with a model, as shapes."""
    stored = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in shapes.params.items()
        if not (description.frozen and name.startswith("backbone/"))
    }
    return traverse_util.unflatten_dict(stored, sep="/")


def _below(
    part: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one part of a model, by their names in it."""
    prefix = f"{part}/"
    return {
        name.removeprefix(prefix): shape
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }


def _read_shapes(folder: Path, description: Description) -> Shapes | None:
    """Read shapes.json; None where it is absent, damaged or of another description."""
    try:
        content = json.loads((folder / SHAPES).read_text("utf-8"))
        if content["of"] != _shaping_fields(description):
            return None
        height, width, channels = content["feature_map"]
        params = {name: tuple(shape) for name, shape in content["params"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Shapes(params=params, feature_map=(height, width, channels))


def _shaping_fields(description: Description) -> Fields:
    """Return what the shapes of a model depend on, as JSON has it."""
    return {
        "arch": dict(description.arch),
        "classes": len(description.classes),
        "size": description.preprocess.size,
    }


def _read_run(workdir: Path, template: Params) -> Params:
    # Imports Orbax, which takes a second and which a bundled model does not need.
    from rgcam.models import checkpoint_files

    return checkpoint_files.read_params(workdir, template)


def _read_export(folder: Path, template: Params) -> Params:
    file = folder / WEIGHTS
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            params = {name: arrays[name].astype(np.float32) for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is damaged or holds no weights: {error}") from error
    shapes = {name: leaf.shape for name, leaf in named_arrays(template).items()}
    if {name: leaf.shape for name, leaf in params.items()} != shapes:
        raise InputError(f"{file} holds the weights of another model than model.json's")
    return traverse_util.unflatten_dict(params, sep="/")


def _check_finite(folder: Path, params: Params) -> None:
    for name, leaf in named_arrays(params).items():
        if not np.isfinite(np.asarray(leaf)).all():
            raise InputError(
                f"the weights of {folder} are not finite ({name} holds NaN or "
                "infinity): its training diverged; give another model or train again"
            )
