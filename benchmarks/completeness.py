r"""How exactly ``path``'s rows add up, and how many points that takes.

    python benchmarks/completeness.py --model=stickman-lrcn --data=stickman
    python benchmarks/completeness.py --model=ucf101-lrcn --data=FOLDER --clips=20

For every baseline, over clips: the error of the worst row's sum, of the largest row's
change (``rgcam.metrics.faithfulness.completeness_error``), and the points that were taken.
"""

import functools
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import gradients, perturbation
from rgcam.evaluation import clips as evaluation_clips
from rgcam.evaluation import controls
from rgcam.metrics import faithfulness
from rgcam.models import zoo

MODEL = flags.DEFINE_string("model", "stickman-lrcn", "to explain")
DATA = flags.DEFINE_string("data", "stickman", "or a folder of classes")
CLIPS = flags.DEFINE_integer("clips", 40, "to measure by")


def main(_) -> None:
    """Measure and print."""
    model = zoo.load_model(MODEL.value)
    clips = list(evaluation_clips.load(model, data=DATA.value, clips=CLIPS.value))
    print(f"{MODEL.value}, {len(clips)} clips\n")
    print("| baseline | error, median | 90 % below | worst | points, median | most |")
    print("|---|---|---|---|---|---|")
    for baseline in perturbation.BASELINES:
        measured = [measure(model, clip, baseline) for clip in clips]
        errors, points = np.array(measured).T
        high = np.quantile(errors, 0.9)
        print(
            f"| {baseline} | {np.median(errors):.2%} | {high:.2%} | {errors.max():.2%} "
            f"| {np.median(points):.0f} | {points.max():.0f} |"
        )


def measure(model, clip, baseline) -> tuple[float, int]:
    """Return the error of a clip's rows, and the points."""
    case = controls.prepare_case(model, clip)
    matrix, change, count = run(
        model.module, model.variables, case.features, case.target, baseline
    )
    matrix, change = (np.asarray(x, np.float64) for x in (matrix, change))
    return faithfulness.completeness_error(matrix, change), int(count)


@functools.partial(jax.jit, static_argnames=("module", "baseline"))
def run(module, variables, features, target, baseline):
    """Return the matrix, what its rows should sum to, and the points."""
    instead = perturbation.baseline_features(features, baseline)
    upper = perturbation.upper_model(module, variables, features, instead, target)
    change = upper.outputs(upper.inputs) - upper.outputs(upper.baseline)
    count = gradients.panels_needed(upper, gradients.panel_schedule(upper))
    return gradients.path(upper).sum((2, 3)), change, count


if __name__ == "__main__":
    app.run(main)
