"""Explain a clip: the T' x T tensor of heat maps by any method, in one jitted call.

==========  ==============================  ==================================
family      methods                         the mass of a map is
==========  ==============================  ==================================
CAMs        gradcam, gradcam++, xgradcam,   a weighted sum of the feature map
            hirescam, layercam
gradients   gradient, path, fade            the score's change from a baseline: to
                                            first order, in total, or on average
effects     occlusion, cells, shapley       what the score loses without the frame
==========  ==============================  ==================================

``explain`` computes features and explanation together; ``explain_features`` is the one
function behind it that every caller with features at hand uses (several classes, batches,
reports).
"""

import contextlib
import functools
import math
import operator
from collections.abc import Callable
from typing import NamedTuple, SupportsIndex, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jaxtyping import Array, Float, Int, PyTree

from rgcam.attribution import causal, gradcam, gradients, perturbation, targets
from rgcam.attribution.maps import importance_matrix
from rgcam.attribution.perturbation import (
    Baseline,
    BaselineFunction,
    BoundCut,
    UpperModel,
)
from rgcam.attribution.targets import (
    ClassIndex,
    Index,
    ScoreFunction,
    StepClasses,
    Target,
)
from rgcam.errors import InputError
from rgcam.models.cut import (
    PRECISION,
    CausalModel,
    CutModel,
    FramewiseModel,
    classify,
    cut,
    features,
    frames_of_steps,
)
from rgcam.types import Tensor, Variables

CAMS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam")
METHODS = (*CAMS, "gradient", "path", "fade", "occlusion", "cells", "shapley")
TITLES = {
    "gradcam": "recurrent Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "xgradcam": "XGrad-CAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradient": "gradient × change",
    "path": "integrated gradients (path)",
    "fade": "averaged gradients (fade)",
    "occlusion": "occlusion",
    "cells": "occlusion of cells",
    "shapley": "Shapley values",
}
MapsFunction: TypeAlias = Callable[
    [
        BoundCut,
        Float[Array, "in h w K"],
        Float[Array, "in h w K"],
        ClassIndex | ScoreFunction,
    ],
    Float[Array, "out in h w"],
]
"""A method: (the model above the cut, A, the baseline's feature maps, target) -> signed maps
(out in h w), in logits; pure and hashable."""

Method: TypeAlias = str | MapsFunction
"""A name of ``METHODS``, or a function."""

# Panels of the path that tells where in a frame its occlusion or Shapley value lies.
LOCATION_PANELS = 16
MEMORY_SHARE = 2  # an explanation may take one half of the device's memory
MOST_BYTES = 16 * 2**30  # however large the device is: results lie on the host, too


class Explanation(NamedTuple):
    """What ``explain`` returns; ``jax.vmap`` puts its axes in front of each.

    Attributes:
        scores: y (out C), pre-softmax scores of every class at every output step.
        features: A (in h w K), the feature map at the cut.
        beta: (out in K), importance weights of Eq. 1, in logits per unit of A; None
            if not requested or if the method has none.
        maps: L (out in h w), heat maps of Eq. 2, raw: not normalised, in logits.
        matrix: (out in), mass (sum over cells) of each heat map, in logits.
        frames_of_steps: (in, 2), the first and the last frame that each step of A depends
            on, of a model that strides over time; None: one step for each frame, or
            traced, see ``rgcam.models.cut.frames_of_steps``.
    """

    scores: Float[Array, "out C"]
    features: Float[Array, "in h w K"]
    beta: Float[Array, "out in K"] | None
    maps: Float[Array, "out in h w"]
    matrix: Float[Array, "out in"]
    frames_of_steps: Int[Tensor, "in 2"] | None = None


class ClassMaps(NamedTuple):
    """Heat maps of several classes for one clip.

    Attributes:
        targets: class indices, the explained class first; the number of classes stands for
            the class of each step (``StepClasses``).
        maps: (classes out in h w), in logits; signed, or rectified where only those
            were computed.
    """

    targets: tuple[int, ...] | Int[Tensor, "*batch classes"]
    maps: Float[Tensor, "*batch classes out in h w"]


