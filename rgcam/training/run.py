"""A config -> what a training run is made of: data, model and first state."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from rgcam.data import augment, pipeline, sources
from rgcam.data import clips as data
from rgcam.errors import InputError
from rgcam.models import backbones, classifiers, layers, torch_files, zoo
from rgcam.models.zoo import Description
from rgcam.training import mesh
from rgcam.training import step as training


class Run(NamedTuple):
    """What ``prepare`` makes of a config.

    Attributes:
        description: of the model that is trained.
        module: FrameCNN or LRCN.
        source: the clips.
        plan: the order of the training clips.
        state: at step 0, on every device.
        devices: the mesh.
        total: steps of the run.
    """

    description: Description
    module: nn.Module
    source: sources.Source
    plan: pipeline.Plan
    state: training.TrainState
    devices: Mesh
    total: int


class Backbone(NamedTuple):
    """Where a run's backbone comes from, and what of it is trained.

    Attributes:
        params: its weights before training; None: random.
        name: what tells those weights from others.
        stock: they are the pretrained ones of its name, found again without a file.
        start: first block that is trained; None: none is.
    """

    params: Any
    name: str
    stock: bool
    start: int | None


def prepare(config: Any) -> Run:
    """Load the data of a config and make the state in which it begins."""
    devices = mesh.make()
    mesh.check_batch(devices, config.batch_size, config.accumulate)
    arch = config.model.to_dict()
    spec, options = classifiers.preprocess_of(arch), _augmentation(config)
    backbone = _backbone(config, classifiers.build(arch, 1).backbone)
    cached = backbone.start != 0 and not augment.changes_pixels(options)
    frozen = _frozen(arch, backbone) if cached else None
    source = sources.load(config.data.to_dict(), spec, frozen)
    plan = _plan(config, source.train)
    frozen = backbone.stock and backbone.start is None and cached
    fps = config.data.fps
    description = Description(arch, source.classes, spec, fps, frozen)
    module = classifiers.build(arch, len(source.classes))
    forward = training.scorer(
        module,
        spec,
        start=backbone.start if cached else 0,
        chunk=config.frames_at_once,
        dtype=config.dtype,
    )
    total = plan.per_epoch * config.epochs
    tx = training.optimizer(config.to_dict(), total)
    params, rest = _first_params(config, description, module, backbone)
    state = training.create_state(forward, params, tx, config.seed, rest)
    state = mesh.repeat(devices, state)
    return Run(description, module, source, plan, state, devices, total)


def training_source(config: Any, run: Run) -> pipeline.TrainingBatches:
    """Describe the run's batches: this process's share of each."""
    share = jax.process_index(), jax.process_count()
    options = _augmentation(config)
    return pipeline.TrainingBatches(
        run.source.train, run.plan, options, run.total, share
    )


def due(config: Any, run: Run, step: int) -> tuple[bool, bool]:
    """Tell whether after ``step`` the validation clips are scored, the state saved."""
    epochs, rest = divmod(step, run.plan.per_epoch)
    last = step == run.total
    chosen = epochs % config.evaluate_every == 0 and not rest
    scores = run.source.validation is not None and (chosen or last)
    every = config.checkpoint_steps or run.plan.per_epoch
    return scores, step % every == 0 or last


def start_from(model: zoo.Model, params: Any) -> Any:
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


def _augmentation(config: Any) -> augment.Augmentation:
    return augment.from_config(config.data.augment.to_dict())


def _plan(config: Any, clips: data.Clips) -> pipeline.Plan:
    return pipeline.Plan(
        clips.lengths,
        batch_size=config.batch_size,
        length=config.data.length,
        bucket=config.data.bucket,
        seed=config.seed,
    )


def _backbone(config: Any, module: nn.Module) -> Backbone:
    """Find the weights that a config's backbone begins with."""
    name, blocks = config.model.backbone, module.block_count
    if not -1 <= config.finetune <= blocks:
        raise InputError(
            f"finetune is {config.finetune}; give 0 (frozen), -1 (everything) or the "
            f"number of last blocks, of {blocks}"
        )
    first = {0: None, -1: 0}.get(config.finetune, blocks - config.finetune)
    if config.init_from:
        model = zoo.load_model(config.init_from)
        params = model.variables["params"]["backbone"]
        stock = model.description.frozen
        return Backbone(params, name if stock else _digest(name, params), stock, first)
    if name == "small" and first != 0:
        raise InputError(
            "model.backbone=small has no pretrained weights to freeze: set "
            "--config.finetune=-1 or choose efficientnet_lite0"
        )
    if name == "small":
        return Backbone(None, name, False, first)
    params = torch_files.pretrained(name, config.weights or None)["params"]
    stock = not config.weights
    return Backbone(params, name if stock else _digest(name, params), stock, first)


def _digest(name: str, params: Any) -> str:
    leaves = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    return f"{name}-{hashlib.sha256(leaves).hexdigest()[:12]}"


def _frozen(arch: Mapping[str, Any], backbone: Backbone) -> sources.Frozen:
    """Describe the features of the blocks that are not trained."""
    cells = layers.GRID.get(arch["head"], 0) if backbone.start is None else 0
    apply = sources.frozen_features(
        classifiers.build(arch, 1), backbone.params, stop=backbone.start, cells=cells
    )
    view = arch.get("view", "rgb")
    name = [backbone.name, *([] if view == "rgb" else [view])]
    name += [f"to{backbone.start}"] if backbone.start is not None else []
    name += [{1: "pooled"}.get(cells, f"grid{cells}")] if cells else []
    return sources.Frozen(apply, "-".join(name))


def _first_params(
    config: Any, description: Description, module: nn.Module, backbone: Backbone
) -> tuple[Any, Any]:
    """Return what is trained and what is frozen and yet part of the checkpoints."""
    params = zoo.initial_params(description, module, config.seed)
    if config.init_from:
        params = start_from(zoo.load_model(config.init_from), params)
    elif backbone.params is not None and not description.frozen:
        params = params | {"backbone": backbone.params}
    if description.frozen or backbone.start == 0:
        return params, {}
    below, above = params["backbone"], {}
    if backbone.start is not None:
        below, above = backbones.divide(module.backbone, below, backbone.start)
    head = {name: part for name, part in params.items() if name != "backbone"}
    return head | ({"backbone": above} if above else {}), {"backbone": below}
