"""What the scores lose when frames, or cells of them, are replaced by a baseline.

A baseline feature map takes their place. Above a causal module's first linear map (see
``rgcam.models.cut``) that costs passes of the recurrent part alone: u is affine in A, so
that u of a clip with some frames replaced is made of rows of u(A) and u(baseline), and
the straight line from one clip to the other is a straight line of u. For any other
module the same is done with A itself and ``classify``.

==================  ==========================================================
losses of removals  replace each of some sets of frames, or of cells
occlusion           replace one frame at a time
cell occlusion      replace one cell of one frame at a time
Shapley values      add frames in random orders (permutation sampling)
==================  ==========================================================
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from rgcam import programs
from rgcam.attribution import targets
from rgcam.attribution.targets import ClassIndex, Index, ScoreFunction
from rgcam.errors import InputError
from rgcam.models.cut import PRECISION, CutModel, SharingModel, apply, classify, cut
from rgcam.types import Tensor, Variables

BaselineFunction: TypeAlias = Callable[[Float[Array, "T h w K"]], Float[Array, "..."]]
"""A (T h w K) -> feature maps (K,), (h w K) or (T h w K); pure and hashable."""

Baseline: TypeAlias = str | Float[Tensor, "..."] | BaselineFunction
"""A name of ``BASELINES``, feature maps (K,), (h w K) or (T h w K), or a function of A."""

BASELINES = ("zero", "mean", "first", "previous", "blur")
BLUR_FRAMES = 2.0  # standard deviation of the blur over time
CLIPS_AT_ONCE = 64  # perturbed clips that go through the model together
PERMUTATIONS = 8  # random orders behind Shapley values


class UpperModel(NamedTuple):
    """The model above the feature map of one clip, and the baseline of its inputs.

    Attributes:
        outputs: inputs (T ...) -> the explained scalar of every step (out,); pure.
        inputs: x (T ...): the drive u (T D) or, of a module that is not causal, A.
        baseline: b (T ...), the inputs that the baseline feature maps give.
        to_maps: weights (T ...) -> (T h w), each cell's part of the sum over a frame of
            ``weights * (x - b)``.
        mix_cells: mask (T h w) -> inputs with the cells where it is 0 replaced.
        grid: (T, h, w).
        causal: whether an output step is known not to depend on later frames.
    """

    outputs: Callable[[Array], Array]
    inputs: Float[Array, "T ..."]
    baseline: Float[Array, "T ..."]
    to_maps: Callable[[Array], Array]
    mix_cells: Callable[[Array], Array]
    grid: tuple[int, int, int]
    causal: bool


class BoundCut(NamedTuple):
    """A model above its feature map, with its variables: what a method is given.

    Attributes:
        module: the model.
        variables: its variables.
        length: number of valid frames where the end of the clip is padding; None: all.
    """

    module: CutModel
    variables: Variables
    length: Index | None = None

    def classify(self, features: Float[Array, "T h w K"]) -> Float[Array, "out C"]:
        """Return the scores of every output step."""
        return classify(self.module, self.variables, features)

    def outputs(
        self, features: Float[Array, "T h w K"], target: ClassIndex | ScoreFunction
    ) -> Float[Array, " out"]:
        """Return the explained scalar of every output step."""
        return targets.select_target(self.classify(features), target)

    def upper_model(
        self,
        features: Float[Array, "T h w K"],
        baseline: Float[Array, "T h w K"],
        target: ClassIndex | ScoreFunction,
    ) -> UpperModel:
        """Return the model as the methods of this room take it; see ``upper_model``."""
        model = upper_model(self.module, self.variables, features, baseline, target)
        return model if self.length is None else without_padding(model, self.length)


def upper_model(
    module: CutModel,
    variables: Variables,
    features: Float[Array, "T h w K"],
    baseline: Float[Array, "T h w K"],
    target: ClassIndex | ScoreFunction,
) -> UpperModel:
    """Split off what lies above the feature map of one clip.

    Args:
        module: one with ``classify``; a ``SharingModel`` is cut at its drive.
        variables: its variables.
        features: A.
        baseline: feature maps that replace a frame's, from ``baseline_features``.
        target: class index, one for each output step, or function of the scores.
    """
    change = features - baseline
    steps, height, width = features.shape[:3]
    if not isinstance(module, SharingModel):
        return UpperModel(
            outputs=lambda maps: targets.select_target(
                classify(module, variables, maps), target
            ),
            inputs=features,
            baseline=baseline,
            to_maps=lambda weights: (weights * change).sum(-1),
            mix_cells=lambda mask: baseline + mask[..., None] * change,
            grid=(steps, height, width),
            causal=False,
        )
    model = cut(module, variables, features)
    # What each cell adds to u beyond the baseline; u is affine, so their sum over cells
    # leads from u(baseline) to u(A).
    shares = apply(module, variables, change, method="shares")
    # u(b) = u(A) - sum_ij shares(A - b), without another pass through ``drive``.
    start = model.drive - shares.sum((1, 2))
    return UpperModel(
        outputs=lambda drive: targets.select_target(
            model.advance(model.begin, drive)[1], target
        ),
        inputs=model.drive,
        baseline=start,
        # x - b is the sum of the shares over cells, so that ``weights . (x - b)`` splits
        # into one product for each cell, exactly.
        to_maps=lambda weights: jnp.einsum("td,thwd->thw", weights, shares),
        mix_cells=lambda mask: start + jnp.einsum("thw,thwd->td", mask, shares),
        grid=(steps, height, width),
        causal=not callable(target),  # a function of the scores may mix the steps
    )


def without_padding(model: UpperModel, length: Index) -> UpperModel:
    """Return the same model with outputs 0 from step ``length`` on."""
    outputs = lambda inputs: jnp.where(
        jnp.arange(len(inputs)) < length, model.outputs(inputs), 0
    )
    return model._replace(outputs=outputs)


def baseline_features(
    features: Float[Array, "T h w K"],
    baseline: Baseline,
    length: Index | None = None,
) -> Float[Array, "T h w K"]:
    """Return the feature maps that take every frame's place.

    Args:
        features: A.
        baseline: ``zero``; ``mean``: the clip's mean feature map, cell by cell;
            ``first``: the first frame, as if nothing had happened since;
            ``previous``: the frame before (the first: itself), as if the video had
            stood still for one step; ``blur``: the clip smoothed over time by a
            Gaussian of BLUR_FRAMES, as if its motion were smeared; or feature maps
            (K,), (h w K) or (T h w K), such as the mean of a reference set; or a function
            of A that returns them.
        length: number of valid frames; only these enter the mean and the blur.
    """
    if callable(baseline):
        baseline = _computed(baseline, features)
    if not isinstance(baseline, str):
        return jnp.broadcast_to(jnp.asarray(baseline, features.dtype), features.shape)
    if baseline == "zero":
        return jnp.zeros_like(features)
    if baseline == "first":
        return jnp.broadcast_to(features[:1], features.shape)
    if baseline == "previous":  # A[t - 1], and A[0] for itself
        return jnp.concatenate([features[:1], features[:-1]])
    # Mean and blur are both Gaussian averages over time, the mean of infinite width.
    steps = jnp.arange(len(features), dtype=features.dtype)
    # exp(-0) = 1: a Gaussian of infinite width weights all frames equally.
    width = jnp.inf if baseline == "mean" else BLUR_FRAMES
    weights = jnp.exp(-(((steps[:, None] - steps) / width) ** 2) / 2)
    if length is not None:
        weights = jnp.where(jnp.arange(len(features)) < length, weights, 0)
    # At the ends, the weights of the frames that exist sum to 1. Far behind them, where
    # there is padding alone, all weights are 0.
    total = weights.sum(1, keepdims=True)
    weights = weights / jnp.where(total > 0, total, 1)
    return jnp.einsum("st,thwk->shwk", weights, features)


def check_baseline(baseline: Baseline, shape: tuple[int, ...]) -> None:
    """Validate that a baseline is a known name, a function, or maps that fit A (T h w K).

    Raises:
        InputError: it is none of them.
    """
    if callable(baseline):
        return
    if isinstance(baseline, str):
        if baseline not in BASELINES:
            raise InputError(
                f"unknown baseline {baseline!r}: choose one of "
                f"{', '.join(BASELINES)}, or give feature maps"
            )
    elif jnp.shape(baseline) not in _shapes(shape):
        raise InputError(
            f"the baseline's shape is {jnp.shape(baseline)}: give feature maps of "
            f"shape {shape[1:]} or {shape}, or {shape[3:]}"
        )


def baseline_name(baseline: Baseline) -> str:
    """Return the name of a baseline for figures and tables."""
    if isinstance(baseline, str):
        return baseline
    return own_name(baseline) if callable(baseline) else "given feature maps"


def own_name(function: Callable[..., object]) -> str:
    """Return the name of a function of one's own, also where it is a partial one."""
    function = getattr(function, "func", function)
    return getattr(function, "__name__", type(function).__name__)


