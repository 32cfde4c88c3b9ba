"""Models of Equinox."""

import dataclasses
import importlib
from types import ModuleType

import jax
import numpy as np
from jaxtyping import Array, PyTree

from rgcam.errors import InputError
from rgcam.interop.functions import FunctionModel, Method, check_method
from rgcam.interop.layouts import PLAIN, Layout
from rgcam.types import Tensor, Variables


@dataclasses.dataclass(frozen=True)
class CombinedMethod:
    """A method of an Equinox model as a pure function; equal for equal structures.

    Attributes:
        static: the model without its arrays; hashable.
        method: name of the method, or a function of (model, array).
    """

    static: PyTree
    method: Method

    def __call__(self, variables: Variables, inputs: Tensor) -> Array:
        """Put the arrays back into the model and call its method."""
        model = _import_equinox().combine(variables, self.static)
        if isinstance(self.method, str):
            return getattr(model, self.method)(inputs)
        return self.method(model, inputs)


def from_equinox(
    model: PyTree,
    *,
    features: Method = "features",
    classify: Method = "classify",
    layout: Layout = PLAIN,
) -> tuple[FunctionModel, Variables]:
    """Make an Equinox model a model that every method of rgcam takes.

    It is set to evaluation mode (``eqx.nn.inference_mode``).

    Args:
        model: an ``eqx.Module``; or, with functions below, any pytree of modules and
            arrays, such as ``(model, state)`` of a model with batch normalisation.
        features: name of its method frames (T, S, S, 3) -> feature map A (T, h, w, K),
            or a function of (model, frames). Equinox's layers take one frame with its
            channels first; rgcam's axes are those above.
        classify: name of its method A -> pre-softmax scores (T_out, C), or a function
            of (model, A).
        layout: the axes of these arrays, where they are others.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``.

    Raises:
        InputError: Equinox is not installed, or a method that the model does not have.
    """
    eqx = _import_equinox()
    for method in (features, classify):
        check_method(model, method)
    model = eqx.nn.inference_mode(model)
    is_array = lambda leaf: isinstance(leaf, jax.Array | np.ndarray)
    variables, static = eqx.partition(model, is_array)
    return (
        FunctionModel(
            CombinedMethod(static, features),
            CombinedMethod(static, classify),
            layout,
        ),
        variables,
    )


def _import_equinox() -> ModuleType:
    try:
        return importlib.import_module("equinox")
    except ImportError as error:
        raise InputError("from_equinox needs Equinox: pip install equinox") from error