class StaticOptions(NamedTuple):
    """Static options of ``explain``: each combination is compiled once.

    Attributes:
        score_function: function of the scores (out C) -> (out,) that is the target;
            None: a class.
        relu: rectify the maps.
        beta: return beta.
        method: one of METHODS, or a function.
        baseline: its name, or a function of A; None: feature maps that are passed as an
            array.
        precision: of matrix products, as of ``jax.default_matmul_precision``.
        smaller_blocks: what divides the number of output steps that recurrent Grad-CAM
            of a causal model takes back together; above 1 where memory ends.
    """

    score_function: ScoreFunction | None = None
    relu: bool = True
    beta: bool = True
    method: Method = "gradcam"
    baseline: str | BaselineFunction | None = None
    precision: str = PRECISION
    smaller_blocks: int = 1


def explain(
    module: CutModel,
    variables: Variables,
    frames: Tensor,  # validated below, with a sentence
    target: Target | object = None,  # validated below, with a sentence
    *,
    method: Method = "gradcam",
    baseline: Baseline | None = None,
    relu: bool | None = None,
    length: Index | object = None,  # validated below, with a sentence
    beta: bool = True,
    precision: str = PRECISION,
) -> Explanation:
    """Explain one video: the whole T' x T tensor in a single jitted call.

    Batches of clips: ``jax.vmap(explain, in_axes=(None, None, 0, 0))``, with
    ``length`` where clips are padded to one shape. A batch may be divided over the
    devices of a mesh, whose axes are explicit or automatic.

    Args:
        module: Linen module with methods ``features`` (frames -> A) and
            ``classify`` (A -> scores), hashable; see ``rgcam.models.cut``. Models of
            other frameworks come from ``rgcam.from_nnx`` and its siblings. A
            ``CausalModel`` is explained by ``rgcam.attribution.causal`` at a fraction
            of the cost.
        variables: its variables.
        frames: preprocessed frames (in S S 3), floating point.
        target: class index; None: the predicted class, with the highest score at the
            last (valid) step; several indices: beta, maps and matrix of each, in a
            leading axis; ``StepClasses``: one class for each output step; or a function
            of the scores, see ``importance_weights``. A function is compiled once for
            each function object: define it once.
        method: one of ``METHODS``, of which any but gradcam costs more; or a function
            ``(cut, features, baseline, target) -> maps``, a ``MapsFunction``: ``cut`` is a
            ``perturbation.BoundCut``, whose ``outputs(A, target)`` are the scores to
            explain. It is compiled once for each function object: define it once.
        baseline: what takes a frame's place in methods that compare with one: zero,
            mean, first, previous or blur; feature maps (K,), (h w K) or (T h w K); or a
            function of A that returns them; see ``perturbation.baseline_features``. None:
            zero for the CAMs, which define it so, previous for the others.
        relu: rectify the maps (Eq. 2); False keeps their sign. None: rectify those of
            the CAMs, as published, and keep the sign of the others.
        length: number of valid frames, 1 to T, where the end is padding. The result
            is the explanation of the valid frames, with 0 for everything beyond them.
            A model that never looks ahead, frame by frame below the cut
            (``FramewiseModel``) and causal above it (``CausalModel``), is explained in
            the padded shape, so that one compiled program serves all lengths; a traced
            one outside 1 to T gives NaN. For any other model, and for a function of the
            scores, the padding is cut off first, which takes a program for each length
            and a length that is not traced.
        beta: False leaves beta out: T' T K numbers, for long clips most of the memory
            and half of the time. Methods without a weight per channel have none.
        precision: of matrix products and convolutions, as of
            ``jax.default_matmul_precision``. The default computes in float32 on every
            device. "default" takes the device's own (TF32 on a recent GPU, bfloat16 on
            a TPU), which is faster and no longer float32: maps are off by up to 1 % of
            the largest value with TF32 and 8 % with bfloat16 (by single cells' occlusion
            by more), see docs/benchmarks.md. On a CPU they are the same.

    Returns:
        Explanation, in float32 or wider whatever the features' dtype.

    Raises:
        InputError: a module without ``apply``; frames that are not (T, S, S, 3)
            floats; a target that is neither class indices of the model, nor one for each
            of its output steps, nor a function that returns (out,); an unknown method or
            baseline; a length that is not 1 to T, or a traced one where the padding must be
            cut off; ``features`` or ``classify`` returned another shape than they should.
    """
    _check_module(module)
    _check_frames(frames)
    check_method(method, baseline)
    valid_frames = None if length is None else _check_length(length, len(frames))
    target = targets.validated_target(target)
    score_function = target if callable(target) else None
    index = None if callable(target) else target
    baseline = default_baseline(method, baseline)
    name, maps = static_baseline(baseline)
    options = StaticOptions(
        score_function=score_function,
        relu=is_rectified(method, relu),
        beta=beta,
        method=method,
        baseline=name,
        precision=precision,
    )
    sees_padding = valid_frames is not None and (
        score_function is not None or not _never_looks_ahead(module)
    )
    in_shape = None if sees_padding else valid_frames
    arguments = (module, variables, frames, index, in_shape, maps, options)
    if index is not None and not isinstance(index, jax.core.Tracer):
        # Only traces, and the trace is used again by the call below.
        shapes = _explain.eval_shape(*arguments).scores.shape
        if isinstance(index, StepClasses):
            targets.check_step_classes(index, shapes)
        else:
            targets.check_target(index, shapes[-1])
    if not sees_padding:
        on_mesh = _has_explicit_axes(frames)
        explanation = (_explain_on_mesh if on_mesh else _explain)(*arguments)
        return _with_frames_of_steps(explanation, module, variables, frames)
    if isinstance(valid_frames, jax.core.Tracer):
        raise InputError(
            "length is traced (by jax.jit or jax.vmap), and "
            f"{type(module).__name__ if score_function is None else 'a target function'}"
            " may look ahead into the padding: give length as a Python integer, or a "
            "class of a model that is both a CausalModel and a FramewiseModel of "
            "rgcam.models.cut"
        )
    explanation = _explain_cut_clip(
        module, variables, frames, index, int(valid_frames), maps, options
    )
    return _with_frames_of_steps(
        explanation, module, variables, frames, int(valid_frames)
    )


