"""Two pure functions as a cut model, whichever framework they come from."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.interop.layouts import PLAIN, Layout
from rgcam.models.cut import as_scores, check_maps
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
        features: (variables, frames (T, S, S, 3)) -> feature map A (T_in, h, w, K).
        classify: (variables, A) -> pre-softmax scores (T_out, C), or (C,) or (1, C) of
            the whole clip.
        layout: the axes of these arrays, where they are others.
    """

    features: PureFunction
    classify: PureFunction
    layout: Layout = PLAIN

    def apply(
        self, variables: Variables, inputs: Float[Tensor, "T ..."], *, method: str
    ) -> Float[Array, "..."]:
        """Call one of the two functions, as ``module.apply`` of Flax Linen does.

        Args:
            variables: the model's variables.
            inputs: frames (T, S, S, 3) or A (T_in, h, w, K).
            method: ``features`` or ``classify``.

        Raises:
            InputError: another method, or a result with other axes.
        """
        if method == "features":
            outputs = self.features(variables, self.layout.frames_in(inputs))
            maps = self.layout.features_out(outputs)
            check_maps(maps, "features", inputs.shape)
            return maps
        if method == "classify":
            scores = self.classify(variables, self.layout.features_in(inputs))
            return as_scores(self.layout.scores_out(scores), "classify", inputs.shape)
        raise InputError(
            f"a model of two functions has no method {method!r}: long videos and "
            "streams need a causal model, see rgcam.models.cut.CausalModel"
        )


def from_functions(
    features: PureFunction,
    classify: PureFunction,
    variables: Variables = (),
    *,
    layout: Layout = PLAIN,
) -> tuple[FunctionModel, Variables]:
    """Make a model of two pure functions, which every method of rgcam takes.

    Args:
        features: (variables, frames (T, S, S, 3)) -> feature map A (T_in, h, w, K), with
            as many steps as frames, or fewer of a model that strides over time.
        classify: (variables, A) -> pre-softmax scores, in evaluation mode: (T_out, C), or
            (C,) or (1, C) of the whole clip.
        variables: pytree of arrays that both take; () if they take none. Weights
            should be passed here rather than closed over, or XLA compiles them in as
            constants.
        layout: the axes of these arrays, where they are others: tokens, channels first,
            a batch axis of 1.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``. The
        module is compiled once for each pair of function objects: define them once.
    """
    return FunctionModel(features, classify, layout), variables


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
