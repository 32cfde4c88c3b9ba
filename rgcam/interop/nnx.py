"""Models of Flax NNX."""

import dataclasses
from typing import TYPE_CHECKING

from jaxtyping import Array

from rgcam.errors import InputError
from rgcam.interop.functions import FunctionModel, Method, check_method
from rgcam.interop.layouts import PLAIN, Layout
from rgcam.types import Tensor, Variables

if TYPE_CHECKING:
    from flax import nnx


@dataclasses.dataclass(frozen=True)
class MergedMethod:
    """A method of an NNX module as a pure function; equal for equal structures.

    Attributes:
        graph: static structure of the module (an ``nnx.GraphDef``, hashable).
        method: name of the method, or a function of (module, array).
    """

    graph: "nnx.GraphDef"
    method: Method

    def __call__(self, variables: Variables, inputs: Tensor) -> Array:
        """Merge a copy of the module and call its method."""
        from flax import nnx

        # A copy, since JAX's transformations cannot trace through a module that was
        # made outside them, and the method may update its own variables.
        model = nnx.merge(self.graph, variables, copy=True)
        if isinstance(self.method, str):
            return getattr(model, self.method)(inputs)
        return self.method(model, inputs)


def from_nnx(
    model: "nnx.Module",
    *,
    features: Method = "features",
    classify: Method = "classify",
    layout: Layout = PLAIN,
) -> tuple[FunctionModel, Variables]:
    """Make a Flax NNX module a model that every method of rgcam takes.

    The module is copied and set to evaluation mode (``model.eval()``: no dropout, batch
    normalisation by its running averages); the original is unchanged.

    Args:
        model: the module.
        features: name of its method frames (T, S, S, 3) -> feature map A (T, h, w, K),
            or a function of (model, frames).
        classify: name of its method A -> pre-softmax scores (T_out, C), or a function
            of (model, A).
        layout: the axes of these arrays, where they are others.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``.

    Raises:
        InputError: not an NNX module, or a method that it does not have.
    """
    from flax import nnx

    if not isinstance(model, nnx.Module):
        raise InputError(
            f"from_nnx takes a flax.nnx.Module, not a {type(model).__name__}: Linen "
            "modules go to rgcam.explain as they are"
        )
    for method in (features, classify):
        check_method(model, method)
    model = nnx.clone(model)
    model.eval()
    graph, variables = nnx.split(model)
    return (
        FunctionModel(
            MergedMethod(graph, features), MergedMethod(graph, classify), layout
        ),
        variables,
    )
