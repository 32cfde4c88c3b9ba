"""What rgcam costs, and how exact it is, on this accelerator.

    python benchmarks/device.py [--limit_s=420] [--out=device] [--small]
        [--precision=highest] [--sections="All pairs,Batches"]

Writes OUT.json and OUT.md, anew after every row, so that a run that is stopped keeps
what it measured. Sections, in order, each skipped when less than its share of
``--limit_s`` is left:

1. Exactness: beta of a clip at each matrix precision against float64 on the CPU, as a
   part of the largest beta. A GPU's default precision is TF32, a TPU's bfloat16.
2. All pairs: the time of a whole explanation (scores, maps and matrix of all pairs)
   divided by that of one forward pass, both at ``--precision``, medians of paired runs,
   and XLA's planned temporary memory.
3. Explained clips a second, in batches by ``jax.vmap``.
4. A training step of a ResNet-18 LRCN, beside PyTorch's eager and compiled one where
   PyTorch sees the same device; model FLOP utilisation by XLA's count of operations.
5. The longest clip whose explanation fits, by doubling T.

It needs rgcam's own dependencies alone; without PyTorch its rows are left out.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parents[1]))

import rgcam
from rgcam.models import classifiers
from rgcam.models.classifiers import Classifier
from rgcam.training import step as training
from rgcam.types import Variables

CLASSES = 11
PRECISIONS = ("default", "high", "highest")
TARGET = 3
PEAK_TFLOPS = {
    "H100": (67, 989),
    "H200": (67, 989),
    "A100": (19.5, 312),
}  # float32, bf16


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="device", help="path of the files, no suffix")
    parser.add_argument("--limit_s", type=float, default=420, help="seconds in all")
    parser.add_argument("--size", type=int, default=224, help="side of a frame, pixels")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each program")
    parser.add_argument(
        "--precision",
        default="highest",
        help="of matrix products, of all pairs, batches and their forward passes",
    )
    parser.add_argument(
        "--sections",
        default="",
        help="to measure: some of Exactness, Training step, Batches, All pairs and "
        "Longest clip, with commas; default: all",
    )
    parser.add_argument(
        "--small", action="store_true", help="tiny sizes, to try the script on a CPU"
    )
    options = parser.parse_args(arguments)
    if options.small:
        options.size, options.repeats = 32, 2
    return options


class Report:
    """Rows of all sections, written to disk as they come."""

    def __init__(self, out: str, limit_s: float, asked: str):
        device = jax.devices()[0]
        self.out, self.began, self.limit_s = Path(out), time.monotonic(), limit_s
        self.facts = {
            "device": device.device_kind,
            "platform": device.platform,
            "jax": jax.__version__,
            "date": time.strftime("%Y-%m-%d"),
        }
        self.asked = asked.split(",") if asked else None  # None: all sections
        self.sections: dict[str, list[dict]] = {}

    def seconds_left(self) -> float:
        """Return how much of the limit is left."""
        return self.limit_s - (time.monotonic() - self.began)

    def add(self, section: str, measure: Callable[[], dict], **case: object) -> None:
        """Measure one row; a failure becomes the row's text and ends nothing."""
        if self.asked is not None and section.split(",")[0] not in self.asked:
            return
        row = dict(case)
        try:
            row |= measure()
        except Exception as error:  # such as an allocation that fails
            row["failed"] = (
                f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            )
        row["total_s"] = round(time.monotonic() - self.began, 1)
        self.sections.setdefault(section, []).append(row)
        print(section, row, flush=True)
        self.write()

    def write(self) -> None:
        """Write both files."""
        data = {**self.facts, "sections": self.sections}
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        facts = self.facts
        lines = [f"### {facts['device']}, jax {facts['jax']}, {facts['date']}", ""]
        for section, rows in self.sections.items():
            names = list(
                dict.fromkeys(n for row in rows for n in row if n != "total_s")
            )
            lines += [f"**{section}**", "", f"| {' | '.join(names)} |"]
            lines += ["|" + "---|" * len(names)]
            lines += [
                f"| {' | '.join(_text(row.get(n, '')) for n in names)} |"
                for row in rows
            ]
            lines += [""]
        self.out.with_suffix(".md").write_text("\n".join(lines))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@functools.cache
def make(backbone: str, head: str, size: int):
    """Return an LRCN and its variables, random weights."""
    arch = {
        "kind": "lrcn",
        "backbone": backbone,
        "head": head,
        "width": 512,
        "dropout": 0.5,
        "cell": "lstm",
        "hidden": 256,
    }
    module = classifiers.build(arch, CLASSES)
    assert isinstance(module, Classifier)
    clip = jnp.zeros((2, size, size, 3))
    initialise = jax.jit(lambda key: classifiers.init(module, key, clip))
    return module, initialise(jax.random.key(0))


def clip_of(steps: int, size: int, seed: int = 0) -> jax.Array:
    """Return random frames (T S S 3)."""
    return jax.random.normal(jax.random.key(seed), (steps, size, size, 3))


