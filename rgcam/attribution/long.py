"""Videos of any length: rows of the matrix within a budget of memory.

Frames come stretch by stretch and are never all there; of each stretch the drive u, the
carry before it and the feature maps A are kept (A in a temporary file where the budget
is small). Then blocks of output steps go back through the stretches (see
``rgcam.attribution.causal``, Theorem 3), each only as far as its window reaches.

What a window leaves out is reported exactly. By Theorem 2 the signed mass of a whole
row is the derivative of y[t'] along the mean map of every frame:

    sum_t sum_ij L[t', t, i, j] = d/de y[t'](u + e mean_ij(A) @ S)  at e = 0,

one forward-mode pass for all rows at once.
"""

import functools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from rgcam.attribution import causal
from rgcam.attribution.stretches import Maps, stretches
from rgcam.errors import InputError
from rgcam.models import chunks

STRETCH = 64  # frames that go back together; fewer and larger ones gain nothing more
ROWS = (8, 256)  # output steps of a block: at least, at most
Out = None | int | slice | Sequence[int]


class LongExplanation(NamedTuple):
    """Some rows of the T' x T tensor of a long video, as numpy arrays.

    Attributes:
        scores: y (T C), of every step.
        target: the class explained.
        out: (rows,) output steps t' explained, ascending.
        matrix: (rows in), mass of each heat map, in logits; with a window W
            (rows W), by lag: [r, l] is of frame t' - l.
        maps: (rows in h w) or (rows W h w), or None.
        dropped: (rows,) signed mass, in logits, that the window leaves out; 0 without.
    """

    scores: Float[np.ndarray, "T C"]
    target: int
    out: Int[np.ndarray, " rows"]
    matrix: Float[np.ndarray, "rows in"]
    maps: Float[np.ndarray, "rows in h w"] | None
    dropped: Float[np.ndarray, " rows"]


class _Kept(NamedTuple):
    """What the forward pass leaves: stretches of L frames, padded at the end."""

    steps: int
    carries: list[Any]  # before each stretch
    drives: list[np.ndarray]  # (L D)
    maps: Maps
    response: jax.Array
    scores: np.ndarray  # (T C)
    masses: np.ndarray  # (T C), signed mass of each row, of every class


