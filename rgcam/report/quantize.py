"""Heat maps of all pairs (t', t) in few bytes, made for a page that restores them.

L[class, t', t] (h w numbers) is a combination of a few maps of frame t that all classes
and output steps share, since L[t', t, i, j] = G[t', t] . Q[t, i, j] (``blocks``,
theorem 2). Stored are

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
    for n, own in enumerate(flat):
        values = own if basis is None else _mixed(own, basis.swapaxes(1, 2))
        codes[n], scales[n] = _quantise(values[rows, columns])
        again = _restore(codes[n], scales[n], basis, (out, steps), (rows, columns))
        error = max(error, float(np.abs(again - own).max(initial=0)))
    peak = float(np.abs(maps).max(initial=0)) or 1.0
    return Factors(causal, codes, scales, basis, error / peak)


def restore(
    factors: Factors, shape: tuple[int, ...]
) -> Float[np.ndarray, "classes out in h w"]:
    """Return the maps again, as the page computes them."""
    classes, out, steps, height, width = shape
    rows, columns = pairs(out, steps, factors.causal)
    where = pairs(out, steps, factors.causal)
    own = zip(factors.codes, factors.scales, strict=True)
    maps = [_restore(*each, factors.basis, (out, steps), where) for each in own]
    return np.stack(maps).reshape(shape)


def _basis(flat: np.ndarray, rank: int) -> np.ndarray:
    gram = sum(np.einsum("otx,oty->txy", own, own) for own in flat)
    vectors = np.linalg.eigh(gram)[1][:, :, ::-1][:, :, :rank]
    return np.ascontiguousarray(vectors.transpose(0, 2, 1), np.float32)


def _mixed(values: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Multiply (out in x) by a matrix (x y) of each frame."""
    return (values.swapaxes(0, 1) @ mixing).swapaxes(0, 1)


def _quantise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.asarray(np.abs(values).max(1) / 127, np.float32)
    codes = values / np.where(scale > 0, scale, 1)[:, None]
    return np.rint(codes).clip(-127, 127).astype(np.int8), scale


def _restore(codes, scales, basis, size, where) -> np.ndarray:
    """Return one class's maps (out in cells)."""
    values = np.zeros((*size, codes.shape[-1]), np.float32)
    values[where] = codes * scales[:, None]
    return values if basis is None else _mixed(values, basis)
