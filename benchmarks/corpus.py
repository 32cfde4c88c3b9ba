"""Interrupted corpus runs: is anything lost or repeated, and how fast are they?

    python benchmarks/corpus.py --videos='clips/**/*.avi' [--count=200] [--engine=ray]

Explains the first videos by explain.py: once unbroken, and once more killed by SIGKILL
after a third and after two thirds of them, and continued. With --engine=ray a local
cluster of two workers does it, one of which is killed after a third. Then compares all
numbers with those of the unbroken run, and the unbroken run's rate with that of bare
forward passes over the same frames, in memory and compiled before.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from absl import app, flags

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from rgcam.attribution import padding
from rgcam.corpus import manifest
from rgcam.data import video
from rgcam.models import zoo

VIDEOS = flags.DEFINE_string("videos", "", "pattern of the videos")
COUNT = flags.DEFINE_integer("count", 200, "videos")
ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "as for explain.py")
MODEL = flags.DEFINE_string("model", "ucf101-lrcn", "as for explain.py")


def main(_) -> None:
    """Run, kill, compare and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = link(Path(folder, "videos"))
        unbroken, broken = Path(folder, "unbroken"), Path(folder, "broken")
        seconds = run(root, unbroken, [])
        print(f"unbroken: {COUNT.value} videos in {seconds:.0f} s", flush=True)
        thirds = [COUNT.value // 3, 2 * COUNT.value // 3]
        run(root, broken, thirds if ENGINE.value == "local" else thirds[:1])
        compare(unbroken, broken)
        forward = forward_seconds(root, unbroken)
        ours, bare = COUNT.value / seconds, COUNT.value / forward
        print(f"{ours:.2f} videos/s with start, decoding and files")
        print(
            f"{bare:.2f} videos/s in bare forward passes: {bare / ours:.2f} times that"
        )


def link(folder: Path) -> Path:
    """Make a folder of links to the first videos."""
    folder.mkdir()
    files = sorted(Path().glob(VIDEOS.value))[: COUNT.value]
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


def forward_seconds(root: Path, unbroken: Path) -> float:
    """Time one forward pass of each clip alone: features and scores, compiled before."""
    model = zoo.load_model(MODEL.value)
    arguments = model.module, model.variables
    total, compiled = 0.0, set()
    for row in manifest.read(unbroken):
        clip = video.read_clip(root / row["video"], model.description.fps)
        steps, frames = len(clip.frames), model.preprocess(clip.frames)
        seconds = 0.0
        for _ in range(1 if padding.padded_length(steps) in compiled else 2):
            began = time.perf_counter()
            features = padding.clip_features(*arguments, frames)
            padding.clip_scores(*arguments, features, steps)
            seconds = time.perf_counter() - began
        compiled.add(padding.padded_length(steps))
        total += seconds
    return total


if __name__ == "__main__":
    app.run(main)
