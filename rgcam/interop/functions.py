"""Two pure functions as a cut model, whichever framework they come from."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.types import Tensor, Variables

PureFunction: TypeAlias = Callable[[Variables, Tensor], Array]
"""(variables, array) -> array; pure and hashable."""


Method: TypeAlias = str | Callable[..., Array]
"""The name of a method of a model, or a function of (model, array)."""


@dataclasses.dataclass(frozen=True)
class FunctionModel:
    """A ``rgcam.models.cut.CutModel`` that consists of two pure functions.

    Two models are equal, and share what ``jax.jit`` compiles, if their functions are.

    Attributes:
        features: (variables, frames (T, S, S, 3)) -> feature map A (T, h, w, K).
        classify: (variables, A) -> pre-softmax scores (T_out, C).
    """

    features: PureFunction
    classify: PureFunction

    def apply(
        self, variables: Variables, inputs: Float[Tensor, "T ..."], *, method: str
    ) -> Float[Array, "..."]:
        """Call one of the two functions, as ``module.apply`` of Flax Linen does.

        Args:
            variables: the model's variables.
            inputs: frames (T, S, S, 3) or A (T, h, w, K).
            method: ``features`` or ``classify``.

        Raises:
            InputError: another method, or a result of another rank.
        """
        if method == "features":
            axes, outputs = "(T, h, w, K)", self.features(variables, inputs)
        elif method == "classify":
            axes, outputs = "(T_out, C)", self.classify(variables, inputs)
        else:
            raise InputError(
                f"a model of two functions has no method {method!r}: long videos and "
                "streams need a causal model, see rgcam.models.cut.CausalModel"
            )
        if jnp.ndim(outputs) != axes.count(",") + 1:
            raise InputError(
                f"{method} returned an array of shape {jnp.shape(outputs)}: it must "
                f"return {axes} for one clip, without a batch axis"
            )
        return jnp.asarray(outputs)


def from_functions(
    features: PureFunction, classify: PureFunction, variables: Variables = ()
) -> tuple[FunctionModel, Variables]:
    """Make a model of two pure functions, which every method of rgcam takes.

    Args:
        features: (variables, frames (T, S, S, 3)) -> feature map A (T, h, w, K).
        classify: (variables, A) -> pre-softmax scores (T_out, C), in evaluation mode.
        variables: pytree of arrays that both take; () if they take none. Weights
            should be passed here rather than closed over, or XLA compiles them in as
            constants.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``. The
        module is compiled once for each pair of function objects: define them once.
    """
    return FunctionModel(features, classify), variables


def check_method(model: object, method: Method) -> None:
    """Check that a model has a method, if it is given by its name.

    Raises:
        InputError: the model does not have it.
    """
    if isinstance(method, str) and not callable(getattr(model, method, None)):
        raise InputError(
            f"{type(model).__name__} has no method {method!r}: define it, or pass "
            "the name of another method or a function of (model, array)"
        )
