"""Arrays to pictures: overlay, strip and matrix; no file is touched, no pyplot used.

One scale holds for a whole clip, 0 stays 0, and absent evidence is said in words.
Colours: inferno, or blue to red symmetric about 0 as soon as one value is negative.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import cm, colormaps, colors, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from rgcam.errors import InputError
from rgcam.report import lettering, panels
from rgcam.report.panels import NO_EVIDENCE as NO_EVIDENCE

Box = tuple[int, int, int, int]
Maps = Float[np.ndarray, "*any h w"]


def normalize(maps: Maps) -> Maps:
    """Divide raw maps (..., h, w) by the largest absolute value of all, to float32.

    Give the whole clip: a scale per frame invents evidence. All zeros stay zeros;
    InputError if a value is NaN or infinite.
    """
    if not np.isfinite(maps).all():
        raise InputError("importances hold NaN or infinite values: nothing to draw")
    return (maps / (np.abs(maps).max(initial=0) or 1)).astype(np.float32)


def upsample(maps: Maps, size: tuple[int, int]) -> Float[np.ndarray, "*any H W"]:
    """Resize maps (..., h, w) bilinearly to size (H, W), to float32.

    Half-pixel centres, clamped edges: output i lies at ``(i + 0.5) * h / H - 0.5``
    cells. It interpolates and never averages: meant for H >= h and W >= w.
    """
    rows, columns = map(_tents, size, maps.shape[-2:])
    # By einsum: BLAS gives so thin a product to threads, which costs far more.
    wide = np.einsum("...hw,Ww->...hW", maps.astype(np.float32), columns)
    return np.einsum("Hh,...hW->...HW", rows, wide)


def overlay(
    frames: UInt8[np.ndarray, "T H W 3"],
    maps: Float[np.ndarray, "T h w"],
    *,
    box: Box | None = None,
    opacity: float = 0.6,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Lay heat over frames; where there is no evidence the frame itself shows.

    Args:
        frames: (T, H, W, 3).
        maps: raw heat maps (T, h, w); if signed, red is for and blue against.
        box: (top, left, bottom, right), the pixels that the model saw; None: all.
            What lies outside gets no heat and is dimmed.
        opacity: of the strongest heat; it falls to 0 with the value.

    Raises:
        InputError: A value of maps is not finite, or box is not inside the frame.
    """
    return _heat(frames, normalize(maps), _scale(maps), box, opacity)


def strip(
    frames: UInt8[np.ndarray, "T H W 3"],
    rows: Sequence[tuple[str, Float[np.ndarray, "T h w"]]],
    times: Float[np.ndarray, " T"],
    *,
    columns: int = 8,
    box: Box | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw the paper's Fig. 3: the frames, and beneath them one row per method.

    Args:
        frames: (T, H, W, 3).
        rows: (label, raw heat maps (T, h, w) in logits); (b), (c), ... are put before
            the labels. A row's one scale is its whole clip's, shown or not.
        times: (T,), seconds.
        columns: how many frames to show: evenly chosen, the last one always.
        box: as in ``overlay``.
        title: above.
        note: small, beneath.
    """
    end, cell = len(frames) - 1, 1.25 * frames.shape[1] / frames.shape[2]  # inches
    picks = np.rint(np.linspace(end, 0, min(end + 1, columns))).astype(int)[::-1]
    size = 1.25 * len(picks) + 2.2, (cell + 0.06) * (len(rows) + 1) + 0.75
    figure = lettering.figure(size, "compressed", title, note)
    axes = figure.subplots(len(rows) + 1, 1, squeeze=False)[:, 0]
    _film(axes[0], frames[picks], "(a) original video")
    seconds = [f"{time:.2f} s" for time in times[picks]]
    axes[0].set_xticks(np.arange(len(picks)) + 0.5, seconds, **lettering.style())
    for i, (label, maps) in enumerate(rows, start=1):
        heat = _heat(frames[picks], normalize(maps)[picks], _scale(maps), box, 0.6)
        _film(axes[i], heat, f"({chr(97 + i)}) {label}")
        _film_bar(axes[i], _scale(maps))
    return figure


def matrix(
    matrix: Float[np.ndarray, "out in"],
    times_in: Float[np.ndarray, " in"],
    times_out: Float[np.ndarray, " out"],
    scores: Float[np.ndarray, "out C"],
    classes: Sequence[str],
    target: str | int,
    *,
    title: str = "",
    note: str = "",
    beneath: tuple[str, Float[np.ndarray, " in"]] | None = None,
    profile: Float[np.ndarray, " in"] | None = None,
) -> Figure:
    """Draw how much each input time t mattered at each output time t', and the scores.

    Args:
        matrix: (T_out, T_in), heat-map mass in logits, signed or not. If all of
            t > t' is exactly 0, it is hatched as structure: not seen yet.
        times_in: (T_in,), seconds, increasing.
        times_out: (T_out,), seconds, increasing; grows downwards.
        scores: (T_out, C), logits: the target's, and the three best others at the end.
        classes: the C names.
        target: the class that the matrix explains, by name or index.
        title: above.
        note: small, beneath.
        beneath: a row to draw under the matrix, and what it is; None: the last one,
            what the last decision looked at.
        profile: mean size by lag t' - t, to draw in the corner of a matrix that
            is hatched there: ``lags.lags(matrix).profile``.
    """
    shown = _shown_classes(classes, target, scores[-1])
    tall = float(np.clip(0.6 * len(times_out), 1.2, 4.4))  # inches
    figure = lettering.figure((8.2, tall + 2.5), "constrained", title, note)
    top, main, side, last, legend = panels.lay_out(figure, tall)
    x = panels.edges(main.xaxis, times_in, 1.0)
    y = panels.edges(main.yaxis, times_out, (x[-1] - x[0]) / len(times_in))
    future = times_in > times_out[:, None] + 1e-6
    hidden = future & bool(matrix.any() and not matrix[future].any())
    _draw_matrix(main, top, np.ma.array(matrix, mask=hidden), x, y)
    words, row = beneath or (f"last row (t' = {times_out[-1]:.2f} s)", matrix[-1])
    panels.draw_row(last, row, x, words)
    panels.draw_scores(side, scores[:, shown], times_out)
    if profile is not None and hidden.any() and len(profile) >= panels.FEWEST:
        panels.draw_lags(main, profile, times_in)
    names = [classes[c] for c in shown] + ["t > t': not seen yet"] * int(hidden.any())
    panels.draw_legend(legend, side.lines, names)
    return figure


def figure_to_vector(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of kind "pdf" or "svg": words as text, not as outlines.

    Frames and the matrix stay pixels.
    """
    if kind not in ("pdf", "svg"):
        raise InputError(f"there is no vector picture {kind!r}: choose pdf or svg")
    fonts = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "rgcam"}
    undated: dict[str, Any] = {"CreationDate" if kind == "pdf" else "Date": None}
    with rc_context(fonts), io.BytesIO() as file:
        figure.savefig(file, format=kind, metadata=undated)
        return file.getvalue()


