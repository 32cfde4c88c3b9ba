"""Faithfulness: do maps agree with what the scores lose when parts are replaced?

The check of one clip's maps (``check_faithfulness``): random sets of frames, and of
quarters of frames, are replaced by the method's own baseline. What the maps say that a set
contributes is correlated with what the score loses without it (faithfulness correlation:
Bhatt et al., arXiv:2005.00631). How much was replaced is taken out of both first, by
partial correlation: the more is replaced, the more is usually lost, so that any positive
constant map, and a corrupted one whose values are all positive, would correlate too.

Only passes above the feature map are needed (``perturbation.removal_losses``). Which frames
an output step can see is known of a ``CausalModel``; of any other model the derivatives of
its scores tell whether an output step depends on later frames.

Below the check are the measures, of NumPy arrays alone: ``subset_fidelity`` and others of
importances and losses, masks and areas of deletion, and correlations. Measure a method with
its own baseline: every map answers a question that contains one.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rgcam.attribution import explain, gradcam, padding, perturbation, targets
from rgcam.attribution.explain import Method
from rgcam.attribution.maps import is_causal
from rgcam.attribution.perturbation import Baseline, baseline_name
from rgcam.attribution.targets import StepClasses
from rgcam.models.cut import CausalModel, CutModel, classify
from rgcam.types import Tensor, Variables

# Random sets of frames, and as many of quarters of frames. Over seeds, the score of one
# output step has a standard deviation of at most 0.06 (root mean square over clips; fade
# and Grad-CAM, signed and rectified, both bundled LRCNs), 0.11 for the worst clip; with 64
# sets 0.08 and 0.14, with 256 sets 0.04 and 0.06.
SETS = 128
REMOVED = 0.4  # share of the frames in a set
ORDERS = 4  # random orders that deletion by importance is compared with
SIDE = 2  # parts of a frame along each side: quarters
# The lowest at which at most 2 % of corrupted explanations pass, on half of the recordings
# of docs/which-method.md (both heads, drawn and real clips; the last output step). On the
# other half 96.2 % of genuine ones by fade, path, occlusion and shapley pass (91.1 to 98.9)
# and 2.3 % of corrupted ones (0.4 to 7.1); area under the ROC curve 0.997.
THRESHOLD = 0.65
RECENCY_FRAMES = 4.0  # in which the weight of recency falls to 1 / e
RESIDUE = 1e-10  # of a variable's variance: what is left below this is rounding

Numbers = Float[np.ndarray, "..."]


class FaithfulnessCheck(NamedTuple):
    """How well some maps agree with interventions in the model.

    Attributes:
        method: that made the maps.
        baseline: name of what the method and the interventions replace frames by.
        time: fidelity of the matrix to sets of frames, mean over the judged output
            steps: partial correlation, given how many visible frames were replaced.
        space: likewise of the maps, to sets of quarters of frames.
        deletion: how far the area under the score of the last judged step, as frames
            are removed by importance, is below that of random orders, in units of the
            whole drop; above 0 is better than chance. NaN where it was not measured.
        completeness: largest error of a row's sum, relative to the largest change; of
            ``path``, whose rows should sum to the change, else None; None without
            deletions, too.
    """

    method: str
    baseline: str
    time: float
    space: float
    deletion: float
    completeness: float | None

    @property
    def score(self) -> float:
        """Return the mean of both fidelities; NaN where one is not defined."""
        return (self.time + self.space) / 2

    @property
    def threshold(self) -> float:
        """Return the score from which the check passes."""
        return THRESHOLD

    @property
    def passed(self) -> bool:
        """Tell whether the score reaches the threshold."""
        return self.score >= self.threshold

    @property
    def verdict(self) -> str:
        """Say what the check found: "PASSED (0.92, threshold 0.65)"."""
        score = f"{self.score:.2f}" if math.isfinite(self.score) else "no effect"
        result = "PASSED" if self.passed else "FAILED"
        return f"{result} ({score}, threshold {self.threshold:g})"


class Interventions(NamedTuple):
    """What a class's scores lose when parts of a clip are replaced by a baseline.

    Computed once; any maps of the same clip, class and baseline can be judged by it.

    Attributes:
        baseline: its name.
        visible: 1 where an output step can see a frame: t <= t' of a causal model.
        frames: random sets of frames, 1 where one is replaced.
        cells: random sets of quarters of frames, likewise.
        frame_losses: what each set of frames takes from the score of every output step.
        cell_losses: what each set of quarters takes.
        deleted: frames replaced one after the other, in each of the orders given to
            ``intervene`` and then in ORDERS random ones; 1 where one is replaced.
        deletion_losses: what that takes.
    """

    baseline: str
    visible: Float[np.ndarray, "out T"]
    frames: Float[np.ndarray, "N T"]
    cells: Float[np.ndarray, "N T h w"]
    frame_losses: Float[np.ndarray, "N out"]
    cell_losses: Float[np.ndarray, "N out"]
    deleted: Float[np.ndarray, "orders T+1 T"]
    deletion_losses: Float[np.ndarray, "orders T+1 out"]


def check_faithfulness(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    maps: Float[Tensor, "out T h w"],
    target: int | StepClasses,
    *,
    method: Method = "gradcam",
    baseline: Baseline | None = None,
    steps: Sequence[int] | None = None,
    seed: int = 0,
) -> FaithfulnessCheck:
    """Check maps of one class by interventions with the method's own baseline.

    The verdict is about exactly these maps: signed ones and their positive part, other
    output steps, and another class have verdicts of their own.

    Args:
        module: the explained model.
        variables: its variables.
        features: A of the clip.
        maps: of all output steps, as they are shown: signed or rectified.
        target: index of the explained class, or one for each output step.
        method: that made the maps, by its name or as a function.
        baseline: of the method; None: its default.
        steps: output steps to judge; None: the later half, which sees more frames, or the
            only one of a score of the whole clip.
        seed: of the random sets.
    """
    maps = np.asarray(maps)
    if isinstance(target, StepClasses):
        scores = jax.eval_shape(
            functools.partial(classify, module), variables, jnp.asarray(features)
        )
        targets.check_step_classes(target, scores.shape)
    last = -1 if steps is None else steps[-1]
    interventions = intervene(
        module,
        variables,
        features,
        target,
        baseline=explain.default_baseline(method, baseline),
        orders=[maps[last].sum((1, 2))],
        seed=seed,
    )
    name = explain.method_name(method)
    return judge(interventions, maps, method=name, steps=steps, order=0)


def intervene(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "padded h w K"],
    target: int | StepClasses,
    *,
    baseline: Baseline,
    orders: Sequence[Float[np.ndarray, " T"]] = (),
    seed: int = 0,
    length: int | None = None,
    deletions: bool = True,
) -> Interventions:
    """Replace random parts of a clip, and frames in the order of their importance.

    Args:
        module: the explained model.
        variables: its variables.
        features: A of the clip.
        target: index of the explained class, or one for each output step.
        baseline: what replaces them: a name, feature maps, or a function of A.
        orders: importance of the frames, for each row whose deletion is judged.
        seed: of the random sets.
        length: T, where a causal model's features are padded beyond it; None: they are
            not.
        deletions: replace frames in the order of their importance, too.
    """
    rng = np.random.default_rng(seed)
    steps = len(features) if length is None else length
    frames, cells = random_sets(rng, (steps, *features.shape[1:3]))
    importances = [*orders, *(rng.random(steps) for _ in range(ORDERS))]
    deleted = np.zeros((0, steps + 1, steps), np.float32)
    if deletions:
        masks = [deletion_masks(i, steps) for i in importances]
        deleted = 1 - np.stack(masks)
    # Nothing is removed of the padding, to whose length the sets of deletions are
    # padded, too: one program serves all clips of one padded length.
    added = len(features) - steps
    wide = np.pad(deleted, [(0, 0), (0, added), (0, added)])
    static, maps = explain.static_baseline(baseline)
    index = target.classes if isinstance(target, StepClasses) else target
    # One compiled call for all: the deletions are sets of frames, too.
    frame_losses, cell_losses = perturbation.removal_losses(
        module,
        variables,
        features,
        padding.pad_index(np.asarray(index), module, len(features)),
        np.concatenate([np.pad(frames, [(0, 0), (0, added)]), *wide]),
        np.pad(cells, [(0, 0), (0, added), (0, 0), (0, 0)]),
        length,
        None if maps is None else padding.pad_baseline(maps, len(features)),
        baseline=static,
    )
    # Output steps of padding mean nothing; a model without padding may have any number.
    outputs = slice(None) if length is None else slice(length)
    frame_losses = np.asarray(frame_losses)[:, outputs]
    out = frame_losses.shape[1]
    wide_losses = frame_losses[len(frames) :].reshape(*wide.shape[:2], out)
    return Interventions(
        baseline=baseline_name(baseline),
        visible=visible_frames(module, variables, features, length),
        frames=frames,
        cells=cells,
        frame_losses=frame_losses[: len(frames)],
        cell_losses=np.asarray(cell_losses)[:, outputs],
        deleted=deleted,
        deletion_losses=wide_losses[:, : steps + 1],
    )


def judge(
    interventions: Interventions,
    maps: Float[np.ndarray, "out T h w"],
    *,
    method: str,
    steps: Sequence[int] | None = None,
    order: int | None = None,
) -> FaithfulnessCheck:
    """Compare what maps say of parts of a clip with what the scores lose without them.

    Args:
        interventions: of the same clip and class, by the baseline of the maps.
        maps: of all output steps, as they are shown: signed or rectified.
        method: that made the maps.
        steps: output steps to judge; None: the later half, which sees more frames.
        order: which of the ``orders`` is that of the last judged step; None: deletion
            is not judged.
    """
    out = len(maps)
    judged = np.arange(out // 2, out) if steps is None else np.asarray(steps)
    time, space = _fidelity(interventions, maps, judged)
    completeness = None
    if method == "path" and len(interventions.deletion_losses):
        rows = np.arange(out) if steps is None else judged
        # The last point of any deletion: all frames are replaced.
        change = interventions.deletion_losses[0, -1, rows]
        matrix = maps[rows].sum((2, 3))
        completeness = completeness_error(matrix, change)
    return FaithfulnessCheck(
        method=method,
        baseline=interventions.baseline,
        time=_mean(time),
        space=_mean(space),
        deletion=math.nan
        if order is None
        else _deletion(interventions, order, int(judged[-1])),
        completeness=completeness,
    )


def judge_each(
    interventions: Interventions, maps: Float[np.ndarray, "out T h w"], *, method: str
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


def visible_frames(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "padded h w K"],
    length: int | None = None,
) -> Float[np.ndarray, "out T"]:
    """Return 1 where an output step can see a frame: t <= t' of a causal model, or all.

    A model that does not say so (``CausalModel``) is causal if it has as many output
    steps as frames and no score has a derivative with respect to a later frame.

    Args:
        module: the explained model.
        variables: its variables.
        features: A of one clip.
        length: T, where a causal model's features are padded beyond it.
    """
    if isinstance(module, CausalModel):
        steps = len(features) if length is None else length
        return np.tril(np.ones((steps, steps), np.float32))
    depends = np.asarray(_dependence(module, variables, features), np.float32)
    visible = np.ones_like(depends)
    return np.tril(visible) if is_causal(depends) else visible


@functools.partial(jax.jit, static_argnames="module")
def _dependence(
    module: CutModel, variables: Variables, features: Float[Tensor, "T h w K"]
) -> Bool[Array, "out T"]:
    """Tell which output steps have a derivative with respect to which frames."""
    scores_of = functools.partial(classify, module, variables)
    beta = gradcam.importance_weights(scores_of, jnp.asarray(features), _mixture)
    return (beta != 0).any(-1)


def _mixture(scores: Float[Array, "out C"]) -> Float[Array, " out"]:
    """Weigh all scores, so that none that depends on a frame is overlooked."""
    return scores @ jnp.cos(1 + jnp.arange(scores.shape[1], dtype=scores.dtype))


def random_sets(
    rng: np.random.Generator, grid: tuple[int, ...]
) -> tuple[Float[np.ndarray, "N T"], Float[np.ndarray, "N T h w"]]:
    """Draw SETS sets of frames and of quarters of frames, 1 where one is replaced."""
    steps, height, width = grid
    frames = rng.random((SETS, steps)) < REMOVED
    parts = rng.random((SETS, steps, SIDE, SIDE)) < REMOVED
    # Every cell belongs to the part in which it lies.
    rows, columns = (np.arange(n) * SIDE // n for n in (height, width))
    cells = parts[:, :, rows[:, None], columns]
    return frames.astype(np.float32), cells.astype(np.float32)


def _fidelity(
    interventions: Interventions,
    maps: Float[np.ndarray, "out T h w"],
    steps: Int[np.ndarray, " steps"],
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Return the fidelity of each step to sets of frames, and of quarters of frames."""
    maps = maps[steps]
    matrix = maps.sum((2, 3))
    frames, cells = interventions.frames, interventions.cells
    # The covariate: how many frames, or cells, that the step can see were replaced.
    visible = interventions.visible[steps]
    time = partial_correlation(
        frames @ matrix.T, interventions.frame_losses[:, steps], frames @ visible.T
    )
    space = partial_correlation(
        cells.reshape(len(cells), -1) @ maps.reshape(len(maps), -1).T,
        interventions.cell_losses[:, steps],
        cells.sum((2, 3)) @ visible.T,
    )
    return time, space


