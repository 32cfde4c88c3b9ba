"""A model cut at one of its layers: the layer's output is A, and A can replace it.

    frames -> inputs of the model -> ... -> output of the layer -> ... -> scores

``features`` runs the model and returns what the layer returned; ``classify`` runs it on
frames of zeros and replaces what the layer returns by A, so that XLA removes everything
below the layer. A framework contributes a ``Run``: one forward pass in which a function
receives the layer's output and returns what replaces it.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from rgcam.attribution.gradcam import importance_weights
from rgcam.errors import InputError
from rgcam.interop.functions import FunctionModel
from rgcam.models.cut import PRECISION
from rgcam.types import Tensor, Variables

Exchange: TypeAlias = Callable[[Array], Array]
"""Receives the output of the layer and returns what the model continues with."""

ToInputs: TypeAlias = Callable[[Array], PyTree]
"""Frames (T, S, S, 3) -> what the model is called with."""

ToMaps: TypeAlias = Callable[[Array], Array]
"""Output of the layer -> A (T, h, w, K): selects entries and rearranges them."""

ToScores: TypeAlias = Callable[[PyTree], Array]
"""What the model returns -> pre-softmax scores (T_out, C)."""

TOLERANCE = 1e-4
"""Of a cut against its model, relative: float32 has 1e-6, a wrong cut is off by far more."""


@runtime_checkable
class Run(Protocol):
    """One forward pass of a model in evaluation mode; hashable and pure."""

    def __call__(
        self, variables: Variables, inputs: PyTree, exchange: Exchange
    ) -> PyTree:
        """Return what the model returns; ``exchange`` is called at every layer call."""
        ...


class OwnResult(NamedTuple):
    """What the framework itself computes for a clip, for comparison with the cut.

    Attributes:
        scores: y (T_out, C).
        gradient: dy[-1, c] / dA (T, h, w, K) of the class with the highest last score.
    """

    scores: Float[np.ndarray, "out C"]
    gradient: Float[np.ndarray, "in h w K"]


@dataclasses.dataclass(frozen=True)
class LayerCut:
    """How a model is cut at a layer; equal cuts share what ``jax.jit`` compiles.

    Attributes:
        run: forward pass of the model.
        to_inputs: frames (T, S, S, 3) -> inputs of the model.
        to_maps: output of the layer -> A (T, h, w, K).
        to_scores: outputs of the model -> scores (T_out, C).
        layer: name of the layer, for messages.
        frame: (S, S, 3) of the frames.
        frames_per_step: frames that one step of A stands for: 1, or more where layers
            below the cut stride over time.
        spread: whether what ``to_maps`` leaves out, such as a class token, depends on
            the frames. It then follows the K channels of A as further channels, the
            same in all cells.
    """

    run: Run
    to_inputs: ToInputs
    to_maps: ToMaps
    to_scores: ToScores
    layer: str
    frame: tuple[int, ...]
    frames_per_step: int = 1
    spread: bool = False

    def features(
        self, variables: Variables, frames: Float[Tensor, "T S S 3"]
    ) -> Float[Array, "in h w K"]:
        """Return A of a clip."""
        parts = [self._joined(output) for output in self.outputs(variables, frames)]
        return jnp.concatenate(parts)

    def classify(
        self, variables: Variables, features: Float[Tensor, "in h w K"]
    ) -> Float[Array, "out C"]:
        """Return the scores of the model in which A replaces the layer's output."""
        features, used = jnp.asarray(features), 0

        def exchange(output: Array) -> Array:
            nonlocal used
            start, used = used, used + self._shape(output)[0]
            return self._replaced(output, features[start:used])

        frames = jnp.zeros((len(features) * self.frames_per_step, *self.frame))
        outputs = self.run(variables, self.to_inputs(frames), exchange)
        if used != len(features):
            raise InputError(
                f"layer {self.layer!r} returned {used} steps and A has {len(features)}: "
                "to_maps must give one step of A for the same number of frames at every "
                "length of clip"
            )
        return self.to_scores(outputs)

    def outputs(
        self, variables: Variables, frames: Float[Tensor, "T S S 3"]
    ) -> list[Array]:
        """Return what the layer returns: once, or once for each of its calls."""
        outputs: list[Array] = []

        def exchange(output: Array) -> Array:
            outputs.append(output)
            return output

        self.run(variables, self.to_inputs(jnp.asarray(frames)), exchange)
        return outputs

    def left_out(self, output: Tensor) -> Tensor:
        """Return, in a row, the entries of the layer's output that A does not contain."""
        return output[~self.selected(output)]

    def selected(
        self, output: Tensor | jax.ShapeDtypeStruct
    ) -> Bool[np.ndarray, "..."]:
        """Tell which entries of the layer's output A contains."""
        mask = np.zeros(output.shape, bool)
        mask.ravel()[self.places(output)] = True
        return mask

    def places(self, output: Tensor | jax.ShapeDtypeStruct) -> Int[np.ndarray, "..."]:
        """Return where in the layer's output, flattened, each entry of A is.

        Raises:
            InputError: ``to_maps`` does more than to select and rearrange.
        """
        size = math.prod(output.shape)
        with jax.ensure_compile_time_eval():
            numbers = jnp.arange(size).reshape(output.shape)
            places = np.asarray(self.to_maps(numbers)).ravel()
        is_selection = (
            places.dtype == numbers.dtype
            and len(np.unique(places)) == len(places)
            and 0 <= places.min(initial=0) <= places.max(initial=0) < size
        )
        if not is_selection:
            raise InputError(
                f"to_maps of layer {self.layer!r} changes or repeats values: it may only "
                "select entries of the layer's output and rearrange them, so that A can "
                "be put back"
            )
        return places

    def _joined(self, output: Array) -> Float[Array, "in h w K"]:
        """Return A of one output, with what A leaves out as channels if it is carried."""
        maps = self.to_maps(output)
        if not self.spread:
            return maps
        tokens = self.left_out(output).reshape(self._tokens_shape(output))
        shape = *maps.shape[:3], tokens.shape[1]
        tokens = jnp.broadcast_to(tokens[:, None, None], shape)
        return jnp.concatenate([maps, tokens], -1)

    def _replaced(self, output: Array, features: Array) -> Array:
        """Return the layer's output with A in its place."""
        cells, channels = self._shape(output)[:3], self._shape(output)[3]
        if features.shape[:3] != cells:
            raise InputError(
                f"layer {self.layer!r} returns {cells} cells and A has "
                f"{features.shape[:3]}: pass A of a clip of this length and size"
            )
        maps = features[..., :channels]
        (replaced,) = jax.linear_transpose(
            self.to_maps, jax.ShapeDtypeStruct(output.shape, maps.dtype)
        )(maps)
        selected = self.selected(output)
        if selected.all():
            return replaced.astype(output.dtype)
        # What is not carried does not depend on the frames: zeros give it too.
        others = output
        if self.spread:
            tokens = features[..., channels:].mean((1, 2))
            if self._tokens_shape(output)[0] == 1:
                tokens = tokens.mean(0)
            others = (
                jnp.zeros_like(output).at[np.nonzero(~selected)].set(tokens.ravel())
            )
        return jnp.where(selected, replaced.astype(output.dtype), others)

    def _tokens_shape(self, output: Array) -> tuple[int, int]:
        """Return the shape of what A leaves out: one row, or one for each step."""
        steps = self._shape(output)[0]
        size = int((~self.selected(output)).sum())
        # Tokens of each frame have an axis of frames, after a batch axis of 1 if any.
        per_step = steps in output.shape[: 2 if output.shape[0] == 1 else 1]
        rows = steps if per_step else 1
        return rows, size // rows

    def _shape(self, output: Array) -> tuple[int, ...]:
        """Return (T, h, w, K) of the map that ``to_maps`` makes of an output."""
        return jax.eval_shape(self.to_maps, output).shape


