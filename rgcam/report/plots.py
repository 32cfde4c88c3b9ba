"""Matplotlib figures: the strip of frames under heat maps, and the matrix.

Arrays in, figures out: no file is touched and pyplot is not used. Any name can be
drawn, as it stands ($ and _ are no mathematics), and no text leaves its place.
"""

import functools
import io
import textwrap
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from rgcam.attribution.maps import normalize, step_name
from rgcam.errors import InputError
from rgcam.report.overlay import MATRIX_POWER, ColourScale, blend, colour_scale
from rgcam.report.record import NO_EVIDENCE, ExplainedClip
from rgcam.types import Box

DPI = 180  # of figures made of pixels
CJK = ("Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", "PingFang SC", "SimHei")
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")  # Okabe and Ito; target first
NOT_SEEN = "t > t': not seen yet"
CORNER = (0.58, 0.58, 0.4, 0.4)  # left, bottom, width, height, in parts of the matrix
MOST_LABELS = 16  # of output steps
FEWEST = 8  # steps that leave the corner free

# Places are computed in inches: Matplotlib's own layout took a quarter of drawing.
FRAME = 1.25  # width of a frame of the strip, with its margin
BAR_FORMAT = "%.3g"  # of the ends of its colour bars
MARGIN = 0.1  # around what is drawn
MATRIX_WIDTH = 8.2


class Row(NamedTuple):
    """A row of the strip.

    Attributes:
        label: its name; (b), (c), ... are put before it.
        maps: raw heat maps, in logits.
        signed: see ``overlay.colour_scale``.
    """

    label: str
    maps: Float[np.ndarray, "T h w"]
    signed: bool | None = None


