"""Measures of explanations: do they follow the model, and do they lie on the truth? Pure.

=================  ====================================================================
module             holds
=================  ====================================================================
``faithfulness``   the check of one clip's maps: score, threshold, verdict; agreement of
                   importances with the effects of removing frames, correlations
``deletion``       deletion and insertion curves of frames and cells
``localization``   pointing game, energy, IoU, average precision against known masks
``randomization``  sanity checks: randomised models, similarity of explanations
``statistics``     accuracy, confusion, intervals over groups
``verify``         beta against its definition, by loops and finite differences
``interpret``      traced programs in other numerics: float64, or a device's rounding
=================  ====================================================================

Modules are imported when they are first used: ``rgcam.metrics.faithfulness``.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgcam.metrics import (
        deletion,
        faithfulness,
        interpret,
        localization,
        randomization,
        statistics,
        verify,
    )

__all__ = [
    "deletion",
    "faithfulness",
    "interpret",
    "localization",
    "randomization",
    "statistics",
    "verify",
]


def __getattr__(name: str) -> ModuleType:
    """Import a module of this room when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
