"""The panels of the picture of a matrix: what is drawn around it, axis by axis."""

import textwrap

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from rgcam.report import lettering

NO_EVIDENCE = "no positive evidence"
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")  # Okabe and Ito; target first
HATCH = {"facecolor": "0.95", "edgecolor": "0.7", "hatch": "////", "linewidth": 0}
CORNER = (0.58, 0.58, 0.4, 0.4)  # left, bottom, width, height, in parts of the matrix
FEWEST = 8  # steps that leave the corner free


def lay_out(figure, tall: float):
    """Return the axes of the colour bar, matrix, scores, last row and legend."""
    ratios = {"width_ratios": (5, 2.6), "height_ratios": (0.13, tall, 1.1)}
    made = figure.subplot_mosaic("t.;ms;lk", **ratios)
    made["s"].sharey(made["m"])
    made["l"].sharex(made["m"])
    for axis in made.values():
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
    return [made[name] for name in "tmslk"]


def edges(axis, times, alone: float):
    """Return the borders of the cells around times, and mark few times exactly."""
    if len(times) <= 3:
        axis.set_ticks(times, [f"{time:.2f}" for time in times])
    gaps = np.pad(np.diff(times), 1, "edge") if len(times) > 1 else np.full(2, alone)
    return np.append(times - gaps[:-1] / 2, times[-1] + gaps[-1] / 2)


def say_nothing(axis) -> None:
    """Say in the middle that there is no evidence."""
    axis.set_title(NO_EVIDENCE, y=0.5, pad=0, va="center", size=10, bbox={"fc": "w"})


def draw_row(axis, values, x, words: str) -> None:
    """Draw one row of a matrix as bars, and what it is beside it."""
    for part, colour in (np.maximum, COLOURS[0]), (np.minimum, COLOURS[1]):
        axis.stairs(part(values, 0), x, fill=True, color=colour)
    label = "\n".join(textwrap.fill(w, 18) for w in words.rstrip(")").split(" ("))
    axis.set(xlabel="input time t (s)", ylabel=label)
    axis.locator_params(axis="y", nbins=3)
    if not values.any():
        say_nothing(axis)


def draw_scores(axis, scores, times) -> None:
    """Draw the target's score (column 0) thick and the others' thin."""
    axis.set_prop_cycle(color=COLOURS, ls=["-", "--", "-.", ":"], lw=[2.5, 1, 1, 1])
    axis.plot(scores, times, marker="o" if len(times) == 1 else "")
    axis.set_xlabel("score y (logit)")
    axis.tick_params(labelleft=False)


def draw_legend(axis, lines, names: list[str]) -> None:
    """Name the scores' lines and, where there is one, the hatching."""
    axis.set_axis_off()
    keys = [*lines, Patch(**HATCH)][: len(names)]
    blank = ["?"] * len(keys)  # a name that starts with _ would be left out
    legend = axis.legend(keys, blank, loc="upper left", frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=lettering.plain(name, 26), **lettering.style())


def draw_lags(axis, profile, times) -> None:
    """Draw mean size by lag in the corner of the matrix that was not seen yet."""
    left, bottom, width, height = CORNER
    style = {"transform": axis.transAxes, "fc": "white", "ec": "0.7", "zorder": 4}
    axis.add_patch(Rectangle(CORNER[:2], width, height, **style))
    place = left + 0.02, bottom + 0.12, width - 0.05, height - 0.15
    inset = axis.inset_axes(place, facecolor="none")
    inset.fill_between(times - times[0], profile, color="0.4", linewidth=0)
    inset.set(xlim=(0, times[-1] - times[0]), ylim=(0, None), yticks=[])
    inset.set_xlabel("mean size by lag t' - t (s)", size=8, labelpad=1)
    inset.tick_params(labelsize=8)
    inset.xaxis.set_major_locator(MaxNLocator(3))
    inset.spines[["top", "left", "right"]].set_visible(False)
