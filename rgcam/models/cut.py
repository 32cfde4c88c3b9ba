"""The cut: what a model must offer to be explained, and its feature map by chunks.

    frames (T, S, S, 3) --features--> A (T, h, w, K) --classify--> y (T_out, C)

A model that scores the clip as a whole, (C,), has T_out = 1. Every method of
``rgcam.attribution`` takes a ``CutModel``. A causal model may offer more, and is then
explained at a fraction of the cost: it is cut once more inside ``classify``, at its first
linear map, which is the same for every frame:

    A (T, h, w, K) --drive--> u (T, D) --advance--> y (T, C)

The methods in these protocols are Linen methods: they are called through
``module.apply(variables, ..., method=NAME)``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from rgcam.errors import InputError
from rgcam.types import Tensor, Variables

Carry: TypeAlias = PyTree
"""What a causal model carries from one frame to the next; () for nothing."""

PRECISION = "highest"
"""Matrix precision of explanations: float32 on every device. A GPU's default (TF32) put
errors of 1.8 % (gap) and 3.5 % (fc) into beta of a ResNet-18 LRCN, this one at most 0.007 %
(``python benchmarks/device.py``, H200); a CPU computes in float32 at any setting."""

# Pixels that go through the backbone at once: 8 frames of 224 x 224 on a CPU, 64 elsewhere.
# Measured: 64 frames through EfficientNet-Lite0 by 8 took 820 ms and 78 MB, all at once
# 1040 ms and 622 MB (2 CPU cores, jax 0.10.2).
PIXELS = {"cpu": 8 * 224**2, "other": 64 * 224**2}


@runtime_checkable
class CutModel(Protocol):
    """A model cut at a feature map: any object whose ``apply`` knows two methods.

    ``apply(variables, frames, method="features")``: frames (T, S, S, 3) -> A (T, h, w, K)
    ``apply(variables, A, method="classify")``: A -> pre-softmax scores (T_out, C), or
    (C,) of the whole clip

    Both are pure. The object must be hashable: it is a static argument of ``jax.jit``.
    """

    # What ``apply`` returns depends on its ``method``, so no type says it.
    apply: Callable[..., Any]


@runtime_checkable
class CausalModel(CutModel, Protocol):
    """A cut model that can also continue from a carry, frame after frame.

    ``classify(A)`` must equal ``advance(begin(), drive(A))[1]``, so that y[t'] depends
    on A[0..t'] only.
    """

    def drive(self, features: Float[Tensor, "T h w K"], /) -> Float[Array, "T D"]:
        """Return u, affine in A and computed frame by frame."""
        ...

    def response(self, channels: int, /) -> Float[Array, "K D"]:
        """Return S: an offset d (K), the same in all cells of A, adds ``d @ S`` to u."""
        ...

    def begin(self) -> Carry:
        """Return the carry before the first frame."""
        ...

    def advance(
        self, carry: Carry, drive: Float[Tensor, "T D"], /
    ) -> tuple[Carry, Float[Array, "T C"]]:
        """Continue over some frames; return the next carry and their scores."""
        ...


@runtime_checkable
class SharingModel(CausalModel, Protocol):
    """A causal model that can say what each cell of A adds to the drive.

    ``shares(A).sum((1, 2))`` must equal ``drive(A) - drive(0)``.
    """

    def shares(self, features: Float[Tensor, "T h w K"], /) -> Float[Array, "T h w D"]:
        """Return each cell's linear contribution to u."""
        ...


@runtime_checkable
class FramewiseModel(CutModel, Protocol):
    """A cut model whose backbone sees images one by one, so that they may be chunked.

    ``features(frames)`` must equal ``below(see(frames))``.
    """

    def see(self, frames: Float[Tensor, "T S S 3"], /) -> Float[Array, "T V S S 3"]:
        """Return the V images that the backbone sees of each frame.

        They may depend on the frame before; the first has itself before it.
        """
        ...

    def below(self, images: Float[Tensor, "T V S S 3"], /) -> Float[Array, "T h w K"]:
        """Return A of these images, each row computed from its own V images alone."""
        ...


class Cut(NamedTuple):
    """A causal model above the feature map of one clip, as pure functions and arrays.

    Attributes:
        advance: (carry, u of some frames) -> (next carry, their scores); pure.
        begin: the carry before the first frame; () where nothing is carried.
        drive: u (T D).
        response: S (K D).
    """

    advance: Callable[[Carry, Array], tuple[Carry, Array]]
    begin: Carry
    drive: Float[Array, "T D"]
    response: Float[Array, "K D"]


@functools.partial(jax.jit, static_argnames=("module", "method"))
def apply(
    module: CutModel, variables: Variables, *inputs: PyTree, method: str
) -> PyTree:
    """Call a model's method, whose code is traced once for inputs of the same shapes.

    Whatever differentiates or batches the call takes the program that was traced, and XLA
    inlines it. In one program of all methods the ``classify`` of a model of Flax NNX is so
    traced once instead of 38 times.

    Args:
        module: the model.
        variables: its variables.
        inputs: arrays, as the method takes them.
        method: its name, one of those in the protocols above.
    """
    return module.apply(variables, *inputs, method=method)


def cut(
    module: CausalModel, variables: Variables, features: Float[Array, "T h w K"]
) -> Cut:
    """Cut a causal model at the drive of these features."""
    call = functools.partial(apply, module, variables)
    drive = call(features, method="drive")
    begin = jax.tree.map(lambda leaf: leaf.astype(drive.dtype), call(method="begin"))
    return Cut(
        advance=functools.partial(call, method="advance"),
        begin=begin,
        drive=drive,
        # Its argument is a number, by which shapes are made, and no array.
        response=module.apply(variables, features.shape[-1], method="response"),
    )


def features(
    module: CutModel,
    variables: Variables,
    frames: Float[Tensor, "T S S 3"],
    previous: Float[Tensor, "S S 3"] | None = None,
) -> Float[Array, "in h w K"]:
    """Compute the feature map A by chunks of frames, in float32 or wider.

    A frame's activations are a hundred times its pixels: those of a whole clip leave
    every cache and, on a CPU, cost as much in fresh memory as in arithmetic. A
    ``FramewiseModel`` sees each frame by itself, so a few at a time give the same A.
    Of any other model, ``features`` is called on the whole clip.

    Args:
        module: the model.
        variables: its variables.
        frames: preprocessed frames of one clip.
        previous: the frame before the first, where the clip continues a longer one.

    Returns:
        A; one step for each frame, or fewer of a model that strides over time.

    Raises:
        InputError: the model's ``features`` returned anything but (T, h, w, K).
    """
    frames = jnp.asarray(frames)
    if isinstance(module, FramewiseModel):
        clip = frames if previous is None else jnp.concatenate([previous[None], frames])
        images = apply(module, variables, clip, method="see")
        images = images[len(clip) - len(frames) :]
        below = functools.partial(apply, module, variables, method="below")
        maps = in_chunks(below, images, at_once(math.prod(images.shape[1:-1])))
    else:
        maps = apply(module, variables, frames, method="features")
    check_maps(maps, f"{type(module).__name__}.features", frames.shape)
    return maps.astype(jnp.promote_types(maps.dtype, jnp.float32))


@functools.partial(jax.jit, static_argnames="module")
def _support(
    module: CutModel, variables: Variables, frames: Float[Tensor, "T S S 3"]
) -> Bool[Array, "in T"]:
    """Tell of which frames each step of A has a derivative that is not 0."""
    maps, pullback = jax.vjp(
        lambda frames: features(module, variables, frames), jnp.asarray(frames)
    )
    # Random weights of the cells and channels: no derivative cancels another.
    weights = jax.random.normal(jax.random.key(0), maps.shape[1:], maps.dtype)

    def frames_of_step(step: Array) -> Bool[Array, " T"]:
        (gradient,) = pullback(jnp.zeros_like(maps).at[step].set(weights))
        return (gradient != 0).any((1, 2, 3))

    return jax.lax.map(frames_of_step, jnp.arange(len(maps)))


def frames_of_steps(
    module: CutModel, variables: Variables, frames: Float[Tensor, "T S S 3"]
) -> Int[np.ndarray, "in 2"]:
    """Derive the first and the last frame that each step of A depends on.

    A model that strides over time, such as a 3D CNN, has fewer steps of A than frames. The
    frames of a step are those with a derivative, of clips of this shape: derive them once.

    Args:
        module: the model.
        variables: its variables.
        frames: preprocessed frames; only their shape and dtype matter.

    Returns:
        Numbers of frames, both inclusive; of a step that depends on no frame, all.
    """
    frames = jnp.asarray(frames)
    # Noise: on a still or blank clip, ReLUs and maxima would hide what is connected.
    noise = jax.random.normal(jax.random.key(1), frames.shape, frames.dtype)
    support = np.array(_support(module, variables, noise))  # a copy, to be changed
    support[~support.any(1)] = True
    last = support.shape[1] - 1 - support[:, ::-1].argmax(1)
    return np.stack([support.argmax(1), last], 1)


def classify(
    module: CutModel, variables: Variables, features: Float[Tensor, "in h w K"]
) -> Float[Array, "out C"]:
    """Compute the scores of every output step; a score of the whole clip is one step.

    Raises:
        InputError: the model's ``classify`` returned neither (T_out, C) nor (C,).
    """
    scores = apply(module, variables, features, method="classify")
    return as_scores(scores, f"{type(module).__name__}.classify", features.shape)


def as_scores(
    scores: object, function: str, shape: tuple[int, ...]
) -> Float[Array, "out C"]:
    """Validate what a ``classify`` returned; a score of the whole clip, (C,), gets an axis.

    Args:
        scores: what it returned.
        function: its name, for the message.
        shape: of the feature map that it was given.

    Raises:
        InputError: neither (T_out, C) nor (C,), or not floating point.
    """
    is_array = isinstance(scores, jax.Array | np.ndarray)
    if (
        not is_array
        or scores.ndim not in (1, 2)
        or 0 in scores.shape
        or not jnp.issubdtype(scores.dtype, jnp.floating)
    ):
        kind = f"{scores.dtype} {scores.shape}" if is_array else type(scores).__name__
        raise InputError(
            f"{function} returned {kind} for a feature map {shape}: expected scores in "
            "floating point, (T_out, C) or, for the whole clip, (C,), without a batch axis"
        )
    return jnp.asarray(scores).reshape(-1, scores.shape[-1])


def check_maps(maps: object, function: str, frames: tuple[int, ...]) -> None:
    """Validate what a ``features`` returned for frames of this shape.

    Raises:
        InputError: anything but (T, h, w, K).
    """
    if not isinstance(maps, jax.Array | np.ndarray):
        problem = f"a {type(maps).__name__}"
    elif maps.ndim != 4 or 0 in maps.shape:
        problem = f"{maps.shape}"
    # Frames are square, and so are their feature maps: two equal sides at the end, and
    # another number before them, are (K, h, w).
    elif maps.shape[1] != maps.shape[2] == maps.shape[3] and frames[1] == frames[2]:
        problem = f"{maps.shape}, which looks like channels first"
    else:
        return
    raise InputError(
        f"{function} returned {problem} for frames {frames}: expected a feature map "
        "with the channels last, (T, h, w, K); of two functions, "
        "rgcam.from_functions(..., layout=rgcam.Layout(...)) takes tokens, channels "
        "first and a batch axis"
    )


def in_chunks(
    function: Callable[[Array], Array], inputs: Float[Array, "T ..."], size: int
) -> Float[Array, "T ..."]:
    """Apply ``function`` to ``size`` rows at a time, one chunk after the other."""
    steps = len(inputs)
    if steps <= size:
        return function(inputs)
    count = -(-steps // size)
    size = -(-steps // count)  # equal chunks, so that little is padding
    padding = [(0, count * size - steps)] + [(0, 0)] * (inputs.ndim - 1)
    chunks = jnp.pad(inputs, padding).reshape(count, size, *inputs.shape[1:])
    outputs = jax.lax.map(function, chunks)
    return outputs.reshape(-1, *outputs.shape[2:])[:steps]


def at_once(pixels: int) -> int:
    """Return how many frames of so many pixels make a chunk on this backend."""
    backend = "cpu" if jax.default_backend() == "cpu" else "other"
    return max(1, PIXELS[backend] // pixels)