def explain_long(
    module: nn.Module,
    variables: Any,
    frames: Iterable[np.ndarray],
    target: int | None = None,
    *,
    out: Out = None,
    window: int | None = None,
    maps: bool = False,
    relu: bool = True,
    max_bytes: int = 2 * 2**30,
) -> LongExplanation:
    """Explain rows of a video that comes in pieces.

    Args:
        module: a causal one, see ``rgcam.attribution.causal``.
        variables: its variables.
        frames: preprocessed pieces (n, S, S, 3) of any lengths, in order.
        target: class index; None: the class with the highest score at the last step.
        out: output steps to explain: one, several, a slice such as
            ``slice(None, None, 100)``, or None: all. Negative ones count from the end.
        window: W, frames before and at an output step to look back on; None: all.
        maps: whether heat maps are kept too, not the matrix alone.
        relu: rectify the maps, Eq. 2.
        max_bytes: what results and working memory may take, the model's parameters
            aside.

    Returns:
        LongExplanation; the same numbers as ``gradcam.explain`` gives.

    Raises:
        InputError: a module that cannot go on from a carry, no frame, a class or step
            that does not exist, a window below 1, or results that max_bytes does not
            hold.
    """
    if not causal.splits(module):
        raise InputError(
            f"{type(module).__name__} has no drive, response, begin and advance: a "
            "video in pieces needs a causal model, see rgcam.models.classifiers"
        )
    if window is not None and window < 1:
        raise InputError(f"window is {window}: give at least 1 frame to look back on")
    with tempfile.TemporaryFile() as file:
        kept = _forward(module, variables, frames, file, max_bytes // 4)
        target = _target(kept, target)
        rows = _rows(out, kept.steps)
        width = kept.steps if window is None else min(window, kept.steps)
        result = _empty(kept, rows, width, maps, max_bytes)
        totals = np.zeros(len(rows))
        visit = functools.partial(_visit, module, relu=relu)
        size = _block(kept, max_bytes // 4)
        for first in range(0, len(rows), size):
            here = slice(first, first + size)
            parts = _go_back(visit, variables, kept, target, rows[here], size, width)
            for start, matrix, pictures, masses in parts:
                count = len(rows[here])
                totals[here] += masses[:count]
                places = _places(rows[here], start, kept.steps, width, window)
                _put(result, here, places, matrix[:count], pictures[:count])
    dropped = kept.masses[rows, target] - totals if window else np.zeros(len(rows))
    return result._replace(target=target, dropped=dropped)


def row_bytes(steps: int, cells: int, maps: bool) -> int:
    """Count the bytes that one row of ``steps`` frames takes in the result."""
    return 4 * steps * (1 + cells * maps)


def _forward(module, variables, frames, file, max_bytes) -> _Kept:
    carries, drives, scores, masses = [], [], [], []
    maps, state, response, steps = Maps(file, max_bytes), None, None, 0
    for piece, count in stretches(frames, STRETCH):
        if state is None:
            begin = module.apply(variables, method="begin")
            still = jax.tree.map(jnp.zeros_like, begin)
            state = begin, still, jnp.asarray(piece[0])
        carries.append(state[0])
        state, found, response = _enter(module, variables, state, piece)
        features, drive, own, mass = map(np.asarray, found)
        maps.append(features)
        drives.append(drive)
        scores.append(own[:count])
        masses.append(mass[:count])
        steps += count
    if response is None:
        raise InputError("there are no frames to explain")
    scores, masses = np.concatenate(scores), np.concatenate(masses)
    return _Kept(steps, carries, drives, maps, response, scores, masses)


@functools.partial(jax.jit, static_argnames=("module",))
def _enter(module, variables, state, frames):
    """Take a stretch of frames forward, and along it the tangent of the mean maps."""
    carry, moved, last = state
    features = chunks.features(module, variables, frames, last)
    cut = causal.cut(module, variables, features)
    tangent = features.mean((1, 2)) @ cut.response
    carry, moved = (_like(cut.begin, tree) for tree in (carry, moved))
    (carry, scores), (moved, masses) = jax.jvp(
        cut.advance, (carry, cut.drive), (moved, tangent)
    )
    found = features, cut.drive, scores, masses
    return (carry, moved, frames[-1]), found, cut.response


def _go_back(visit, variables, kept, target, rows, size, width) -> Iterator[Any]:
    """Yield, for each stretch that ``rows`` look back on: its start and its parts."""
    padded = np.full(size, -1)  # no step: nothing comes of it
    padded[: len(rows)] = rows
    rest = causal.no_cotangent(kept.carries[0], size)
    earliest = max(0, rows[0] - width + 1) // STRETCH
    for place in range(rows[-1] // STRETCH, earliest - 1, -1):
        start = place * STRETCH
        rest, *parts = visit(
            *(variables, kept.response, kept.carries[place], kept.drives[place]),
            *(kept.maps[place], rest, padded, start, target, width),
        )
        yield start, *map(np.asarray, parts)


@functools.partial(jax.jit, static_argnames=("module", "relu"))
def _visit(
    module, variables, response, carry, drive, features, rest, rows, start, target,
    width, *, relu,
):  # fmt: skip
    """Take rows back through one stretch; return the cotangent, matrix, maps, mass."""
    advance = functools.partial(module.apply, variables, method="advance")
    places = start + jnp.arange(len(drive))
    at = (rows[:, None] == places).astype(drive.dtype)
    classes = jax.eval_shape(advance, carry, drive)[1].shape[1]
    seed = jax.nn.one_hot(target, classes, dtype=drive.dtype)
    _, pull = jax.vjp(advance, carry, drive)
    rest, weights = causal.back(pull, rest, at, seed)
    maps = causal.signed_maps(weights, response, features)
    seen = rows[:, None] - places < width
    maps = jnp.where(seen[..., None, None], maps, 0)
    masses = maps.sum((1, 2, 3))
    maps = jax.nn.relu(maps) if relu else maps
    return rest, maps.sum((2, 3)), maps, masses


def _target(kept: _Kept, target: int | None) -> int:
    classes = kept.scores.shape[1]
    if target is None:
        return int(kept.scores[-1].argmax())
    if not 0 <= target < classes:
        raise InputError(
            f"target {target} is not a class of this model: it has {classes}, "
            f"numbered 0 to {classes - 1}"
        )
    return target


def _rows(out: Out, steps: int) -> np.ndarray:
    """Return the chosen output steps, ascending."""
    if out is None or isinstance(out, slice):
        rows = np.arange(steps)[out or slice(None)]
    else:
        rows = np.atleast_1d(np.asarray(out, int))
        rows = np.where(rows < 0, rows + steps, rows)
    rows = np.unique(rows)
    if not len(rows) or rows[0] < 0 or rows[-1] >= steps:
        raise InputError(
            f"out={out} asks for output steps that a video of {steps} frames does not "
            f"have: give some of 0 to {steps - 1}"
        )
    return rows


def _empty(kept, rows, width, maps, max_bytes) -> LongExplanation:
    """Return a result of zeros; InputError where it does not fit."""
    cells = kept.maps[0].shape[1:3]
    needed = len(rows) * row_bytes(width, cells[0] * cells[1], maps)
    if needed > max_bytes // 2:
        raise InputError(
            f"{len(rows):,} rows of {width:,} frames take {needed / 2**30:.1f} GiB; "
            f"half of max_bytes, {max_bytes / 2**31:.1f} GiB, may be results: give a "
            "window, fewer output steps (out), the matrix without maps, or more memory"
        )
    matrix = np.zeros((len(rows), width), np.float32)
    pictures = np.zeros((*matrix.shape, *cells), np.float32) if maps else None
    return LongExplanation(kept.scores, 0, rows, matrix, pictures, matrix[:, 0])


def _block(kept: _Kept, max_bytes: int) -> int:
    """Return how many rows go back together within ``max_bytes``."""
    length, *cells, channels = kept.maps[0].shape
    width = kept.drives[0].shape[1]
    per_row = 4 * length * (2 * width + channels + 4 * cells[0] * cells[1])
    return int(np.clip(max_bytes // per_row, *ROWS))


def _places(rows, start, steps, width, window) -> tuple[np.ndarray, ...]:
    """Return where a stretch's parts go: (row, column of the result, frame of it)."""
    frames = start + np.arange(STRETCH)
    lags = rows[:, None] - frames
    exist = (lags >= 0) & (lags < width) & (frames < steps)
    row, frame = np.nonzero(exist)
    column = lags[row, frame] if window is not None else start + frame
    return row, column, frame


def _put(result, here, places, matrix, maps) -> None:
    row, column, frame = places
    result.matrix[here][row, column] = matrix[row, frame]
    if result.maps is not None:
        result.maps[here][row, column] = maps[row, frame]


def _like(tree, other):
    """Return ``other`` in the dtypes of ``tree``."""
    return jax.tree.map(lambda a, b: b.astype(a.dtype), tree, other)
