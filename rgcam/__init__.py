"""Recurrent Grad-CAM in JAX: which frames and regions drove a video model's prediction.

The public API. A video classifier is cut at a feature map that still has time and place:

    frames (T, H, W, 3) --features--> A (T, h, w, K) --classify--> y (T_out, C)

Names, everywhere in rgcam:

    T_in, axis ``in``, index t     input time: frame
    T_out, axis ``out``, index t'  output time: score step
    K                              feature channel
    C, ``target``                  class, or the scalar being explained
    h w / H W                      feature-map cells / pixels
    ``features`` (A)               feature map at the cut, (T, h, w, K)
    ``scores`` (y)                 pre-softmax logits, (T_out, C)
    ``beta``                       importance weights, (T_out, T_in, K)
    ``maps`` (L)                   class activation maps, (T_out, T_in, h, w)
    ``matrix``                     temporal importance, (T_out, T_in)

Rooms (sub-packages), each imported when it is first used:

    ``models``       what is explained: classifiers, backbones, the cut, the model zoo
    ``interop``      models of other frameworks as the same two pure functions
    ``data``         video files and datasets -> clips -> batches
    ``attribution``  the mathematics: Eq. 1 and 2 and their relatives
    ``metrics``      faithfulness and its check, localization, randomization
    ``training``     loss and step, run, checkpoints, devices
    ``evaluation``   methods x measures on clips: tables
    ``report``       one explained clip -> figures, page, files, notebook
    ``corpus``       many videos: jobs, workers, manifest
    ``commands``     the command line
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgcam import (
        attribution,
        commands,
        corpus,
        data,
        evaluation,
        interop,
        metrics,
        models,
        report,
        training,
    )
    from rgcam.attribution import stream
    from rgcam.attribution.explain import Explanation, explain
    from rgcam.attribution.gradcam import heatmaps, importance_weights
    from rgcam.attribution.long import LongExplanation, explain_long
    from rgcam.attribution.maps import aggregate, choose_step, importance_matrix
    from rgcam.attribution.targets import StepClasses
    from rgcam.data.video import Clip, read_clip
    from rgcam.errors import InputError
    from rgcam.interop import (
        Layout,
        from_equinox,
        from_functions,
        from_haiku,
        from_keras,
        from_linen,
        from_nnx,
        from_torch,
        from_torch_weights,
        video_model,
    )
    from rgcam.models.classifiers import LRCN, FrameCNN
    from rgcam.models.cut import frames_of_steps
    from rgcam.models.zoo import Model, class_index, load_model
    from rgcam.report.notebook import show

_ROOMS = (
    "attribution",
    "commands",
    "corpus",
    "data",
    "evaluation",
    "interop",
    "metrics",
    "models",
    "report",
    "training",
)
# Public name -> the module that defines it.
_HOMES = {
    "Clip": "data.video",
    "Explanation": "attribution.explain",
    "FrameCNN": "models.classifiers",
    "InputError": "errors",
    "LRCN": "models.classifiers",
    "Layout": "interop.layouts",
    "LongExplanation": "attribution.long",
    "Model": "models.zoo",
    "StepClasses": "attribution.targets",
    "aggregate": "attribution.maps",
    "choose_step": "attribution.maps",
    "class_index": "models.zoo",
    "explain": "attribution.explain",
    "explain_long": "attribution.long",
    "frames_of_steps": "models.cut",
    "from_equinox": "interop.equinox",
    "from_functions": "interop.functions",
    "from_haiku": "interop.haiku",
    "from_keras": "interop.keras",
    "from_linen": "interop.linen",
    "from_nnx": "interop.nnx",
    "from_torch": "interop.torch",
    "from_torch_weights": "interop.torch_weights",
    "heatmaps": "attribution.gradcam",
    "importance_matrix": "attribution.maps",
    "importance_weights": "attribution.gradcam",
    "load_model": "models.zoo",
    "read_clip": "data.video",
    "show": "report.notebook",
    "video_model": "interop.video_models",
}

__all__ = [
    "LRCN",
    "Clip",
    "Explanation",
    "FrameCNN",
    "InputError",
    "Layout",
    "LongExplanation",
    "Model",
    "StepClasses",
    "__version__",
    "aggregate",
    "attribution",
    "choose_step",
    "class_index",
    "commands",
    "corpus",
    "data",
    "evaluation",
    "explain",
    "explain_long",
    "frames_of_steps",
    "from_equinox",
    "from_functions",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_torch",
    "from_torch_weights",
    "heatmaps",
    "importance_matrix",
    "importance_weights",
    "interop",
    "load_model",
    "metrics",
    "models",
    "read_clip",
    "report",
    "show",
    "stream",
    "training",
    "video_model",
]


def __getattr__(name: str) -> object:
    """Import a public name or a room when it is first used (PEP 562)."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"rgcam.{_HOMES[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"rgcam.{name}")
    elif name == "stream":
        value = importlib.import_module("rgcam.attribution.stream")
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("rgcam")
    else:
        raise AttributeError(f"module 'rgcam' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