def _has_explicit_axes(frames: Tensor) -> bool:
    """Tell whether an array lies on a mesh whose axes are part of its type."""
    return AxisType.Explicit in jax.typeof(frames).sharding.mesh.axis_types


def _explain_on_mesh(
    module: CutModel,
    variables: Variables,
    frames: Tensor,
    index: Int[Array, "..."] | StepClasses | None,
    length: Index | None,
    baseline_maps: Float[Tensor, "..."] | None,
    options: StaticOptions,
) -> Explanation:
    """Explain a clip of a batch on a mesh of explicit axes, which are automatic meanwhile.

    With explicit axes every operation of the model would have to state how its result is
    divided, and most models do not. Inside ``jax.vmap`` the axis of the batch is no axis of
    ``frames``, so it is the rule of batching that can hand it over to XLA.
    """

    def explain_one(arrays: PyTree) -> Explanation:
        return _explain(module, *arrays, options)

    explain_clip = jax.custom_batching.custom_vmap(explain_one)

    @explain_clip.def_vmap
    def explain_batch(
        axis_size: int, in_batched: list[PyTree], arrays: PyTree
    ) -> tuple[PyTree, PyTree]:
        del axis_size
        axes = jax.tree.map(lambda batched: 0 if batched else None, in_batched[0])
        sharding = jax.typeof(arrays[1]).sharding
        # The batch is the first axis of every result: divided as the clips are.
        divided = jax.NamedSharding(sharding.mesh, jax.P(*sharding.spec[:1]))
        compute = jax.sharding.auto_axes(
            jax.vmap(explain_one, in_axes=(axes,)), out_sharding=divided
        )
        explanations = compute(arrays)
        return explanations, jax.tree.map(lambda _: True, explanations)

    return explain_clip((variables, frames, index, length, baseline_maps))


def _with_frames_of_steps(
    explanation: Explanation,
    module: CutModel,
    variables: Variables,
    frames: Tensor,
    length: int | None = None,
) -> Explanation:
    """Say which frames a step of A depends on, where it is not one step for each frame."""
    maps = explanation.features
    if len(maps) == len(frames) or isinstance(maps, jax.core.Tracer):
        return explanation
    spans = frames_of_steps(module, variables, frames[:length])
    # Of the steps of padding, 0 as everything else.
    padding = [(0, len(maps) - len(spans)), (0, 0)]
    return explanation._replace(frames_of_steps=np.pad(spans, padding))


