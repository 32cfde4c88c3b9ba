"""Measures of many clips -> tables of means and paired margins, with intervals."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rgcam.attribution.explain import METHODS
from rgcam.evaluation import controls
from rgcam.evaluation.clips import EvaluationClip
from rgcam.evaluation.measure import (
    KINDS,
    RECTIFIED,
    SIGNED,
    GivenMethod,
    MethodMeasures,
    measure,
    parse,
)
from rgcam.metrics.statistics import (
    MIN_GROUPS,
    TOO_FEW_GROUPS,
    Interval,
    mean_interval,
    share_interval,
)
from rgcam.models.zoo import Model


class Column(NamedTuple):
    """One measure: a field of a group of ``MethodMeasures``.

    Attributes:
        group: field of ``MethodMeasures``.
        name: field of the group.
    """

    group: str
    name: str

    @property
    def title(self) -> str:
        """Return the name in words."""
        return self.name.replace("_", " ")

    @property
    def limits(self) -> tuple[float, float]:
        """Return the range of the measure."""
        if self.group in ("localization", "localization_max"):
            return 0.0, 1.0
        unlimited = self.name in ("infidelity_last", "deletion")
        correlations = "faithfulness", "similarity", "check_score", "check_score_middle"
        if self.group in correlations and not unlimited:
            return -1.0, 1.0
        return -math.inf, math.inf

    @property
    def is_share(self) -> bool:
        """Tell whether it is 1 or 0 for each clip, so that its mean is a share."""
        return self.group == "check_passed" or self.name in ("pointing", "increase")


class Row(NamedTuple):
    """All measures of one clip by one model.

    Attributes:
        model: its name.
        clip: its name.
        group: the recording that the clip was cut from.
        measures: by method, references included.
    """

    model: str
    clip: str
    group: str
    measures: dict[str, MethodMeasures]


class Margin(NamedTuple):
    """A method's lead over a reference.

    Attributes:
        reference: its name.
        lead: the mean difference clip by clip, with its interval over groups.
    """

    reference: str
    lead: Interval


Table = dict[str, dict[Column, Interval]]
"""By method, and by column."""

Margins = dict[str, dict[Column, Margin]]
"""By method, and by column."""

# One table for each group of measures.
HEADINGS = {
    "faithfulness": "Faithfulness",
    "curves": "Deletion curves, the method's own baseline",
    "curves_frozen": "Deletion curves, frozen frames",
    "curves_blurred": "Deletion curves, blurred frames",
    "localization": "Localization, last step or own aggregation",
    "localization_max": "Localization, maximum over all steps",
    "similarity": "Similarity to explanations that should be different",
    "time": "Reach through time",
    "check_score": "Faithfulness check of the last output step, mean score",
    "check_score_middle": "Faithfulness check of the output step in the middle, mean score",
    "check_passed": "Faithfulness check, share that passes",
}
NO_INTERVAL = (
    f"A mean without an interval: {TOO_FEW_GROUPS} (fewer than {MIN_GROUPS}), or all "
    "groups are equal.\n"
)
MARGINS = tuple(
    Column(group, name)
    for group in ("localization", "localization_max")
    for name in ("energy", "pointing", "moments")
)


def measure_clips(
    model: Model,
    clips: Iterable[EvaluationClip],
    methods: Sequence[GivenMethod],
    *,
    cnn: Model | None = None,
    kinds: Collection[str] = KINDS,
) -> list[Row]:
    """Measure methods on clips one after the other; ``markdown(table(rows))`` shows them.

    Args:
        model: to explain, such as from ``rgcam.load_model`` or, of any framework,
            ``rgcam.video_model``.
        clips: such as from ``rgcam.evaluation.clips.load``.
        methods: names, functions or ``measure.MeasuredMethod``, which also names a
            baseline and an aggregation.
        cnn: frame-CNN baseline, or None.
        kinds: of measures, of ``measure.KINDS``; the others are left out.
    """
    models = controls.prepare_models(model, cnn, None)
    rows, previous_maps = [], {}
    for clip in clips:
        measures, previous_maps = measure(models, clip, methods, previous_maps, kinds)
        rows.append(
            Row(model=model.name, clip=clip.name, group=clip.group, measures=measures)
        )
    return rows


def table(rows: Sequence[Row]) -> Table:
    """Return, for every method and measure, the mean, its interval and the clips.

    Measures that no clip has are left out.
    """
    # Clips of one recording are not independent: intervals are over recordings.
    groups = [row.group for row in rows]
    means: Table = {}
    for method in dict.fromkeys(name for row in rows for name in row.measures):
        columns = {c: column(rows, method, c) for c in all_columns()}
        means[method] = {
            key: share_interval(values, groups)
            if key.is_share
            else mean_interval(values, groups, limits=key.limits)
            for key, values in columns.items()
            if np.isfinite(values).any()
        }
    return means


def all_columns() -> list[Column]:
    """List all measures, in the order of the tables."""
    return [
        Column(group, name)
        for group, values in MethodMeasures()._asdict().items()
        for name in values._fields
    ]


def column(rows: Sequence[Row], method: str, key: Column) -> Float[np.ndarray, " N"]:
    """Return one measure of a method for every row, NaN where there is none."""
    measures = (row.measures.get(method, MethodMeasures()) for row in rows)
    return np.array([getattr(getattr(m, key.group), key.name) for m in measures], float)


def margins(
    rows: Sequence[Row], methods: Sequence[str], references: Sequence[str]
) -> Margins:
    """Return every method's paired lead over the best reference, measure by measure.

    The best is the one with the highest mean over all clips, chosen with the truth in
    hand: what beats it beats them all. An interval above 0 is a lead beyond chance. A
    method that does not lead over maps that know nothing of the model has not been
    shown to find anything.

    Args:
        rows: measures of clips.
        methods: names.
        references: names of those among which the best is chosen; a measure that none
            of them has is left out.
    """
    groups = [row.group for row in rows]
    leads: Margins = {method: {} for method in methods}
    for key in MARGINS:
        values = {name: column(rows, name, key) for name in references}
        means = {
            name: v[np.isfinite(v)].mean()
            for name, v in values.items()
            if np.isfinite(v).any()
        }
        if not means:
            continue
        # Of all references, not clip by clip: that would favour chance.
        best = max(means, key=lambda name: means[name])
        for method in methods:
            # Paired by clip, so that easy and hard clips cancel.
            difference = column(rows, method, key) - values[best]
            leads[method][key] = Margin(best, mean_interval(difference, groups))
    return leads


def markdown(means: Table) -> str:
    """Format the tables: a method per row, mean and interval in each cell."""
    references = {name: row for name, row in means.items() if _reference(name)}
    means = {name: row for name, row in means.items() if name not in references}
    parts = []
    unknown = False
    for group, heading in HEADINGS.items():
        # Measures and methods without a number are left out.
        columns = [
            key
            for key in all_columns()
            if key.group == group and any(key in row for row in means.values())
        ]
        rows = {
            label(method): [cell(row.get(key)) for key in columns]
            for method, row in means.items()
            if any(key in row for key in columns)
        }
        titles = [key.title for key in columns]
        parts += [grid(heading, ["method", *titles], rows)] if rows else []
        if group == "faithfulness" and references:
            parts.append(_references_markdown(references))
        unknown |= any(
            row[key].bounds is None
            for row in means.values()
            for key in columns
            if key in row
        )
    return "\n".join([*parts, NO_INTERVAL] if unknown else parts)


def margins_markdown(leads: Margins, heading: str) -> str:
    """Format leads: a method per row, each column's reference in its head; "" if none."""
    columns = next(iter(leads.values()), {})
    if not columns:
        return ""
    top = [
        f"{key.title} ({HEADINGS[key.group].lower()}), over {margin.reference}"
        for key, margin in columns.items()
    ]
    rows = {
        label(method): [cell(margin.lead, "+") for margin in row.values()]
        for method, row in leads.items()
    }
    unknown = any(m.lead.bounds is None for row in leads.values() for m in row.values())
    return grid(heading, ["method", *top], rows) + (
        f"\n{NO_INTERVAL}" if unknown else ""
    )