def _deletion(interventions: Interventions, order: int, step: int) -> float:
    """Compare deletion by importance with random orders, at one output step.

    Only the frames that the step can see are followed. Removing a later one changes
    nothing, and orders differ in when they do it.
    """
    curves = []
    for index in (order, *range(-ORDERS, 0)):
        deleted = interventions.deleted[index]
        removed_frame = np.diff(deleted, axis=0).argmax(1)
        is_visible = interventions.visible[step, removed_frame] > 0
        points = np.append(0, np.flatnonzero(is_visible) + 1)
        losses = interventions.deletion_losses[index][points, step]
        curves.append(-losses)  # the score, up to a constant
    return below_random(curves[0], np.stack(curves[1:]))


def _mean(fidelity: Float[np.ndarray, " steps"]) -> float:
    """Return the mean over the steps that lose anything; NaN if none does."""
    return float(np.nanmean(fidelity)) if np.isfinite(fidelity).any() else math.nan


def subset_fidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
    *,
    beyond_recency: bool = False,
    visible: Float[np.ndarray, "out in"] | None = None,
) -> Float[np.ndarray, " out"]:
    """Correlate sums of the matrix with the effect of removing sets of frames.

    ``corr_S( sum_{t in S} M[t', t], y[t'](A) - y[t'](A without S) | n_S )``, for each t',
    given n_S, how many of the frames that t' can see were removed: t <= t' of a causal
    model.

    Faithfulness correlation (Bhatt et al., arXiv:2005.00631) over time; unlike there
    the sets are random and of no fixed size. That is why their size is taken out of both
    by partial correlation: removing more frames usually costs more, so that any positive
    constant matrix has a high ``raw_subset_fidelity``. Higher is better, 1 is the best.
    What no matrix can reach is the share that frames contribute only together: compare
    with ``best_fidelity``.

    Args:
        matrix: the temporal importances to measure.
        removed: 1 where a frame of a set is removed.
        losses: what the removal takes from the score of every step.
        beyond_recency: take out, too, how recent the removed frames are: the sum of
            ``recency``. Many a model's last frames matter more than earlier ones, and
            maps that know nothing else of it can say so.
        visible: 1 where an output step can see a frame
            (``visible_frames``); None: where t <= t', as of a
            causal model, or all where output steps and frames differ in number.

    Returns:
        A correlation for each output step: 0 where the matrix says no more than how many
        frames were removed (and how recent they are), NaN where nothing more can be said
        of the losses.
    """
    out, length = matrix.shape
    if visible is None:
        visible = np.ones((out, length))
        visible = np.tril(visible) if out == length else visible
    covariates = [removed @ visible.T]
    if beyond_recency:
        covariates.append(removed @ (recency(out, length) * visible).T)
    fidelity = partial_correlation(removed @ matrix.T, losses, *covariates)
    defined = np.isfinite(partial_correlation(losses, losses, *covariates))
    return np.where(np.isnan(fidelity) & defined, 0, fidelity)


