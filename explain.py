"""Explain which moments of a video, and where in them, made the model decide.

python explain.py                                     # a demo, nothing to download
python explain.py --model=NAME|RUN --video=FILE --out=DIR [--target=CLASS]
python explain.py --model=NAME|RUN --videos='FOLDER/**/*.mp4' --out=DIR [--pictures]
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from rgcam import cli, corpus, gradcam, report, stickman
from rgcam.errors import InputError
from rgcam.library import Model, class_index, load_cnn, load_model
from rgcam.video import Clip, probe, read_clip

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
]
DEMO_SEED = 7


def main() -> None:
    """Load, explain, write, and say what was found."""
    arguments = {option.name: option.value for option in OPTIONS}
    if corpus.VIDEOS.value:
        return corpus.main(arguments)
    out = Path(FLAGS.out)
    report.check_writable(out)
    model, cnn = load_model(FLAGS.model), load_cnn(FLAGS.model, FLAGS.cnn)
    target = None if FLAGS.target is None else class_index(model, FLAGS.target)
    clip = read(model)
    explanation = explain(model, clip, decided if target is None else target)
    if target is None:
        target = int(explanation.scores[-1].argmax())
    beside = cnn and explain(cnn, clip, class_index(cnn, model.classes[target]))
    source = FLAGS.video or f"stickman clip {DEMO_SEED}"
    story = report.Story(
        clip, source, model, explanation, target, cnn, beside, arguments
    )
    print(report.text(report.write(out, story), out))


def decided(scores: jax.Array) -> jax.Array:
    """Pick, at every step, the class with the highest score at the last step."""
    return jnp.take(scores, scores[-1].argmax(), axis=1)


def explain(model: Model, clip: Clip, target) -> gradcam.Explanation:
    """Explain a clip, after checking that all pairs fit in memory."""
    check_cost(model, len(clip.frames))
    frames = model.preprocess(clip.frames)
    result = gradcam.explain(model.module, model.variables, frames, target)
    return jax.tree.map(np.asarray, result)


def read(model: Model) -> Clip:
    """Read the video at the model's rate, or draw the demo clip."""
    if FLAGS.video is None:
        demo = stickman.clip(DEMO_SEED)
        return Clip(demo.frames, demo.times, ())
    fps = rate(model)
    info = probe(FLAGS.video)
    end = np.inf if FLAGS.end is None else FLAGS.end
    seconds = np.fmin(info.duration, end) - FLAGS.start
    if np.isfinite(seconds):
        check_cost(model, int(max(seconds, 0) * np.fmin(fps, info.fps)))
    max_bytes = int(FLAGS.max_gib * 2**30)
    return read_clip(
        FLAGS.video, fps, start=FLAGS.start, end=FLAGS.end, max_bytes=max_bytes
    )


def rate(model: Model) -> float:
    """Return the frames a second to look at."""
    return model.description.fps if FLAGS.fps is None else FLAGS.fps


def check_cost(model: Model, steps: int) -> None:
    """Refuse what would not fit, and say how long a part would."""
    size = model.description.preprocess.size
    frame = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    features = jax.eval_shape(
        lambda v, x: model.module.apply(v, x, method="features"), model.variables, frame
    )
    _, height, width, channels = features.shape
    pair = gradcam.explanation_bytes(1, 1, height * width, channels)
    allowed = FLAGS.max_gib * 2**30
    if steps**2 * pair > allowed:
        fps = rate(model)
        fits = int((allowed / pair) ** 0.5)
        raise InputError(
            f"{FLAGS.video} gives {steps:,} frames; all pairs of them would take "
            f"{steps**2 * pair / 2**30:,.0f} GiB and {FLAGS.max_gib:g} are allowed "
            f"(--max_gib): cut it to {fits} frames, such as --start=0 "
            f"--end={fits / fps:.0f}, or lower --fps"
        )


if __name__ == "__main__":
    cli.run(main)
