"""Interrupted corpus runs: is anything lost or repeated, and how fast are they?

    python benchmarks/corpus.py --videos='clips/**/*.avi' [--count=200] [--engine=ray]

Explains the first videos by explain.py: once unbroken, and once more killed by SIGKILL
after a third and after two thirds of them, and continued. With --engine=ray a local
cluster of two workers does it, one of which is killed after a third. Then compares all
numbers with those of the unbroken run, and says how many CPU seconds of all threads each
stage of a clip takes beside its bare forward pass, compiled before: on a machine whose cores
are all busy they are what the rate depends on.
"""

import functools
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from rgcam.attribution import padding
from rgcam.corpus import manifest
from rgcam.data import video
from rgcam.models import backbones, zoo
from rgcam.report import thumbnails, writer
from rgcam.report.explain import AUTO, explain_clip

VIDEOS = flags.DEFINE_string("videos", "", "pattern of the videos")
COUNT = flags.DEFINE_integer("count", 200, "videos")
ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "as for explain.py")
KILL = flags.DEFINE_bool("kill", True, "run once more, killed and continued")
MODEL = flags.DEFINE_string("model", "ucf101-lrcn", "as for explain.py")


def main(_) -> None:
    """Run, kill, compare and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = link(Path(folder, "videos"))
        unbroken, broken = Path(folder, "unbroken"), Path(folder, "broken")
        seconds = run(root, unbroken, [])
        print(f"unbroken: {COUNT.value} videos in {seconds:.0f} s", flush=True)
        thirds = [COUNT.value // 3, 2 * COUNT.value // 3]
        if KILL.value:
            run(root, broken, thirds if ENGINE.value == "local" else thirds[:1])
            compare(unbroken, broken)
        print(f"{COUNT.value / seconds:.2f} videos/s with start, decoding and files")
        print_stages(stage_times(root, unbroken))


def link(folder: Path) -> Path:
    """Make a folder of links to the first videos."""
    folder.mkdir()
    paths = glob.glob(VIDEOS.value, recursive=True)
    files = [Path(path) for path in sorted(paths)][: COUNT.value]
    if len(files) < COUNT.value:
        sys.exit(f"error: {VIDEOS.value} matches {len(files)} videos")
    for file in files:
        (folder / file.name).symlink_to(file.absolute())
    return folder


def run(root: Path, out: Path, kills: list[int]) -> float:
    """Explain all, killed when so many rows are written; return the last run's time."""
    engine = ENGINE.value
    command = [sys.executable, ROOT / "explain.py", f"--model={MODEL.value}"]
    command += [f"--videos={root}/*", f"--out={out}", f"--engine={engine}"]
    command += ["--ray_workers=2"] if engine == "ray" else []
    for count in kills:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while rows(out) < count and process.poll() is None:
            time.sleep(0.1)
        if engine == "ray":
            killed = kill_worker()
            print(f"killed worker {killed} of 2 after {rows(out)} rows", flush=True)
            process.wait()
            return 0.0
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed after {rows(out)} rows", flush=True)
    began = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def rows(out: Path) -> int:
    """Count the lines of a manifest."""
    file = out / manifest.MANIFEST
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill_worker() -> int:
    """Kill one Ray actor; return its process number."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"ray::" in line and b"Explainer" in line:
                os.kill(int(folder.name), signal.SIGKILL)
                return int(folder.name)
    sys.exit("error: there is no worker to kill")


def compare(unbroken: Path, broken: Path) -> None:
    """Fail where a video is missing, was done twice, or has other numbers."""
    lines = (broken / manifest.MANIFEST).read_text().splitlines()
    counts = Counter(json.loads(line)["video"] for line in lines)
    expected = {row["video"]: row for row in manifest.read(unbroken)}
    if counts != dict.fromkeys(expected, 1):
        sys.exit(f"error: not each video once: {counts.most_common(3)} ...")
    largest = 0.0
    for row in manifest.read(broken):
        (a, b) = (np.load(f / row["files"][0]) for f in (unbroken, broken))
        gap = np.abs(a["matrix"] - b["matrix"]).max()
        largest = max(largest, gap / max(np.abs(a["matrix"]).max(), 1e-30))
    print(f"{len(counts)} videos, each once; matrices differ by {largest:.0e} at most")


class StageTimes(NamedTuple):
    """CPU seconds of all threads for one clip, stage by stage.

    Attributes:
        decode: read and sample the frames.
        resize: crop and resize them.
        forward: normalise, features and scores: the bare forward pass.
        explain: everything that ``--nocheck`` adds, by recurrent Grad-CAM.
        default: what the default method and its checks add to the forward pass.
        write: arrays and thumbnails.
    """

    decode: float
    resize: float
    forward: float
    explain: float
    default: float
    write: float


def stage_times(root: Path, unbroken: Path) -> list[StageTimes]:
    """Time the stages of each clip one after the other, compiled before."""
    model = zoo.load_model(MODEL.value)
    lengths, times = set(), []
    for row in manifest.read(unbroken):
        measure = functools.partial(
            stage_times_of_clip, model, root / row["video"], unbroken / "stages"
        )
        length = padding.padded_length(row["frames"])
        if length not in lengths:
            lengths.add(length)
            measure()  # compiles
        times.append(measure())
    return times


def stage_times_of_clip(model: zoo.Model, file: Path, out: Path) -> StageTimes:
    """Explain a clip stage by stage, as a corpus does."""
    arguments = model.module, model.variables
    preprocess = model.description.preprocess
    ticks = [time.process_time()]
    tick = lambda: ticks.append(time.process_time())
    clip = video.read_clip(file, model.description.fps)
    tick()
    frames = backbones.resize(clip.frames, preprocess)
    clip = clip._replace(frames=frames)
    tick()
    inputs = backbones.normalize(frames, preprocess)
    features = padding.clip_features(*arguments, inputs)
    padding.clip_scores(*arguments, features, len(frames))
    tick()
    explain = functools.partial(
        explain_clip, model, clip, classes=1, beta=False, features=features
    )
    explain(method="gradcam", checks="none")
    tick()
    explained = explain(method=AUTO, checks="shown")
    tick()
    writer.write(out, explained, figures=False)
    thumbnails.write(out / "thumbnails.jpg", frames, explained)
    tick()
    return StageTimes(*np.diff(ticks))


def print_stages(times: list[StageTimes]) -> None:
    """Print the stages in percent of a forward pass, and what rate that leaves."""
    mean = StageTimes(*np.mean(times, axis=0))
    print(f"CPU seconds a clip, of {mean.forward:.3f} in a forward pass:")
    for name, seconds in mean._asdict().items():
        print(f"  {name}: {seconds:.3f} ({100 * seconds / mean.forward:.0f} %)")
    fixed = mean.decode + mean.resize + mean.forward + mean.write
    for name, seconds in (("--nocheck", mean.explain), ("default", mean.default)):
        rate = mean.forward / (fixed + seconds)
        above = mean.forward / (mean.forward + seconds)
        print(
            f"{name}: {rate:.2f} of bare passes; {above:.2f} without decode and write"
        )


if __name__ == "__main__":
    app.run(main)
