"""Linen's layers, traced in a fraction of the time where their parameters are given.

Wherever a parameter is read, Flax traces its initialiser, to compare shapes. Of tracing
``ucf101-lrcn`` that was more than half of the time (0.90 s of CPU time for the backbone,
0.11 s above it; 0.35 and 0.02 s without), at every start of a program. Here the
shape that the initialiser would be asked for is compared by itself.

The layers are named as Linen's, which are parts of the names of parameters.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, no_type_check

import flax.errors
import flax.linen as nn
from jaxtyping import Array

from rgcam.types import Tensor

# A plain class: Linen would wrap the methods of a Module.
Base = nn.Module if TYPE_CHECKING else object


class GivenParameters(Base):
    """Mixed into a Linen module: reads a parameter that is given, by its shape alone."""

    # Of Linen's overloads, which allow any arguments, only what its layers use.
    def param(  # pyrefly: ignore[bad-override]
        self,
        name: str,
        init_fn: Callable[..., Array],
        shape: tuple[int, ...],
        *arguments: object,
    ) -> Tensor:
        """Return the parameter that was given, or a new one.

        Args:
            name: of the parameter.
            init_fn: (key, shape, *arguments) -> a new one.
            shape: of the parameter.
            arguments: of ``init_fn``, such as the dtype.

        Raises:
            flax.errors.ScopeParamShapeError: the given one has another shape.
        """
        if not self.has_variable("params", name):
            return super().param(name, init_fn, shape, *arguments)
        parameter = nn.unbox(self.get_variable("params", name))
        if parameter.shape != tuple(shape):
            path = "/".join(self.path)
            raise flax.errors.ScopeParamShapeError(name, path, parameter.shape, shape)
        return parameter


# The types of some of Linen's fields cannot be checked at run time, as tests do.
@no_type_check
class Dense(GivenParameters, nn.Dense):
    """``nn.Dense``."""


@no_type_check
class Conv(GivenParameters, nn.Conv):
    """``nn.Conv``."""


@no_type_check
class Embed(GivenParameters, nn.Embed):
    """``nn.Embed``."""