def median_times(runs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return median seconds of each run, taken in turns after one warm-up."""
    for run in runs:
        jax.block_until_ready(run())
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for spent, run in zip(times, runs, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(run())
            spent.append(time.perf_counter() - began)
    return [statistics.median(spent) for spent in times]


def exactness(backbone: str, head: str, steps: int, size: int) -> dict:
    """Compare beta and scores at each precision with float64 on the CPU."""
    module, variables = make(backbone, head, size)
    frames = clip_of(steps, size)
    cpu = jax.devices("cpu")[0]
    with jax.enable_x64(True), jax.default_device(cpu):
        widen = lambda x: jax.device_put(np.asarray(x, np.float64), cpu)
        wide = jax.tree.map(widen, variables)
        truth = rgcam.explain(module, wide, widen(frames), TARGET, relu=False)
        truth = jax.device_get(truth)
    row: dict[str, object] = {}
    for precision in PRECISIONS:
        result = rgcam.explain(
            module, variables, frames, TARGET, relu=False, precision=precision
        )
        for name in ("scores", "beta", "maps"):
            right = np.asarray(getattr(truth, name), np.float64)
            error = np.abs(np.asarray(getattr(result, name), np.float64) - right)
            row[f"{name}, {precision}"] = float(error.max() / np.abs(right).max())
    return row


def forward_at(module: Classifier, precision: str) -> Callable[..., object]:
    """Return the forward pass at a matrix precision."""

    def forward(variables: Variables, clip: jax.Array) -> object:
        with jax.default_matmul_precision(precision):
            return module.apply(variables, clip)

    return forward


def all_pairs(
    backbone: str, head: str, steps: int, options: argparse.Namespace
) -> dict:
    """Time an explanation of all pairs and a forward pass, in turns."""
    module, variables = make(backbone, head, options.size)
    frames = clip_of(steps, options.size)
    precision = options.precision

    def explain_clip(variables: Variables, clip: jax.Array):
        return rgcam.explain(
            module, variables, clip, TARGET, beta=False, precision=precision
        )[3:]

    forward, explain = jax.jit(forward_at(module, precision)), jax.jit(explain_clip)
    began = time.perf_counter()
    programs = [f.lower(variables, frames).compile() for f in (forward, explain)]
    compiling = time.perf_counter() - began
    runs = [functools.partial(program, variables, frames) for program in programs]
    forward_s, explain_s = median_times(runs, options.repeats)
    memory = [program.memory_analysis() for program in programs]
    sizes = [m.temp_size_in_bytes / 2**30 if m else float("nan") for m in memory]
    return {
        "forward, ms": 1e3 * forward_s,
        "explain, ms": 1e3 * explain_s,
        "ratio": explain_s / forward_s,
        "forward, GiB": sizes[0],
        "explain, GiB": sizes[1],
        "compile, s": compiling,
    }


def throughput(backbone: str, clips: int, steps: int, options) -> dict:
    """Explain a batch of clips; compare with the forward pass of the same batch."""
    module, variables = make(backbone, "gap", options.size)
    frames = jnp.stack([clip_of(steps, options.size, seed) for seed in range(clips)])

    def explain_one(variables: Variables, clip: jax.Array):
        return rgcam.explain(
            module, variables, clip, TARGET, beta=False, precision=options.precision
        )[3:]

    explain = jax.jit(jax.vmap(explain_one, (None, 0)))
    forward = jax.jit(jax.vmap(forward_at(module, options.precision), (None, 0)))
    runs: list[Callable[[], object]] = [
        lambda: forward(variables, frames),
        lambda: explain(variables, frames),
    ]
    forward_s, explain_s = median_times(runs, options.repeats)
    return {
        "forward, clips/s": clips / forward_s,
        "explained, clips/s": clips / explain_s,
    }


def train_step(dtype: str, clips: int, steps: int, options) -> dict:
    """Time an optimizer step of the ResNet-18 LRCN."""
    backbone = "small" if options.small else "resnet18"
    module, variables = make(backbone, "gap", options.size)
    # A copy: the step donates its parameters, and other rows use the same model.
    params = jax.tree.map(jnp.array, variables["params"])
    tx = optax.adamw(1e-4)
    spec = classifiers.preprocess_of({"backbone": backbone})
    forward = training.scorer(module, spec, dtype=dtype)
    frames = jnp.stack([clip_of(steps, options.size, seed) for seed in range(clips)])
    labels = jnp.arange(clips) % CLASSES

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def take_step(params, state, frames, labels):
        def loss_of(params):
            scores = jax.vmap(lambda x: forward({"params": params}, x))(frames)
            log_loss = optax.softmax_cross_entropy_with_integer_labels
            return log_loss(scores[:, -1], labels).mean()

        grads = jax.grad(loss_of)(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = [params, tx.init(params)]
    program = take_step.lower(*state, frames, labels).compile()
    cost = program.cost_analysis() or {}

    def run():
        state[:] = program(*state, frames, labels)
        return state

    (seconds,) = median_times([run], options.repeats)
    row = {"ms": 1e3 * seconds, "frames/s": clips * steps / seconds}
    kind = jax.devices()[0].device_kind
    peaks = next((p for name, p in PEAK_TFLOPS.items() if name in kind), None)
    if peaks and cost.get("flops", 0) > 0:
        peak = peaks[dtype == "bfloat16"]
        row["utilisation"] = cost["flops"] / seconds / peak / 1e12
    return row


def torch_step(mode: str, dtype: str, clips: int, steps: int, options) -> dict:
    """Time PyTorch's step of the same network on the same device."""
    import torch
    import torchvision

    on_gpu = jax.devices()[0].platform == "gpu"
    if on_gpu and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU")
    device = "cuda" if on_gpu else "cpu"
    resnet = torchvision.models.resnet18(weights=None)
    backbone = torch.nn.Sequential(*list(resnet.children())[:-1], torch.nn.Flatten())
    lstm = torch.nn.LSTM(512, 256, batch_first=True)
    parts = torch.nn.ModuleList([backbone, lstm, torch.nn.Linear(256, CLASSES)])
    parts = parts.to(device).eval()  # batch normalisation by its running averages
    lstm.train()  # cuDNN's backward pass of an LSTM needs it; there is no dropout
    frames = torch.randn(clips * steps, 3, options.size, options.size, device=device)
    labels = torch.arange(clips, device=device) % CLASSES
    optimizer = torch.optim.AdamW(parts.parameters(), 1e-4)

    def forward(frames):
        vectors = backbone(frames).reshape(clips, steps, -1)
        return parts[2](lstm(vectors)[0][:, -1])

    scores_of = torch.compile(forward) if mode == "compiled" else forward

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(scores_of(frames), labels)
        loss.backward()
        optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()
        return 0

    (seconds,) = median_times([run], options.repeats)
    return {"ms": 1e3 * seconds, "frames/s": clips * steps / seconds}


def longest(backbone: str, report: Report, options) -> dict:
    """Double T until the explanation no longer fits or half a minute is left."""
    module, variables = make(backbone, "gap", options.size)
    explain = jax.jit(
        lambda v, x: rgcam.explain(module, v, x, TARGET, beta=False).matrix
    )
    steps = 8 if options.small else 1024
    row: dict[str, object] = {"T": 0}
    while report.seconds_left() > 30 and steps <= (16 if options.small else 2**16):
        try:
            began = time.perf_counter()
            jax.block_until_ready(explain(variables, clip_of(steps, options.size)))
        except jax.errors.JaxRuntimeError as error:
            row["then"] = f"T = {steps}: {str(error).splitlines()[0][:80]}"
            break
        row |= {"T": steps, "with compilation, s": time.perf_counter() - began}
        steps *= 2
    return row


def main(arguments: list[str] | None = None) -> None:
    """Run all sections."""
    options = parse_arguments(arguments)
    report = Report(options.out, options.limit_s, options.sections)
    lengths = (4, 6) if options.small else (16, 64, 256, 1024)
    first = [("resnet18", "gap"), ("resnet18", "fc"), ("efficientnet_lite0", "gap")]
    later = [("efficientnet_lite0", "fc"), ("resnet50", "gap"), ("resnet50", "fc")]
    if options.small:
        first, later = [("small", "gap"), ("small", "fc")], []
    size = options.size

    for backbone, head in first:
        measure = functools.partial(exactness, backbone, head, lengths[0], size)
        report.add("Exactness", measure, network=backbone, head=head, T=lengths[0])
    clips, steps = (2, 4) if options.small else (16, 16)
    for dtype in ("float32", "bfloat16"):
        measure = functools.partial(train_step, dtype, clips, steps, options)
        case = {"what": "rgcam", "dtype": dtype, "clips": clips, "T": steps}
        report.add("Training step, ResNet-18 LRCN", measure, **case)
        for mode in ("eager",) if options.small else ("eager", "compiled"):
            measure = functools.partial(torch_step, mode, dtype, clips, steps, options)
            case["what"] = f"PyTorch, {mode}"
            report.add("Training step, ResNet-18 LRCN", measure, **case)
    for backbone in ("small",) if options.small else ("resnet18", "efficientnet_lite0"):
        measure = functools.partial(throughput, backbone, clips, steps, options)
        report.add("Batches", measure, network=backbone, clips=clips, T=steps)
    for cases in (first, later):
        for steps in lengths:
            for backbone, head in cases:
                if report.seconds_left() < 60 and not options.small:
                    continue
                measure = functools.partial(all_pairs, backbone, head, steps, options)
                report.add("All pairs", measure, network=backbone, head=head, T=steps)
        if cases is first:
            name = "small" if options.small else "resnet18"
            measure = functools.partial(longest, name, report, options)
            if report.seconds_left() > 100 or options.small:
                report.add("Longest clip", measure, network=name)
    print(report.out.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
