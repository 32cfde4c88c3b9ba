"""Methods x measures on clips: how explanation methods compare, as tables.

=============  ==========================================================================
module         holds
=============  ==========================================================================
``clips``      the clips to measure on, with their ground truth
``controls``   corrupted explanations, and references that a method must beat
``measure``    one clip, all methods: every measure of ``rgcam.metrics``
``tables``     many clips: means and paired margins with intervals over groups
``detection``  how well the faithfulness check tells genuine from corrupted explanations
=============  ==========================================================================

The command is ``python -m rgcam evaluate``. Modules are imported when first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgcam.evaluation import clips, controls, detection, measure, tables

__all__ = ["clips", "controls", "detection", "measure", "tables"]


def __getattr__(name: str) -> ModuleType:
    """Import a module of this room when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
