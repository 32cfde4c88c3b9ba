"""Recurrent Grad-CAM in JAX: which moments of a video made a model decide.

The public API. A video classifier is cut at its last convolutional map:

    frames (T, H, W, 3) --features--> A (T, h, w, K) --classify--> y (T_out, C)

Names, everywhere in rgcam:

    T_in, axis ``in``, index t     input time: frame
    T_out, axis ``out``, index t'  output time: score step
    K                              feature channel
    C, ``target``                  class, or the scalar being explained
    h w / H W                      feature-map cells / pixels
    ``features`` (A)               last convolutional map, (T, h, w, K)
    ``scores`` (y)                 pre-softmax logits, (T_out, C)
    ``beta``                       importance weights, (T_out, T_in, K)
    ``maps`` (L)                   class activation maps, (T_out, T_in, h, w)
    ``matrix``                     temporal importance, (T_out, T_in)
"""

from rgcam import stream
from rgcam.errors import InputError
from rgcam.gradcam import (
    Explanation,
    explain,
    heatmaps,
    importance_matrix,
    importance_weights,
)
from rgcam.lags import aggregate, choose_step
from rgcam.library import Model, class_index, load_model
from rgcam.long import LongExplanation, explain_long
from rgcam.models import LRCN, FrameCNN
from rgcam.notebook import show
from rgcam.video import Clip, read_clip

__all__ = [
    "LRCN",
    "Clip",
    "Explanation",
    "FrameCNN",
    "InputError",
    "LongExplanation",
    "Model",
    "aggregate",
    "choose_step",
    "class_index",
    "explain",
    "explain_long",
    "heatmaps",
    "importance_matrix",
    "importance_weights",
    "load_model",
    "read_clip",
    "show",
    "stream",
]
