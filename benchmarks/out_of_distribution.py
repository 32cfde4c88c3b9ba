"""How often are clips unlike a model's training data found, and others warned of?

    python benchmarks/out_of_distribution.py --ucf101=FOLDER --ut_interaction=FOLDER

FOLDER holds <Class>/v_<Class>_gGG_cCC.mp4 of UCF101, and UT-Interaction's one folder per
class. Of every bundled model the distances of fresh clips of its own kind (stickman clips
of new seeds; UCF101's groups 3-7) are compared with those of other clips: the area under
the ROC curve, and the shares above the model's threshold. Prints a Markdown table.

``--write`` computes the statistics of the bundled models anew from their training clips
(stickman clips of the training's seed; UCF101's groups 8-25), as training does at its end,
and stores them beside their weights. The stickman models were trained with their backbones,
so that their thresholds heed clips of a further seed. The backbone of the UCF101 models never
saw a training clip.
"""

import concurrent.futures
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from jaxtyping import Float, UInt8

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import padding
from rgcam.data import folder
from rgcam.data.synthetic import stickman
from rgcam.data.video import read_clip
from rgcam.evaluation import detection
from rgcam.models import out_of_distribution, zoo
from rgcam.models.zoo import Model

UCF101 = flags.DEFINE_string("ucf101", None, "folder of the classes", required=True)
UT = flags.DEFINE_string("ut_interaction", None, "folder of the classes", required=True)
WRITE = flags.DEFINE_bool("write", False, "compute the bundled models' statistics")
CLIPS = flags.DEFINE_integer("clips", 550, "fresh stickman clips to measure on")
TRAINING_CLIPS = 1000  # stickman clips: as many as training takes
TRAINING_SEED, FRESH_SEED, VALIDATION_SEED = 1, 2, 3
TEST_GROUPS = range(1, 8)  # as in configs/ucf101_lrcn.py; 1 and 2 may be absent
OWN = {"stickman": "stickman, fresh seeds", "ucf101": "UCF101, groups 3-7"}
TRAINING = {"stickman": "stickman, training", "ucf101": "UCF101, training"}
VALIDATION = "stickman, validation"
Clips = Callable[[], Iterator[tuple[str, UInt8[np.ndarray, "T H W 3"]]]]


def main(_) -> None:
    """Measure every bundled model; print the table."""
    items = folder.scan(UCF101.value, r"_g(\d+)_").items
    is_test = [int(item.group) in TEST_GROUPS for item in items]
    test = [item for item, chosen in zip(items, is_test, strict=True) if chosen]
    training = [item for item, chosen in zip(items, is_test, strict=True) if not chosen]
    interactions = folder.scan(UT.value, "").items
    sources: dict[str, Clips] = {
        OWN["stickman"]: lambda: drawn(FRESH_SEED, CLIPS.value),
        OWN["ucf101"]: lambda: decoded(test),
        "UT-Interaction": lambda: decoded(interactions),
    }
    if WRITE.value:
        sources |= {
            TRAINING["stickman"]: lambda: drawn(TRAINING_SEED, TRAINING_CLIPS),
            VALIDATION: lambda: drawn(VALIDATION_SEED, TRAINING_CLIPS),
            TRAINING["ucf101"]: lambda: decoded(training),
        }
    models = {name: zoo.load_model(name) for name in zoo.bundled_names()}
    pooled = {name: {} for name in models}
    for source, clips in sources.items():
        # Training and validation clips are needed by the models of their kind alone.
        users = {
            name: model
            for name, model in models.items()
            if source not in (*TRAINING.values(), VALIDATION)
            or source == TRAINING[kind_of(name)]
            or (source == VALIDATION and kind_of(name) == "stickman")
        }
        for name, vectors in pool(users, source, clips).items():
            pooled[name][source] = vectors
    print("| model | its own kind | above | other clips | median | ROC area | above |")
    print("|---" * 7 + "|")
    for name, model in models.items():
        kind = kind_of(name)
        if WRITE.value:
            vectors, groups = pooled[name][TRAINING[kind]]
            held_out, _ = pooled[name].get(VALIDATION, (None, []))
            statistics = out_of_distribution.fit(vectors, groups, held_out)
            zoo.write_statistics(zoo.BUNDLED / name, statistics)
            model = model._replace(statistics=zoo.read_statistics(zoo.BUNDLED / name))
        for row in rows(model, kind, pooled[name]):
            print(row)


def rows(
    model: Model,
    kind: str,
    pooled: dict[str, tuple[Float[np.ndarray, "N K"], list[str]]],
) -> Iterator[str]:
    """Return the lines of the table for one model."""
    statistics = model.statistics
    assert statistics is not None
    distances = {
        source: out_of_distribution.distances(statistics, vectors)
        for source, (vectors, _) in pooled.items()
        if source not in (*TRAINING.values(), VALIDATION)
    }
    familiar = distances.pop(OWN[kind])
    above = lambda values: f"{(values > statistics.threshold).mean():.1%}"
    for source, others in distances.items():
        area = detection.detection(others, familiar).area
        yield (
            f"| {model.name} (threshold {statistics.threshold:.1f}) | {OWN[kind]}, median "
            f"{np.median(familiar):.1f} | {above(familiar)} of {len(familiar)} | {source} | "
            f"{np.median(others):.1f} | {area:.3f} | {above(others)} of {len(others)} |"
        )


def kind_of(name: str) -> str:
    """Return what a bundled model was trained on, as in OWN."""
    return name.partition("-")[0]


def pool(
    models: dict[str, Model], source: str, clips: Clips
) -> dict[str, tuple[Float[np.ndarray, "N K"], list[str]]]:
    """Return the feature vectors of all clips by every model, and the clips' groups."""
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in models}
    groups: list[str] = []
    began = time.monotonic()
    for group, frames in clips():
        groups.append(group)
        features = {}
        for name, model in models.items():
            backbone = kind_of(name) if model.description.frozen else name
            # Models on one frozen backbone have the same features.
            if backbone not in features:
                features[backbone] = padding.clip_features(
                    model.module, model.variables, model.preprocess(frames)
                )
            vector = out_of_distribution.pool(
                features[backbone],
                np.asarray(len(frames)),
                model.description.arch["head"],
            )
            vectors[name].append(np.asarray(vector))
    seconds = time.monotonic() - began
    print(f"{source}: {len(groups)} clips, {seconds:.0f} s", file=sys.stderr)
    return {name: (np.stack(rows), groups) for name, rows in vectors.items()}


def drawn(seed: int, count: int) -> Iterator[tuple[str, UInt8[np.ndarray, "T H W 3"]]]:
    """Yield the clips of ``draw.draw_clips`` one by one, each a group of its own."""
    for index in range(count):
        yield f"{seed} {index}", stickman.clip((seed, index)).frames


def decoded(
    items: Sequence[folder.Item],
) -> Iterator[tuple[str, UInt8[np.ndarray, "T H W 3"]]]:
    """Yield the frames of files at 7.5 fps; groups are numbered in each class anew."""
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for start in range(0, len(items), 16):  # a few clips in memory at once
            chunk = items[start : start + 16]
            clips = threads.map(lambda item: read_clip(item.clip, 7.5), chunk)
            for item, clip in zip(chunk, clips, strict=True):
                yield f"{item.label} {item.group}", clip.frames


if __name__ == "__main__":
    app.run(main)
