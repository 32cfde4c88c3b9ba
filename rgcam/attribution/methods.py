"""The methods of ``explain`` by name: features -> scores, beta, signed maps.

==========  ==============================  ==================================
family      methods                         a map's mass is
==========  ==============================  ==================================
CAMs        gradcam, gradcam++, xgradcam,   a weighted sum of the feature map
            hirescam, layercam
gradients   gradient, path, fade            the score's change from a baseline: to
                                            first order, whole, or in the mean
effects     occlusion, cells, shapley       what the score loses without the frame
==========  ==============================  ==================================
"""

from typing import Any

import jax
from jaxtyping import Array, Float

from rgcam.attribution import gradients, perturbation, shapley, targets, variants
from rgcam.errors import InputError

CAMS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam")
METHODS = (*CAMS, "gradient", "path", "fade", "occlusion", "cells", "shapley")
SHARES = 16  # points of the path that says where in a frame its effect lies
TITLES = {
    "gradcam": "recurrent Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "xgradcam": "XGrad-CAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradient": "gradient × change",
    "path": "path",
    "fade": "fade",
    "occlusion": "occlusion",
    "cells": "occlusion of cells",
    "shapley": "Shapley values",
}
_WEIGH = {
    "gradcam++": variants.gradcam_pp,
    "xgradcam": variants.xgradcam,
    "layercam": variants.layercam,
}


def check(method: str, baseline: Any) -> None:
    """Refuse a method that there is not, or a baseline with one that has its own.

    Raises:
        InputError: so.
    """
    if method not in METHODS:
        raise InputError(
            f"there is no method {method!r}: choose one of {', '.join(METHODS)}"
        )
    if method in CAMS and not (baseline is None or _is(baseline, "zero")):
        raise InputError(
            f"{method} compares with a feature map of zeros: give baseline to one of "
            f"{', '.join(METHODS[len(CAMS) :])}"
        )


def baseline_of(method: str, baseline: Any) -> Any:
    """Return the baseline meant: without one, zero for CAMs, previous for the others.

    By docs/which-method.md: of the named ones, what sums of a matrix can predict best
    and what lies best on what moves.
    """
    default = "zero" if method in CAMS else "previous"
    return default if baseline is None else baseline


def rectified(method: str, relu: bool | None) -> bool:
    """Tell whether maps are rectified: unless told, those of CAMs, as published."""
    return method in CAMS if relu is None else relu


def explain(
    module: Any,
    variables: Any,
    features: Float[Array, "T h w K"],
    target: Any,
    *,
    method: str,
    baseline: Any,
    length: Any = None,
) -> tuple[Array, Array | None, Array]:
    """Compute scores, beta (or None) and signed maps of one clip's features.

    Args:
        module: any with ``classify``; those of ``rgcam.models.classifiers`` cost less.
        variables: its variables.
        features: A.
        target: class index, function of the scores, or None.
        method: any but ``gradcam``, which ``rgcam.attribution.gradcam`` computes.
        baseline: see ``interventions.replacement``.
        length: number of valid frames.
    """
    perturbation.check_baseline(baseline, features.shape)
    scores = module.apply(variables, features, method="classify")
    target = targets.decided(scores, length) if target is None else target
    instead = perturbation.replacement(features, baseline, length)
    about = module, variables, features, instead, target, length
    maps, beta = signed(method, *about)
    return scores, beta, maps


def signed(
    method: str,
    module: Any,
    variables: Any,
    features: Float[Array, "T h w K"],
    baseline: Float[Array, "T h w K"],
    target: Any,
    length: Any = None,
) -> tuple[Array, Array | None]:
    """Compute a method's signed maps (out T h w), and beta (out T K) if it has one.

    Args:
        method: any but ``gradcam``, which ``rgcam.attribution.gradcam`` computes.
        module: any with ``classify``; those of ``rgcam.models.classifiers`` cost less.
        variables: its variables.
        features: A.
        baseline: from ``interventions.replacement``.
        target: class index or function of the scores.
        length: number of valid frames; later rows then say nothing.
    """
    if method in _WEIGH:
        weigh = _WEIGH[method]
        return variants.all_pairs(weigh, module, variables, features, target)
    upper = perturbation.upper(module, variables, features, baseline, target)
    upper = upper if length is None else perturbation.ended(upper, length)
    if method in ("hirescam", "gradient"):
        return gradients.gradient(upper), None
    if method in ("path", "fade"):
        return {"path": gradients.path, "fade": gradients.fade}[method](upper), None
    if method == "cells":
        return perturbation.cell_occlusion(upper), None
    if method == "occlusion":
        matrix = perturbation.occlusion(upper)
    else:
        matrix = shapley.values(upper, jax.random.key(0))
    return shapley.share_out(matrix, gradients.path(upper, SHARES)), None


def _is(baseline: Any, name: str) -> bool:
    return isinstance(baseline, str) and baseline == name
