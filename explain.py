"""Explain which moments of a video, and where in them, made the model decide.

python explain.py                                     # a demo, nothing to download
python explain.py --model=NAME|RUN --video=FILE --out=DIR [--target=CLASS]
                  [--method=fade] [--aggregate=max]
python explain.py --model=NAME|RUN --videos='FOLDER/**/*.mp4' --out=DIR [--pictures]
"""

from pathlib import Path

from absl import flags

from rgcam import files
from rgcam.commands import app, single
from rgcam.corpus import run
from rgcam.data.synthetic import stickman
from rgcam.data.video import Clip, read_clip
from rgcam.errors import InputError
from rgcam.metrics import verify
from rgcam.models.zoo import Model, class_index, load_cnn, load_model
from rgcam.report import long, writer

FLAGS = flags.FLAGS
OPTIONS = [
    flags.DEFINE_string("model", "stickman-lrcn", "bundled name, or a train.py folder"),
    flags.DEFINE_string("cnn", None, "frame CNN to show beside it [model's sibling]"),
    flags.DEFINE_string("video", None, "file to explain [a stickman clip]"),
    flags.DEFINE_string("out", "explanation", "folder to write"),
    flags.DEFINE_string("target", None, "class to explain [the one decided for]"),
    flags.DEFINE_float("fps", None, "frames a second to look at [the model's]"),
    flags.DEFINE_float("start", 0.0, "first second to look at"),
    flags.DEFINE_float("end", None, "last second to look at [the video's end]"),
    flags.DEFINE_float("max_gib", 4.0, "memory that all pairs (or frames) may take"),
    flags.DEFINE_integer("window", None, "look back on so many frames only"),
    flags.DEFINE_string("steps", None, "output steps to explain: -1, 3,10 or ::100"),
    flags.DEFINE_enum("vector", None, ["pdf", "svg"], "strip and matrix so too"),
    flags.DEFINE_bool("verify", False, "compare with the slow definition"),
]
DEMO_SEED, WINDOW = 7, 128  # frames, where all pairs do not fit


def main() -> None:
    """Load, explain, write, and say what was found."""
    single.check_flags(FLAGS, "videos", "window", "steps", "verify")
    if run.VIDEOS.value:
        return run.main(arguments())
    out = Path(FLAGS.out)
    files.check_writable(out)
    model = load_model(FLAGS.model)
    if FLAGS.window is not None or FLAGS.steps or too_long(model):
        return explain_long(model, out)
    cnn = load_cnn(FLAGS.model, FLAGS.cnn)
    target = None if FLAGS.target is None else class_index(model, FLAGS.target)
    clip = read(model)
    source = FLAGS.video or f"stickman clip {DEMO_SEED}"
    explained = single.explain(model, clip, target, cnn, source, arguments())
    writer.write(out, explained)
    print(writer.text(explained, out))
    if FLAGS.verify:
        errors = verify.verify(
            model.module, model.variables, explained.explanation, explained.target
        )
        print(f"verified: {errors.sentence}")


def explain_long(model: Model, out: Path) -> None:
    """Explain a file piece by piece; write, and say what was found."""
    if FLAGS.video is None:
        raise InputError("--window and --steps are for a --video=FILE")
    single.refuse_long()
    target = None if FLAGS.target is None else class_index(model, FLAGS.target)
    steps = long.parse_steps(FLAGS.steps)
    window = WINDOW if FLAGS.window is None and not steps else FLAGS.window
    video = long.explain_file(
        *(model, FLAGS.video, target),
        **{"fps": rate(model), "start": FLAGS.start, "end": FLAGS.end},
        **{"out": steps, "window": window, "options": arguments()},
        max_bytes=int(FLAGS.max_gib * 2**30),
    )
    long.write(out, video)
    print(long.text(video, out))


def arguments() -> dict:
    """Return the command's options, for the record."""
    return {option.name: option.value for option in (*OPTIONS, *single.OPTIONS)}


def read(model: Model) -> Clip:
    """Read the video at the model's rate, or draw the demo clip."""
    if FLAGS.video is None:
        demo = stickman.clip(DEMO_SEED)
        return Clip(demo.frames, demo.times, ())
    max_bytes = int(FLAGS.max_gib * 2**30)
    return read_clip(
        *(FLAGS.video, rate(model)),
        **{"start": FLAGS.start, "end": FLAGS.end, "max_bytes": max_bytes},
    )


def rate(model: Model) -> float:
    """Return the frames a second to look at."""
    return model.description.fps if FLAGS.fps is None else FLAGS.fps


def too_long(model: Model) -> bool:
    """Tell from the header whether all pairs, or all frames, are more than max_gib."""
    if FLAGS.video is None:
        return False
    needed = long.whole_bytes(
        *(model, FLAGS.video), fps=rate(model), start=FLAGS.start, end=FLAGS.end
    )
    return needed > FLAGS.max_gib * 2**30


if __name__ == "__main__":
    app.run(main)
