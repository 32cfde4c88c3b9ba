"""What a very long video takes: time and resident memory, one process each.

    python benchmarks/long.py [--frames=27000] [--model=ucf101-lrcn]

Writes a video of so many frames (27,000 are an hour at 7.5 a second) and runs
explain.py on it as a person would: by a window, and for a few output steps looking back
on all frames before them. Prints seconds and the largest resident set (libraries,
model and compiler with it).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from absl import app, flags

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from rgcam.data.synthetic import stickman  # noqa: E402
from rgcam.report import writer

FRAMES = flags.DEFINE_integer("frames", 27_000, "of the video, in steps of 900")
MODEL = flags.DEFINE_string("model", "ucf101-lrcn", "as for explain.py")
WINDOW = flags.DEFINE_integer("window", 128, "frames to look back on")
ROWS = flags.DEFINE_integer("rows", 10, "output steps that look back on all frames")
RATE, SIZE, PIECE = 7.5, 224, 900


def main(_) -> None:
    """Print a row for each set of options."""
    count, stride = FRAMES.value, -(-FRAMES.value // ROWS.value)
    options = [f"--window={WINDOW.value}", f"--steps=::{stride}"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "long.mp4")
        write(file, count)
        print(f"{count} frames, {file.stat().st_size / 2**20:.0f} MiB on disk\n")
        print("| explain.py | seconds | largest resident set, GiB |\n|---|---|---|")
        for option in options:
            seconds, resident = explain(file, Path(folder, "out" + option[2:5]), option)
            print(f"| {option} | {seconds:.0f} | {resident / 2**30:.2f} |", flush=True)


def write(file: Path, count: int) -> None:
    """Write a video of ``count`` frames: PIECE of them again and again."""
    clips = [stickman.clip(i, size=SIZE).frames for i in range(PIECE // 8)]
    frames = np.concatenate(clips)[:PIECE]
    piece = file.with_stem("piece")
    writer.write_video(piece, frames, RATE)
    with av.open(piece) as source, av.open(file, "w") as sink:
        stream = source.streams.video[0]
        copy = sink.add_stream_from_template(stream)
        length = stream.duration or 0
        for turn in range(-(-count // len(frames))):
            source.seek(0)
            for packet in source.demux(stream):
                shown, decoded = packet.pts, packet.dts
                if shown is not None and decoded is not None:  # the last is empty
                    packet.pts = shown + turn * length
                    packet.dts = decoded + turn * length
                    packet.stream = copy
                    sink.mux(packet)


def explain(file: Path, out: Path, option: str) -> tuple[float, int]:
    """Run explain.py; return seconds and bytes."""
    command = [sys.executable, ROOT / "explain.py", f"--model={MODEL.value}"]
    command += [f"--video={file}", f"--out={out}", option]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("error: explain.py failed, see above")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


if __name__ == "__main__":
    app.run(main)