def strip(
    frames: UInt8[np.ndarray, "T H W 3"],
    rows: Sequence[Row | tuple[str, Float[np.ndarray, "T h w"]]],
    times: Float[np.ndarray, " T"],
    *,
    columns: int = 8,
    box: Box | None = None,
    moments: Sequence[int] = (),
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw the paper's Fig. 3: the frames, and below them one row per method.

    Args:
        frames: RGB.
        rows: labels and heat maps. A row has one scale, of its whole clip, shown or
            not.
        times: of the frames, in seconds.
        columns: how many frames to show: evenly chosen, the last one always.
        box: (top, left, bottom, right), the pixels that the model saw; None: all.
        moments: frames that are shown in any case, with their times marked; the most
            important first.
        title: above.
        note: small, below.
    """
    films = [row if isinstance(row, Row) else Row(row[0], row[1]) for row in rows]
    scales = [colour_scale(row.maps, row.signed, over_frames=True) for row in films]
    picks = choose_frames(len(frames), columns, moments)
    names = ["(a) original video"]
    names += [f"({chr(98 + i)}) {row.label}" for i, row in enumerate(films)]
    labels = [textwrap.fill(_drawable(name), 18) for name in names]
    left = MARGIN + max(_text_width(label, 9) for label in labels) + 0.1
    width = FRAME * len(picks)
    numbers = [BAR_FORMAT % end for scale in scales for end in (scale.low, scale.high)]
    right = 0.6 + max([_text_width(number, 8) for number in numbers], default=0)
    height = FRAME * 0.96 * frames.shape[1] / frames.shape[2]
    pitch = max(height, *map(_text_height, labels)) + 0.12  # from one row to the next
    page = _page(left + width + right, pitch * len(labels) + 0.14, title, note)
    # The rows' centres, from above; over the first are the times.
    centres = page.top - 0.14 - pitch * (np.arange(len(labels)) + 0.5)

    def place_film(row: int) -> Axes:
        return page.place(left, centres[row] - height / 2, width, height)

    film = place_film(0)
    _draw_film(film, frames[picks], labels[0])
    seconds = [f"{time:.2f} s" for time in times[picks]]
    film.set_xticks(np.arange(len(picks)) + 0.5, seconds, **_text_style())
    for pick, label in zip(picks, film.get_xticklabels(), strict=True):
        if pick in moments:
            label.set(color=COLOURS[0], weight="bold")
    for i, (row, scale) in enumerate(zip(films, scales, strict=True), start=1):
        heat = blend(frames[picks], normalize(row.maps)[picks], scale, box)
        film = place_film(i)
        _draw_film(film, heat, labels[i])
        if not scale.high:
            _say_nothing(film)
            continue
        tall = 0.86 * height
        bar = page.place(left + width + 0.1, centres[i] - tall / 2, 0.1, tall)
        _draw_film_bar(page.figure, bar, scale)
    return page.figure


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
    signed: bool | None = None,
    causal: bool | None = None,
    labels: Sequence[str] = (),
) -> Figure:
    """Draw the importance of each input time t for each output time t', and the scores.

    Args:
        matrix: heat-map mass in logits, signed or not. If all of t > t' is exactly 0,
            it is hatched as structure: not seen yet.
        times_in: seconds, increasing.
        times_out: seconds, increasing; grows downwards. Not drawn where there are labels.
        scores: logits: the target's, and the three best others at the end, are drawn.
        classes: the C names.
        target: the class that the matrix explains, by name or index.
        title: above.
        note: small, below.
        beneath: a row to draw under the matrix, and what it is; None: the last one.
        profile: mean size by lag t' - t, to draw in the corner of a matrix that
            is hatched there: ``lags.lags(matrix).profile``.
        signed: see ``overlay.colour_scale``.
        causal: whether zeros of t > t' are structure; None: if all of them are 0.
        labels: what the output steps are, where they are no times, such as words.
    """
    drawn = _drawn_classes(classes, target, scores[-1])
    last_step = step_name(times_out, labels, -1)
    description, row = beneath or (f"last row ({last_step})", matrix[-1])
    tall = float(np.clip(0.6 * len(times_out), 1.2, 4.4))  # inches
    # "last step (t' = 2.00 s)" in two lines: the axis is short.
    lines = description.rstrip(")").split(" (")
    row_label = "\n".join(textwrap.fill(line, 18) for line in lines)
    # Beside the rows' names, or the numbers of the row beneath, stands an axis label.
    names_width = max([_text_width(_row_name(name), 8) for name in labels], default=0)
    left = max(names_width + 0.45, _text_height(row_label) + 0.62)
    page = _page(MATRIX_WIDTH, tall + 2.57, title, note)
    top, main, side, last, legend = _lay_out(page, left, tall)
    x = _edges(main, "x", times_in, 1.0)
    rows = np.arange(len(labels), dtype=np.float64) if labels else times_out
    y = _edges(main, "y", rows, (x[-1] - x[0]) / len(times_in), labels)
    # Zeros after t' are structure only if all of them are exactly 0.
    future = times_in > times_out[:, None] + 1e-6
    if labels or causal is False:
        future[:] = False
    hidden = future & bool(matrix.any() and not matrix[future].any())
    scale = colour_scale(matrix, signed)
    values = np.ma.array(matrix, mask=hidden)
    _draw_matrix(page.figure, main, top, values, scale, x, y)
    if labels:
        main.set_ylabel("output step")
    _draw_row(last, row, x, row_label)
    _draw_scores(side, scores[:, drawn], rows)
    if profile is not None and hidden.any() and len(profile) >= FEWEST:
        _draw_lags(main, profile, times_in)
    names = [classes[c] for c in drawn] + [NOT_SEEN] * int(hidden.any())
    _draw_legend(legend, side.lines, names)
    return page.figure


def choose_frames(
    count: int, columns: int, moments: Sequence[int] = ()
) -> Int[np.ndarray, " shown"]:
    """Choose the frames of a strip: the last one, the moments, and others in between.

    Args:
        count: number of frames of the clip.
        columns: how many to choose.
        moments: frames that must be among them, as far as they fit, in this order.
    """
    columns = min(count, columns)
    if not moments:
        # From the last frame backwards, so that it is always among those shown.
        return np.rint(np.linspace(count - 1, 0, columns)).astype(int)[::-1]
    picks = {count - 1}
    for moment in moments[: columns - 1]:
        picks.add(moment)
    while len(picks) < columns:
        # The frame that lies farthest from all that were chosen.
        distances = [min(abs(t - c) for c in picks) for t in range(count)]
        picks.add(int(np.argmax(distances)))
    return np.array(sorted(picks))


def clip_strip(explained: ExplainedClip) -> Figure:
    """Draw the frames, the frame-CNN baseline and the attributions of a clip."""
    if explained.sentence is not None and explained.shown.maps is not None:
        return _sentence_strip(explained)
    baseline = explained.frame_baseline
    rows = []
    if baseline is not None:
        rows.append(Row("Grad-CAM (frame CNN)", baseline.maps[0], signed=False))
    # What is shown comes last, below what it is compared with.
    for attribution in reversed(explained.attributions):
        label = attribution.title
        if len(explained.attributions) > 1 and attribution.faithfulness is not None:
            label += f": check {attribution.verdict.split(',')[0]})"
        maps = explained.maps_of_frames(attribution)
        rows.append(Row(label, maps, signed=not attribution.rectified))
    note = explained.caption(explained.shown_text)
    moments = [moment.frame for moment in explained.top_moments]
    if moments:
        note += "; times of the top moments in bold"
    return strip(
        explained.clip.frames,
        rows,
        explained.clip.times,
        box=explained.box,
        moments=moments,
        title=explained.title,
        note=note,
    )


def _sentence_strip(explained: ExplainedClip) -> Figure:
    """Draw the frames and, below them, the maps of the words with the most support."""
    shown = explained.shown
    assert shown.maps is not None
    rows, moments = [], []
    for word in explained.top_words:
        maps = shown.maps[word.position]
        if explained.frames_of_steps is not None:
            maps = maps[explained.steps_of_frames]
        rows.append(Row(f"“{word.word}”", maps, signed=not shown.rectified))
        best = int(shown.matrix[word.position].argmax())
        moments.append(int(explained.middle_frames[best]))
    note = f"{shown.title}, the words with the most support"
    if moments:
        note += "; time of each word's largest contribution in bold"
    return strip(
        explained.clip.frames,
        rows,
        explained.clip.times,
        box=explained.box,
        moments=list(dict.fromkeys(moments)),
        title=explained.title,
        note=explained.caption(note),
    )


def clip_matrix(explained: ExplainedClip) -> Figure:
    """Draw the matrix of a clip's shown attribution."""
    shown, target = explained.shown, explained.shown_target
    scores, classes = explained.shown_scores, explained.shown_classes
    if explained.sentence is not None:  # another word is no rival at all steps
        scores, classes, target = scores[:, [target]], (classes[target],), 0
    return matrix(
        shown.matrix,
        explained.times_in,
        explained.times_out,
        scores,
        classes,
        target,
        title=explained.title,
        note=explained.caption(shown.title),
        beneath=(explained.shown_text, shown.shown_row),
        profile=shown.reach.profile if shown.causal else None,
        signed=not shown.rectified,
        causal=shown.causal,
        labels=explained.step_labels,
    )


def clip_figures(explained: ExplainedClip) -> dict[str, Figure]:
    """Draw all figures of a clip, by the names of their files."""
    return {"strip": clip_strip(explained), "matrix": clip_matrix(explained)}


def figure_to_vector(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of kind "pdf" or "svg": words as text, not as outlines.

    Frames and the matrix stay pixels.

    Raises:
        InputError: another kind.
    """
    if kind not in ("pdf", "svg"):
        raise InputError(f"unknown kind of vector figure {kind!r}: choose pdf or svg")
    fonts = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "rgcam"}
    # Without a date, equal figures are equal files.
    undated = {"CreationDate" if kind == "pdf" else "Date": None}
    with rc_context(fonts), io.BytesIO() as file:
        figure.savefig(file, format=kind, metadata=undated)
        return file.getvalue()


def figure_to_array(figure: Figure) -> UInt8[np.ndarray, "H W 3"]:
    """Rasterize a figure at its own dpi."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


# Text.


class _TextStyle(TypedDict):
    family: list[str]
    size: int
    parse_math: bool


@functools.cache
def _fonts() -> tuple[list[str], set[int]]:
    """Return the fonts to use, CJK if installed, and all characters they can draw."""
    names = ["DejaVu Sans", *set(CJK).intersection(font_manager.get_font_names())]
    files = [font_manager.get_font(_font_file(name)) for name in names]
    return names, set().union(*(file.get_charmap() for file in files))


@functools.cache
def _font_file(name: str) -> str:
    return str(font_manager.findfont(name))


def _drawable(text: str, width: int = 999) -> str:
    """Make any name drawable: one line, at most width long, no missing glyph."""
    text = "".join(c if ord(c) in _fonts()[1] else "□" for c in " ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _text_style(size: int = 8) -> _TextStyle:
    """Return how text is set: as it stands."""
    return {"family": _fonts()[0], "size": size, "parse_math": False}


def _text_width(text: str, size: int) -> float:
    """Return the width in inches of the widest line."""
    font = font_manager.get_font([_font_file(name) for name in _fonts()[0]])
    font.set_size(size, 72)
    widths = []
    for line in text.split("\n"):
        font.set_text(line)
        widths.append(font.get_width_height()[0] / 64 / 72)
    return max(widths)


def _wrap_evenly(text: str, width: int) -> str:
    """Divide text into as few lines of at most ``width`` as it needs, about equally long."""
    count = len(textwrap.wrap(text, width))
    if count < 2:
        return text
    narrower = range(len(text) // count, width)
    even = (lines for w in narrower if len(lines := textwrap.wrap(text, w)) == count)
    return "\n".join(next(even, textwrap.wrap(text, width)))


def _text_height(text: str, size: int = 9) -> float:
    """Return the height in inches of all lines."""
    return (text.count("\n") + 1) * 1.25 * size / 72


class _Page(NamedTuple):
    """A figure on which axes are placed in inches from its lower left corner.

    Attributes:
        figure: with its title and note.
        top: lower edge of the title.
    """

    figure: Figure
    top: float

    def place(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes of this size at this place."""
        page_width, page_height = self.figure.get_size_inches()
        return self.figure.add_axes(
            (
                left / page_width,
                bottom / page_height,
                width / page_width,
                height / page_height,
            )
        )


def _page(width: float, height: float, title: str, note: str) -> _Page:
    """Begin a figure with a title above and a small note below.

    Args:
        width: of the figure, in inches.
        height: of what lies between title and note.
        title: above.
        note: small, below.
    """
    title = _wrap_evenly(_drawable(title), int(width * 11))
    note = _wrap_evenly(_drawable(note), int(width * 15))
    above = MARGIN + (_text_height(title, 11) if title else 0)
    below = MARGIN + (_text_height(note, 8) if note else 0)
    # Whole pixels, as files of pixels have.
    width, total = (round(x * DPI) / DPI for x in (width, above + height + below))
    figure = Figure((width, total), dpi=DPI, facecolor="white")
    figure.suptitle(title, y=1 - MARGIN / 2 / total, **_text_style(11))
    figure.supxlabel(note, y=MARGIN / 2 / total, color="0.3", **_text_style())
    return _Page(figure, total - above)


def _matrix_norm(scale: ColourScale) -> Normalize:
    """Return the norm of a matrix's colours: the signed square root.

    Rows that sum to little would be uniformly dark on a linear scale beside rows that
    sum to much; on this one they are not, and it is still one scale for all rows.
    """

    def forward(values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.abs(values) ** MATRIX_POWER

    def inverse(values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.abs(values) ** (1 / MATRIX_POWER)

    return FuncNorm((forward, inverse), scale.low, scale.high)


def _norm_and_colours(scale: ColourScale) -> tuple[Normalize, ListedColormap]:
    """Return a scale in Matplotlib's types."""
    return Normalize(scale.low, scale.high), ListedColormap(scale.colours)


def _say_nothing(axis: Axes) -> None:
    """Say in the middle of an axis that there is no evidence."""
    axis.set_title(NO_EVIDENCE, y=0.5, pad=0, va="center", size=10, bbox={"fc": "w"})


# The strip.


def _draw_film(axis: Axes, frames: UInt8[np.ndarray, "N H W 3"], label: str) -> None:
    """Draw frames side by side, each 1 wide, and the label at the left."""
    height = 0.96 * frames.shape[1] / frames.shape[2]
    for i, frame in enumerate(frames):
        extent = (i + 0.02, i + 0.98, height, 0)
        axis.imshow(frame, extent=extent, interpolation="bicubic")
    axis.set(xlim=(0, len(frames)), ylim=(height, 0), xticks=[], yticks=[])
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    axis.set_ylabel(label, rotation=0, ha="right", va="center", **_text_style(9))


def _draw_film_bar(figure: Figure, axis: Axes, scale: ColourScale) -> None:
    """Draw the colours of a row, from its lowest value to its highest."""
    bar = figure.colorbar(
        ScalarMappable(*_norm_and_colours(scale)),
        cax=axis,
        ticks=(scale.low, scale.high),
        format=BAR_FORMAT,
    )
    bar.set_label("logits", size=8)
    bar.ax.tick_params(labelsize=8)


# The matrix and what is drawn around it.


def _drawn_classes(
    classes: Sequence[str], target: str | int, last: Float[np.ndarray, " C"]
) -> list[int]:
    """Return the target's index and those of the three best other classes."""
    indices = dict(zip(classes, range(len(last)), strict=True))
    index = indices.get(target, -1) if isinstance(target, str) else target
    if index not in range(len(last)):
        raise InputError(f"no class {target!r}; the classes are {', '.join(classes)}")
    return [index, *[int(c) for c in np.argsort(-last) if c != index][:3]]


def _lay_out(page: _Page, left: float, tall: float) -> list[Axes]:
    """Return the axes of the colour bar, matrix, scores, last row and legend.

    Args:
        page: of MATRIX_WIDTH.
        left: inches beside the matrix for its axis.
        tall: height of the matrix.
    """
    gap, right = 0.12, 0.18
    both = MATRIX_WIDTH - left - gap - right
    wide = both * 5 / 7.6
    beside = left + wide + gap
    bar = page.top - 0.54  # below its ticks and its label
    matrix = bar - 0.08 - tall
    row = matrix - 1.5  # below the numbers and the label of the scores' axis
    top = page.place(left, bar, wide, 0.12)
    main = page.place(left, matrix, wide, tall)
    side = page.place(beside, matrix, both - wide, tall)
    last = page.place(left, row, wide, 1.0)
    legend = page.place(beside, row, both - wide, 1.0)
    side.sharey(main)
    last.sharex(main)
    for axis in (top, main, side, last, legend):
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set(fontsize=9)
        axis.yaxis.label.set(fontsize=9)
    return [top, main, side, last, legend]


def _row_name(label: str) -> str:
    """Return the name of an output step that has one, as it stands beside the matrix."""
    return _drawable(label, 16)


def _edges(
    axis: Axes,
    name: str,
    times: Float[np.ndarray, " n"],
    alone: float,
    labels: Sequence[str] = (),
) -> Float[np.ndarray, " n+1"]:
    """Return the borders of the cells around times, and mark few times exactly.

    Labels take the place of times: as many as have room, the last one always.
    """
    if labels:
        marked = choose_frames(len(labels), MOST_LABELS)
        names = [_row_name(labels[i]) for i in marked]
        axis.yaxis.set_ticks(times[marked], names, **_text_style())
    elif len(times) <= 3:
        ticks = axis.xaxis if name == "x" else axis.yaxis
        ticks.set_ticks(times, [f"{time:.2f}" for time in times])
    # Borders lie half-way between times; the outer cells are as wide as their neighbours.
    gaps = np.pad(np.diff(times), 1, "edge") if len(times) > 1 else np.full(2, alone)
    return np.append(times - gaps[:-1] / 2, times[-1] + gaps[-1] / 2)


def _draw_matrix(
    figure: Figure,
    axis: Axes,
    top: Axes,
    values: np.ma.MaskedArray,
    scale: ColourScale,
    x: Float[np.ndarray, " columns"],
    y: Float[np.ndarray, " rows"],
) -> None:
    """Draw the matrix, masked where it is structure, and its colour bar on top."""
    axis.set(xlim=x[[0, -1]], ylim=y[[-1, 0]], ylabel="output time t' (s)")
    axis.tick_params(labelbottom=False)
    if not scale.high:
        top.set_axis_off()
        return _say_nothing(axis)
    axis.patch.set(facecolor="0.95", edgecolor="0.7", hatch="////", linewidth=0)
    norm, colours = _matrix_norm(scale), ListedColormap(scale.colours)
    mesh = axis.pcolormesh(x, y, values, cmap=colours, norm=norm, rasterized=True)
    bar = figure.colorbar(mesh, top, orientation="horizontal", ticklocation="top")
    bar.set_label("importance (heat-map mass, logits; square-root scale)", size=9)


def _draw_row(
    axis: Axes,
    values: Float[np.ndarray, " n"],
    x: Float[np.ndarray, " n+1"],
    label: str,
) -> None:
    """Draw one row of a matrix as bars, and what it is at the left."""
    axis.stairs(np.maximum(values, 0), x, fill=True, color=COLOURS[0])
    axis.stairs(np.minimum(values, 0), x, fill=True, color=COLOURS[1])
    axis.set(xlabel="input time t (s)", ylabel=label)
    axis.locator_params(axis="y", nbins=3)
    if not values.any():
        _say_nothing(axis)


def _draw_scores(
    axis: Axes, scores: Float[np.ndarray, "out n"], times: Float[np.ndarray, " out"]
) -> None:
    """Draw the target's score (column 0) thick and the others' thin."""
    axis.set_prop_cycle(color=COLOURS, ls=["-", "--", "-.", ":"], lw=[2.5, 1, 1, 1])
    axis.plot(scores, times, marker="o" if len(times) == 1 else "")
    axis.set_xlabel("score y (logit)")
    axis.tick_params(labelleft=False)


def _draw_legend(axis: Axes, lines: Sequence[Line2D], names: list[str]) -> None:
    """Name the scores' lines and, where there is one, the hatching."""
    axis.set_axis_off()
    hatch = Patch(facecolor="0.95", edgecolor="0.7", hatch="////", linewidth=0)
    keys = [*lines, hatch][: len(names)]
    blank = ["?"] * len(keys)  # Matplotlib leaves out a name that starts with _
    legend = axis.legend(keys, blank, loc="upper left", frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=_drawable(name, 26), **_text_style())


def _draw_lags(
    axis: Axes, profile: Float[np.ndarray, " n"], times: Float[np.ndarray, " n"]
) -> None:
    """Draw mean size by lag in the corner of the matrix that was not seen yet."""
    left, bottom, width, height = CORNER
    axis.add_patch(
        Rectangle(
            (left, bottom),
            width,
            height,
            transform=axis.transAxes,
            fc="white",
            ec="0.7",
            zorder=4,
        )
    )
    bounds = left + 0.02, bottom + 0.12, width - 0.05, height - 0.15
    # The upper right is hatched: nothing of the matrix is covered.
    inset = axis.inset_axes(bounds, facecolor="none")
    inset.fill_between(times - times[0], profile, color="0.4", linewidth=0)
    inset.set(xlim=(0, times[-1] - times[0]), ylim=(0, None), yticks=[])
    inset.set_xlabel("mean size by lag t' - t (s)", size=8, labelpad=1)
    inset.tick_params(labelsize=8)
    inset.xaxis.set_major_locator(MaxNLocator(3))
    inset.spines[["top", "left", "right"]].set_visible(False)