@functools.partial(jax.jit, static_argnames=("module", "options"))
def _explain(
    module: CutModel,
    variables: Variables,
    frames: Tensor,
    index: Int[Array, "..."] | StepClasses | None,
    length: Index | None,
    baseline_maps: Float[Tensor, "..."] | None,
    options: StaticOptions,
) -> Explanation:
    with jax.default_matmul_precision(options.precision):
        feature_maps = features(module, variables, frames)
        explain_one = functools.partial(
            explain_features,
            module,
            variables,
            feature_maps,
            options=options,
            length=length,
            baseline_maps=baseline_maps,
        )
        if isinstance(index, StepClasses):
            return explain_one(jnp.asarray(index.classes))
        if index is None or jnp.ndim(index) == 0:
            return explain_one(index)
        # Several classes: they share scores and features, the rest gets a leading axis.
        axes = Explanation(scores=None, features=None, beta=0, maps=0, matrix=0)  # pyrefly: ignore[bad-argument-type]
        return jax.vmap(explain_one, out_axes=axes)(index)


def _explain_cut_clip(
    module: CutModel,
    variables: Variables,
    frames: Tensor,
    index: Int[Array, "..."] | StepClasses | None,
    valid_frames: int,
    baseline_maps: Float[Tensor, "..."] | None,
    options: StaticOptions,
) -> Explanation:
    """Explain the valid frames alone; add zeros up to the shapes of the padded clip."""
    padded = _explain.eval_shape(
        module, variables, frames, index, None, baseline_maps, options
    )
    frames = frames[:valid_frames]
    if (
        baseline_maps is not None and baseline_maps.ndim == 4
    ):  # of every step of A, which may have fewer than T
        features_of = functools.partial(features, module)
        steps = jax.eval_shape(features_of, variables, frames).shape[0]
        baseline_maps = jnp.asarray(baseline_maps)[:steps]
    if isinstance(index, StepClasses):  # those of the output steps that are left
        outputs = _explain.eval_shape(
            module, variables, frames, None, None, baseline_maps, options
        ).scores.shape[0]
        index = StepClasses(jnp.asarray(index.classes)[:outputs])
    explanation = _explain(
        module, variables, frames, index, None, baseline_maps, options
    )

    def add_zeros(values: Array, shaped: jax.ShapeDtypeStruct) -> Array:
        sizes = zip(values.shape, shaped.shape, strict=True)
        return jnp.pad(values, [(0, size - valid) for valid, size in sizes])

    return jax.tree.map(add_zeros, explanation, padded)


def explain_features(
    module: CutModel,
    variables: Variables,
    features: Float[Array, "in h w K"],
    index: ClassIndex | None,
    *,
    options: StaticOptions,
    length: Index | None = None,
    baseline_maps: Float[Tensor, "..."] | None = None,
) -> Explanation:
    """Explain one class of features that are already computed; not jitted.

    Args:
        module: see ``explain``.
        variables: its variables.
        features: A.
        index: class, or one for each output step; None: the predicted class, or
            ``options.score_function``.
        options: static options.
        length: number of valid frames, of a ``CausalModel`` and a class; see
            ``explain``.
        baseline_maps: the baseline's feature maps where ``options`` names none.

    Raises:
        InputError: ``length`` for a model or a target that may look ahead.
    """
    valid = jnp.ones(len(features), bool)
    if length is not None:
        if options.score_function is not None or not isinstance(module, CausalModel):
            raise InputError(
                f"length={length} is for a class of a CausalModel (rgcam.models.cut): "
                f"{type(module).__name__}, or a function of its scores, may look ahead "
                "into the padding, so cut it off the features"
            )
        # Whatever the padding holds, NaN included, it enters no product.
        valid = jnp.arange(len(features)) < length
        features = jnp.where(valid[:, None, None, None], features, 0)
    with jax.default_matmul_precision(options.precision):
        if options.method == "gradcam":
            scores, beta, maps = _gradcam(
                module, variables, features, index, options, length
            )
        else:
            scores, beta, maps = _other_method(
                module, variables, features, index, options, length, baseline_maps
            )
    if length is not None:  # nothing is attributed to padding, nor by it
        scores = jnp.where(valid[:, None], scores, 0)
        pairs = valid[:, None] & valid
        # Traced, a length out of range cannot be rejected: it gives NaN, as a class does.
        exists = (1 <= length) & (length <= len(features))
        mask = lambda values, pairs: jnp.where(
            exists, jnp.where(pairs, values, 0), jnp.nan
        )
        maps = mask(maps, pairs[..., None, None])
        beta = None if beta is None else mask(beta, pairs[..., None])
    maps = jax.nn.relu(maps) if options.relu else maps
    return Explanation(
        scores=scores,
        features=features,
        beta=beta if options.beta else None,
        maps=maps,
        matrix=importance_matrix(maps),
    )


