"""Explain and check one clip: everything that is shown of it, in one record."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rgcam.attribution import gradcam, methods, targets
from rgcam.attribution.contrast import Signed as ClassMaps
from rgcam.attribution.gradcam import Explanation, How
from rgcam.data import clips
from rgcam.data.video import Clip
from rgcam.metrics import selfcheck
from rgcam.models import chunks
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
    if target is not None:
        targets.check(target, len(model.classes))
    names = (method,) if isinstance(method, str) else tuple(method)
    features = _features(model.module, model.variables, model.preprocess(clip.frames))
    attributions = []
    scores: Float[np.ndarray, "out C"] | None = None
    for name in names:
        # With several methods, the CAMs among them keep their own baseline of zeros.
        takes_baseline = len(names) == 1 or name not in methods.CAMS
        explanation, attribution, target = _attribute(
            model,
            features,
            target,
            method=name,
            baseline=baseline if takes_baseline else None,
            relu=relu,
            aggregate=aggregate,
            classes=classes,
        )
        scores = np.asarray(explanation.scores)
        attributions.append(attribution)
    assert scores is not None and target is not None
    frame_baseline = None
    if cnn is not None:
        others = best_classes(scores[-1], target, classes)
        frame_baseline = explain_frames(
            cnn, clip, [model.classes[c] for c in others], model, features
        )
    return ExplainedClip(
        clip=clip,
        source=source,
        model=record.model_info(model),
        box=clips.crop_box(model.description.preprocess, *clip.frames.shape[1:3]),
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
        names: classes, the explained one first; the maps end before the first other
            class that the CNN does not have.
        model: the recurrent model that it is compared with.
        features: A of that model, which is the CNN's too where both have the same
            backbone: then it is not computed again.

    Raises:
        InputError: the CNN does not have the explained class.
    """
    if not _share_features(cnn, model):
        features = _features(cnn.module, cnn.variables, cnn.preprocess(clip.frames))
    known = itertools.takewhile(lambda name: name in cnn.classes, names[1:])
    indices = [class_index(cnn, names[0]), *map(cnn.classes.index, known)]
    maps, scores = [], np.zeros(0)
    for index in indices:
        found = _explain_class(
            cnn.module, cnn.variables, features, jnp.asarray(index), how=How(beta=False)
        )
        maps.append(diagonal(np.asarray(found.maps)))
        scores = np.asarray(found.scores)
    return FrameBaseline(
        model=record.model_info(cnn), scores=scores, maps=np.stack(maps)
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
    target: int | None,
    *,
    method: str,
    baseline: str | None,
    relu: bool | None,
    aggregate: str,
    classes: int,
) -> tuple[Explanation, Attribution, int]:
    """Compute one method's attribution, check it, and add other classes' maps."""
    methods.check(method, baseline)
    baseline_name = str(methods.baseline_of(method, baseline))
    rectified = methods.rectified(method, relu)
    how = How(relu=False, beta=True, method=method, baseline=baseline_name)
    run = model.module, model.variables, features
    explanation = _explain_class(
        *run, None if target is None else jnp.asarray(target), how=how
    )
    scores = np.asarray(explanation.scores)
    if target is None:
        target = int(scores[-1].argmax())
    signed = np.asarray(explanation.maps)
    maps = np.maximum(signed, 0) if rectified else signed
    matrix = np.asarray(gradcam.importance_matrix(jnp.asarray(maps)))
    others = best_classes(scores[-1], target, classes)
    how = how._replace(beta=False)
    others_maps = [
        np.asarray(_explain_class(*run, jnp.asarray(other), how=how).maps)
        for other in others[1:]
    ]
    made = record.attribution(
        scores,
        target,
        method=method,
        baseline=baseline_name,
        rectified=rectified,
        aggregate=aggregate,
        matrix=matrix,
        maps=maps,
        beta=None if explanation.beta is None else np.asarray(explanation.beta),
        class_maps=ClassMaps(others, np.stack([signed, *others_maps])),
    )
    if made.step is not None:
        check = selfcheck.check(
            *run, maps, target, method=method, baseline=baseline_name
        )
        view = CheckedView(step=made.step, rectified=rectified, check=check)
        made = dataclasses.replace(made, checks=(view,))
    return explanation, made, target


@functools.partial(jax.jit, static_argnames=("module",))
def _features(
    module: nn.Module, variables: Variables, frames: Float[Tensor, "in S S 3"]
) -> Float[Array, "in h w K"]:
    return chunks.features(module, variables, frames)


@functools.partial(jax.jit, static_argnames=("module", "how"))
def _explain_class(
    module: nn.Module,
    variables: Variables,
    features: Float[Array, "in h w K"],
    index: Array | None,
    *,
    how: How,
) -> Explanation:
    return gradcam.explain_features(module, variables, features, index, how=how)


def _share_features(cnn: Model, model: Model) -> bool:
    """Tell whether two models make the same feature map of a clip."""
    parts = lambda m: (m.description.preprocess, m.module.backbone, m.module.view)
    if parts(cnn) != parts(model):
        return False
    backbones = [m.variables["params"].get("backbone", {}) for m in (cnn, model)]
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, *backbones)))