def recency(out: int, length: int) -> Float[np.ndarray, "out in"]:
    """Return weights that fall with the distance in time of a frame and an output step.

    Fewer output steps than frames are those of the last frames; more of them lie evenly
    between the first and the last frame.
    """
    places = np.linspace(0, length - 1, out)
    if out <= length:
        places = np.arange(length - out, length)
    return np.exp(-np.abs(places[:, None] - np.arange(length)) / RECENCY_FRAMES)


def raw_subset_fidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
) -> Float[np.ndarray, " out"]:
    """Correlate as ``subset_fidelity`` does, without taking out how many were removed.

    It is no measure to compare explanations by, since a matrix of ones can score high.

    Returns:
        A correlation for each output step; NaN where all sets lose the same, or the
        matrix gives all sets the same sum.
    """
    return correlation(removed @ matrix.T, losses)


def best_fidelity(
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
    *,
    visible: Float[np.ndarray, "out in"] | None = None,
) -> Float[np.ndarray, " out"]:
    """Return the subset fidelity of the matrix that fits these losses best.

    Least squares of the losses on the sets: an upper bound, for it is fitted to the
    sets by which it is measured.

    Args:
        removed: 1 where a frame of a set is removed.
        losses: what the removal takes from the score of every step.
        visible: see ``subset_fidelity``.
    """
    # An intercept on both sides: a correlation does not depend on constants. The size of
    # a set is a sum over frames, too: the fit is the best one given the size as well.
    centred = removed - removed.mean(0)
    matrix = np.linalg.lstsq(centred, losses - losses.mean(0), rcond=None)[0].T
    return subset_fidelity(matrix, removed, losses, visible=visible)


