"""Flags of the method that explains one clip."""

from absl import flags

from rgcam.attribution import lags, methods, perturbation
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.models.zoo import Model
from rgcam.report.explain import explain_clip
from rgcam.report.record import ExplainedClip
from rgcam.types import Fields

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
    model: Model,
    clip: Clip,
    target: int | None,
    cnn: Model | None,
    source: str,
    options: Fields,
) -> ExplainedClip:
    """Explain a clip as the flags ask."""
    return explain_clip(
        model,
        clip,
        target=target,
        method=METHOD.value,
        baseline=BASELINE.value,
        relu=RELU.value,
        aggregate=AGGREGATE.value,
        cnn=cnn,
        source=source,
        options=options,
    )


def _asked() -> list[str]:
    """Name the flags that were given."""
    return [option.name for option in OPTIONS if option.value != option.default]