@dataclasses.dataclass(frozen=True)
class LayerFunction:
    """``features`` or ``classify`` of a cut as a pure function; equal for equal cuts.

    Attributes:
        cut: the model and the layer.
        method: "features" or "classify".
    """

    cut: LayerCut
    method: str

    def __call__(self, variables: Variables, inputs: Tensor) -> Array:
        """Call the method."""
        if self.method == "features":
            return self.cut.features(variables, inputs)
        return self.cut.classify(variables, inputs)


@dataclasses.dataclass(frozen=True)
class LayerModel(FunctionModel):
    """A model of two functions that is cut at a layer.

    Attributes:
        features: of the cut.
        classify: of the cut.
        cut: the model and the layer.
    """

    cut: LayerCut = dataclasses.field(kw_only=True)

    @property
    def layer(self) -> str:
        """Return the name of the layer whose output is A."""
        return self.cut.layer


def cut_at_layer(
    cut: LayerCut, variables: Variables, frames: Float[Tensor, "T S S 3"]
) -> LayerModel:
    """Return the model of a cut, with what depends on a clip's shapes filled in.

    Args:
        cut: without ``frames_per_step`` and ``spread``.
        variables: of the model.
        frames: preprocessed frames of a clip.

    Raises:
        InputError: the layer was not called, or ``to_maps`` or ``to_scores`` do not fit.
    """
    frames = jnp.asarray(frames)
    shapes = jax.eval_shape(cut.outputs, variables, frames)
    if not shapes:
        raise InputError(
            f"the model did not call layer {cut.layer!r}: name a layer that its forward "
            "pass runs"
        )
    steps = sum(_maps_shape(cut, shape)[0] for shape in shapes)
    if len(frames) % steps:
        raise InputError(
            f"layer {cut.layer!r} gives {steps} steps of A for {len(frames)} frames: "
            "pass a clip whose frames divide into these steps"
        )
    spread = False
    if not all(cut.selected(shape).all() for shape in shapes):
        # What A leaves out, such as a class token, is carried if it changes with frames.
        compute = jax.jit(cut.outputs)
        clips = frames, jnp.zeros_like(frames)
        pairs = zip(*(compute(variables, clip) for clip in clips), strict=True)
        spread = any(
            not np.array_equal(cut.left_out(clip), cut.left_out(blank))
            for clip, blank in pairs
        )
    cut = dataclasses.replace(cut, frames_per_step=len(frames) // steps, spread=spread)
    return LayerModel(
        features=LayerFunction(cut, "features"),
        classify=LayerFunction(cut, "classify"),
        cut=cut,
    )


def own_result(cut: LayerCut, variables: Variables, frames: Array) -> OwnResult:
    """Compute scores and one gradient by the module itself: nothing is replaced.

    The gradient with respect to the layer's output is that with respect to an offset that
    is added to it.
    """

    def forward(offsets: list[Array], frames: Array) -> Array:
        remaining = iter(offsets)
        outputs = cut.run(
            variables, cut.to_inputs(frames), lambda output: output + next(remaining)
        )
        return cut.to_scores(outputs)

    @jax.jit
    def result(offsets: list[Array], frames: Array) -> tuple[Array, list[Array]]:
        def last_score(offsets: list[Array]) -> tuple[Array, Array]:
            scores = forward(offsets, frames)
            return scores[-1].max(), scores

        gradients, scores = jax.grad(last_score, has_aux=True)(offsets)
        return scores, [cut.to_maps(gradient) for gradient in gradients]

    shapes = jax.eval_shape(lambda frames: cut.outputs(variables, frames), frames)
    offsets = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
    with jax.default_matmul_precision(PRECISION):
        scores, gradients = result(offsets, frames)
    return OwnResult(np.asarray(scores), np.concatenate(gradients))


def check_cut(
    module: FunctionModel,
    variables: Variables,
    frames: Float[Tensor, "T S S 3"],
    result: OwnResult,
    layer: str,
) -> None:
    """Compare a cut model with its framework: its scores, and one row of beta.

    Args:
        module: the cut model.
        variables: its variables.
        frames: the clip.
        result: what the framework itself computes for it.
        layer: name of the layer, for the message.

    Raises:
        InputError: they differ by more than TOLERANCE.
    """
    target = int(result.scores[-1].argmax())

    @jax.jit
    def cut_result(variables: Variables, frames: Array) -> tuple[Array, Array]:
        features = module.apply(variables, frames, method="features")
        classify = lambda a: module.apply(variables, a, method="classify")
        last = lambda a: classify(a)[-1:]
        return classify(features), importance_weights(last, features, target)[0]

    with jax.default_matmul_precision(PRECISION):
        scores, beta = cut_result(variables, jnp.asarray(frames))
    own_beta = result.gradient.mean((1, 2))
    errors = {
        "scores": _error(np.asarray(scores), result.scores),
        # Channels beyond K carry a class token.
        "gradients": _error(np.asarray(beta)[:, : own_beta.shape[-1]], own_beta),
    }
    for name, error in errors.items():
        if not error <= TOLERANCE:
            raise InputError(
                f"cut at layer {layer!r} the model gives other {name} than by itself "
                f"(error {error:.1e}, at most {TOLERANCE:g}): frames may bypass this "
                "layer, or the model is not deterministic; choose another layer"
            )


def batch_of_one(frames: Array) -> Array:
    """Return a batch of one clip, (1, T, S, S, 3)."""
    return frames[None]


def without_batch(output: Array) -> Array:
    """Return (T, h, w, K) of (1, T, h, w, K) or of itself."""
    return output[0] if output.ndim == 5 and output.shape[0] == 1 else output


def default_scores(outputs: PyTree) -> Array:
    """Return (T_out, C) of what models usually return.

    That is an array (T_out, C), (1, T_out, C), (1, C) or (C,); a tuple or list that begins
    with it; or an object with an attribute ``logits``.

    Raises:
        InputError: anything else.
    """
    outputs = getattr(outputs, "logits", outputs)
    while isinstance(outputs, (tuple, list)) and outputs:
        outputs = outputs[0]
    shape = getattr(outputs, "shape", None)
    if shape is not None and len(shape) == 3 and shape[0] == 1:
        return outputs[0]
    if shape is not None and len(shape) in (1, 2):
        return outputs.reshape(-1, shape[-1])
    kind = type(outputs).__name__ if shape is None else f"an array {shape}"
    raise InputError(
        f"the model returned {kind} for one clip: pass to_scores, a function of what it "
        "returns that gives the scores before softmax, (T_out, C)"
    )


def check_not_probabilities(scores: Float[Array, "out C"]) -> None:
    """Raise if scores are probabilities, of which a saturated one has no gradient.

    Raises:
        InputError: every row is positive and sums to 1.
    """
    values = np.asarray(scores)
    sums_to_one = np.allclose(values.sum(-1), 1, atol=1e-5)
    if values.shape[-1] > 1 and (values >= 0).all() and sums_to_one:
        raise InputError(
            "the model returns probabilities (they sum to 1): leave its softmax out, or "
            "pass to_scores=lambda p: jnp.log(p)[0] to explain log-probabilities"
        )


def unknown_layer(layer: str, names: Sequence[str], kind: str = "layers") -> InputError:
    """Return the error for a name that no layer has, with the names that there are."""
    near = difflib.get_close_matches(layer, names, 3, cutoff=0.5)
    advice = f"did you mean {', '.join(near)}? " if near else ""
    return InputError(
        f"the model has no layer {layer!r}: {advice}its {kind} are {listed(names)}"
    )


def listed(names: Iterable[str], count: int = 40) -> str:
    """List names; of more than ``count``, the first and the last ones."""
    names = list(names)
    if len(names) > count:
        half = count // 2
        names = [*names[:half], "...", *names[-half:]]
    return ", ".join(names)


def _maps_shape(cut: LayerCut, output: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    """Return (T, h, w, K) of an output's map."""
    try:
        shape = jax.eval_shape(cut.to_maps, output).shape
    except (TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"to_maps does not take the output of layer {cut.layer!r}, an array "
            f"{output.shape}: {reason}"
        ) from error
    if len(shape) != 4 or not math.prod(shape):
        raise InputError(
            f"layer {cut.layer!r} returns an array {output.shape}, of which to_maps makes "
            f"{shape}: it must make (T, h, w, K); tokens (1, T N, K) become it by "
            "to_maps=lambda tokens: tokens.reshape(-1, h, w, K), and [:, 1:] skips a "
            "class token"
        )
    return shape


def _error(values: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value."""
    if values.shape != expected.shape:
        return math.inf
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(values - expected).max()) / scale
