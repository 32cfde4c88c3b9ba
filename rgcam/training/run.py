"""A config -> the parts of a training run: data, model and first state."""

import hashlib
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rgcam.data import augment, pipeline, sources
from rgcam.data.synthetic import draw
from rgcam.errors import InputError
from rgcam.models import backbones, classifiers, layers, torch_files, zoo
from rgcam.models.backbones import Preprocess
from rgcam.models.description import Description, check_architecture
from rgcam.training import memory, mesh
from rgcam.training import step as training
from rgcam.training.fields import Config
from rgcam.training.step import Params


class Run(NamedTuple):
    """The parts of a run, from ``prepare``.

    Attributes:
        description: of the model that is trained.
        module: FrameCNN, LRCN or Captioner.
        source: the clips.
        plan: the order of the training clips.
        state: at step 0, on every device.
        devices: the mesh.
        total: steps of the run.
        feature_maps: (variables, one clip's inputs) -> A in float32, where the head reads
            averages possibly these alone.
    """

    description: Description
    module: nn.Module
    source: sources.Source
    plan: pipeline.Plan
    state: training.TrainState
    devices: Mesh
    total: int
    feature_maps: training.FeatureMaps


class Backbone(NamedTuple):
    """Where a run's backbone comes from, and which part of it is trained.

    Attributes:
        params: its weights before training; None: random.
        name: identifies those weights.
        stock: they are the pretrained weights of its name, which can be found again
            without a file.
        start: first block that is trained; None: none is.
    """

    params: Params | None
    name: str
    stock: bool
    start: int | None


def prepare(config: Config) -> Run:
    """Load the data of a config and make the state in which it begins.

    Raises:
        InputError: the config cannot be trained on these devices, or its data or
            weights cannot be read.
    """
    _check_task(config)
    devices = mesh.make()
    mesh.check_batch(devices, config.batch_size, config.accumulate)
    arch = check_architecture(config.model.to_dict(), "model.")
    spec = classifiers.preprocess_of(arch)
    start = _first_trained(config.finetune, classifiers.build(arch, 1).backbone)
    # Features are computed once where the pixels are the same in every epoch.
    cached = start != 0 and not augment.changes_pixels(_augmentation(config))
    _check_memory(config, spec, start, cached, devices)
    backbone = _backbone(config, start)
    source = sources.load(
        config.data.for_loading(),
        spec,
        _frozen_blocks(config, backbone) if cached else None,
    )
    description = Description(
        arch=arch,
        classes=source.classes,
        preprocess=spec,
        fps=config.data.fps,
        frozen=backbone.stock and backbone.start is None and cached,
    )
    module = classifiers.build(arch, len(source.classes))
    first_block = backbone.start if cached else 0
    forward = training.scorer(
        module,
        spec,
        start=first_block,
        chunk=config.frames_at_once,
        dtype=config.dtype,
    )
    plan = pipeline.Plan(
        source.train.lengths,
        batch_size=config.batch_size,
        length=config.data.length,
        bucket=config.data.bucket,
        seed=config.seed,
    )
    total = plan.per_epoch * config.epochs
    params, frozen = _first_params(config, description, module, backbone)
    state = training.create_state(
        forward,
        params,
        training.optimizer(config, total),
        config.seed,
        frozen,
    )
    return Run(
        description=description,
        module=module,
        source=source,
        plan=plan,
        state=mesh.repeat(devices, state),
        devices=devices,
        total=total,
        feature_maps=training.feature_maps(
            module, spec, start=first_block, chunk=config.frames_at_once
        ),
    )


def training_source(config: Config, run: Run) -> pipeline.TrainingBatches:
    """Describe the run's batches: this process's share of each."""
    return pipeline.TrainingBatches(
        run.source.train,
        run.plan,
        _augmentation(config),
        run.total,
        share=(jax.process_index(), jax.process_count()),
    )


class Due(NamedTuple):
    """What is done after a step.

    Attributes:
        validate: score the validation clips.
        save: write a checkpoint.
    """

    validate: bool
    save: bool


def due(config: Config, run: Run, step: int) -> Due:
    """Tell what is done after ``step``."""
    epoch, steps_into_epoch = divmod(step, run.plan.per_epoch)
    last = step == run.total
    scheduled = epoch % config.evaluate_every == 0 and steps_into_epoch == 0
    return Due(
        validate=run.source.validation is not None and (scheduled or last),
        save=step % (config.checkpoint_steps or run.plan.per_epoch) == 0 or last,
    )


def start_from(model: zoo.Model, params: Params) -> Params:
    """Take the backbone and frame head of a trained model, as the paper's LRCN does.

    Raises:
        InputError: the other model's parts have other shapes.
    """
    source = model.variables["params"]
    shared = [n for n in ("backbone", "frame_head") if n in params and n in source]
    for name in shared:
        if _shapes(params[name]) != _shapes(source[name]):
            raise InputError(
                f"init_from={model.name}: its {name} has another shape than this "
                "config's; use the same backbone, head and width"
            )
    return params | {name: jax.tree.map(np.asarray, source[name]) for name in shared}


def _shapes(params: Params) -> Params:
    return jax.tree.map(np.shape, params)


def _check_task(config: Config) -> None:
    """Reject a model and data of different tasks.

    Raises:
        InputError: one of them is of sentences and the other of classes, or a captioner's
            explanations during the training are asked for.
    """
    is_captioner = config.model.kind == "captioner"
    if is_captioner != (config.data.source == draw.CAPTIONS):
        raise InputError(
            f"model.kind is {config.model.kind} and data.source is {config.data.source}: "
            f"a captioner learns from data.source={draw.CAPTIONS}, and nothing else does"
        )
    if is_captioner and config.explain_every:
        raise InputError(
            f"explain_every is {config.explain_every}: a captioner's words are explained "
            "after its training, by rgcam explain; set explain_every=0"
        )