def infidelity(
    matrix: Float[np.ndarray, "out in"],
    removed: Float[np.ndarray, "N in"],
    losses: Float[np.ndarray, "N out"],
) -> Float[np.ndarray, " out"]:
    """Return the mean squared error of those sums, relative to the effect's square.

    ``E_S (sum_{t in S} M - loss)^2 / E_S loss^2``

    Yeh et al., arXiv:1901.09392, with removals as perturbations. Lower is better; 0 is
    the best, a matrix of zeros has 1. Unlike a correlation it needs the right units.
    """
    # Yeh et al. weigh by the perturbation's distribution: the sets are samples of it.
    error = ((removed @ matrix.T - losses) ** 2).mean(0)
    square = (losses**2).mean(0)
    return np.where(square > 0, error / np.where(square > 0, square, 1), np.nan)


def matrix_fidelity(
    matrix: Float[np.ndarray, "out in"],
    effects: Float[np.ndarray, "out in"],
    *,
    ranks: bool = False,
) -> float:
    """Correlate a matrix with the effect of removing one frame, over all pairs.

    Of a causal model over pairs t <= t' alone: pairs t > t' are 0 by structure and would
    raise any correlation. Higher is better.
    Methods that compute single interventions score 1 by definition: prefer
    ``subset_fidelity``.

    Args:
        matrix: the temporal importances to measure.
        effects: what the removal of one frame takes from the score of every step, as
            ``rgcam.attribution.perturbation.occlusion`` returns it.
        ranks: Spearman's correlation instead of Pearson's.
    """
    # The pairs t <= t' are the only ones that a causal model can make differ from 0.
    pairs = np.tril if is_causal(matrix) else np.asarray
    compared = pairs(np.ones(matrix.shape, bool))
    correlate = spearman if ranks else correlation
    return float(correlate(matrix[compared], effects[compared]))