def _shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of feature maps that may replace A (T h w K)."""
    return shape, shape[1:], shape[3:]


def _computed(
    baseline: BaselineFunction, features: Float[Array, "T h w K"]
) -> Float[Array, "..."]:
    """Return what a baseline of one's own makes of A."""
    maps = baseline(features)
    if jnp.shape(maps) not in _shapes(features.shape):
        raise InputError(
            f"the baseline {own_name(baseline)} returned {jnp.shape(maps)} for a feature "
            f"map {features.shape}: expected {features.shape[1:]}, {features.shape} or "
            f"{features.shape[3:]}"
        )
    return maps


def interpolate(model: UpperModel, mask: Float[Array, " T"]) -> Float[Array, "T ..."]:
    """Return the inputs ``b + mask * (x - b)``, with one number for each frame."""
    mask = mask.reshape(-1, *[1] * (model.inputs.ndim - 1))
    return model.baseline + mask * (model.inputs - model.baseline)


def outputs_with_frames(
    model: UpperModel, masks: Float[Tensor, "N T"]
) -> Float[Array, "N out"]:
    """Return the explained scalars of clips in which some frames are replaced.

    Args:
        model: from ``upper_model``.
        masks: 1 where a frame stays, 0 where the baseline takes its place; between
            them, a point on the straight line.
    """
    masks = jnp.asarray(masks, model.inputs.dtype)
    outputs_of = lambda mask: model.outputs(interpolate(model, mask))
    return jax.lax.map(outputs_of, masks, batch_size=min(CLIPS_AT_ONCE, len(masks)))


