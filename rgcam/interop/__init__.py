"""Models of other frameworks as the same two pure functions.

Each function below returns ``module, variables``, which all of rgcam takes like a Linen
module and its variables: ``rgcam.explain(module, variables, frames)`` by every method,
``jax.vmap`` over clips, ``rgcam.metrics.faithfulness`` and ``rgcam.metrics.verify``. The
frameworks are imported when a function is called.

``nnx``        ``from_nnx``: Flax NNX modules
``equinox``    ``from_equinox``: Equinox modules
``haiku``      ``from_haiku``: functions that Haiku transforms
``linen``      ``from_linen``: any Flax Linen module, cut at a named layer
``keras``      ``from_keras``: models and files of Keras 3, files of Keras 2
``keras_files``  those files, read and translated
``torch``      ``from_torch``: any PyTorch module, cut at a named layer
``torch_weights``  ``from_torch_weights``: ResNet and LSTM or GRU as our LRCN
``layer``      a model cut at one of its layers: the layer's output is replaced by A
``video_models``  ``video_model``: such a model with classes and preprocessing, for the report
``functions``  ``from_functions``: any two pure functions
``layouts``    ``Layout``: axes that those functions have, where they are others
"""

from rgcam.interop.equinox import from_equinox
from rgcam.interop.functions import FunctionModel, from_functions
from rgcam.interop.haiku import from_haiku
from rgcam.interop.keras import from_keras
from rgcam.interop.layouts import Layout
from rgcam.interop.linen import from_linen
from rgcam.interop.nnx import from_nnx
from rgcam.interop.torch import from_torch
from rgcam.interop.torch_weights import from_torch_weights
from rgcam.interop.video_models import video_model

__all__ = [
    "FunctionModel",
    "Layout",
    "from_equinox",
    "from_functions",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_torch",
    "from_torch_weights",
    "video_model",
]
