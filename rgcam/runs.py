"""What a training run is made of: its config, description, first state, results."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import config_dict

from rgcam import checkpoint, data, metrics, models, sources, training
from rgcam.checkpoint import Description
from rgcam.errors import InputError

LOSSES = ("every_step", "last_step")


def start(config_flag: Any, workdir: str | None) -> tuple[Any, Path]:
    """Return the config and the run's folder, made; InputError where one is missing."""
    if not workdir:
        raise InputError("say where the run is written: --workdir=FOLDER")
    if config_flag.value is None:
        raise InputError("say what to train: --config=configs/NAME.py")
    try:
        config = config_dict.FrozenConfigDict(config_flag.value)
    except Exception as error:  # what an absent or broken Python file raises
        raise InputError(
            f"--config is not one of configs/*.py with get_config(): {error}"
        ) from error
    folder = Path(workdir)
    if config.loss not in LOSSES:
        raise InputError(f"loss is {config.loss!r}; choose {' or '.join(LOSSES)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make --workdir={workdir}: {error}") from error
    return config, folder


def prepare(config: Any) -> tuple[Description, sources.Source]:
    """Load the data of a config and describe the model that it trains."""
    arch = config.model.to_dict()
    spec = models.preprocess_of(arch)
    backbone = models.build(arch, 1).backbone
    frozen, name = None, arch["backbone"]
    if config.freeze_backbone:
        pooled = arch["head"] == "gap"
        params = checkpoint.pretrained_backbone(arch)
        frozen = sources.frozen_features(backbone, params, pooled)
        name = f"{name}-pooled" if pooled else name
    source = sources.load(config.data.to_dict(), spec, frozen, name)
    fps = config.data.get("fps", sources.FPS)
    frozen_backbone = config.freeze_backbone
    return Description(arch, source.classes, spec, fps, frozen_backbone), source


def initial_state(
    config: Any, description: Description, module: nn.Module, steps_per_epoch: int
) -> training.TrainState:
    """Make the state at step 0, from the model ``config.init_from`` if it names one."""
    params = checkpoint.initial_params(description, module, config.seed)
    if config.init_from:
        params = start_from(checkpoint.load_model(config.init_from), params)
    forward = module.apply
    if description.frozen:
        forward = functools.partial(module.apply, method="classify")
    tx = training.optimizer(config.to_dict(), steps_per_epoch * config.epochs)
    return training.create_state(forward, params, tx, config.seed)


def start_from(model: checkpoint.Model, params: Any) -> Any:
    """Take the backbone and frame head of a trained model, as the paper's LRCN does.

    Raises:
        InputError: the other model's parts have other shapes.
    """
    source = model.variables["params"]
    shared = [n for n in ("backbone", "frame_head") if n in params and n in source]
    for name in shared:
        shapes = [jax.tree.map(np.shape, tree[name]) for tree in (params, source)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"init_from={model.name}: its {name} has another shape than this "
                "config's; use the same backbone, head and width"
            )
    return params | {name: jax.tree.map(np.asarray, source[name]) for name in shared}


def evaluate(
    config: Any,
    source: sources.Source,
    description: Description,
    state: training.TrainState,
) -> dict[str, Any]:
    """Score the test clips: accuracies, per class, and the confusion table."""
    step_fn = jax.jit(training.eval_step)
    batches = data.evaluation_batches(
        source.test, description.preprocess, batch_size=config.batch_size
    )
    parts = []
    for batch in batches:
        keep = batch.labels >= 0
        found = [np.asarray(x)[keep] for x in step_fn(state, batch)]
        parts.append([*found, batch.labels[keep], batch.lengths[keep]])
    last, mean, right, loss, labels, lengths = map(
        np.concatenate, zip(*parts, strict=True)
    )
    decided = mean if description.arch["kind"] == "cnn" else last
    table = metrics.confusion(labels, decided, len(description.classes))
    return {
        "clips": len(labels),
        "accuracy": float((decided == labels).mean()),
        "accuracy_last_step": float((last == labels).mean()),
        "accuracy_mean_of_steps": float((mean == labels).mean()),
        "accuracy_of_steps": float(right.sum() / lengths.sum()),
        "loss": float(loss.mean()),
        "accuracy_by_class": metrics.class_accuracy(table, description.classes),
        "confusion": table.tolist(),
        "left_out": len(source.unreadable),
        "steps": int(state.step),
    }


def report(results: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    """Say in text what ``evaluate`` found."""
    table = np.array(results["confusion"])
    shares = results["accuracy_by_class"].items()
    width = max(map(len, classes))
    lines = [f"{n:>{width}} {s:7.1%}" for n, s in shares if s is not None]
    return "\n".join(
        [
            "confusion (rows: true class, columns: decided)",
            metrics.confusion_text(table, classes),
            "",
            *lines,
            "",
            f"{results['clips']} test clips: {results['accuracy']:.1%} right "
            f"(last step {results['accuracy_last_step']:.1%}, mean of the steps "
            f"{results['accuracy_mean_of_steps']:.1%}, single steps "
            f"{results['accuracy_of_steps']:.1%})",
        ]
    )