def figure_to_array(figure: Figure) -> UInt8[np.ndarray, "H W 3"]:
    """Rasterize a figure at its own dpi."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _tents(size: int, cells: int):
    centres = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    return np.float32(np.maximum(1 - np.abs(centres[:, None] - np.arange(cells)), 0))


def _scale(values):
    """Return the one scale of all values: colours, and limits in true units."""
    peak, signed = float(np.abs(values).max()), (normalize(values) < 0).any()
    name, ends = ("RdBu_r", (0.04, 0.96)) if signed else ("inferno", (0.2, 0.92))
    colours = colors.ListedColormap(colormaps[name](np.linspace(*ends, 256)))
    return cm.ScalarMappable(colors.Normalize(-peak if signed else 0, peak), colours)


def _heat(frames, unit, scale, box: Box | None, opacity: float):
    """Blend normalised maps (T, h, w) into frames (T, H, W, 3)."""
    height, width = frames.shape[1:3]
    top, left, bottom, right = box or (0, 0, height, width)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(f"box {box} does not fit into frames of {height} x {width}")
    out, seen = frames // 2, np.s_[:, top:bottom, left:right]
    table = scale.cmap(np.arange(256), bytes=True)[:, :3]
    for frame, plain, cells in zip(out[seen], frames[seen], unit, strict=True):
        value = upsample(cells, (bottom - top, right - left))
        alpha = 255 * opacity * (1 - (1 - np.abs(value)) ** 2)
        signed = 256 * (value / 2 + 0.5 if scale.norm.vmin < 0 else value)
        layers = table[np.clip(signed, 0, 255).astype(np.uint8)], plain, _bytes(alpha)
        frame[:] = Image.composite(*map(Image.fromarray, layers))
    return out


def _bytes(values) -> UInt8[np.ndarray, "..."]:
    return np.rint(values).astype(np.uint8)


def _film(axis, frames, label: str) -> None:
    """Draw frames side by side, each 1 wide, and the label at the left."""
    height = 0.96 * frames.shape[1] / frames.shape[2]
    for i, frame in enumerate(frames):
        box = (i + 0.02, i + 0.98, height, 0)
        axis.imshow(frame, extent=box, interpolation="bicubic")
    axis.set(xlim=(0, len(frames)), ylim=(height, 0), xticks=[], yticks=[])
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    label = textwrap.fill(lettering.plain(label), 18)
    axis.set_ylabel(label, rotation=0, ha="right", va="center", **lettering.style(9))


def _film_bar(axis, scale) -> None:
    if not scale.norm.vmax:
        return panels.say_nothing(axis)
    style = {"aspect": 11, "pad": 0.01, "format": "%.3g", "shrink": 0.86}
    bar = axis.figure.colorbar(scale, ax=axis, ticks=scale.get_clim(), **style)
    bar.set_label("logits", size=8)
    bar.ax.tick_params(labelsize=8)


def _shown_classes(classes: Sequence[str], target: str | int, scores) -> list:
    """Return the target's index and those of the three best other classes."""
    names = dict(zip(classes, range(len(scores)), strict=True))
    index = names.get(target, -1) if isinstance(target, str) else target
    if index not in range(len(scores)):
        raise InputError(f"no class {target!r}; the classes are {', '.join(classes)}")
    return [index, *[c for c in np.argsort(-scores) if c != index][:3]]


def _draw_matrix(axis, top, values, x, y) -> None:
    """Draw the matrix, masked where it is structure, and its colour bar on top."""
    scale = _scale(values.data)
    axis.set(xlim=x[[0, -1]], ylim=y[[-1, 0]], ylabel="output time t' (s)")
    axis.tick_params(labelbottom=False)
    if not scale.norm.vmax:
        top.set_axis_off()
        return panels.say_nothing(axis)
    axis.patch.set(**panels.HATCH)
    style = {"cmap": scale.cmap, "norm": scale.norm, "rasterized": True}
    mesh = axis.pcolormesh(x, y, values, **style)
    bar = axis.figure.colorbar(mesh, top, orientation="horizontal", ticklocation="top")
    bar.set_label("importance (heat-map mass, logits)", size=9)
