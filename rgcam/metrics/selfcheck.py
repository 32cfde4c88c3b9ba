"""How far can this picture be trusted? Every explanation, held against interventions.

Random sets of frames, and of quarters of frames, are replaced by the method's own
baseline; what the explanation says that they are worth is correlated with what the
scores lose. How much was replaced is taken out of both first: it says what a picture
that is the same everywhere would, and so do broken pictures whose values are all
positive. That takes passes above the feature map only.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from rgcam.attribution import methods, perturbation
from rgcam.metrics import faithfulness
from rgcam.types import Tensor

SETS = 64  # random sets of frames, and as many of quarters of frames
REMOVED = 0.4  # share of the frames in a set
ORDERS = 4  # random orders beside the explanation's
SIDE = 2  # parts of a frame, a side
# By docs/which-method.md: of the pictures of three models with an fc head by fade,
# path, occlusion or shapley all are above TRUSTED, of broken ones 0.3 %.
TRUSTED, CLOSE = 0.65, 0.85


class Check(NamedTuple):
    """What an explanation's agreement with its model is.

    Attributes:
        method: that made it.
        baseline: that it and the interventions replace frames by.
        time: mean fidelity of the matrix to sets of frames, over the later half of the
            steps: partial correlation, given how many of the frames seen went.
        space: the same of the maps, for sets of quarters of frames.
        deletion: how far the last step's score falls below random orders' when frames
            are removed by importance, in units of the whole drop; above 0 is better.
        completeness: largest error of a row's sum, of the largest change; of ``path``.
    """

    method: str
    baseline: str
    time: float
    space: float
    deletion: float
    completeness: float | None

    @property
    def score(self) -> float:
        """Return the mean of both fidelities."""
        return (self.time + self.space) / 2

    @property
    def trusted(self) -> bool:
        """Tell whether the score is as those of right explanations are."""
        return bool(self.score >= TRUSTED)


def check(
    module: nn.Module,
    variables: Any,
    features: Float[Tensor, "T h w K"],
    maps: Float[Tensor, "T T h w"],
    target: int,
    *,
    method: str = "gradcam",
    baseline: str | None = None,
    seed: int = 0,
) -> Check:
    """Hold an explanation against interventions of its own baseline.

    Args:
        module: that was explained.
        variables: its variables.
        features: A of the clip.
        maps: of all output steps, as they are shown: rectified or not.
        target: class.
        method: that made them.
        baseline: of the method; None: its own.
        seed: of the random sets.
    """
    name = methods.baseline_of(method, baseline)
    maps, rng = np.asarray(maps), np.random.default_rng(seed)
    matrix = maps.sum((2, 3))
    frames, cells = random_sets(rng, maps.shape[1:])
    lines = [matrix[-1], *(rng.random(len(maps)) for _ in range(ORDERS))]
    deleted = [1 - faithfulness.order(line) for line in lines]
    removed = np.concatenate([frames, *deleted])
    found = _lost(module, variables, features, target, removed, cells, name)
    lost, lost_cells = np.asarray(found[0]), np.asarray(found[1])
    told, told_cells = frames @ matrix.T, np.einsum("nthw,othw->no", cells, maps)
    seen = np.tril(np.ones_like(matrix))
    gone, gone_cells = frames @ seen.T, cells.sum((2, 3)) @ seen.T
    curves = -lost[SETS:, -1].reshape(len(lines), -1)
    whole = lost[SETS + len(maps)]  # all frames replaced
    complete = faithfulness.completeness_error(matrix, whole)
    return Check(
        method,
        name,
        time=_late(faithfulness.beyond(told, lost[:SETS], gone)),
        space=_late(faithfulness.beyond(told_cells, lost_cells, gone_cells)),
        deletion=faithfulness.below_random(curves[0], curves[1:]),
        completeness=complete if method == "path" else None,
    )


def random_sets(
    rng: np.random.Generator, grid: tuple[int, ...]
) -> tuple[Float[np.ndarray, "N T"], Float[np.ndarray, "N T h w"]]:
    """Draw SETS sets of frames and of quarters of frames, 1 where one is removed."""
    steps, height, width = grid
    frames = rng.random((SETS, steps)) < REMOVED
    parts = rng.random((SETS, steps, SIDE, SIDE)) < REMOVED
    rows, columns = (np.arange(n) * SIDE // n for n in (height, width))
    cells = parts[:, :, rows[:, None], columns]
    return frames.astype(np.float32), cells.astype(np.float32)


def title(check: Check | None) -> str:
    """Name the method for a picture; without a check it is the default."""
    return methods.TITLES[check.method if check else "gradcam"]


def verdict(check: Check | None) -> str:
    """Say in one sentence what the check found; "" without one."""
    if check is None:
        return ""
    score = f"({check.score:.2f})" if math.isfinite(check.score) else "(no effect)"
    if check.trusted:
        closely = " closely" if check.score >= CLOSE else ""
        return f"the picture follows the model{closely} {score}"
    other = "fade" if check.method != "fade" else "path"
    return (
        f"the picture does not follow what the model uses {score}: try --method={other}"
    )


def summary(check: Check | None) -> dict[str, Any]:
    """Return what summary.json says of it."""
    if check is None:
        return {"verdict": "", "trusted": None}
    plain = lambda x: x if not isinstance(x, float) or math.isfinite(x) else None
    numbers = {name: plain(value) for name, value in check._asdict().items()}
    score = plain(check.score)
    said = {"verdict": verdict(check), "trusted": check.trusted, "score": score}
    return said | numbers


@functools.partial(jax.jit, static_argnames=("module", "baseline"))
def _lost(module, variables, features, target, removed, cells, baseline):
    """Return what removals take from the target's score, (N T) each."""
    instead = perturbation.replacement(features, baseline)
    upper = perturbation.upper(module, variables, features, instead, target)
    whole = upper.outputs(upper.inputs)
    frames = whole - perturbation.kept(upper, 1 - removed)
    return frames, whole - perturbation.cells_kept(upper, 1 - cells)


def _late(fidelity: np.ndarray) -> float:
    """Return the mean over the later half of the steps, which see more frames."""
    late = fidelity[len(fidelity) // 2 :]
    return float(np.nanmean(late)) if np.isfinite(late).any() else math.nan