def label(name: str) -> str:
    """Return what a row is called: the method and the sign of its maps.

    Methods of one's own are called by their name alone.
    """
    if name in (*controls.MODEL_FREE, controls.CNN):
        return f"*{name}*"
    method, baseline = (*name.split(":"), "")[:2]
    if method not in METHODS:
        return name
    sign = RECTIFIED if parse(name).rectified else SIGNED
    return f"{method}{':' if baseline else ''}{baseline} ({sign})"


def _reference(name: str) -> str:
    """Return the reference of a name such as ``uniform:zero``; "" of any other name."""
    reference, _, baseline = name.partition(":")
    references = (*controls.MODEL_FREE, controls.CNN)
    return reference if baseline and reference in references else ""


def _references_markdown(means: Table) -> str:
    """Format the references' subset fidelity: one per row, a baseline per column."""
    subset, raw = Column("faithfulness", "subset"), Column("faithfulness", "subset_raw")
    baselines = list(dict.fromkeys(name.partition(":")[2] for name in means))
    rows: dict[str, list[str]] = {}
    for name, row in means.items():
        cells = rows.setdefault(f"*{_reference(name)}*", [])
        cells.append(f"{cell(row.get(subset))}, raw {cell(row.get(raw)).split(' ')[0]}")
    return grid(
        "Explanations that know nothing of the model: subset, by baseline",
        ["maps", *baselines],
        rows,
    )


def fields(means: Table) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    """Return the means as plain data: by method, group and measure."""
    return {
        method: _by_group({key: value._asdict() for key, value in row.items()})
        for method, row in means.items()
    }


def margins_fields(
    leads: Margins,
) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    """Return the leads as plain data: by method, group and measure."""
    return {
        method: _by_group(
            {
                key: {"reference": margin.reference} | margin.lead._asdict()
                for key, margin in row.items()
            }
        )
        for method, row in leads.items()
    }


def grid(heading: str, top: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Format one Markdown table under its heading."""
    lines = [list(top), ["---"] * len(top), *([n, *row] for n, row in rows.items())]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {heading}\n\n{text}\n"


def cell(value: Interval | None, sign: str = "") -> str:
    """Write a mean and its interval, if it has one; ``sign="+"`` of a difference."""
    if value is None or value.mean is None:
        return ""
    mean = f"{value.mean:{sign}.2f}"
    if value.bounds is None:
        return mean
    low, high = (f"{x:{sign}.2f}" for x in value.bounds)
    return f"{mean} ({low} to {high})"


def percent(value: Interval) -> str:
    """Write a share and its interval in percent."""
    if value.mean is None:
        return ""
    if value.bounds is None:
        return f"{value.mean:.1%}"
    low, high = value.bounds
    return f"{value.mean:.1%} ({low:.1%} to {high:.1%})"


def _by_group(
    values: Mapping[Column, dict[str, object]],
) -> dict[str, dict[str, dict[str, object]]]:
    groups: dict[str, dict[str, dict[str, object]]] = {}
    for key, value in values.items():
        groups.setdefault(key.group, {})[key.name] = value
    return groups
