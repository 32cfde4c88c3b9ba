"""Models of Haiku."""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from jaxtyping import Array, PyTree

from rgcam.errors import InputError
from rgcam.interop.functions import FunctionModel
from rgcam.interop.layouts import PLAIN, Layout
from rgcam.types import Tensor, Variables

if TYPE_CHECKING:
    import haiku as hk


@dataclasses.dataclass(frozen=True)
class AppliedFunction:
    """An apply function of Haiku as a pure function of variables and one array.

    Attributes:
        apply: (params, [state,] [rng,] array) -> array or (array, state).
        stateful: whether it takes and returns a state.
        takes_rng: whether it takes a random key; it gets None, as in evaluation.
    """

    apply: Callable[..., PyTree]
    stateful: bool
    takes_rng: bool

    def __call__(self, variables: Variables, inputs: Tensor) -> Array:
        """Apply the function; a new state is discarded."""
        arguments = [variables["params"]]
        if self.stateful:
            arguments.append(variables["state"])
        if self.takes_rng:
            arguments.append(None)
        outputs = self.apply(*arguments, inputs)
        return outputs[0] if self.stateful else outputs


def from_haiku(
    transformed: "hk.MultiTransformed | hk.MultiTransformedWithState",
    params: PyTree,
    state: PyTree = None,
    *,
    features: int | str = 0,
    classify: int | str = 1,
    layout: Layout = PLAIN,
) -> tuple[FunctionModel, Variables]:
    """Make functions of Haiku a model that every method of rgcam takes.

    ``hk.multi_transform`` gives several functions the same parameters: with

        def network():
            ...
            return initialise, (features, classify)

    ``transformed.apply`` is the pair of transformed functions, the default below.

    Args:
        transformed: from ``hk.multi_transform`` or ``hk.multi_transform_with_state``,
            with or without ``hk.without_apply_rng``.
        params: its parameters.
        state: its state, with ``hk.multi_transform_with_state`` only.
        features: index or key in ``transformed.apply`` of the function frames
            (T, S, S, 3) -> feature map A (T, h, w, K).
        classify: index or key of the function A -> pre-softmax scores (T_out, C), in
            evaluation mode (``is_training=False``, no dropout).
        layout: the axes of these arrays, where they are others.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``;
        ``variables`` is a mapping of params and, if there is one, state.

    Raises:
        InputError: Haiku is not installed, ``transformed`` is not one of these or does
            not have these functions, or a state is missing or superfluous.
    """
    haiku = _import_haiku()
    stateful = isinstance(transformed, haiku.MultiTransformedWithState)
    if not stateful and not isinstance(transformed, haiku.MultiTransformed):
        raise InputError(
            f"from_haiku takes the result of hk.multi_transform, not "
            f"{type(transformed).__name__}: transform features and classify together"
        )
    if stateful != (state is not None):
        verb = "needs" if stateful else "has no"
        raise InputError(f"this Haiku model {verb} state: check the argument state")
    functions = [
        _function(transformed.apply, key, stateful) for key in (features, classify)
    ]
    variables = {"params": params} | ({"state": state} if stateful else {})
    return FunctionModel(*functions, layout=layout), variables


def _function(apply: PyTree, key: int | str, stateful: bool) -> AppliedFunction:
    """Return one of the transformed functions: a field, or an entry of a container."""
    try:
        is_field = isinstance(key, str) and hasattr(apply, key)
        function = getattr(apply, str(key)) if is_field else apply[key]
    except (LookupError, TypeError) as error:
        raise InputError(
            f"transformed.apply has no function {key!r}: return the pair (features, "
            "classify) from the transformed function, or pass their keys"
        ) from error
    takes_rng = "rng" in inspect.signature(function).parameters
    return AppliedFunction(function, stateful, takes_rng)


def _import_haiku() -> ModuleType:
    try:
        return importlib.import_module("haiku")
    except ImportError as error:
        raise InputError("from_haiku needs Haiku: pip install dm-haiku") from error
