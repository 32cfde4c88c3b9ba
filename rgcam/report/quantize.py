"""Heat maps of all pairs (t', t) in few bytes, for a page that restores them.

L[class, t', t] (h w numbers) is a combination of a few maps of frame t that all classes
and output steps share, since L[t', t, i, j] = G[t', t] . Q[t, i, j] (Theorem 2 of
``rgcam.attribution.causal``). Stored are

    codes (int8) x scale (one for each pair)            where that is small: the cells;
    codes (int8) x scale = coefficients of basis[t]     else: the best basis of r maps.

The basis holds the leading eigenvectors of sum L L^T over classes and output steps.
Each pair has its own scale, so that a faint pair keeps its shape. The error is
measured, never assumed: ``Factors.error``.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int8

BUDGET = 6 * 2**20  # bytes of codes


class Factors(NamedTuple):
    """Maps of some classes, quantised; pairs lie row by row, ``pairs`` lists them.

    Attributes:
        causal: whether the pairs are those with t <= t' only, all others being 0.
        codes: -127 to 127.
        scales: what a code of 1 means, in logits.
        basis: maps of each frame that the codes combine; None: the codes are cells.
        error: the largest |restored - true|, as a part of the largest |true|.
    """

    causal: bool
    codes: Int8[np.ndarray, "classes pairs rank"]
    scales: Float[np.ndarray, "classes pairs"]
    basis: Float[np.ndarray, "in rank cells"] | None
    error: float


def pairs(out: int, steps: int, causal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return t' and t of every stored pair: the lower triangle if causal, or all."""
    if causal:
        return np.tril_indices(out, 0, steps)
    rows, columns = np.indices((out, steps))
    return rows.ravel(), columns.ravel()


def is_causal(maps: Float[np.ndarray, "classes out in h w"]) -> bool:
    """Tell whether nothing looks ahead: as many outputs as inputs, 0 where t > t'."""
    out, steps = maps.shape[1:3]
    rows, columns = np.triu_indices(steps, 1)
    return out == steps and not maps[:, rows, columns].any()


def factorise(
    maps: Float[np.ndarray, "classes out in h w"], budget: int = BUDGET
) -> Factors:
    """Quantise the maps of all pairs into about ``budget`` bytes of codes."""
    classes, out, steps, height, width = maps.shape
    causal = is_causal(maps)
    rows, columns = pairs(out, steps, causal)
    cells = height * width
    rank = min(cells, max(4, budget // (classes * len(rows))))
    flat = maps.reshape(classes, out, steps, cells)
    basis = None if rank == cells else _basis(flat, rank)
    codes = np.empty((classes, len(rows), rank), np.int8)
    scales, error = np.empty(codes.shape[:2], np.float32), 0.0
    for n, class_maps in enumerate(flat):
        # The basis is orthonormal: its transpose gives the best coefficients.
        values = class_maps
        if basis is not None:
            values = _combine(class_maps, basis.swapaxes(1, 2))
        codes[n], scales[n] = _quantise(values[rows, columns])
        restored = _restore(codes[n], scales[n], basis, (out, steps), (rows, columns))
        error = max(error, float(np.abs(restored - class_maps).max(initial=0)))
    peak = float(np.abs(maps).max(initial=0)) or 1.0
    return Factors(
        causal=causal, codes=codes, scales=scales, basis=basis, error=error / peak
    )


def restore(
    factors: Factors, shape: tuple[int, ...]
) -> Float[np.ndarray, "classes out in h w"]:
    """Return the maps again, as the page computes them.

    Args:
        factors: of ``factorise``.
        shape: of the maps: (classes, out, in, h, w).
    """
    out, steps = shape[1:3]
    stored = pairs(out, steps, factors.causal)
    maps = [
        _restore(codes, scales, factors.basis, (out, steps), stored)
        for codes, scales in zip(factors.codes, factors.scales, strict=True)
    ]
    return np.stack(maps).reshape(shape)


def _basis(
    flat: Float[np.ndarray, "classes out in cells"], rank: int
) -> Float[np.ndarray, "in rank cells"]:
    """Return the leading eigenvectors of each frame's sum of L L^T."""
    gram = np.zeros((*flat.shape[2:], flat.shape[3]), flat.dtype)
    for class_maps in flat:
        gram += np.einsum("otx,oty->txy", class_maps, class_maps)
    vectors = np.linalg.eigh(gram)[1][:, :, ::-1][:, :, :rank]
    return np.ascontiguousarray(vectors.transpose(0, 2, 1), np.float32)


def _combine(
    values: Float[np.ndarray, "out in x"], mixing: Float[np.ndarray, "in x y"]
) -> Float[np.ndarray, "out in y"]:
    """Multiply the values of each frame by the frame's own matrix."""
    return (values.swapaxes(0, 1) @ mixing).swapaxes(0, 1)


def _quantise(
    values: Float[np.ndarray, "pairs rank"],
) -> tuple[Int8[np.ndarray, "pairs rank"], Float[np.ndarray, " pairs"]]:
    """Return codes and the scale of each pair."""
    scale = np.asarray(np.abs(values).max(1) / 127, np.float32)
    codes = values / np.where(scale > 0, scale, 1)[:, None]
    return np.rint(codes).clip(-127, 127).astype(np.int8), scale


def _restore(
    codes: Int8[np.ndarray, "pairs rank"],
    scales: Float[np.ndarray, " pairs"],
    basis: Float[np.ndarray, "in rank cells"] | None,
    size: tuple[int, int],
    stored: tuple[np.ndarray, np.ndarray],
) -> Float[np.ndarray, "out in cells"]:
    """Return one class's maps from the codes of the stored pairs (t', t)."""
    values = np.zeros((*size, codes.shape[-1]), np.float32)
    values[stored] = codes * scales[:, None]
    return values if basis is None else _combine(values, basis)