@functools.partial(
    jax.jit, static_argnames=("module", "method", "baseline", "precision")
)
def class_maps(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "in h w K"],
    target: ClassIndex,
    length: Index | None = None,
    baseline_maps: Float[Tensor, "..."] | None = None,
    *,
    method: Method = "gradcam",
    baseline: str | BaselineFunction | None = None,
    precision: str = PRECISION,
) -> Float[Array, "out in h w"]:
    """Compute one class's signed maps from features that are already computed.

    Signed maps are linear in the class: those of "why A rather than B" are the
    difference of A's and B's.
    """
    if baseline_maps is None:
        baseline, _ = static_baseline(default_baseline(method, baseline))
    return explain_features(
        module,
        variables,
        jnp.asarray(features),
        jnp.asarray(target),
        options=StaticOptions(
            relu=False,
            beta=False,
            method=method,
            baseline=baseline,
            precision=precision,
        ),
        length=length,
        baseline_maps=baseline_maps,
    ).maps


def explanation_bytes(
    out: int, steps: int, cells: int, channels: int, beta: bool = True
) -> int:
    """Count the bytes of a float32 Explanation's beta, maps and matrix.

    Args:
        out: T_out, output steps.
        steps: T_in, input frames.
        cells: h * w.
        channels: K.
        beta: whether beta is among them.
    """
    return 4 * out * steps * (channels * beta + cells + 1)


