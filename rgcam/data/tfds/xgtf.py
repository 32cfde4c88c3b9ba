"""Boxes from ViPER ground-truth files (.xgtf), which UCF11 carries."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from rgcam.errors import InputError

LONGEST = 100_000  # frames, an hour: a span may say that it lasts for ever


def boxes(file: Path, frames: int = LONGEST) -> Float[np.ndarray, "N 5"]:
    """Read the boxes of a ViPER file: every ``bbox`` element, in the file's order.

    ViPER counts frames from 1; a ``framespan`` such as "3:5 9:9" gives the box in each
    of its frames. What lies outside the clip's ``frames`` is left out.

    Returns:
        Frame from 0, left, top, width, height in pixels; float32. No row where the
        file holds no box.

    Raises:
        InputError: the file is no XML or a box has no whole numbers.
    """
    try:
        root = ElementTree.parse(file).getroot()
        rows = [
            row for box in root.iter() if _is_box(box) for row in _rows(box, frames)
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{file} holds no ViPER annotation: {error}") from error
    return np.array(rows, np.float32).reshape(-1, 5)


def _is_box(element: ElementTree.Element) -> bool:
    return element.tag.rpartition("}")[2] == "bbox"


def _rows(box: ElementTree.Element, frames: int) -> list[list[float]]:
    """Return the box once for each frame of its span."""
    place = [float(box.get(name, "")) for name in ("x", "y", "width", "height")]
    spans = re.findall(r"(\d+):(\d+)", box.get("framespan", ""))
    ranges = [range(max(int(a), 1), min(int(b), frames) + 1) for a, b in spans]
    return [[float(number - 1), *place] for span in ranges for number in span]