def outputs_with_cells(
    model: UpperModel, masks: Float[Tensor, "N T h w"]
) -> Float[Array, "N out"]:
    """Return the explained scalars of clips in which cells of frames are replaced."""
    masks = jnp.asarray(masks, model.inputs.dtype)
    outputs_of = lambda mask: model.outputs(model.mix_cells(mask))
    return jax.lax.map(outputs_of, masks, batch_size=min(CLIPS_AT_ONCE, len(masks)))


@programs.kept("module", "baseline")
def removal_losses(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    target: ClassIndex,
    frames: Float[Tensor, "N T"],
    cells: Float[Tensor, "M T h w"] | None = None,
    length: Index | None = None,
    baseline_maps: Float[Tensor, "..."] | None = None,
    *,
    baseline: str | BaselineFunction | None,
) -> tuple[Float[Array, "N out"], Float[Array, "M out"] | None]:
    """Return what removals take from the target's score at every output step.

    Args:
        module: the explained model, of which ``classify`` is used.
        variables: its variables.
        features: A of one clip.
        target: class index, or one for each output step.
        frames: sets of frames, 1 where one is removed.
        cells: sets of cells, 1 where one is removed; None: no cells are removed.
        length: number of valid frames where the end of a causal model's clip is padding,
            whose losses mean nothing; None: all are valid.
        baseline_maps: feature maps that take their place, where ``baseline`` is None.
        baseline: name of what takes their place, or a function of A.

    Returns:
        ``y[t'](A) - y[t'](A without S)`` of each set of frames, and of each set of
        cells if there are any.
    """
    features = jnp.asarray(features)
    with jax.default_matmul_precision(PRECISION):
        name_or_maps = baseline_maps if baseline is None else baseline
        assert name_or_maps is not None
        check_baseline(name_or_maps, features.shape)
        replacement = baseline_features(features, name_or_maps, length)
        model = upper_model(module, variables, features, replacement, target)
        # Not a mask of ones: b + 1 * (x - b) differs from x by rounding errors.
        complete = model.outputs(model.inputs)
        frame_losses = complete - outputs_with_frames(model, 1 - frames)
        if cells is None:
            return frame_losses, None
        cell_losses = complete - outputs_with_cells(model, 1 - cells)
    return frame_losses, cell_losses


