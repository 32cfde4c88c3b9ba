"""Videos of any length: rows of the matrix within a memory budget.

Frames come stretch by stretch and are never all in memory; of each stretch the drive u,
the carry before it and the feature maps A are stored (A in a temporary file where the
budget is small). Then blocks of output steps go back through the stretches (see
``causal``, Theorem 3), each only as far as its window reaches.

What a window leaves out is reported exactly. By Theorem 2 the signed mass of a whole
row is the derivative of y[t'] along the mean map of every frame:

    sum_t sum_ij L[t', t, i, j] = d/de y[t'](u + e mean_ij(A) @ S)  at e = 0,

one forward-mode pass for all rows at once.
"""

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from rgcam.attribution import causal, explain, padding, targets
from rgcam.errors import InputError
from rgcam.models.cut import PRECISION, Carry, CausalModel, CutModel, cut, features
from rgcam.types import Tensor, Variables

STRETCH = 64  # frames that go back together; fewer and larger stretches gain nothing
BLOCK_ROWS = (8, 256)  # output steps of a block: at least, at most
Out: TypeAlias = None | int | slice | Sequence[int]


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


class FeatureStore:
    """Feature maps of stretches: in memory up to a limit, then in a file."""

    def __init__(self, file: IO[bytes], max_bytes: int):
        self.file, self.bytes_left = file, max_bytes
        # Each stretch: its maps, or (offset in the file, shape, dtype).
        self.stretches: list[np.ndarray | tuple[int, tuple[int, ...], np.dtype]] = []

    def __getitem__(self, number: int) -> np.ndarray:
        """Return the maps of stretch ``number``."""
        entry = self.stretches[number]
        if isinstance(entry, np.ndarray):
            return entry
        offset, shape, dtype = entry
        return np.memmap(self.file, dtype, "r", offset, shape)

    def append(self, maps: np.ndarray) -> None:
        """Store one more stretch.

        Raises:
            InputError: the temporary file cannot grow.
        """
        self.bytes_left -= maps.nbytes
        if self.bytes_left >= 0:
            self.stretches.append(maps)
            return
        offset = self.file.seek(0, 2)
        try:
            self.file.write(maps.tobytes())
            self.file.flush()
        except OSError as error:
            raise InputError(
                f"cannot store the feature maps in {tempfile.gettempdir()} "
                f"({error.strerror}): set TMPDIR to a folder with more space"
            ) from error
        self.stretches.append((offset, maps.shape, maps.dtype))


class _ForwardPass(NamedTuple):
    """What the forward pass stores: stretches of L frames, padded at the end."""

    steps: int
    carries: list[Carry]  # before each stretch
    drives: list[np.ndarray]  # (L D)
    features: FeatureStore
    response: Float[Array, "K D"]
    scores: Float[np.ndarray, "T C"]
    masses: Float[np.ndarray, "T C"]  # signed mass of each row, for every class


