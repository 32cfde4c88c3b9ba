"""benchmarks/heads.py compares heads on models that read whole feature maps."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import accuracy, heads
from rgcam.data import splits
from rgcam.data.folder import Item
from rgcam.data.video import Clip
from rgcam.evaluation.measure import (
    FaithfulnessMeasures,
    LocalizationMeasures,
    MethodMeasures,
)
from rgcam.evaluation.tables import Row
from rgcam.models import layers, zoo
from tests.conftest import draw_variables

CLASSES, STEPS, FEATURE_MAP = 3, 4, (7, 7, 5)


@pytest.mark.parametrize("head", heads.HEADS)
def test_a_model_of_feature_maps_has_the_scores_of_its_projected_features(head):
    rng = np.random.default_rng(0)
    grid = accuracy.GRID if head == "fc" else 1
    maps = rng.normal(size=(STEPS, *FEATURE_MAP)).astype(np.float32)
    pooled = np.asarray(layers.pool(maps, grid)).reshape(STEPS, -1)
    projection = accuracy.Projection(
        mean=rng.normal(size=pooled.shape[1]).astype(np.float32),
        kernel=rng.normal(size=(pooled.shape[1], 6)).astype(np.float32),
    )
    module = accuracy.build(accuracy.LRCN, CLASSES).clone(head=head, width=8, hidden=8)
    inputs = ((pooled - projection.mean) @ projection.kernel)[:, None, None]
    params = draw_variables(module, jnp.asarray(inputs), "classify")
    small = params["params"]
    full = heads.above_maps(small, projection, FEATURE_MAP)
    scores = module.apply({"params": full}, maps, method="classify")
    expected = module.apply({"params": small}, inputs, method="classify")
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.ptp(np.asarray(expected), axis=0).min() > 1e-2


def test_one_clip_of_each_recording_is_measured(monkeypatch):
    lengths = {"g3_c1": 8, "g3_c2": 16, "g3_c3": 16, "g4_c1": 20, "g5_c1": 9}
    items = [
        Item(clip=Path(name), label=0, group=name[:2], place=f"kick/{name}")
        for name in lengths
    ]
    parts = splits.Parts(train=[], validation=[], test=items, name="")
    cnn = zoo.load_model("stickman-cnn")
    monkeypatch.setattr(accuracy, "divide", lambda _: (parts, ("kick",)))
    monkeypatch.setattr(
        heads,
        "read_clip",
        lambda path, _: Clip(
            np.zeros((lengths[path.name], 8, 8, 3), np.uint8),
            np.arange(lengths[path.name]) / 7.5,
        ),
    )
    clips = list(heads.real_clips(cnn, "", 5))
    assert {clip.name: clip.group for clip in clips} == {
        "g3_c2": "kick g3",
        "g4_c1": "kick g4",
    }
    assert {len(clip.frames) for clip in clips} == {16}
    assert len(list(heads.real_clips(cnn, "", 1))) == 1


@pytest.fixture(scope="module")
def rows():
    """Return 12 clips by two seeds, of which HiResCAM is 0.25 better in the mean."""

    def measures(subset):
        return MethodMeasures(
            faithfulness=FaithfulnessMeasures(subset=subset),
            localization_max=LocalizationMeasures(energy=0.5),
        )

    of_clips = []
    for seed in range(2):
        for number in range(12):
            base = 0.1 * seed + 0.02 * number
            of_method = {name: measures(base) for name in heads.METHODS}
            of_method["hirescam"] = measures(base + (0.2 if number % 2 else 0.3))
            for name in heads.REFERENCES:
                of_method[name] = MethodMeasures(
                    localization_max=LocalizationMeasures(energy=0.25)
                )
                of_method[f"{name}:zero"] = measures(base)
            of_clips.append(
                Row(f"gap, seed {seed}", str(number), str(number), of_method)
            )
    return of_clips


def test_a_line_of_the_table_has_the_means_and_those_of_each_seed(rows):
    lines = heads.methods_table(rows).splitlines()
    assert lines[0] == "| method | subset | energy | subset by seed |"
    cells = next(line for line in lines if line.startswith("| hirescam (rect"))
    assert cells.split(" | ")[1].startswith("0.41 (")  # 0.05 + 0.11 + 0.25
    assert cells.endswith("| 0.36, 0.46 |")
    # A reference has its *subset* by the baseline, and the rest by its name.
    cells = next(line for line in lines if line.startswith("| *recency*"))
    assert cells.split(" | ")[1].startswith("0.1") and "| 0.25 |" in cells


def test_a_difference_of_one_clip_by_several_seeds_is_one_observation(rows):
    lines = heads.differences_table(rows).splitlines()
    cells = next(line for line in lines if "hirescam minus gradcam " in line)
    # 12 clips, half of them 0.2 and half 0.3: 2.2 x 0.0522 / sqrt(12) on both sides.
    assert cells.endswith("| +0.25 (+0.22 to +0.28) |")
