"""What training costs: our step beside PyTorch's, and whether the input keeps up.

    python benchmarks/train.py [--backbones=small,resnet18] [--clips=4] [--steps=16]

Three tables, each measured in one run. (1) One optimizer step (forward, backward,
AdamW, gradient clipping) of the same LRCN on the same frames in JAX and in PyTorch, in
turns, and the median of the paired ratios; on an accelerator also bfloat16, and the
share of --peak_tflops reached by XLA's own count of floating-point operations.
(2) Our step against batch size and clip length. (3) Clips a second of bare PyAV
decoding, of the input pipeline, and of the step that eats them.
"""

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.data import cache, pipeline, video
from rgcam.data import clips as data
from rgcam.data.augment import Augmentation
from rgcam.data.synthetic import stickman
from rgcam.models import classifiers
from rgcam.report import writer
from rgcam.training import step as training
from rgcam.training.fields import Config

BACKBONES = flags.DEFINE_list("backbones", ["small", "resnet18"], "small, resnet18")
CLIPS = flags.DEFINE_integer("clips", 4, "of a step")
STEPS = flags.DEFINE_integer("steps", 16, "frames of a clip")
REPEATS = flags.DEFINE_integer("repeats", 3, "paired runs")
CHUNK = flags.DEFINE_integer("frames_at_once", 0, "rematerialised chunks; 0: none")
PEAK = flags.DEFINE_float("peak_tflops", 0, "of the device, for the utilisation")
TORCH = flags.DEFINE_bool("torch", True, "measure PyTorch too")
CLASSES, HIDDEN, WIDTH = 11, 256, 512
OPTIONS = Config(
    optimizer="adamw",
    learning_rate=1e-4,
    backbone_rate=1.0,
    warmup=0.05,
    weight_decay=1e-2,
    clip_norm=5.0,
)


def main(_) -> None:
    """Print the three tables."""
    logging.set_verbosity(logging.WARNING)
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}")
    accelerated = device.platform != "cpu"
    print("\nbackbone      dtype    clips x T  ours ms  frames/s  torch ms  torch/ours")
    for name in BACKBONES.value:
        for dtype in ("float32", "bfloat16") if accelerated else ("float32",):
            print(step_row(name, dtype, CLIPS.value, STEPS.value), flush=True)
    print("\nbackbone   clips   T  step ms  frames/s")
    for clips, steps in ((2, 8), (8, 8), (2, 32), (8, 32)):
        print(growth_row(BACKBONES.value[0], clips, steps), flush=True)
    print("\ninput                       clips/s")
    for name, rate in input_rates():
        print(f"{name:<26}{rate:>9.1f}", flush=True)


def step_row(name: str, dtype: str, clips: int, steps: int) -> str:
    """Time our step and PyTorch's in turns."""
    batch = make_batch(name, clips, steps)
    ours, flops = our_step(name, dtype, batch)
    other = torch_step(name, dtype, batch) if TORCH.value else None
    runs = [ours] + ([other] if other else [])
    for run in runs:
        seconds(run)
    pairs = [[seconds(run) for run in runs] for _ in range(REPEATS.value)]
    our_seconds = statistics.median(p[0] for p in pairs)
    row = f"{name:<12}{dtype:>9}{clips:>7} x {steps:<4}{1e3 * our_seconds:>7.0f}"
    row += f"{clips * steps / our_seconds:>10.1f}"
    if other:
        theirs = statistics.median(p[1] for p in pairs)
        ratio = statistics.median(p[1] / p[0] for p in pairs)
        row += f"{1e3 * theirs:>10.0f}{ratio:>12.2f}"
    if PEAK.value:
        row += f"  {flops / our_seconds / PEAK.value / 1e12:.1%} of peak"
    return row


def growth_row(name: str, clips: int, steps: int) -> str:
    """Time our step at one shape."""
    run, _ = our_step(name, "float32", make_batch(name, clips, steps))
    seconds(run)
    time_ = statistics.median(seconds(run) for _ in range(3))
    rate = clips * steps / time_
    return f"{name:<10}{clips:>6}{steps:>4}{1e3 * time_:>9.0f}{rate:>10.1f}"


def input_rates() -> Iterator[tuple[str, float]]:
    """Measure decoding, the pipeline, and the appetite of the small model's step."""
    spec = classifiers.preprocess_of(arch("small"))
    with tempfile.TemporaryDirectory() as folder:
        files = write_clips(Path(folder), 64)
        yield "PyAV, decoded each time", rate(video.read_clip, files)
        frames = cache.Frames(files, spec, 7.5, Path(folder) / "cache")
        lengths = np.array([frames.length(i) for i in range(len(files))])
        names = [f.name for f in files]
        labels = np.zeros(len(files), np.int32)
        clips = data.Clips(frames, labels, names, names, lengths)
        for title, options in (
            ("pipeline, plain", Augmentation()),
            ("pipeline, crop + colour", Augmentation(crop=0.7, colour=0.3)),
        ):
            yield title, pipeline_rate(clips, options)
    run, _ = our_step("small", "float32", make_batch("small", 32, 16))
    seconds(run)
    eaten = 32 / statistics.median(seconds(run) for _ in range(3))
    yield "step (small, 32 x 16)", eaten


