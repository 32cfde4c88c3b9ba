"""What a device's matrix precision does to an explanation, emulated on the CPU.

    python benchmarks/precision.py [--models=ucf101-lrcn,stickman-lrcn] [--video=FILE]
        [--out=precision]

A GPU rounds the operands of matrix products and convolutions to TF32 (10 bits of mantissa),
a TPU to bfloat16 (7), and sums in float32, unless ``precision="highest"`` is asked for. The
traced programs of an explanation are evaluated with exactly this rounding
(``jax.lax.reduce_precision``), of the operands that have not the highest precision: in the
features below the cut, above it, or in both. Errors are the largest difference from the
program without rounding, as a part of the largest value; the check's score, and whether its
verdict is another. Order of summation and the hardware's own arithmetic are not emulated.
"""

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn
from jaxtyping import Array, PyTree

from rgcam.attribution import explain, perturbation
from rgcam.attribution.explain import Explanation, StaticOptions
from rgcam.data.synthetic import stickman
from rgcam.data.video import read_clip
from rgcam.metrics import faithfulness, interpret
from rgcam.models import cut
from rgcam.models.zoo import Model, load_model

FORMATS = {"TF32": 10, "bfloat16": 7}  # bits of mantissa that are kept
PARTS = {  # name -> whether features and what is above the cut are rounded
    "features": (True, False),
    "above": (False, True),
    "both": (True, True),
}
FRAMES = 16
FIELDS = ("scores", "beta", "maps", "matrix")


def rounded(
    function: Callable[..., PyTree], mantissa_bits: int | None
) -> Callable[..., PyTree]:
    """Return a function as a device computes it that rounds operands.

    Args:
        function: of pytrees of arrays.
        mantissa_bits: of the operands of products that have not the highest precision;
            None: all are kept.
    """

    def primitive(equation: JaxprEqn, inputs: Sequence[Array]) -> Sequence[Array]:
        if mantissa_bits is not None and _is_rounded(equation):
            inputs = [_round(x, mantissa_bits) for x in inputs]
        return interpret.apply(equation, inputs)

    @jax.jit
    def call(*args: PyTree) -> PyTree:
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        outputs = interpret.evaluate(program, jax.tree.leaves(args), primitive)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return call


class Verdict(NamedTuple):
    """A faithfulness check: its score, and whether it passes."""

    score: float
    passed: bool


class Result(NamedTuple):
    """One method's explanation and its verdict."""

    explanation: Explanation
    verdict: Verdict


def main(arguments: list[str] | None = None) -> None:
    """Measure all models, methods, formats and parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="ucf101-lrcn,stickman-lrcn")
    parser.add_argument("--methods", default=",".join(explain.METHODS))
    parser.add_argument("--video", help="of the first model; default: a drawn clip")
    parser.add_argument(
        "--out", default="precision", help="path of the files, no suffix"
    )
    options = parser.parse_args(arguments)
    rows = []
    for number, name in enumerate(options.models.split(",")):
        model = load_model(name)
        frames = stickman.clip(7).frames
        if options.video and number == 0:
            frames = read_clip(options.video, model.description.fps).frames
        for method in options.methods.split(","):
            for row in measure(model, frames[:FRAMES], method):
                rows.append(row)
                print(row, flush=True)
    out = Path(options.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(rows))
    print(table(rows))


def measure(model: Model, frames: np.ndarray, method: str) -> list[dict[str, object]]:
    """Return a row for each format and part."""
    bits = {"none": None} | FORMATS
    model = model._replace(variables=jax.tree.map(jnp.asarray, model.variables))
    inputs = model.preprocess(frames)
    features = {
        name: np.asarray(_features(model, format_bits)(model.variables, inputs))
        for name, format_bits in bits.items()
    }
    scores = cut.classify(model.module, model.variables, features["none"])
    target = int(np.argmax(np.asarray(scores)[-1]))
    explained = {
        name: _explained(model, method, target, format_bits)
        for name, format_bits in bits.items()
    }
    truth = explained["none"](features["none"])
    rows = []
    for name in FORMATS:
        for part, (below, above) in PARTS.items():
            result = explained[name if above else "none"](
                features[name if below else "none"]
            )
            row: dict[str, object] = {
                "model": model.name,
                "head": model.description.arch["head"],
                "method": method,
                "format": name,
                "part": part,
            }
            row |= errors(truth.explanation, result.explanation)
            row["check"] = abs(result.verdict.score - truth.verdict.score)
            row["verdict"] = (
                "same" if result.verdict.passed == truth.verdict.passed else "OTHER"
            )
            rows.append(row)
    return rows


def errors(truth: Explanation, result: Explanation) -> dict[str, float | None]:
    """Return the largest error of each field, as a part of the largest value."""
    row: dict[str, float | None] = {}
    for name in FIELDS:
        expected, value = getattr(truth, name), getattr(result, name)
        if expected is None:
            row[name] = None
            continue
        expected, value = np.asarray(expected), np.asarray(value)
        row[name] = float(np.abs(value - expected).max() / np.abs(expected).max())
    return row


def table(rows: Sequence[dict[str, object]]) -> str:
    """Format the rows as a Markdown table."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [
            f"{value:.1e}" if isinstance(value, float) else str(value or "")
            for value in row.values()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@functools.cache
