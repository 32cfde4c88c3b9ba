"""Explain and check one clip: everything that is shown of it, in one record."""

import dataclasses
import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.attribution import explain, gradcam, targets
from rgcam.attribution.explain import ClassMaps, Explanation, StaticOptions
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.metrics import selfcheck
from rgcam.models import cut, preprocessing
from rgcam.models.zoo import Model, class_index
from rgcam.report import record
from rgcam.report.record import Attribution, CheckedView, ExplainedClip, FrameBaseline
from rgcam.types import Fields, Tensor, Variables

CLASSES = 4  # whose signed maps are kept: the explained class and the best others


def explain_clip(
    model: Model,
    clip: Clip,
    *,
    target: int | None = None,
    method: str | Sequence[str] = "gradcam",
    baseline: str | None = None,
    relu: bool | None = None,
    aggregate: str = "last",
    cnn: Model | None = None,
    source: str = "",
    options: Fields | None = None,
    classes: int = CLASSES,
) -> ExplainedClip:
    """Explain a clip by one or more methods and check each result.

    The feature map is computed once, and everything else from it.

    Args:
        model: to explain.
        clip: uint8 frames.
        target: class index; None: the predicted class.
        method: of ``methods.METHODS``; of several, the first is the one that is shown.
        baseline: what the methods that take one replace frames by; None: their own.
        relu: keep the positive part of the maps; None: of the CAMs, as published.
        aggregate: one of ``lags.AGGREGATIONS``: which output steps are shown.
        cnn: frame CNN, whose Grad-CAM is the frame-CNN baseline; or None.
        source: path of the video, or what the clip is.
        options: of the command, for the record.
        classes: how many classes' signed maps to keep for the page.

    Raises:
        InputError: an unknown method, baseline, aggregation or class.
    """
    if target is not None:  # before anything is computed
        targets.check(target, len(model.classes))
    features = _features(model.module, model.variables, model.preprocess(clip.frames))
    scores = np.asarray(_scores(model.module, model.variables, features))
    if target is None:
        target = int(targets.predicted_class(jnp.asarray(scores)))
    class_indices = best_classes(scores[-1], target, classes)
    names = (method,) if isinstance(method, str) else tuple(method)
    attributions = []
    for name in names:
        # Of several methods, the CAMs among them keep their own baseline of zeros.
        takes_baseline = len(names) == 1 or name not in explain.CAMS
        attributions.append(
            _attribute(
                model,
                features,
                scores,
                class_indices,
                method=name,
                baseline=baseline if takes_baseline else None,
                relu=relu,
                aggregate=aggregate,
            )
        )
    frame_baseline = None
    if cnn is not None:
        class_names = [model.classes[index] for index in class_indices]
        frame_baseline = explain_frames(cnn, clip, class_names, model, features)
    return ExplainedClip(
        clip=clip,
        source=source,
        model=record.model_info(model),
        box=preprocessing.crop_box(
            model.description.preprocess, *clip.frames.shape[1:3]
        ),
        scores=scores,
        times_out=clip.times,
        target=target,
        attributions=tuple(attributions),
        frame_baseline=frame_baseline,
        options=options or {},
        features=features,
    )


def explain_frames(
    cnn: Model,
    clip: Clip,
    names: Sequence[str],
    model: Model,
    features: Float[Tensor, "in h w K"],
) -> FrameBaseline:
    """Explain a frame CNN by Grad-CAM of each frame by itself.

    Args:
        cnn: to explain.
        clip: uint8 frames.
        names: classes, the explained one first; the maps end before the first further
            class that the CNN does not have.
        model: the recurrent model that it is compared with.
        features: A of that model, which is the CNN's too where both have the same
            backbone: then it is not computed again.

    Raises:
        InputError: the CNN does not have the explained class.
    """
    if not _share_features(cnn, model):
        features = _features(cnn.module, cnn.variables, cnn.preprocess(clip.frames))
    indices = [class_index(cnn, names[0])]
    for name in names[1:]:
        try:
            indices.append(class_index(cnn, name))
        except InputError:
            break
    explanations = [
        _explain_class(
            cnn.module,
            cnn.variables,
            features,
            jnp.asarray(index),
            options=StaticOptions(beta=False),
        )
        for index in indices
    ]
    return FrameBaseline(
        model=record.model_info(cnn),
        scores=np.asarray(explanations[0].scores),
        maps=np.stack([diagonal(np.asarray(e.maps)) for e in explanations]),
    )