def _augmentation(config: Config) -> augment.Augmentation:
    return augment.from_config(config.data.augment.to_dict())


def _backbone(config: Config, start: int | None) -> Backbone:
    """Find the weights that a config's backbone begins with.

    Args:
        config: its fields model.backbone, weights and init_from.
        start: first block that is trained; None: none is.

    Raises:
        InputError: there are no such weights.
    """
    name = config.model.backbone
    if config.init_from:
        model = zoo.load_model(config.init_from)
        params, stock = model.variables["params"]["backbone"], model.description.frozen
    elif name == "small" and start != 0:
        raise InputError(
            "model.backbone=small has no pretrained weights to freeze: set "
            "--config.finetune=-1 or choose efficientnet_lite0"
        )
    elif name == "small":
        return Backbone(params=None, name=name, stock=False, start=start)
    else:
        params = torch_files.pretrained(name, config.weights or None)["params"]
        stock = not config.weights
    return Backbone(
        params=params,
        name=name if stock else _digest(name, params),
        stock=stock,
        start=start,
    )


def _first_trained(finetune: int, module: nn.Module) -> int | None:
    """Return the first block of a backbone that is trained; None: none is."""
    blocks = module.block_count
    if not -1 <= finetune <= blocks:
        raise InputError(
            f"finetune is {finetune}; give 0 (frozen), -1 (everything) or the "
            f"number of last blocks, of {blocks}"
        )
    if finetune == 0:
        return None
    return 0 if finetune == -1 else blocks - finetune


def _digest(name: str, params: Params) -> str:
    leaves = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    return f"{name}-{hashlib.sha256(leaves).hexdigest()[:12]}"


def _check_memory(
    config: Config, spec: Preprocess, start: int | None, cached: bool, devices: Mesh
) -> None:
    """Reject a config that needs more memory than there is, by shapes alone.

    Raises:
        InputError: so, with the sizes in GB.
    """
    arch = check_architecture(config.model.to_dict(), "model.")
    module = classifiers.build(arch, 1)
    frozen_backbone = start is None and cached
    description = Description(arch, ("",), spec, config.data.fps, frozen_backbone)
    forward = training.scorer(
        module, spec, start=start if cached else 0, chunk=config.frames_at_once
    )

    def first_state() -> training.TrainState:
        params = zoo.initial_params(description, module, config.seed)
        trained, frozen = _divide(params, module, start)
        optimizer = training.optimizer(config, 1)
        return training.create_state(forward, trained, optimizer, config.seed, frozen)

    memory.check(
        config,
        jax.eval_shape(first_state),
        _longest_clip(config, module, spec, start, cached),
        frame_size=spec.size,
        devices=devices.size,
        processes=jax.process_count(),
        memory=memory.present(),
    )


def _longest_clip(
    config: Config,
    module: nn.Module,
    spec: Preprocess,
    start: int | None,
    cached: bool,
) -> jax.ShapeDtypeStruct:
    """Return shape (T, ...) and dtype of the longest training clip in a batch."""
    steps = config.data.length
    if not cached:
        shape = (steps, spec.size, spec.size, 3)
        return jax.ShapeDtypeStruct(shape, jnp.uint8)
    if start is None:
        height, width, channels = zoo.cut_shape(module, spec.size)
        cells = _cells(config, start)
        shape = (steps, cells or height, cells or width, channels)
        return jax.ShapeDtypeStruct(shape, jnp.float16)

    def blocks() -> jax.Array:
        frame = jnp.zeros((1, spec.size, spec.size, 3), jnp.float32)
        views = classifiers.see(frame, config.model.view)
        key = jax.random.key(0)
        return module.backbone.init_with_output(key, views, stop=start)[0]

    shape = (steps, *jax.eval_shape(blocks).shape[1:])
    return jax.ShapeDtypeStruct(shape, jnp.float16)


def _cells(config: Config, start: int | None) -> int:
    """Return how many cells a side the stored features are averaged over; 0: none."""
    return layers.GRID.get(config.model.head, 0) if start is None else 0


def _frozen_blocks(config: Config, backbone: Backbone) -> sources.Frozen:
    """Describe the features of the blocks that are not trained."""
    cells, view = _cells(config, backbone.start), config.model.view
    apply = sources.frozen_features(
        classifiers.build(config.model.to_dict(), 1),
        backbone.params,
        stop=backbone.start,
        cells=cells,
    )
    name = [backbone.name]
    if view != "rgb":
        name.append(view)
    if backbone.start is not None:
        name.append(f"to{backbone.start}")
    if cells:
        name.append("pooled" if cells == 1 else f"grid{cells}")
    return sources.Frozen(apply, "-".join(name))


def _first_params(
    config: Config, description: Description, module: nn.Module, backbone: Backbone
) -> tuple[Params, Params]:
    """Return the parameters that are trained, and those that are only saved with them."""
    params = zoo.initial_params(description, module, config.seed)
    if config.init_from:
        params = start_from(zoo.load_model(config.init_from), params)
    elif backbone.params is not None and not description.frozen:
        params = params | {"backbone": backbone.params}
    return _divide(params, module, backbone.start)


def _divide(
    params: Params, module: nn.Module, start: int | None
) -> tuple[Params, Params]:
    """Divide parameters: those that are trained, and those that are only saved."""
    if "backbone" not in params or start == 0:
        return params, {}
    below, above = params["backbone"], {}
    if start is not None:
        below, above = backbones.divide(module.backbone, below, start)
    head = {name: part for name, part in params.items() if name != "backbone"}
    return head | ({"backbone": above} if above else {}), {"backbone": below}
