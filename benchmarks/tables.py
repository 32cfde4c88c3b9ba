"""Results of benchmarks/explain.py as Markdown tables."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.flops import PAPER
from benchmarks.work import Case

NOT_TIMED = (
    "Computed, not timed. XLA counts the body of a loop once, however often it runs; in "
    "the traced program all turns count. XLA's MiB are temporaries and output of its "
    "plan. The result is beta, maps and matrix."
)


class Costs(NamedTuple):
    """What is computed, not timed: FLOPs and bytes."""

    forward_xla: float
    forward_program: float  # of the traced program, loops as often as they run
    forward_paper: float
    added_xla: float  # by explain, to forward
    added_program: float
    added_paper: float
    forward_held: int  # temporaries and output
    ours_held: int
    result: int  # beta, maps, matrix


class Result(NamedTuple):
    """Measurements of one case; methods by name, in the order of the table."""

    case: Case
    times: dict[str, list[float]]  # seconds
    predicted: dict[str, float]  # seconds, where one run would exceed the limit
    peaks: dict[str, int | None]  # bytes; None: more than there is
    differences: dict[str, dict[str, float]]  # from ours, relative to the largest
    costs: Costs


def report(results: Sequence[Result], limit: float) -> str:
    """Return the tables of one backbone and head, clip lengths downwards."""
    case = results[0].case
    names = methods_of(results)
    tables = [
        f"\n## {case.backbone}, head {case.head}, {case.size} px",
        "Median seconds of one run (how many runs).",
        table(names, results, lambda r, n: time_cell(r, n, limit), growth_row(results)),
        "Times one forward pass, median of paired ratios.",
        table(names, results, lambda r, n: ratio_cell(r, n, "forward")),
        "Times ours, median of paired ratios.",
        table(names, results, lambda r, n: ratio_cell(r, n, "ours")),
    ]
    if any(r.peaks for r in results):
        tables += [
            "Peak resident MiB above weights, frames and libraries, measured in a "
            "process apart; of a method called once per t', with the results of two.",
            table(names, results, peak_cell),
        ]
    tables += [NOT_TIMED, costs_table(results), f"```{PAPER}\n```"]
    return "\n\n".join([*tables, agreement(results), growth(results)])


def methods_of(results: Iterable[Result]) -> list[str]:
    """List the methods, also those that were not timed."""
    return list(dict.fromkeys(n for r in results for n in (*r.peaks, *r.differences)))


def table(
    names: Sequence[str],
    results: Iterable[Result],
    cell: Callable[[Result, str], str],
    *more: Sequence[str],
) -> str:
    """Format one value for each clip length and method."""
    rows = [[str(r.case.steps), *(cell(r, name) for name in names)] for r in results]
    return "\n".join(lines(["T", *names], [*rows, *more]))


def lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def time_cell(result: Result, name: str, limit: float) -> str:
    """Write a measured time, or a predicted one, marked as such."""
    if name in result.predicted:
        return f"> {limit:g} s (predicted {digits(result.predicted[name])})"
    if name not in result.times:
        return absent(result, name)
    times = result.times[name]
    return f"{digits(statistics.median(times))} ({len(times)})"


def ratio_cell(result: Result, name: str, reference: str) -> str:
    """Write the median of the ratios of runs of the same round."""
    ours = result.times[reference]
    if name in result.predicted:
        predicted = result.predicted[name] / statistics.median(ours)
        return f"(predicted {digits(predicted)})"
    if name not in result.times:
        return absent(result, name)
    pairs = zip(result.times[name], ours, strict=False)
    return digits(statistics.median(a / b for a, b in pairs))


def peak_cell(result: Result, name: str) -> str:
    """Write the peak in MiB."""
    peak = result.peaks.get(name)
    return absent(result, name) if peak is None else digits(peak / 2**20)


def absent(result: Result, name: str) -> str:
    """Say why there is no number."""
    return "out of memory" if name in result.peaks else "not measured"


def growth_row(results: Sequence[Result]) -> list[str]:
    """Return the exponent of every method's time in T."""
    names = methods_of(results)
    medians = lambda name: [
        (r.case.steps, statistics.median(r.times[name]))
        for r in results
        if name in r.times
    ]
    return ["~ T^", *(exponent(medians(name)) for name in names)]


def growth(results: Sequence[Result]) -> str:
    """Say how what ours adds to a forward pass grows with T."""
    points = []
    for r in results:
        pairs = zip(r.times["ours"], r.times["forward"], strict=True)
        points.append((r.case.steps, statistics.median(a - b for a, b in pairs)))
    added = ", ".join(f"{digits(1e3 * s)} ms at T = {t}" for t, s in points)
    return f"Ours less forward (paired): {added}; grows as T^{exponent(points)}."


def exponent(points: Sequence[tuple[int, float]]) -> str:
    """Fit log time on log T by least squares, where there are two positive times."""
    good = [(t, s) for t, s in points if s > 0]
    if len(good) < 2:
        return "?"
    steps, times = np.log(good).T
    return f"{np.polyfit(steps, times, 1)[0]:.2f}"


def costs_table(results: Iterable[Result]) -> str:
    """Format XLA's counts, those on paper, and XLA's plan of the memory."""
    counts = "XLA", "program", "on paper"
    head = ["T", *(f"forward GFLOP, {by}" for by in counts)]
    head += [f"ours adds GFLOP, {by}" for by in counts]
    head += ["forward MiB, XLA", "ours MiB, XLA", "result MiB"]
    rows = []
    for r in results:
        c = r.costs
        flops = c.forward_xla, c.forward_program, c.forward_paper
        flops += c.added_xla, c.added_program, c.added_paper
        held = c.forward_held, c.ours_held, c.result
        cells = [*(x / 1e9 for x in flops), *(x / 2**20 for x in held)]
        rows.append([str(r.case.steps), *map(digits, cells)])
    return "\n".join(lines(head, rows))


def agreement(results: Iterable[Result]) -> str:
    """Say how far the methods are from ours at most."""
    worst: dict[str, dict[str, float]] = {}
    for result in results:
        for name, differences in result.differences.items():
            largest = worst.setdefault(name, {})
            for output, difference in differences.items():
                largest[output] = max(difference, largest.get(output, 0))
    texts = [
        f"{name} {', '.join(f'{output} {d:.0e}' for output, d in largest.items())}"
        for name, largest in worst.items()
        if name != "ours"
    ]
    return (
        f"Largest differences from ours, relative to the largest: {'; '.join(texts)}."
    )


def digits(x: float) -> str:
    """Write three digits, and no exponent."""
    if not math.isfinite(x) or x == 0:
        return f"{x:g}"
    return f"{x:,.{max(0, 2 - math.floor(math.log10(abs(x))))}f}"
