"""How far can this picture be trusted? Every explanation, held against interventions.

Random sets of frames, and of quarters of frames, are replaced by the method's own
baseline; what the explanation says that they are worth is correlated with what the
scores lose. How much was replaced is taken out of both first: it says what a picture
that is the same everywhere would, and so do broken pictures whose values are all
positive. That takes passes above the feature map only.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float, Int

from rgcam.attribution import methods, perturbation
from rgcam.metrics import faithfulness
from rgcam.types import Tensor

SETS = 64  # random sets of frames, and as many of quarters of frames
REMOVED = 0.4  # share of the frames in a set
ORDERS = 4  # random orders beside the explanation's
SIDE = 2  # parts of a frame, a side
# By docs/which-method.md: of the pictures of three models with an fc head by fade,
# path, occlusion or shapley all are above THRESHOLD, of broken ones 0.3 %.
THRESHOLD = 0.65


class FaithfulnessCheck(NamedTuple):
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
    def passed(self) -> bool:
        """Tell whether the score reaches the threshold of genuine explanations."""
        return bool(self.score >= THRESHOLD)

    @property
    def verdict(self) -> str:
        """Say what the check found: "PASSED (0.92, threshold 0.65)"."""
        score = f"{self.score:.2f}" if math.isfinite(self.score) else "no effect"
        result = "PASSED" if self.passed else "FAILED"
        return f"{result} ({score}, threshold {THRESHOLD:g})"


class Interventions(NamedTuple):
    """What a class's scores lose when parts of a clip are replaced by a baseline.

    Computed once; any maps of the same clip and class can be judged by them.

    Attributes:
        baseline: its name.
        frames: sets of frames, 1 where one is replaced.
        cells: sets of quarters of frames, likewise.
        lost: what each set of frames takes from the score of every output step.
        lost_cells: what each set of quarters takes.
        deleted: scores, up to a constant, when the frames are replaced one by one in
            the orders given to ``intervene``, and then in ORDERS random ones.
    """

    baseline: str
    frames: Float[np.ndarray, "N T"]
    cells: Float[np.ndarray, "N T h w"]
    lost: Float[np.ndarray, "N out"]
    lost_cells: Float[np.ndarray, "N out"]
    deleted: Float[np.ndarray, "orders T+1 out"]


def check_faithfulness(
    module: nn.Module,
    variables: Any,
    features: Float[Tensor, "T h w K"],
    maps: Float[Tensor, "T T h w"],
    target: int,
    *,
    method: str = "gradcam",
    baseline: str | None = None,
    steps: Sequence[int] | None = None,
    seed: int = 0,
) -> FaithfulnessCheck:
    """Hold an explanation against interventions of its own baseline.

    Args:
        module: that was explained.
        variables: its variables.
        features: A of the clip.
        maps: of all output steps, as they are shown: rectified or not.
        target: class.
        method: that made them.
        baseline: of the method; None: its own.
        steps: output steps to judge; None: the later half, which sees more frames.
        seed: of the random sets.
    """
    maps = np.asarray(maps)
    last = -1 if steps is None else steps[-1]
    interventions = intervene(
        module,
        variables,
        features,
        target,
        baseline=methods.baseline_of(method, baseline),
        orders=[maps[last].sum((1, 2))],
        seed=seed,
    )
    return judge(interventions, maps, method=method, steps=steps, order=0)


def intervene(
    module: nn.Module,
    variables: Any,
    features: Float[Tensor, "T h w K"],
    target: int,
    *,
    baseline: str,
    orders: Sequence[Float[np.ndarray, " T"]] = (),
    seed: int = 0,
) -> Interventions:
    """Replace random parts of a clip, and frames in the order of their importance.

    Args:
        module: that was explained.
        variables: its variables.
        features: A of the clip.
        target: class.
        baseline: what replaces them, by name.
        orders: importance of the frames, for each row whose deletion is judged.
        seed: of the random sets.
    """
    rng = np.random.default_rng(seed)
    length = len(features)
    frames, cells = random_sets(rng, features.shape[:3])
    rows = [*orders, *(rng.random(length) for _ in range(ORDERS))]
    deletions = [1 - faithfulness.order(row) for row in rows]
    removed = np.concatenate([frames, *deletions])
    lost, lost_cells = _lost(
        module, variables, features, target, removed, cells, baseline
    )
    lost = np.asarray(lost)
    return Interventions(
        baseline=baseline,
        frames=frames,
        cells=cells,
        lost=lost[:SETS],
        lost_cells=np.asarray(lost_cells),
        deleted=-lost[SETS:].reshape(len(rows), length + 1, -1),
    )


def judge(
    interventions: Interventions,
    maps: Float[np.ndarray, "T T h w"],
    *,
    method: str,
    steps: Sequence[int] | None = None,
    order: int | None = None,
) -> FaithfulnessCheck:
    """Compare what maps say of parts of a clip with what the scores lose without them.

    Args:
        interventions: of the same clip and class.
        maps: of all output steps, as they are shown: rectified or not.
        method: that made them.
        steps: output steps to judge; None: the later half, which sees more frames.
        order: which of the ``orders`` is the last judged row's; None: deletion is not
            judged and NaN.
    """
    out = len(maps)
    judged = np.arange(out // 2, out) if steps is None else np.asarray(steps)
    time, space = _fidelity(interventions, maps, judged)
    curves = interventions.deleted[:, :, judged[-1]]
    deletion = math.nan
    if order is not None:
        deletion = faithfulness.below_random(curves[order], curves[-ORDERS:])
    completeness = None
    if method == "path":
        rows = np.arange(out) if steps is None else judged
        # The last point of any order: all frames are replaced.
        change = -interventions.deleted[0, -1, rows]
        matrix = maps[rows].sum((2, 3))
        completeness = faithfulness.completeness_error(matrix, change)
    return FaithfulnessCheck(
        method=method,
        baseline=interventions.baseline,
        time=_mean(time),
        space=_mean(space),
        deletion=deletion,
        completeness=completeness,
    )


def judge_each(
    interventions: Interventions, maps: Float[np.ndarray, "T T h w"], *, method: str
) -> list[FaithfulnessCheck]:
    """Judge every output step by itself, in time and space alone: see ``judge``."""
    time, space = _fidelity(interventions, maps, np.arange(len(maps)))
    return [
        FaithfulnessCheck(
            method=method,
            baseline=interventions.baseline,
            time=float(time_of_step),
            space=float(space_of_step),
            deletion=math.nan,
            completeness=None,
        )
        for time_of_step, space_of_step in zip(time, space, strict=True)
    ]


def _fidelity(
    interventions: Interventions,
    maps: Float[np.ndarray, "T T h w"],
    steps: Int[np.ndarray, " steps"],
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Return the fidelity of each step to sets of frames, and of quarters of frames.

    Partial correlation over the sets of what the maps say and what the score loses,
    given how much of the frames that the step has seen was replaced.
    """
    maps = maps[steps]
    matrix = maps.sum((2, 3))
    frames, cells = interventions.frames, interventions.cells
    seen = (np.arange(matrix.shape[1]) <= steps[:, None]).astype(np.float32)
    time = faithfulness.beyond(
        frames @ matrix.T, interventions.lost[:, steps], frames @ seen.T
    )
    space = faithfulness.beyond(
        cells.reshape(len(cells), -1) @ maps.reshape(len(maps), -1).T,
        interventions.lost_cells[:, steps],
        cells.sum((2, 3)) @ seen.T,
    )
    return time, space


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


@functools.partial(jax.jit, static_argnames=("module", "baseline"))
def _lost(module, variables, features, target, removed, cells, baseline):
    """Return what removals take from the target's score, (N T) each."""
    instead = perturbation.replacement(features, baseline)
    upper = perturbation.upper(module, variables, features, instead, target)
    whole = upper.outputs(upper.inputs)
    frames = whole - perturbation.kept(upper, 1 - removed)
    return frames, whole - perturbation.cells_kept(upper, 1 - cells)


def _mean(fidelity: Float[np.ndarray, " steps"]) -> float:
    """Return the mean over the steps that lose anything; NaN if none does."""
    return float(np.nanmean(fidelity)) if np.isfinite(fidelity).any() else math.nan
