r"""How often 95 % intervals of clustered clips hold the true value: a simulation.

    python benchmarks/coverage.py

Clips of G groups; each group has 1 to 6 clips, evenly drawn. *share*: a clip is right
with the probability of its group, which is beta-distributed. *skewed*: values in [0, 1],
beta-distributed around the group's mean, which is beta-distributed, too. *normal*: a
normal effect of the group and one of the clip. ``within`` is the correlation within
groups. Compared are ``statistics.share_interval`` (shares), ``statistics.mean_interval``
(Student's t over groups) and the percentile cluster bootstrap; coverage is of the data sets
that have an interval (none where no group differs, but for the exact one).
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.metrics import statistics

RUNS = flags.DEFINE_integer("runs", 1000, "simulated data sets for each row")
SAMPLES = 1000  # of the bootstrap
LARGEST_GROUP = 6
CONCENTRATION = 4.0  # of a clip's skewed value around its group's mean
GROUPS = (10, 23, 55)
WITHIN = (0.1, 0.4, 0.9)
CASES = (
    ("share", 0.5),
    ("share", 0.9),
    ("share", 0.98),
    ("skewed", 0.9),
    ("normal", 0.0),
)
Bounds = tuple[float, float] | None


def main(_) -> None:
    """Simulate and print the coverage and the mean width of each interval."""
    print("| values | mean | groups | within | share, exact | t | bootstrap |")
    print("|---" * 7 + "|")
    for count in GROUPS:
        for kind, mean in CASES:
            for within in WITHIN:
                rng = np.random.default_rng(0)
                cells = coverage(rng, kind, mean, count, within)
                print(
                    f"| {kind} | {mean:g} | {count} | {within:g} | {' | '.join(cells)} |",
                    flush=True,
                )


def coverage(
    rng: np.random.Generator, kind: str, mean: float, count: int, within: float
) -> list[str]:
    """Return "coverage (mean width)" of each interval."""
    covered: list[list[float]] = [[], [], []]
    widths: list[list[float]] = [[], [], []]
    for _ in range(RUNS.value):
        sizes = rng.integers(1, LARGEST_GROUP + 1, count)
        groups = np.repeat(np.arange(count).astype(str), sizes).tolist()
        values = draw(rng, kind, mean, within, sizes)
        intervals: list[Bounds] = [
            statistics.share_interval(values, groups).bounds
            if kind == "share"
            else None,
            statistics.mean_interval(values, groups).bounds,
            bootstrap(rng, values, groups),
        ]
        for number, bounds in enumerate(intervals):
            if bounds is None:
                continue
            low, high = bounds
            covered[number].append(low - 1e-9 <= mean <= high + 1e-9)
            widths[number].append(high - low)
    return [
        f"{np.mean(hits):.3f} ({np.mean(width):.2f})" if hits else ""
        for hits, width in zip(covered, widths, strict=True)
    ]


def draw(
    rng: np.random.Generator, kind: str, mean: float, within: float, sizes: np.ndarray
) -> np.ndarray:
    """Draw the values of all clips, group by group."""
    if kind == "normal":
        of_group = rng.normal(0, np.sqrt(within), len(sizes))
        noise = rng.normal(0, np.sqrt(1 - within), sizes.sum())
        return mean + np.repeat(of_group, sizes) + noise
    spread = (1 - within) / within
    of_group = rng.beta(mean * spread, (1 - mean) * spread, len(sizes))
    of_clip = np.repeat(of_group, sizes)
    if kind == "share":
        return (rng.random(len(of_clip)) < of_clip).astype(float)
    # A beta distribution needs parameters above 0.
    of_clip = np.clip(of_clip, 1e-6, 1 - 1e-6)
    return rng.beta(of_clip * CONCENTRATION, (1 - of_clip) * CONCENTRATION)


def bootstrap(
    rng: np.random.Generator, values: np.ndarray, groups: list[str]
) -> Bounds:
    """Draw whole groups with replacement; return the central 95 % of the means."""
    _, number = np.unique(groups, return_inverse=True)
    sizes, sums = np.bincount(number), np.bincount(number, weights=values)
    draws = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), SAMPLES)
    low, high = np.quantile((draws @ sums) / (draws @ sizes), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    app.run(main)