def occlusion(model: UpperModel) -> Float[Array, "out T"]:
    """Replace one frame at a time: ``y[t'](A) - y[t'](A without frame t)``.

    T passes above A. Zeiler and Fergus, arXiv:1311.2901, in time instead of space.
    """
    # Row t of 1 - I keeps every frame but t.
    occluded = outputs_with_frames(model, 1 - jnp.eye(model.grid[0]))
    return zero_future(model, (model.outputs(model.inputs) - occluded).T)


def cell_occlusion(model: UpperModel) -> Float[Array, "out T h w"]:
    """Replace one cell of one frame at a time, as ``occlusion`` does frames.

    T h w passes above A.
    """
    cells = jnp.arange(math.prod(model.grid))
    # Masks are made one by one inside the loop: all of them would be (T h w)^2 numbers.
    dtype = model.inputs.dtype
    mask_of = lambda cell: (cells != cell).astype(dtype).reshape(model.grid)
    outputs_of = lambda cell: model.outputs(model.mix_cells(mask_of(cell)))
    occluded = jax.lax.map(outputs_of, cells, batch_size=min(CLIPS_AT_ONCE, len(cells)))
    lost = model.outputs(model.inputs) - occluded
    return zero_future(model, lost.T.reshape(-1, *model.grid))


def shapley_values(
    model: UpperModel, key: Key[Array, ""], permutations: int = PERMUTATIONS
) -> Float[Array, "out T"]:
    """Average what a frame adds to the frames before it in a random order.

    ``M[t', t] = E_order( y[t'](frames up to t in order) - y[t'](frames before t) )``

    Permutation sampling (Castro et al. 2009), every order followed by its reverse:
    antithetic, so that half of the variance cancels where pairs of frames interact.
    ``permutations * (T + 1)`` passes above A; each row sums to
    ``y[t'](A) - y[t'](b)`` exactly.

    Args:
        model: the model above A.
        key: from ``jax.random.key``.
        permutations: orders; an even number.
    """
    steps = model.grid[0]
    keys = jax.random.split(key, permutations // 2)
    ranks = jax.vmap(lambda key: jax.random.permutation(key, steps))(keys)
    # Rank r becomes T - 1 - r in the reversed order.
    ranks = jnp.concatenate([ranks, steps - 1 - ranks])
    # For every order, the clips with its first 0, 1, ..., T frames.
    masks = ranks[:, None, :] < jnp.arange(steps + 1)[:, None]
    masks = masks.reshape(-1, steps).astype(model.inputs.dtype)
    outputs = outputs_with_frames(model, masks)
    # Gains telescope: in every order they sum to y(A) - y(b), and so does their mean.
    gains = jnp.diff(outputs.reshape(len(ranks), steps + 1, -1), axis=1)
    # gains[order, n] belongs to the frame of rank n: sort the gains by frame.
    gains_of_frames = jax.vmap(lambda gain, rank: gain[rank])(gains, ranks)
    return zero_future(model, gains_of_frames.mean(0).T)


def distribute_mass(
    matrix: Float[Array, "out T"], maps: Float[Array, "out T h w"]
) -> Float[Array, "out T h w"]:
    """Change maps so that each has the mass that the matrix gives.

    ``L + (M - sum L) |L| / sum |L|``: the missing mass is added where a map is strong,
    so that nothing is divided by a mass that may be 0. A map of zeros becomes uniform.

    Args:
        matrix: masses, such as Shapley values.
        maps: signed, such as those of integrated gradients: where in each frame.
    """
    # |L| / sum |L|, fractions of the missing mass that sum to 1.
    magnitude = jnp.abs(maps)
    total = magnitude.sum((2, 3), keepdims=True)
    cells = maps.shape[2] * maps.shape[3]
    fractions = jnp.where(
        total > 0, magnitude / jnp.where(total > 0, total, 1), 1 / cells
    )
    missing = matrix - maps.sum((2, 3))
    return maps + missing[..., None, None] * fractions


def zero_future(model: UpperModel, effects: Float[Array, "out T ..."]) -> Array:
    """Set to exactly 0 the effect of frames that a causal output step cannot depend on.

    Differences of scores there are rounding errors.
    """
    if not model.causal:
        return effects
    steps = jnp.arange(effects.shape[1])
    visible = steps[:, None] >= steps
    visible = visible.reshape(*visible.shape, *[1] * (effects.ndim - 2))
    return jnp.where(visible, effects, 0)