def max_bytes(default: int) -> int:
    """Return the bytes that an explanation may take on this device.

    Args:
        default: where the device does not tell its memory, as a CPU does not.

    Returns:
        Half of the device's memory (``bytes_limit`` of its ``memory_stats``), at most
        16 GiB.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    return min(limit // MEMORY_SHARE, MOST_BYTES) if limit else default


def check_method(method: Method, baseline: Baseline | None) -> None:
    """Validate a method's name, and that it takes a baseline if one is given.

    A function is a method that takes one.

    Raises:
        InputError: an unknown method, or a baseline for a method that defines its own.
    """
    if callable(method):
        return
    if method not in METHODS:
        raise InputError(
            f"unknown method {method!r}: choose one of {', '.join(METHODS)}, or give a "
            "function (cut, features, baseline, target) -> maps"
        )
    is_zero = isinstance(baseline, str) and baseline == "zero"
    if method in CAMS and not (baseline is None or is_zero):
        raise InputError(
            f"{method} compares with a feature map of zeros: give baseline to one of "
            f"{', '.join(METHODS[len(CAMS) :])}"
        )


def default_baseline(method: Method, baseline: Baseline | None) -> Baseline:
    """Return the baseline, by default zero for CAMs and previous for the others.

    By docs/which-method.md: of the named ones, ``previous`` is the one whose effects the
    sums of a matrix predict best and that lies best on what moves.
    """
    if baseline is not None:
        return baseline
    return "zero" if method in CAMS else "previous"


def has_weights(method: Method) -> bool:
    """Tell whether a method has weights per channel: without them, beta is None."""
    return method in ("gradcam", "gradcam++", "xgradcam")


def static_baseline(
    baseline: Baseline,
) -> tuple[str | BaselineFunction | None, Float[Tensor, "..."] | None]:
    """Split a baseline into what is static in a compiled program, and an array.

    A name and a function are static; feature maps are passed like any other array.
    """
    is_static = isinstance(baseline, str) or callable(baseline)
    return (baseline, None) if is_static else (None, baseline)


def is_rectified(method: Method, relu: bool | None) -> bool:
    """Tell whether maps are rectified: by default those of CAMs, as published."""
    return method in CAMS if relu is None else relu


def method_name(method: Method) -> str:
    """Return a method's name for files and tables: a function's is its ``__name__``."""
    return method if isinstance(method, str) else perturbation.own_name(method)


def method_title(method: Method) -> str:
    """Return a method's name for figures: a function's attribute ``title``, or its name."""
    if isinstance(method, str):
        return TITLES.get(method, "attribution")
    return getattr(method, "title", method_name(method).replace("_", " "))


def _of_upper_model(compute: Callable[[UpperModel], Array]) -> MapsFunction:
    """Return the method that computes maps from an ``UpperModel``."""
    return lambda cut, features, baseline, target: compute(
        cut.upper_model(features, baseline, target)
    )


def _located(matrix_of: Callable[[UpperModel], Array]) -> MapsFunction:
    """Return the method of a matrix: a path tells where within each frame its mass lies."""

    def maps_of(model: UpperModel) -> Float[Array, "out in h w"]:
        location = gradients.path(model, LOCATION_PANELS)
        return perturbation.distribute_mass(matrix_of(model), location)

    return _of_upper_model(maps_of)


# The methods that compare with a baseline, as functions of one's own are given.
FUNCTIONS: dict[str, MapsFunction] = {
    "hirescam": _of_upper_model(gradients.gradient),  # with the baseline zero
    "gradient": _of_upper_model(gradients.gradient),
    "path": _of_upper_model(gradients.path),
    "fade": _of_upper_model(gradients.fade),
    "cells": _of_upper_model(perturbation.cell_occlusion),
    # The two below attribute to whole frames.
    "occlusion": _located(perturbation.occlusion),
    "shapley": _located(
        lambda model: perturbation.shapley_values(model, jax.random.key(0))
    ),
}


def signed_maps(
    method: Method,
    module: CutModel,
    variables: Variables,
    features: Float[Array, "T h w K"],
    baseline: Float[Array, "T h w K"],
    target: ClassIndex | ScoreFunction,
    length: Index | None = None,
) -> tuple[Float[Array, "out T h w"], Float[Array, "out T K"] | None]:
    """Compute a method's signed maps (out T h w), and beta (out T K) if it has one.

    Args:
        method: any but ``gradcam``, or a function.
        module: any with ``classify``; a causal one costs less.
        variables: its variables.
        features: A.
        baseline: from ``perturbation.baseline_features``.
        target: class index, one for each output step, or function of the scores.
        length: number of valid frames; nothing is attributed to later outputs.
    """
    if isinstance(method, str) and method in gradcam.WEIGHTINGS:
        scores_of = functools.partial(classify, module, variables)
        weighting = gradcam.WEIGHTINGS[method]
        return gradcam.weighted_maps(weighting, scores_of, features, target)
    bound = BoundCut(module, variables, length)
    if isinstance(method, str):
        return FUNCTIONS[method](bound, features, baseline, target), None
    maps = method(bound, features, baseline, target)
    outputs = jax.eval_shape(bound.outputs, features, target)
    expected = (*outputs.shape, *features.shape[:3])
    if jnp.shape(maps) != expected or not jnp.issubdtype(maps.dtype, jnp.floating):
        raise InputError(
            f"the method {method_name(method)} returned {jnp.result_type(maps)} "
            f"{jnp.shape(maps)} for a feature map {features.shape}: expected maps "
            f"(out, in, h, w) in floating point, {expected}"
        )
    if isinstance(module, CausalModel) and not callable(target):
        # Differences of scores are rounding errors where nothing can depend on a frame.
        visible = jnp.tril(jnp.ones(expected[:2], bool))
        maps = jnp.where(visible[..., None, None], maps, 0)
    return maps, None


def _gradcam(
    module: CutModel,
    variables: Variables,
    features: Float[Array, "in h w K"],
    index: ClassIndex | None,
    options: StaticOptions,
    length: Index | None,
) -> tuple[Array, Array | None, Array]:
    """Compute scores, beta and signed maps of Eq. 1 and 2 in the cheapest way."""
    score_function = options.score_function
    if not isinstance(module, CausalModel):
        # Any ``classify``: the derivative by an offset, all rows in one jacrev.
        scores_of = functools.partial(classify, module, variables)
        target = index if score_function is None else score_function
        if target is None:
            target = lambda scores: jnp.take(
                scores, targets.predicted_class(scores, length), axis=1
            )
        beta, scores = gradcam.weights_and_scores(scores_of, features, target)
        return scores, beta, gradcam.heatmaps(beta, features, relu=False)
    model = cut(module, variables, features)
    if score_function is not None:
        # A function may mix output steps, so no pair is known to be 0 in advance.
        scores_of = lambda drive: model.advance(model.begin, drive)[1]
        jacobian, scores = gradcam.target_jacobian(
            scores_of, model.drive, score_function
        )
        cells = math.prod(features.shape[1:3])
        beta = jnp.einsum("otd,kd->otk", jacobian, model.response / cells)
        return scores, beta, gradcam.heatmaps(beta, features, relu=False)
    if index is None:
        scores = model.advance(model.begin, model.drive)[1]
        index = targets.predicted_class(scores, length)
    shapes = jax.eval_shape(model.advance, model.begin, model.drive)[1]
    seed = targets.seed(index, shapes.shape, features.dtype)
    carried = bool(jax.tree.leaves(model.begin))
    block, stretch = causal.sizes(len(features), carried)
    block = max(1, block // options.smaller_blocks)
    return causal.all_pairs(
        model, features, seed, block=block, stretch=stretch, beta=options.beta
    )


def _other_method(
    module: CutModel,
    variables: Variables,
    features: Float[Array, "in h w K"],
    index: ClassIndex | None,
    options: StaticOptions,
    length: Index | None,
    baseline_maps: Float[Tensor, "..."] | None,
) -> tuple[Array, Array | None, Array]:
    """Compute scores, beta (or None) and signed maps by any method but gradcam."""
    baseline = baseline_maps if options.baseline is None else options.baseline
    assert baseline is not None
    perturbation.check_baseline(baseline, features.shape)
    scores = classify(module, variables, features)
    target = index if options.score_function is None else options.score_function
    if target is None:
        target = targets.predicted_class(scores, length)
    replacement = perturbation.baseline_features(features, baseline, length)
    maps, beta = signed_maps(
        options.method, module, variables, features, replacement, target, length
    )
    return scores, beta, maps


def _never_looks_ahead(module: CutModel) -> bool:
    """Tell whether padding at the end is known to change nothing before it."""
    return isinstance(module, CausalModel) and isinstance(module, FramewiseModel)


def _check_length(length: object, steps: int) -> Index:
    """Return a valid length as an integer, or a traced one as it is."""
    if isinstance(length, jax.core.Tracer):
        if jnp.issubdtype(length.dtype, jnp.integer) and length.ndim == 0:
            return length
    elif not isinstance(length, bool) and isinstance(length, SupportsIndex):
        with contextlib.suppress(TypeError):  # an array of several numbers or of floats
            if 1 <= operator.index(length) <= steps:
                return operator.index(length)
    raise InputError(
        f"length is {length!r}: give the number of valid frames, a whole number from "
        f"1 to {steps}"
    )


def _check_module(module: object) -> None:
    if not isinstance(module, CutModel):
        raise InputError(
            f"a {type(module).__name__} has no method apply: pass a Flax Linen module, "
            "or what rgcam.from_nnx, from_equinox, from_haiku or from_functions returns"
        )


def _check_frames(frames: Tensor) -> None:
    shape, dtype = jnp.shape(frames), jnp.result_type(frames)
    if shape[:1] == (0,):
        raise InputError(f"frames have shape {shape}: there is no frame to explain")
    if len(shape) != 4 or not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            f"frames are {dtype} of shape {shape}; explain takes one "
            "preprocessed clip, floating point (T, S, S, 3): call model.preprocess "
            "first, and jax.vmap for a batch"
        )