def explain_long(
    module: CutModel,
    variables: Variables,
    frames: Iterable[np.ndarray],
    target: int | None = None,
    *,
    out: Out = None,
    window: int | None = None,
    maps: bool = False,
    relu: bool = True,
    max_bytes: int | None = None,
) -> LongExplanation:
    """Explain rows of a video that comes in pieces, by recurrent Grad-CAM.

    Args:
        module: a causal one, see ``rgcam.models.cut``.
        variables: its variables.
        frames: preprocessed pieces (n, S, S, 3) of any lengths, in order.
        target: class index; None: the class with the highest score at the last step.
        out: output steps to explain: one, several, a slice such as
            ``slice(None, None, 100)``, or None: all. Negative ones count from the end.
        window: W, frames before and at an output step to look back on; None: all.
        maps: whether to return heat maps too, not the matrix alone.
        relu: rectify the maps, Eq. 2.
        max_bytes: what results and working memory may take, the model's parameters
            aside; None: half of the device's memory, at most 16 GiB, or 2 GiB where the
            device does not tell.

    Returns:
        LongExplanation; the same numbers as ``explain`` gives.

    Raises:
        InputError: a module that cannot continue from a carry, no frame, a class or
            step that does not exist, a window below 1, results that max_bytes does
            not hold, or blocks of rows that the device's memory does not.
    """
    max_bytes = explain.max_bytes(2 * 2**30) if max_bytes is None else max_bytes
    if not isinstance(module, CausalModel):
        raise InputError(
            f"{type(module).__name__} has no drive, response, begin and advance: a "
            "video in pieces needs a causal model, see rgcam.models.cut"
        )
    if window is not None and window < 1:
        raise InputError(f"window is {window}: give at least 1 frame to look back on")
    with tempfile.TemporaryFile() as file:
        stored = _run_forward(module, variables, frames, file, max_bytes // 4)
        target = _validated_target(stored, target)
        rows = _chosen_rows(out, stored.steps)
        # Frames that a row may reach: with a window W, t' - W < t <= t'.
        width = stored.steps if window is None else min(window, stored.steps)
        result = _empty_result(stored, rows, width, maps, max_bytes)
        totals = np.zeros(len(rows))
        # Rows go back in blocks, so that a stretch's forward pass is repeated, and its
        # feature maps are read, once for all rows of a block.
        size = _rows_of_block(stored, max_bytes // 4)

        def go_back(smaller: int) -> None:
            totals[:] = 0  # all again: the blocks are others
            count = max(1, size // smaller)
            for first in range(0, len(rows), count):
                block = slice(first, first + count)
                _explain_block(
                    module,
                    variables,
                    stored,
                    result,
                    target=target,
                    rows=rows[block],
                    block=block,
                    size=count,
                    width=width,
                    window=window,
                    relu=relu,
                    totals=totals,
                )

        padding.with_smaller_blocks(go_back, f"{size} rows of {stored.steps} frames")
    # What the window leaves out = the mass of the whole row - the mass inside.
    if window:
        dropped = stored.masses[rows, target] - totals
    else:
        dropped = np.zeros(len(rows))
    return result._replace(target=target, dropped=dropped)


def _explain_block(
    module: CausalModel,
    variables: Variables,
    stored: _ForwardPass,
    result: LongExplanation,
    *,
    target: int,
    rows: Int[np.ndarray, " rows"],
    block: slice,
    size: int,
    width: int,
    window: int | None,
    relu: bool,
    totals: Float[np.ndarray, " all_rows"],
) -> None:
    """Take a block of ``size`` rows back; write its part of the result and of totals."""
    count = len(rows)
    parts = _go_back(module, variables, stored, target, rows, size, width, relu)
    for start, matrix_part, maps_part, mass_part in parts:
        # Signed mass inside the window, before the ReLU, over all stretches.
        totals[block] += mass_part[:count]
        positions = _positions(rows, start, stored.steps, width, window)
        _write(result, block, positions, matrix_part[:count], maps_part[:count])


def row_bytes(steps: int, cells: int, maps: bool) -> int:
    """Count the bytes that one row of ``steps`` frames takes in the result."""
    return 4 * steps * (1 + cells * maps)


def equal_stretches(
    pieces: Iterable[np.ndarray], size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Cut pieces of any lengths into stretches of ``size``; pad the last one.

    Yields:
        The frames of a stretch, and how many of them are not padding.
    """
    frames = []
    for piece in pieces:
        for frame in piece:
            frames.append(frame)
            if len(frames) == size:
                yield np.stack(frames), size
                frames = []
    # All stretches have one length, so that one program serves all of them. What pads
    # the last one comes after every frame, and a causal score does not depend on it.
    if count := len(frames):
        yield np.stack(frames + frames[-1:] * (size - count)), count


def _run_forward(
    module: CausalModel,
    variables: Variables,
    frames: Iterable[np.ndarray],
    file: IO[bytes],
    max_bytes: int,
) -> _ForwardPass:
    """Go through the video once and store what the reverse passes need."""
    carries, drives, scores, masses = [], [], [], []
    store, state, response, steps = FeatureStore(file, max_bytes), None, None, 0
    for stretch, count in equal_stretches(frames, STRETCH):
        if state is None:
            begin = module.apply(variables, method="begin")
            # The carry before the first frame is a constant: its tangent is 0.
            no_tangent = jax.tree.map(jnp.zeros_like, begin)
            # The first frame is its own predecessor: it shows no change.
            state = (begin, no_tangent, jnp.asarray(stretch[0]))
        # Theorem 3: the carry is all that a stretch needs to know of the frames before.
        carries.append(state[0])
        state, outputs, response = _forward_stretch(module, variables, state, stretch)
        maps, drive, stretch_scores, stretch_masses = map(np.asarray, outputs)
        store.append(maps)
        drives.append(drive)
        scores.append(stretch_scores[:count])
        masses.append(stretch_masses[:count])
        steps += count
    if response is None:
        raise InputError("there are no frames to explain")
    return _ForwardPass(
        steps=steps,
        carries=carries,
        drives=drives,
        features=store,
        response=response,
        scores=np.concatenate(scores),
        masses=np.concatenate(masses),
    )


@functools.partial(jax.jit, static_argnames=("module",))
def _forward_stretch(
    module: CausalModel,
    variables: Variables,
    state: tuple[Carry, Carry, Array],
    frames: Float[Tensor, "L S S 3"],
) -> tuple[tuple[Carry, Carry, Array], tuple[Array, Array, Array, Array], Array]:
    """Take a stretch of frames forward, and along it the tangent of the mean maps."""
    carry, carry_tangent, last_frame = state
    with jax.default_matmul_precision(PRECISION):
        maps = features(module, variables, frames, last_frame)
        model = cut(module, variables, maps)
        # The drive's tangent is what the mean map of each frame adds to it.
        tangent = maps.mean((1, 2)) @ model.response
        carry = _cast_like(model.begin, carry)
        carry_tangent = _cast_like(model.begin, carry_tangent)
        # One forward-mode pass along this tangent: d/de y[t'](u + e mean(A) S), which by
        # Theorem 2 is the signed mass of row t', for all rows and classes at once.
        (carry, scores), (carry_tangent, masses) = jax.jvp(
            model.advance, (carry, model.drive), (carry_tangent, tangent)
        )
    outputs = (maps, model.drive, scores, masses)
    return (carry, carry_tangent, frames[-1]), outputs, model.response


def _go_back(
    module: CausalModel,
    variables: Variables,
    stored: _ForwardPass,
    target: int,
    rows: Int[np.ndarray, " rows"],
    size: int,
    width: int,
    relu: bool,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, for each stretch that ``rows`` look back on, its start and its parts.

    The parts are the matrix (rows L), the maps (rows L h w) and the signed mass (rows).
    """
    padded = np.full(size, -1)  # no output step: nothing comes of it
    padded[: len(rows)] = rows
    # From the stretch of the last row back to where the first row's window begins; a
    # row has cotangent 0 until the stretch of its own step is reached.
    cotangent = causal.zero_cotangent(stored.carries[0], size)
    earliest = max(0, rows[0] - width + 1) // STRETCH
    for number in range(rows[-1] // STRETCH, earliest - 1, -1):
        start = number * STRETCH
        cotangent, *parts = _back_through_stretch(
            module,
            variables,
            stored.response,
            stored.carries[number],
            stored.drives[number],
            stored.features[number],
            cotangent,
            padded,
            start,
            target,
            width,
            relu=relu,
        )
        matrix, maps, masses = map(np.asarray, parts)
        yield start, matrix, maps, masses


@functools.partial(jax.jit, static_argnames=("module", "relu"))
def _back_through_stretch(
    module: CausalModel,
    variables: Variables,
    response: Float[Array, "K D"],
    carry: Carry,
    drive: Float[Tensor, "L D"],
    maps: Float[Tensor, "L h w K"],
    cotangent: Carry,
    rows: Int[Tensor, " R"],
    start: int | Int[Array, ""],
    target: int | Int[Array, ""],
    width: int | Int[Array, ""],
    *,
    relu: bool,
) -> tuple[Carry, Array, Array, Array]:
    """Take rows back through one stretch.

    Returns:
        The cotangent of the carry before it; matrix, maps and signed mass of its frames.
    """
    advance: Callable[[Carry, Array], tuple[Carry, Array]] = functools.partial(
        module.apply, variables, method="advance"
    )
    # Output step t' joins at the frame t = t'; the padding, -1, joins at none.
    steps = start + jnp.arange(len(drive))
    joins = (rows[:, None] == steps).astype(drive.dtype)
    # In the drive's dtype, as ``cut`` begins: a constant carry may come in another.
    as_drive = lambda leaf: jnp.asarray(leaf, drive.dtype)
    carry, cotangent = jax.tree.map(as_drive, (carry, cotangent))
    classes = jax.eval_shape(advance, carry, drive)[1].shape[1]
    seed = jax.nn.one_hot(target, classes, dtype=drive.dtype)
    with jax.default_matmul_precision(PRECISION):
        # The forward pass again, from the stored carry: pullbacks are never stored.
        _, pullback = jax.vjp(advance, carry, drive)
        cotangent, weights = causal.pull_back(pullback, cotangent, joins, seed)
        heat = causal.signed_maps(weights, response, jnp.asarray(maps))
    # Lags of W and more are left out. Frames after t' are 0 already: nothing had joined.
    in_window = rows[:, None] - steps < width
    heat = jnp.where(in_window[..., None, None], heat, 0)
    masses = heat.sum((1, 2, 3))
    heat = jax.nn.relu(heat) if relu else heat
    return cotangent, heat.sum((2, 3)), heat, masses


def _validated_target(stored: _ForwardPass, target: int | None) -> int:
    if target is None:
        return int(targets.predicted_class(stored.scores))
    targets.check_target(target, stored.scores.shape[1])
    return target


def _chosen_rows(out: Out, steps: int) -> Int[np.ndarray, " rows"]:
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


def _empty_result(
    stored: _ForwardPass,
    rows: Int[np.ndarray, " rows"],
    width: int,
    maps: bool,
    max_bytes: int,
) -> LongExplanation:
    """Return a result of zeros; InputError where it does not fit."""
    cells = stored.features[0].shape[1:3]
    needed = len(rows) * row_bytes(width, cells[0] * cells[1], maps)
    if needed > max_bytes // 2:
        raise InputError(
            f"{len(rows):,} rows of {width:,} frames take {needed / 2**30:.1f} GiB; "
            f"half of max_bytes, {max_bytes / 2**31:.1f} GiB, may be results: give a "
            "window, fewer output steps (out), the matrix without maps, or more memory"
        )
    matrix = np.zeros((len(rows), width), np.float32)
    return LongExplanation(
        scores=stored.scores,
        target=0,
        out=rows,
        matrix=matrix,
        maps=np.zeros((*matrix.shape, *cells), np.float32) if maps else None,
        dropped=matrix[:, 0],
    )


def _rows_of_block(stored: _ForwardPass, max_bytes: int) -> int:
    """Return how many rows go back together within ``max_bytes``."""
    # An estimate, in float32, of one row over a stretch: G and a temporary of its size
    # (2 D), beta (K), and maps: signed, windowed, rectified, returned (4 h w).
    length, *cells, channels = stored.features[0].shape
    width = stored.drives[0].shape[1]
    per_row = 4 * length * (2 * width + channels + 4 * cells[0] * cells[1])
    return int(np.clip(max_bytes // per_row, *BLOCK_ROWS))


def _positions(
    rows: Int[np.ndarray, " rows"],
    start: int,
    steps: int,
    width: int,
    window: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where a stretch's parts go: row and column of the result, and its frame."""
    frames = start + np.arange(STRETCH)
    lags = rows[:, None] - frames
    exist = (lags >= 0) & (lags < width) & (frames < steps)
    row, frame = np.nonzero(exist)
    # With a window columns are lags, so that W of them suffice; without, frames.
    column = lags[row, frame] if window is not None else start + frame
    return row, column, frame


def _write(
    result: LongExplanation,
    block: slice,
    positions: tuple[np.ndarray, np.ndarray, np.ndarray],
    matrix: np.ndarray,
    maps: np.ndarray,
) -> None:
    row, column, frame = positions
    result.matrix[block][row, column] = matrix[row, frame]
    if result.maps is not None:
        result.maps[block][row, column] = maps[row, frame]


def _cast_like(tree: PyTree, values: PyTree) -> PyTree:
    """Return ``values`` in the dtypes of ``tree``."""
    return jax.tree.map(lambda leaf, value: value.astype(leaf.dtype), tree, values)
