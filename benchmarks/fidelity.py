r"""What fidelity costs: points of path and fade, permutations, baselines.

    python benchmarks/fidelity.py --model=stickman-lrcn --data=stickman > fidelity.md
    python benchmarks/fidelity.py --model=ucf101-lrcn --data=FOLDER --group='_g(\d+)_'

For every baseline: mean subset fidelity (``rgcam.metrics.faithfulness``; 200 random sets, each
frame removed with probability 0.4; mean over t' > 0 and clips) of each method at
several costs, and of the best matrix there is, a least-squares fit to 500 other sets.
``passes`` is the whole time, features included, in forward passes (medians of paired
runs).
"""

import functools
import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import gradients, perturbation
from rgcam.evaluation import clips as evaluation_clips
from rgcam.evaluation import controls
from rgcam.metrics import deletion, faithfulness, statistics
from rgcam.models import cut, zoo

MODEL = flags.DEFINE_string("model", "stickman-lrcn", "to explain")
DATA = flags.DEFINE_string("data", "stickman", "or a folder of classes")
GROUP = flags.DEFINE_string("group", "", "pattern of the clips' groups")
CLIPS = flags.DEFINE_integer("clips", 24, "to measure by")
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
    "occlusion": lambda upper: perturbation.occlusion(upper)[..., None, None],
    **{
        f"Shapley, {n} orders": lambda upper, n=n: perturbation.shapley_values(
            upper, jax.random.key(0), n
        )[..., None, None]
        for n in (2, 8)
    },
}


def main(_) -> None:
    """Measure and print."""
    model = zoo.load_model(MODEL.value)
    where = {"data": DATA.value, "group": GROUP.value, "length": LENGTH.value}
    clips = list(evaluation_clips.load(model, **where, clips=CLIPS.value))
    rows = {"best matrix": {}} | {name: {} for name in METHODS}
    for baseline in perturbation.BASELINES:
        found = [fidelities(model, clip, baseline) for clip in clips]
        for name in rows:
            rows[name][baseline] = np.mean([one[name] for one in found])
        print(baseline, "done", file=sys.stderr)
    costs = passes(model, clips[0])
    print(f"{MODEL.value}, {len(clips)} clips of {LENGTH.value} frames\n")
    print("| method | passes | " + " | ".join(perturbation.BASELINES) + " |")
    print("|---" * (2 + len(perturbation.BASELINES)) + "|")
    for name, row in rows.items():
        cost = f"{costs[name]:.2f}" if name in costs else ""
        cells = " | ".join(f"{value:.3f}" for value in row.values())
        print(f"| {name} | {cost} | {cells} |")


def fidelities(model, clip, baseline) -> dict[str, float]:
    """Return every method's mean subset fidelity on a clip."""
    module, variables = model.module, model.variables
    case = controls.prepare_case(model, clip)
    features = case.features
    rng = np.random.default_rng(0)
    removed = (rng.random((700, len(features))) < 0.4).astype(np.float32)
    losses, _ = deletion.removal_losses(
        module,
        variables,
        features,
        case.target,
        removed,
        baseline=baseline,
    )
    losses = np.asarray(losses)
    # The best matrix is fitted to 500 sets, and measured like the others by 200 more.
    mean = removed[200:].mean(0)
    best_matrix = np.linalg.lstsq(
        removed[200:] - mean, losses[200:] - losses[200:].mean(0)
    )[0]
    best = statistics.correlation((removed[:200] - mean) @ best_matrix, losses[:200])
    means = {"best matrix": float(np.nanmean(best[1:]))}
    for name in METHODS:
        maps = explain(module, variables, features, case.target, name, baseline)
        matrix = np.asarray(maps).sum((2, 3))
        rows = faithfulness.subset_fidelity(matrix, removed[:200], losses[:200])
        means[name] = float(np.nanmean(rows[1:]))
    return means


@functools.partial(jax.jit, static_argnames=("module", "name", "baseline"))
def explain(module, variables, features, target, name, baseline):
    """Return a method's maps."""
    instead = perturbation.baseline_features(features, baseline)
    upper = perturbation.upper_model(module, variables, features, instead, target)
    return METHODS[name](upper)


def passes(model, clip, repeats: int = 7) -> dict[str, float]:
    """Time every method, features included, in forward passes of the same clip."""

    @functools.partial(jax.jit, static_argnames="name")
    def whole(variables, frames, name):
        features = cut.features(model.module, variables, frames)
        if name is None:
            return model.module.apply(variables, features, method="classify")
        return explain(model.module, variables, features, 0, name, "previous")

    def seconds(name):
        began = time.perf_counter()
        jax.block_until_ready(whole(model.variables, clip.frames, name))
        return time.perf_counter() - began

    names: list = [None, *METHODS]
    runs = [[seconds(name) for name in names] for _ in range(repeats + 1)][1:]
    ratios = np.median([np.array(run) / run[0] for run in runs], axis=0)
    return dict(zip(names[1:], ratios[1:], strict=True))


if __name__ == "__main__":
    app.run(main)
