r"""What fidelity costs: points of path and fade, permutations, baselines.

    python benchmarks/fidelity.py --model=stickman-lrcn --data=stickman > fidelity.md
    python benchmarks/fidelity.py --model=ucf101-lrcn --data=FOLDER --group='_g(\d+)_'

For every baseline: mean subset fidelity (``rgcam.metrics.faithfulness``; 200 random sets,
each frame removed with probability 0.4; mean over t' > 0 and clips) of each method at
several costs, and of the best matrix there is, a least-squares fit to 500 other sets.
``passes`` is the whole time, features included, in forward passes (medians of paired
runs).
"""

import functools
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jaxtyping import Array, Float

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import gradients, perturbation
from rgcam.attribution.targets import Index
from rgcam.evaluation import clips as evaluation_clips
from rgcam.evaluation import controls
from rgcam.evaluation.clips import EvaluationClip
from rgcam.metrics import faithfulness
from rgcam.models import cut, zoo
from rgcam.models.cut import CutModel
from rgcam.models.zoo import Model
from rgcam.types import Tensor, Variables

FITTED, MEASURED = 500, 200  # random sets
MODEL = flags.DEFINE_string("model", "stickman-lrcn", "to explain")
DATA = flags.DEFINE_string("data", "stickman", "or a folder of classes")
GROUP = flags.DEFINE_string("group", "", "pattern of the clips' groups")
CLIPS = flags.DEFINE_integer("clips", 24, "number of clips")
LENGTH = flags.DEFINE_integer("length", 16, "frames of each")
METHODS = {
    "gradient": gradients.gradient,
    **{
        f"path, {n} points": functools.partial(gradients.path, panels=n)
        for n in (8, 16, 64)
    },
    "path": gradients.path,
    **{
        f"fade, {n} points": functools.partial(gradients.fade, points=n)
        for n in (2, 4, 8)
    },
    "fade, 16 points": functools.partial(gradients.fade, points=16),
    # One map cell for each frame: the matrix alone is measured.
    "occlusion": lambda model: perturbation.occlusion(model)[..., None, None],
    **{
        f"Shapley, {n} orders": lambda model, n=n: perturbation.shapley_values(
            model, jax.random.key(0), n
        )[..., None, None]
        for n in (2, 8)
    },
}


def main(_) -> None:
    """Measure and print."""
    model = zoo.load_model(MODEL.value)
    clips = list(
        evaluation_clips.load(
            model,
            data=DATA.value,
            group=GROUP.value,
            clips=CLIPS.value,
            length=LENGTH.value,
        )
    )
    rows = {"best matrix": {}} | {name: {} for name in METHODS}
    for baseline in perturbation.BASELINES:
        per_clip = [fidelities(model, clip, baseline) for clip in clips]
        for name in rows:
            rows[name][baseline] = np.mean([means[name] for means in per_clip])
        print(baseline, "done", file=sys.stderr)
    costs = passes(model, clips[0])
    print(f"{MODEL.value}, {len(clips)} clips of {LENGTH.value} frames\n")
    print("| method | passes | " + " | ".join(perturbation.BASELINES) + " |")
    print("|---" * (2 + len(perturbation.BASELINES)) + "|")
    for name, row in rows.items():
        cost = f"{costs[name]:.2f}" if name in costs else ""
        cells = " | ".join(f"{value:.3f}" for value in row.values())
        print(f"| {name} | {cost} | {cells} |")


def fidelities(model: Model, clip: EvaluationClip, baseline: str) -> dict[str, float]:
    """Return every method's mean subset fidelity on a clip."""
    module, variables = model.module, model.variables
    case = controls.prepare_case(model, clip)
    features = case.features
    rng = np.random.default_rng(0)
    removed = (rng.random((MEASURED + FITTED, len(features))) < 0.4).astype(np.float32)
    losses, _ = perturbation.removal_losses(
        module,
        variables,
        features,
        case.target,
        removed,
        baseline=baseline,
    )
    losses = np.asarray(losses)
    # The best matrix is fitted to other sets than those by which it is measured.
    measured, measured_losses = removed[:MEASURED], losses[:MEASURED]
    fitted, fitted_losses = removed[MEASURED:], losses[MEASURED:]
    mean = fitted.mean(0)
    best_matrix = np.linalg.lstsq(fitted - mean, fitted_losses - fitted_losses.mean(0))
    best = faithfulness.correlation((measured - mean) @ best_matrix[0], measured_losses)
    means = {"best matrix": float(np.nanmean(best[1:]))}
    for name in METHODS:
        maps = explain(module, variables, features, case.target, name, baseline)
        matrix = np.asarray(maps).sum((2, 3))
        rows = faithfulness.subset_fidelity(matrix, measured, measured_losses)
        means[name] = float(np.nanmean(rows[1:]))
    return means


@functools.partial(jax.jit, static_argnames=("module", "name", "baseline"))
def explain(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    target: Index,
    name: str,
    baseline: str,
) -> Float[Array, "T T h w"]:
    """Return a method's maps."""
    features = jnp.asarray(features)
    replacement = perturbation.baseline_features(features, baseline)
    model = perturbation.upper_model(module, variables, features, replacement, target)
    return METHODS[name](model)


def passes(model: Model, clip: EvaluationClip, repeats: int = 7) -> dict[str, float]:
    """Time every method, features included, in forward passes of the same clip."""

    @functools.partial(jax.jit, static_argnames="name")
    def run(
        variables: Variables, frames: Float[Tensor, "T S S 3"], name: str | None
    ) -> Array:
        features = cut.features(model.module, variables, frames)
        if name is None:
            scores = model.module.apply(variables, features, method="classify")
            return jnp.asarray(scores)
        return explain(model.module, variables, features, 0, name, "previous")

    def seconds(name: str | None) -> float:
        began = time.perf_counter()
        jax.block_until_ready(run(model.variables, clip.frames, name))
        return time.perf_counter() - began

    names = [None, *METHODS]  # None: the forward pass
    # The first round compiles; ratios are of runs of the same round.
    runs = [[seconds(name) for name in names] for _ in range(repeats + 1)][1:]
    ratios = np.median([np.array(run) / run[0] for run in runs], axis=0)
    return dict(zip(METHODS, ratios[1:], strict=True))


if __name__ == "__main__":
    app.run(main)