def completeness_error(
    matrix: Float[np.ndarray, "out in"], change: Float[np.ndarray, " out"]
) -> float:
    """Return the largest error of a row's sum, relative to the largest change.

    ``max_t' | sum_t M[t', t] - (y[t'](A) - y[t'](b)) | / max_t' | y(A) - y(b) |``, the
    completeness of integrated gradients (Sundararajan et al., arXiv:1703.01365).

    Args:
        matrix: the temporal importances to measure.
        change: y(A) - y(b), the score less that of the baseline's feature map.
    """
    scale = float(np.abs(change).max())
    error = float(np.abs(matrix.sum(1) - change).max())
    return error / scale if scale > 0 else float("nan")


def deletion_masks(
    importance: Float[np.ndarray, "*grid"],
    steps: int,
    rng: np.random.Generator | None = None,
) -> Float[np.ndarray, "{steps}+1 *grid"]:
    """Return masks that remove the most important parts first, all of them in ``steps``.

    Args:
        importance: of frames, or of cells.
        steps: in which the parts are removed.
        rng: orders equal values at random: most maps have many zeros, and their order
            in time would be a hint. None: the first of equals is removed first.

    Returns:
        1 where a part is kept: all in the first mask, none in the last.
    """
    values = importance.ravel()
    ties = np.arange(len(values)) if rng is None else rng.random(len(values))
    order = np.lexsort((ties, -values))
    place = np.empty(len(values), int)
    place[order] = np.arange(len(values))
    removed = np.round(np.linspace(0, len(values), steps + 1)).astype(int)
    masks: Bool[np.ndarray, "masks parts"] = place >= removed[:, None]
    return masks.reshape(-1, *importance.shape).astype(np.float32)


