"""One clip explained by the method that the flags ask for, and checked."""

import functools

import jax
import numpy as np
from absl import flags
from jaxtyping import Float

from rgcam.attribution import gradcam, lags, methods, perturbation
from rgcam.attribution.gradcam import Explanation, How
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.metrics import selfcheck
from rgcam.metrics.selfcheck import Check
from rgcam.models.zoo import Model, class_index
from rgcam.types import Tensor

METHOD = flags.DEFINE_string("method", "gradcam", ", ".join(methods.METHODS))
BASELINE = flags.DEFINE_string(
    "baseline", None, f"{', '.join(perturbation.BASELINES)}: what replaces frames"
)
RELU = flags.DEFINE_bool("relu", None, "positive evidence only [of the CAMs]")
AGGREGATE = flags.DEFINE_enum(
    "aggregate", "last", lags.AGGREGATIONS, "output steps that the pictures show"
)
OPTIONS = [METHOD, BASELINE, RELU, AGGREGATE]
HOW = [METHOD.name, BASELINE.name, RELU.name]


def check_flags(values: flags.FlagValues, *elsewhere: str) -> None:
    """Refuse a method or baseline that there is not, or where it is not offered.

    Args:
        values: the parsed flags.
        elsewhere: flags that go with recurrent Grad-CAM and the last step alone;
            ``verify`` looks at all steps.

    Raises:
        InputError: so.
    """
    methods.check(METHOD.value, BASELINE.value)
    if BASELINE.value is not None:
        perturbation.check_baseline(BASELINE.value, ())
    for name in elsewhere:
        asked = [o for o in _asked() if (name, o) != ("verify", AGGREGATE.name)]
        if asked and values[name].value not in (None, False):
            taken = ", which takes recurrent Grad-CAM" if asked[0] in HOW else ""
            raise InputError(
                f"--{asked[0]} is for one whole clip: leave it out beside "
                f"--{name}{taken}"
            )


def refuse_long() -> None:
    """Refuse another method where all pairs of a video do not fit in memory.

    Raises:
        InputError: so.
    """
    if _asked():
        raise InputError(
            f"all pairs of this video do not fit in --max_gib: --{_asked()[0]} needs "
            "more of it, or a part of the video by --start and --end"
        )


def explain(
    model: Model, clip: Clip, target: int | None
) -> tuple[Explanation, Check | None]:
    """Explain a clip as the flags ask, and hold the result against interventions.

    Args:
        model: to explain.
        clip: uint8 frames.
        target: class, or None: the one decided for.

    Returns:
        The explanation as numpy arrays and, of a clip in which anything can be
        removed, the check.
    """
    frames = model.preprocess(clip.frames)
    named = {"method": METHOD.value, "baseline": BASELINE.value}
    options = {**named, "relu": RELU.value}
    found = gradcam.explain(model.module, model.variables, frames, target, **options)
    found = jax.tree.map(np.asarray, found)
    target = int(found.scores[-1].argmax()) if target is None else target
    about = model.module, model.variables, found.features, found.maps, target
    return found, selfcheck.check(*about, **named)


def gradcam_of(
    cnn: Model, clip: Clip, name: str, model: Model, features: Float[Tensor, "T h w K"]
) -> Explanation:
    """Explain the frame CNN that is shown beside, by Grad-CAM, for a class by name.

    Args:
        cnn: to explain.
        clip: uint8 frames.
        name: of the class.
        model: beside which it is shown.
        features: A of that model, which are the CNN's too where both have the same
            backbone: then they are not computed again.
    """
    run, index = (cnn.module, cnn.variables), class_index(cnn, name)
    if _see_alike(cnn, model):
        found = _above(*run, features, index)
    else:
        found = gradcam.explain(*run, cnn.preprocess(clip.frames), index)
    return jax.tree.map(np.asarray, found)


@functools.partial(jax.jit, static_argnames="module")
def _above(module, variables, features, index):
    return gradcam.explain_features(module, variables, features, index, how=How())


def _see_alike(one: Model, other: Model) -> bool:
    """Tell whether two models make the same feature map of a clip."""
    make = lambda m: (m.description.preprocess, m.module.backbone, m.module.view)
    if make(one) != make(other):
        return False
    below = [m.variables["params"].get("backbone", {}) for m in (one, other)]
    same = jax.tree.map(np.array_equal, *below)
    return all(jax.tree.leaves(same))


def _asked() -> list[str]:
    """Name the flags that were given."""
    return [option.name for option in OPTIONS if option.value != option.default]