def _cached(model_name: str, bits: int | None) -> Callable[..., PyTree]:
    module = load_model(model_name).module
    with jax.default_matmul_precision("default"):
        return rounded(functools.partial(cut.features, module), bits)


def _features(model: Model, bits: int | None) -> Callable[..., PyTree]:
    return _cached(model.name, bits)


def _explained(
    model: Model, method: str, target: int, bits: int | None
) -> Callable[[np.ndarray], Result]:
    """Return what explains features, and checks the explanation, with this rounding."""
    baseline = str(explain.default_baseline(method, None))
    options = StaticOptions(
        relu=False,
        beta=explain.has_weights(method),
        method=method,
        baseline=baseline,
        precision="default",
    )

    def explain_features(variables: PyTree, features: Array) -> Explanation:
        return explain.explain_features(
            model.module, variables, features, jnp.int32(target), options=options
        )

    def losses(variables: PyTree, features: Array, frames: Array, cells: Array):
        with jax.default_matmul_precision("default"):
            replacement = perturbation.baseline_features(features, baseline)
            upper = perturbation.upper_model(
                model.module, variables, features, replacement, jnp.int32(target)
            )
            complete = upper.outputs(upper.inputs)
            of_frames = perturbation.outputs_with_frames(upper, 1 - frames)
            of_cells = perturbation.outputs_with_cells(upper, 1 - cells)
        return complete - of_frames, complete - of_cells

    explained, removed = rounded(explain_features, bits), rounded(losses, bits)

    def run(features: np.ndarray) -> Result:
        explanation = explained(model.variables, features)
        sets = faithfulness.random_sets(np.random.default_rng(0), features.shape[:3])
        frame_losses, cell_losses = removed(model.variables, features, *sets)
        interventions = faithfulness.Interventions(
            baseline=baseline,
            visible=np.tril(np.ones((len(features), len(features)), np.float32)),
            frames=sets[0],
            cells=sets[1],
            frame_losses=np.asarray(frame_losses),
            cell_losses=np.asarray(cell_losses),
            deleted=np.zeros((0, 0, 0), np.float32),
            deletion_losses=np.zeros((0, 0, 0), np.float32),
        )
        check = faithfulness.judge(
            interventions,
            np.asarray(explanation.maps),
            method=method,
            steps=[len(features) - 1],
        )
        return Result(explanation, Verdict(check.score, check.passed))

    return run


def _is_rounded(equation: JaxprEqn) -> bool:
    """Tell whether an equation is a product whose operands a device may round."""
    if equation.primitive.name not in ("dot_general", "conv_general_dilated"):
        return False
    precision = equation.params["precision"]
    both = precision if isinstance(precision, tuple) else (precision, precision)
    return any(one != jax.lax.Precision.HIGHEST for one in both)


def _round(x: Array, mantissa_bits: int) -> Array:
    """Round to a format with the exponent of float32."""
    if x.dtype != jnp.float32:
        return x
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=mantissa_bits)


if __name__ == "__main__":
    main()