def area(curve: Float[np.ndarray, "N *any"]) -> Float[np.ndarray, "*any"]:
    """Return the mean height of a deletion or insertion curve, by trapezoids.

    Petsiuk et al., arXiv:1806.07421. Of a deletion curve (scores of ``deletion_masks``)
    lower is better, of an insertion curve (scores of the complementary masks) higher.
    """
    return np.asarray((curve[1:] + curve[:-1]).mean(0) / 2)


def area_gain(
    curve: Float[np.ndarray, " N"], random: Float[np.ndarray, "orders N"]
) -> float:
    """Return how far a curve's area is above the mean area of random orders."""
    return float(area(curve) - area(random.T).mean())


def below_random(
    curve: Float[np.ndarray, " N"], random: Float[np.ndarray, "orders N"]
) -> float:
    """Compare a deletion curve's area with random orders', in units of the whole drop.

    Above 0 is better than chance; an insertion curve gives the negative.
    """
    drop = abs(float(curve[0] - curve[-1]))
    return -area_gain(curve, random) / drop if drop > 0 else float("nan")


def correlation(a: Numbers, b: Numbers, axis: int = 0) -> Numbers:
    """Return Pearson's correlation along an axis; NaN where a variable is constant."""
    a, b = (x - x.mean(axis, keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (a * b).sum(axis) / norm, np.nan)


def partial_correlation(a: Numbers, b: Numbers, *covariates: Numbers) -> Numbers:
    """Correlate a and b along the first axis, controlling for covariates.

    The correlation of what a least-squares fit by the covariates leaves of a and of b
    (Fisher 1924).

    Returns:
        One correlation per remaining index; NaN where a or b is a linear function of
        the covariates.
    """
    directions: list[Numbers] = []

    def residual(x: Numbers) -> Numbers:
        """Return what the directions leave of x; zeros where that is rounding errors."""
        left = x - x.mean(0)
        total = (left**2).sum(0)
        for direction in directions:
            square = (direction**2).sum(0)
            slope = (direction * left).sum(0) / np.where(square > 0, square, 1)
            left = left - slope * direction
        return np.where((left**2).sum(0) > RESIDUE * total, left, 0)

    # Gram and Schmidt: of each covariate what those before it leave, which is nothing of
    # one that is constant or a function of the others.
    for covariate in covariates:
        directions.append(residual(covariate))
    return correlation(residual(a), residual(b))


def ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks from 1; equal values share the mean of theirs."""
    # Imported here: SciPy's statistics take 0.7 s, and every explanation loads this
    # module without needing ranks.
    from scipy import stats

    return stats.rankdata(values)


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's rank correlation; NaN where a variable is constant."""
    return float(correlation(ranks(a), ranks(b)))
