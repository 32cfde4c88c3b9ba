r"""Measure explanations and write the tables of docs/which-method.md.

    python benchmarks/which_method.py --out=DIR
    python benchmarks/which_method.py --out=DIR --gap=RUN --real=FOLDER --real_fc=RUN

Each case is an evaluation, which resumes: DIR/fc is ``stickman-lrcn`` on drawn clips,
DIR/gap a run with a pooled head on the same clips, DIR/real ``ucf101-lrcn`` on FOLDER
(UCF101's test recordings), and DIR/real_fc a run with a position-sensitive head on them.
``--measure=false`` only reads what is in DIR. A case without a folder keeps its tables.

The threshold of the faithfulness check is chosen on one half of the recordings and tested
on the other half; the random sets of the check have another seed for every clip.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam import files
from rgcam.commands import evaluate
from rgcam.corpus import manifest
from rgcam.evaluation import detection, tables
from rgcam.evaluation.tables import Column, Row, Table

DOCUMENT = Path(__file__).parents[1] / "docs" / "which-method.md"
OUT = flags.DEFINE_string("out", "which-method", "folder of the evaluations")
CLIPS = flags.DEFINE_integer("clips", 24, "clips of each case")
MEASURE = flags.DEFINE_boolean("measure", True, "measure, or only read what is there")
GAP = flags.DEFINE_string("gap", "", "run with a pooled head, on stickman clips")
REAL = flags.DEFINE_string("real", "", "folder of UCF101's test recordings")
REAL_FC = flags.DEFINE_string("real_fc", "", "run with head=fc, on UCF101")
GROUP = r"_g(\d+)_"
CASES = ("fc", "gap", "real", "real_fc")
TITLES = {
    "fc": "`fc` head, drawn clips",
    "gap": "`gap` head, drawn clips",
    "real": "`gap` head, real clips",
    "real_fc": "`fc` head, real clips",
}
FAITHFUL = ("path", "fade", "occlusion", "shapley")
FIDELITY = tuple(
    Column("faithfulness", name)
    for name in ("subset", "subset_raw", "beyond_recency", "best_matrix", "space")
)
TRUTH = tuple(
    Column("localization_max", name) for name in ("energy", "pointing", "moments")
)
PASSED = Column("check_passed", "genuine")
REFERENCES = ("uniform", "random", "recency", "motion", "activation", "frame CNN")


def main(_) -> None:
    """Measure what can be measured, and write the tables."""
    out = Path(OUT.value)
    models: dict[str, str] = {
        "fc": "stickman-lrcn",
        "gap": GAP.value,
        "real": "ucf101-lrcn" if REAL.value else "",
        "real_fc": REAL_FC.value if REAL.value else "",
    }
    rows: dict[str, list[Row]] = {}
    for case in CASES:
        if models[case] and MEASURE.value:
            measure(models[case], out / case, real=case.startswith("real"))
        if (out / case / manifest.MANIFEST).exists():
            lines = manifest.read(out / case)
            rows[case] = [evaluate.typed_row(line) for line in lines]
    text = DOCUMENT.read_text("utf-8")
    for case, of_case in rows.items():
        means = tables.table(of_case)
        text = replace(text, case, methods_table(means, len(of_case)))
        text = replace(text, f"{case}-references", references_table(means))
    text = replace(text, "check", check_tables(rows))
    files.write_text(DOCUMENT, text)
    print(f"wrote the tables of {', '.join(rows)} in {DOCUMENT}")


def measure(model: str, out: Path, *, real: bool) -> None:
    """Evaluate all methods on clips; what an earlier call has measured is kept."""
    evaluate.run(
        evaluate.EvaluateOptions(
            model=(model,),
            data=REAL.value if real else "stickman",
            group=GROUP if real else "",
            clips=CLIPS.value,
            measures=("faithfulness", "check", "localization"),
            out=str(out),
        )
    )


def replace(text: str, name: str, table: str) -> str:
    """Replace what stands between the two marks of a name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, table_and_after = text.partition(begin)
    _, _, after = table_and_after.partition(end)
    if not after:
        raise ValueError(f"{DOCUMENT} has no {begin}and {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def methods_table(means: Table, clips: int) -> str:
    """Format a row for each method: fidelity, truth, and how many pass the check."""
    columns = [
        key
        for key in (*FIDELITY, *TRUTH, PASSED)
        if any(key in row for row in means.values())
    ]
    lines = {
        tables.label(name): [tables.cell(row.get(key)) for key in columns]
        for name, row in means.items()
        if PASSED in row or (name in REFERENCES and TRUTH[0] in row)
    }
    titles = ["passed" if key == PASSED else key.title for key in columns]
    return f"{clips} clips.\n\n" + grid(["method", *titles], lines)


def references_table(means: Table) -> str:
    """Format what maps that know nothing of the model score, by baseline."""
    baselines = dict.fromkeys(name.partition(":")[2] for name in means if named(name))
    columns = [
        key
        for key in FIDELITY[:3]
        if any(key in means[name] for name in means if named(name))
    ]
    lines = {}
    for reference in REFERENCES:
        rows = [means.get(f"{reference}:{baseline}") for baseline in baselines]
        if any(rows):
            lines[f"*{reference}*"] = [
                "; ".join(tables.cell(row.get(key)) for key in columns) if row else ""
                for row in rows
            ]
    return grid(["; ".join(key.title for key in columns), *baselines], lines)


def named(name: str) -> str:
    """Return the reference of a name such as ``uniform:zero``, else ""."""
    reference, colon, _ = name.partition(":")
    return reference if colon and reference in REFERENCES else ""


def check_tables(rows: dict[str, list[Row]]) -> str:
    """Choose the threshold on one half of the clips, and test it on the other."""
    halves = {case: detection.halves(of_case) for case, of_case in rows.items()}
    chosen_by = [row for first, _ in halves.values() for row in first]
    tested_on = [row for _, second in halves.values() for row in second]
    threshold = detection.choose_threshold(chosen_by, FAITHFUL)
    lines = {}
    for title, part in (
        ("all, half that chose the threshold", chosen_by),
        ("**all, other half**", tested_on),
        *(
            (f"{TITLES[case]}, other half", second)
            for case, (_, second) in halves.items()
        ),
    ):
        lines[title] = rates_cells(part, threshold)
    middle = rates_cells(tested_on, threshold, group="check_score_middle")
    lines["all, other half, output step in the middle"] = middle
    by_method = {
        tables.label(name): rates_cells(tested_on, threshold, methods=[name])
        for name in tested_on[0].measures
        if detection.pass_rates(tested_on, [name], threshold).genuine.clips
    }
    titles = ["ROC area", "genuine that pass", "corrupted that pass"]
    return (
        f"Threshold chosen: {threshold:g}. Genuine explanations by path, fade, occlusion "
        f"and shapley, with their default baseline:\n\n"
        + grid(["clips", *titles], lines)
        + "\nBy method, on the other half of all cases:\n\n"
        + grid(["method", *titles], by_method)
    )


def rates_cells(
    rows: Sequence[Row],
    threshold: float,
    *,
    group: str = "check_score",
    methods: Sequence[str] = FAITHFUL,
) -> list[str]:
    """Return area and both shares as text."""
    rates = detection.pass_rates(rows, methods, threshold, group=group)
    shares = [tables.percent(share) for share in (rates.genuine, rates.corrupted)]
    return [f"{rates.area:.3f}", *shares]


def grid(top: Sequence[str], lines: dict[str, list[str]]) -> str:
    """Format a Markdown table without a heading."""
    return tables.grid("", top, lines).partition("\n\n")[2]


if __name__ == "__main__":
    app.run(main)
