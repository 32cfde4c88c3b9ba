"""How words are set in pictures: any name is drawable, and none leaves its place."""

import functools
import textwrap
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure

CJK = ("Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", "PingFang SC", "SimHei")
DPI = 180  # of pictures made of pixels


@functools.cache
def _fonts() -> tuple[list[str], set[int]]:
    """Return the fonts to use, CJK if installed, and all characters they can draw."""
    names = ["DejaVu Sans", *set(CJK).intersection(font_manager.get_font_names())]
    files = [font_manager.get_font(font_manager.findfont(name)) for name in names]
    return names, set().union(*(file.get_charmap() for file in files))


def plain(text: str, width: int = 999) -> str:
    """Make any name drawable: one line, at most width long, no missing glyph."""
    text = "".join(c if ord(c) in _fonts()[1] else "□" for c in " ".join(text.split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def style(size: int = 8) -> dict[str, Any]:
    """Return how text is set: as it stands ($ and _ are no mathematics)."""
    return {"family": _fonts()[0], "size": size, "parse_math": False}


def figure(size: tuple[float, float], layout: Any, title: str, note: str) -> Figure:
    """Begin a figure (inches) with a title above and a small note beneath."""
    made = Figure(size, dpi=DPI, layout=layout, facecolor="white")
    made.suptitle(textwrap.fill(plain(title), int(size[0] * 11)), **style(11))
    note = textwrap.fill(plain(note), int(size[0] * 15))
    made.supxlabel(note, color="0.3", **style())
    return made
