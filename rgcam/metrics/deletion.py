"""Curves of the last score as what matters goes first, or comes first; pure.

Frames, or cells of frames, are removed (``rgcam.metrics.removal``) in the order of importance
of the last step's maps. Areas are held against random orders', and their unit is the
range of scores that the random orders of frames and cells pass through: the score of a
clip whose frames are all replaced may be near the whole clip's (by the frame before
each, say, it is the clip one step late), so that their difference is no unit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam.metrics import faithfulness
from rgcam.metrics.removal import Outcome

STEPS = 16  # in which cells go
ORDERS = 8  # random ones
TINY = 1e-4  # of the largest score: a smaller range is rounding
NAMES = ("deletion", "insertion", "space-time", "drop", "increase")
Remove = Callable[[np.ndarray, np.ndarray, np.ndarray], Outcome]


class Curves(NamedTuple):
    """The target's score at the last step, along one order.

    Attributes:
        deleted: the most important frames removed first, from none to all.
        inserted: the most important frames kept first, from none to all.
        cells: the most important cells removed first, in STEPS steps.
        sure: the target's probability of the whole clip, and where only what the map
            shows is kept.
    """

    deleted: Float[np.ndarray, " frames"]
    inserted: Float[np.ndarray, " frames"]
    cells: Float[np.ndarray, " steps"]
    sure: Float[np.ndarray, "2"]


def curves(
    remove: Remove, maps: Float[np.ndarray, "T h w"], rng: np.random.Generator
) -> Curves:
    """Remove frames and cells in the order of a clip's maps.

    Args:
        remove: ``removal.outcome`` of a model, a clip and what takes a place.
        maps: signed or rectified, of the last step.
        rng: decides among equals.
    """
    frames = deletion(maps.sum((1, 2)), len(maps), rng)
    cells = deletion(maps, STEPS, rng)
    made = remove(np.concatenate([frames, 1 - frames]), cells, weights(maps))
    of_frames, of_cells, sure = (np.asarray(x, float) for x in made)
    deleted, inserted = np.split(of_frames, 2)
    return Curves(deleted, inserted, of_cells, sure)


def random_curves(
    remove: Remove, grid: tuple[int, ...], rng: np.random.Generator
) -> list[Curves]:
    """Remove frames and cells in ORDERS random orders."""
    return [curves(remove, rng.random(grid), rng) for _ in range(ORDERS)]


def measures(found: Curves, random: list[Curves]) -> dict[str, float]:
    """Return ``NAMES`` of one clip.

    ``deletion``: how far the area under the score, as the most important frames go
    first, is below random orders'. ``insertion``: how far it is above as they come
    first. ``space-time``: deletion of cells. Of all, higher is better and 0 is chance.
    Petsiuk et al., arXiv:1806.07421, there areas of probabilities by themselves.

    ``drop`` (lower is better) and ``increase`` (higher): of the probability, where
    every cell is kept as far as the map, over its largest value, shows it:
    ``faithfulness.average_drop`` and ``increase``.
    """
    frames = np.stack([line for r in random for line in (r.deleted, r.inserted)])
    cells = np.stack([r.cells for r in random])
    before, after = np.split(found.sure, 2)
    unit = reach([*frames, *cells])
    return {
        "deletion": -gain(found.deleted, frames) / unit,
        "insertion": gain(found.inserted, frames) / unit,
        "space-time": -gain(found.cells, cells) / unit,
        "drop": faithfulness.average_drop(before, after),
        "increase": faithfulness.increase(before, after),
    }


def gain(
    curve: Float[np.ndarray, " N"], random: Float[np.ndarray, "orders N"]
) -> float:
    """Return how far a curve's area is above the mean of random orders'."""
    return float(faithfulness.area(curve) - faithfulness.area(random.T).mean())


def reach(random: Sequence[Float[np.ndarray, " _"]]) -> float:
    """Return the range of scores of random curves; NaN where it is rounding."""
    scores = np.concatenate(random)
    unit = float(np.ptp(scores))
    return unit if unit > TINY * np.abs(scores).max() else float("nan")


def deletion(
    importance: Float[np.ndarray, "..."], steps: int, rng: np.random.Generator
) -> Float[np.ndarray, "{steps}+1 ..."]:
    """Return masks that remove the most important first, all of them in ``steps``.

    Equals go in a random order: most maps have many zeros, and their order in time
    would be a hint.
    """
    values = importance.ravel()
    first = np.lexsort((rng.random(len(values)), -values))
    place = np.empty(len(values), int)
    place[first] = np.arange(len(values))
    removed = np.round(np.linspace(0, len(values), steps + 1)).astype(int)
    masks = place >= removed[:, None]
    return masks.reshape(-1, *importance.shape).astype(np.float32)


def weights(maps: Float[np.ndarray, "T h w"]) -> Float[np.ndarray, "T h w"]:
    """Return positive maps over the clip's largest value; zeros where none is."""
    heat = np.maximum(maps, 0)
    most = heat.max()
    return (heat / (most if most > 0 else 1)).astype(np.float32)
