"""Trained models by name: bundled with the package, exported, or a run's folder."""

import dataclasses
import difflib
import functools
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from rgcam.errors import InputError
from rgcam.models import classifiers, preprocessing, torch_files
from rgcam.models.backbones import Preprocess

BUNDLED = Path(__file__).parent / "bundled"
DESCRIPTION, WEIGHTS = "model.json", "weights.npz"


@dataclasses.dataclass(frozen=True)
class Description:
    """What model.json says: everything about a model but its weights.

    Attributes:
        arch: the fields of ``models.build``.
        classes: class names, in the order of the scores.
        preprocess: size, crop, offset and scale of ``backbones.Preprocess``.
        fps: frames a second the model was trained at.
        frozen: whether the backbone holds the pretrained weights of its name, which
            are then not stored again.
        results: how it was trained and what it scored.
    """

    arch: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    fps: float
    frozen: bool
    results: dict[str, Any] = dataclasses.field(default_factory=dict)


class Model(NamedTuple):
    """A trained model, ready for ``explain(m.module, m.variables, ...)``.

    Attributes:
        module: FrameCNN or LRCN.
        variables: its variables, float32.
        classes: names of the C classes.
        preprocess: frames (T H W 3) uint8 -> model input (T S S 3) float32.
        name: what ``load_model`` was asked for.
        description: everything else that is known of it.
    """

    module: nn.Module
    variables: Any
    classes: tuple[str, ...]
    preprocess: Callable[[np.ndarray], np.ndarray]
    name: str
    description: Description


def load_model(name: str | Path) -> Model:
    """Load a bundled model by name, or a training run or exported model by folder.

    Raises:
        InputError: neither a bundled name nor a folder with a model; a checkpoint
            that is damaged or of another model; weights that are not finite.
    """
    folder = _find(name)
    description = read_description(folder)
    module = classifiers.build(description.arch, len(description.classes))
    template = jax.eval_shape(functools.partial(_init, description, module))
    exported = (folder / WEIGHTS).is_file()
    read = _read_export if exported else _read_run
    params = read(folder, template)
    _check_finite(folder, params)
    if description.frozen:
        params = params | {"backbone": pretrained_backbone(description.arch)}
    return Model(
        module,
        {"params": params},
        description.classes,
        functools.partial(preprocessing.preprocess, description.preprocess),
        str(name),
        description,
    )


def bundled_names() -> list[str]:
    """Name the models that ship inside the package."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{DESCRIPTION}"))


def load_cnn(model: str, cnn: str | None = None) -> Model | None:
    """Load the frame CNN shown beside a model: ``cnn``, or NAME-cnn of a NAME-lrcn."""
    sibling = model.replace("-lrcn", "-cnn")
    known = model in bundled_names() and sibling in bundled_names()
    name = cnn or (sibling if known and sibling != model else None)
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


def pretrained_backbone(arch: Mapping[str, Any]) -> Any:
    """Return the parameters of a backbone that has pretrained weights."""
    if arch["backbone"] == "small":
        raise InputError(
            "model.backbone=small has no pretrained weights: set "
            "--config.finetune=-1 or choose efficientnet_lite0"
        )
    return torch_files.pretrained(arch["backbone"])["params"]


def initial_params(description: Description, module: nn.Module, seed: int) -> Any:
    """Initialise what is trained: everything, or all but the frozen backbone."""
    return _init(description, module, seed)


def write_description(folder: Path, description: Description) -> None:
    """Write model.json."""
    fields: dict[str, Any] = dataclasses.asdict(description)
    fields["preprocess"] = description.preprocess._asdict()
    _write_text(folder / DESCRIPTION, json.dumps(fields, indent=2) + "\n")


def read_description(folder: Path) -> Description:
    """Read model.json; InputError where it is not one."""
    file = folder / DESCRIPTION
    try:
        fields = json.loads(file.read_text())
        fields["preprocess"] = _preprocess(fields["preprocess"])
        fields["classes"] = tuple(fields["classes"])
        return Description(**fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} does not describe an rgcam model: {error}") from error


def export(workdir: Path, folder: Path, results: Mapping[str, Any]) -> None:
    """Write a run's best model as model.json and weights.npz, in half precision."""
    description = read_description(workdir)
    module = classifiers.build(description.arch, len(description.classes))
    template = jax.eval_shape(functools.partial(_init, description, module))
    params = _read_run(workdir, template)
    flat = traverse_util.flatten_dict(params, sep="/")
    folder.mkdir(parents=True, exist_ok=True)
    half: dict[str, Any] = {
        name: np.asarray(leaf, np.float16) for name, leaf in flat.items()
    }
    np.savez_compressed(folder / WEIGHTS, **half)
    write_description(folder, dataclasses.replace(description, results=dict(results)))


def _preprocess(fields: Mapping[str, Any]) -> Preprocess:
    per_channel = lambda x: tuple(x) if isinstance(x, list) else x
    plain: dict[str, Any] = {name: per_channel(x) for name, x in fields.items()}
    return Preprocess(**plain)


def _indices(names: Sequence[str], name: str) -> list[int]:
    return [index for index, other in enumerate(names) if other == name]


def _loose_name(name: str) -> str:
    """Leave out what may differ between two spellings of one class's name."""
    # The sign of a number is no separator: "-1" is not "1".
    sign = "-" if re.match(r"\s*-\s*\d", name) else ""
    return sign + re.sub(r"[\s_-]", "", name).casefold()


def _find(name: str | Path) -> Path:
    for folder in (BUNDLED / name, Path(name).expanduser()):
        if (folder / DESCRIPTION).is_file():
            return folder
    known = ", ".join(bundled_names())
    raise InputError(
        f"there is no model {str(name)!r}: give a folder written by train.py or one "
        f"of the bundled models: {known}"
    )


def _init(description: Description, module: nn.Module, seed: int = 0) -> Any:
    size, key = description.preprocess.size, jax.random.key(seed)
    if not description.frozen:
        frames = jnp.zeros((2, size, size, 3), jnp.float32)
        return classifiers.init(module, key, frames)["params"]
    features = jnp.zeros((2, *cut_shape(module, size)))
    return classifiers.init(module, key, features, "classify")["params"]


@functools.cache
def cut_shape(module: nn.Module, size: int) -> tuple[int, int, int]:
    """Return (h, w, K) of a model's feature map, for frames of size x size."""
    made = lambda: module.init_with_output(
        jax.random.key(0), jnp.zeros((2, size, size, 3)), method="features"
    )
    return jax.eval_shape(made)[0].shape[1:]


def _read_run(workdir: Path, template: Any) -> Any:
    # Imports Orbax, which takes a second and which a bundled model does not need.
    from rgcam.models import checkpoint_files

    return checkpoint_files.read_params(workdir, template)


def _read_export(folder: Path, template: Any) -> Any:
    file = folder / WEIGHTS
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            flat = {name: arrays[name].astype(np.float32) for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is damaged or holds no weights: {error}") from error
    wanted: dict[str, Any] = traverse_util.flatten_dict(template, sep="/")
    shapes = {name: leaf.shape for name, leaf in wanted.items()}
    if {name: leaf.shape for name, leaf in flat.items()} != shapes:
        raise InputError(f"{file} holds the weights of another model than model.json's")
    return traverse_util.unflatten_dict(flat, sep="/")


def _check_finite(folder: Path, params: Any) -> None:
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    for name, leaf in flat.items():
        if not np.isfinite(leaf).all():
            raise InputError(
                f"the weights of {folder} are not finite ({name} holds NaN or "
                "infinity): its training diverged; give another model or train again"
            )


def _write_text(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    os.replace(part, file)
