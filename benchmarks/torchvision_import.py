"""torchvision beside whichever build of PyTorch is installed."""

import functools
import importlib
from types import ModuleType

OPERATORS = "nms(Tensor a, Tensor b, float c)", "qnms(Tensor a)"


def import_torchvision() -> ModuleType:
    """Import torchvision, whose compiled part may not fit the installed PyTorch.

    Where it was built for another PyTorch, torchvision's own operators are missing and
    its import fails, although its models need none of them: declared here, they let it be
    imported. Where its compiled part loads, nothing is declared, since a second
    declaration would end the process.

    Raises:
        ImportError: PyTorch or torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        _declare_operators()
        return importlib.import_module("torchvision")


@functools.cache  # which keeps the library: its operators would disappear with it
def _declare_operators():
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        library.define(f"{operator} -> Tensor")
    return library