def pipeline_rate(clips: data.Clips, options: Augmentation) -> float:
    """Clips a second of whole batches, loaded ahead."""
    plan = pipeline.Plan(clips.lengths, batch_size=32, length=16, bucket=0, seed=0)
    source = pipeline.TrainingBatches(clips, plan, options, 22)
    batches = pipeline.training_batches(source, 0)
    next(batches), next(batches)
    began = time.perf_counter()
    count = sum(len(loaded.batch.labels) for loaded in batches)
    return count / (time.perf_counter() - began)


def arch(name: str) -> dict:
    """Describe the LRCN that is measured."""
    head = {"head": "fc" if name == "small" else "gap", "width": WIDTH, "dropout": 0.0}
    return {"kind": "lrcn", "backbone": name, "cell": "lstm", "hidden": HIDDEN} | head


def make_batch(name: str, clips: int, steps: int) -> data.Batch:
    """Draw noise of the right shape."""
    size = classifiers.preprocess_of(arch(name)).size
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (clips, steps, size, size, 3)).astype(np.uint8)
    labels = rng.integers(CLASSES, size=clips).astype(np.int32)
    return data.Batch(frames, labels, np.full(clips, steps, np.int32))


def our_step(name: str, dtype: str, batch: data.Batch) -> tuple[Callable, float]:
    """Return a function that takes one step, and the floating-point operations."""
    described = arch(name)
    module, spec = (
        classifiers.build(described, CLASSES),
        classifiers.preprocess_of(described),
    )
    example = jnp.zeros((1, spec.size, spec.size, 3))
    params = classifiers.init(module, jax.random.key(0), example)["params"]
    forward = training.scorer(module, spec, chunk=CHUNK.value, dtype=dtype)
    tx = training.optimizer(OPTIONS, 1000)
    state = training.create_state(forward, params, tx, 0)
    step = jax.jit(training.train_step, donate_argnames="state")
    compiled = step.lower(state, batch).compile()
    flops = (compiled.cost_analysis() or {}).get("flops", 0.0)
    held = [state]

    def run():
        held[0], metrics = compiled(held[0], batch)
        return metrics

    return run, flops


def torch_step(name: str, dtype: str, batch: data.Batch) -> Callable | None:
    """Return the same step in PyTorch, eager; None where it cannot be had."""
    try:
        import torch
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = torch_lrcn(name).to(device)
    tx = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-2)
    frames = torch.from_numpy(batch.inputs).to(device)
    labels = torch.from_numpy(batch.labels).long().to(device)
    low = functools.partial(
        torch.autocast, device, torch.bfloat16, enabled=dtype == "bfloat16"
    )

    def run():
        with low():
            pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
            scores = model(pixels, batch.inputs.shape[:2])
        losses = torch.nn.functional.cross_entropy(
            scores.float().flatten(0, 1), labels.repeat_interleave(scores.shape[1])
        )
        tx.zero_grad()
        losses.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        tx.step()
        return losses.item()

    return run


def torch_lrcn(name: str):
    """Build the LRCN in PyTorch; batch normalisation, where there is any, is frozen."""
    from torch import nn

    from benchmarks.torchvision_import import import_torchvision

    class Lrcn(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, width = small_torch() if name == "small" else resnet_torch()
            self.recurrent = nn.LSTM(width, HIDDEN, batch_first=True)
            self.scores = nn.Linear(HIDDEN, CLASSES)

        def forward(self, pixels, shape):
            states, _ = self.recurrent(self.below(pixels).reshape(*shape, -1))
            return self.scores(states)

    def small_torch():
        layers = [nn.PixelUnshuffle(2)]
        for before, after, stride in ((12, 32, 2), (32, 64, 2), (64, 64, 1)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.ReLU()]
        fc6 = [nn.Flatten(), nn.Linear(64 * 64, WIDTH), nn.ReLU()]
        return nn.Sequential(*layers, *fc6), WIDTH

    def resnet_torch():
        model = getattr(import_torchvision().models, name)()
        parts = [*list(model.children())[:-1], nn.Flatten()]
        return nn.Sequential(*parts).eval(), model.fc.in_features

    return Lrcn()


def write_clips(folder: Path, count: int) -> list[Path]:
    """Write stickman clips as video files of 320 x 320, 30 frames a second."""
    files = [folder / f"{i}.mp4" for i in range(count)]
    for i, file in enumerate(files):
        frames = stickman.clip(i, size=320).frames
        writer.write_video(file, frames.repeat(4, axis=0), 30)
    return files


def rate(function: Callable, items: list) -> float:
    """Items a second."""
    began = time.perf_counter()
    for item in items:
        function(item)
    return len(items) / (time.perf_counter() - began)


def seconds(run: Callable) -> float:
    """Time one run to its end."""
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began


if __name__ == "__main__":
    app.run(main)