def best_classes(
    last: Float[np.ndarray, " C"], target: int, count: int
) -> tuple[int, ...]:
    """Return the target and then the classes with the highest other scores."""
    order = [int(c) for c in np.argsort(-last, kind="stable") if c != target]
    return (target, *order)[:count]


def diagonal(
    maps: Float[np.ndarray, "*batch T T h w"],
) -> Float[np.ndarray, "*batch T h w"]:
    """Return L[t, t]: a frame CNN's map of each frame by itself."""
    steps = np.arange(maps.shape[-3])
    return maps[..., steps, steps, :, :]


def _attribute(
    model: Model,
    features: Float[Array, "in h w K"],
    scores: Float[np.ndarray, "out C"],
    class_indices: Sequence[int],
    *,
    method: str,
    baseline: str | None,
    relu: bool | None,
    aggregate: str,
) -> Attribution:
    """Compute one method's attribution to the first class, with the others' maps."""
    explain.check_method(method, baseline)
    baseline_name = str(explain.default_baseline(method, baseline))
    rectified = explain.is_rectified(method, relu)
    target = class_indices[0]
    explanations = [
        _explain_class(
            model.module,
            model.variables,
            features,
            jnp.asarray(index),
            # Signed maps of all classes; beta, which is large, of the explained one.
            options=StaticOptions(
                relu=False,
                beta=index == target,
                method=method,
                baseline=baseline_name,
            ),
        )
        for index in class_indices
    ]
    signed = np.stack([np.asarray(e.maps) for e in explanations])
    maps = np.maximum(signed[0], 0) if rectified else signed[0]
    beta = explanations[0].beta
    attribution = record.attribution(
        scores,
        target,
        method=method,
        baseline=baseline_name,
        rectified=rectified,
        aggregate=aggregate,
        matrix=np.asarray(gradcam.importance_matrix(jnp.asarray(maps))),
        maps=maps,
        beta=None if beta is None else np.asarray(beta),
        class_maps=ClassMaps(tuple(class_indices), signed),
    )
    checks = _check_views(model, features, target, attribution, signed[0])
    return dataclasses.replace(attribution, checks=checks)


def _check_views(
    model: Model,
    features: Float[Array, "in h w K"],
    target: int,
    attribution: Attribution,
    signed: Float[np.ndarray, "out in h w"],
) -> tuple[CheckedView, ...]:
    """Check the shown maps, and every output step by both signs for the page.

    One set of interventions serves all. An aggregation over all output steps answers
    for no score, so that there is nothing to check it by.
    """
    step = attribution.step
    interventions = selfcheck.intervene(
        model.module,
        model.variables,
        features,
        target,
        baseline=attribution.baseline,
        orders=[] if step is None else [attribution.shown_row],
    )
    views = []
    for rectified in (False, True):
        maps = np.maximum(signed, 0) if rectified else signed
        checks = selfcheck.judge_each(interventions, maps, method=attribution.method)
        if step is not None and rectified == attribution.rectified:
            checks[step] = selfcheck.judge(
                interventions,
                maps,
                method=attribution.method,
                steps=[step],
                order=0,
            )
        views += [
            CheckedView(step=t, rectified=rectified, check=check)
            for t, check in enumerate(checks)
            # Where nothing can be lost, as at the first step, nothing is checked.
            if np.isfinite(check.score)
            or (t, rectified) == (step, attribution.rectified)
        ]
    return tuple(views)


@functools.partial(jax.jit, static_argnames=("module",))
def _features(
    module: nn.Module, variables: Variables, frames: Float[Tensor, "in S S 3"]
) -> Float[Array, "in h w K"]:
    return cut.features(module, variables, frames)


@functools.partial(jax.jit, static_argnames=("module",))
def _scores(
    module: nn.Module, variables: Variables, features: Float[Array, "in h w K"]
) -> Float[Array, "out C"]:
    return jnp.asarray(module.apply(variables, features, method="classify"))


@functools.partial(jax.jit, static_argnames=("module", "options"))
def _explain_class(
    module: nn.Module,
    variables: Variables,
    features: Float[Array, "in h w K"],
    index: Int[Array, ""],
    *,
    options: StaticOptions,
) -> Explanation:
    return explain.explain_features(module, variables, features, index, options=options)


def _share_features(cnn: Model, model: Model) -> bool:
    """Tell whether two models make the same feature map of a clip."""
    parts = lambda m: (m.description.preprocess, m.module.backbone, m.module.view)
    if parts(cnn) != parts(model):
        return False
    backbones = [m.variables["params"].get("backbone", {}) for m in (cnn, model)]
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, *backbones)))
