"""``rgcam explain``: one video, a long one piece by piece, or many."""

import dataclasses
import importlib
import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rgcam import files
from rgcam.attribution import explain, maps, perturbation
from rgcam.attribution.targets import StepClasses
from rgcam.commands import app, keras_model, summarize
from rgcam.commands import options as command_line
from rgcam.commands.options import Command, Options, option
from rgcam.data import folder as folders
from rgcam.data.synthetic import captions, stickman
from rgcam.data.video import Clip, read_clip
from rgcam.errors import InputError
from rgcam.models import captioner
from rgcam.models.zoo import Model, class_index, load_cnn, load_model
from rgcam.report.explain import AUTO, AUTO_METHODS, explain_clip, whole_bytes
from rgcam.types import Fields

if TYPE_CHECKING:
    from rgcam.corpus.run import Summary

DEMO_SEED = 7  # of the clip that is drawn and explained where no video is given
DEMO_MODEL = "stickman-lrcn"  # what it is explained by
VIDEO_MODEL = "ucf101-lrcn"  # what a video is explained by where no model is given
WINDOW = 128  # frames that an output step looks back on where all pairs do not fit
MAX_BYTES = 4 * 2**30  # that an explanation may take where the device does not tell
INPUT = "input"
EXPLANATION = "explanation"
OUTPUT = "output"
KERAS = "Keras files (with --model=FILE.keras)"
CAPTIONERS = "captioners (with --model=stickman-captioner)"
MANY = "many videos (with --videos)"
PIXELS = ("unit", "minus_one_one", "none")  # as interop.video_models names them


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainOptions(Options):
    """Options of ``rgcam explain``; summary.json records them as its arguments."""

    model: str | None = option(
        None,
        "bundled model, folder written by rgcam train, or Keras file (.keras or .h5)",
        group=INPUT,
        value="NAME|FOLDER|FILE",
        unset=f"default: {VIDEO_MODEL} for a video, {DEMO_MODEL} for the demo",
    )
    cnn: str | None = option(
        None,
        "frame-CNN baseline to compare with",
        group=INPUT,
        value="NAME|FOLDER",
        unset="default: the model's sibling",
    )
    video: str | None = option(
        None, "video", group=INPUT, value="FILE", unset="default: a stickman clip"
    )
    videos: str | None = option(
        None,
        "many videos: a folder, or a quoted pattern in which ** is any folders",
        group=INPUT,
        value="PATTERN",
    )
    fps: float | None = option(
        None,
        "frames per second to sample",
        group=INPUT,
        value="RATE",
        unset="default: the model's",
    )
    start: float = option(0.0, "first second", group=INPUT, value="SECONDS")
    end: float | None = option(
        None,
        "last second",
        group=INPUT,
        value="SECONDS",
        unset="default: the end of the video",
    )
    stream: int | None = option(
        None,
        "video stream, from 0, of a file that has several",
        group=INPUT,
        value="N",
        unset="default: the file's default, or the largest",
    )
    classes: str | None = option(
        None,
        "file with one class name per line, in the order of the scores",
        group=KERAS,
        value="FILE",
        unset="default: class 0, class 1, ...",
    )
    preprocess: str | None = option(
        None,
        "range of the pixels: 0 to 1, -1 to 1, or none: 0 to 255",
        group=KERAS,
        choices=PIXELS,
        unset="default: unit, or none where the model rescales them itself",
    )
    layer: str | None = option(
        None,
        "layer whose output is the feature map",
        group=KERAS,
        value="NAME",
        unset="default: the last map with time and place",
    )
    every_step: bool = option(
        False, "score every step of a model that scores the clip once", group=KERAS
    )
    target: str | None = option(
        None,
        "class to explain",
        group=EXPLANATION,
        value="CLASS",
        unset="default: the predicted class",
    )
    method: str = option(
        AUTO,
        "attribution method. auto: recurrent Grad-CAM where it passes the faithfulness "
        "check, else fade; of a captioner fade where it passes. Or one of: "
        f"{', '.join(explain.METHODS)}",
        group=EXPLANATION,
        value="METHOD",
    )
    baseline: str | None = option(
        None,
        f"what frames are replaced by: {', '.join(perturbation.BASELINES)}",
        group=EXPLANATION,
        value="BASELINE",
        unset="default: the method's",
    )
    relu: bool | None = option(
        None,
        "positive attribution only",
        group=EXPLANATION,
        unset="default: for the Grad-CAM family",
    )
    aggregate: str = option(
        "last",
        "which output steps the maps show",
        group=EXPLANATION,
        choices=maps.AGGREGATIONS,
        old_values=maps.FORMER_NAMES,
    )
    window: int | None = option(
        None,
        "explain each output step by the N frames up to it, for a long --video",
        group=EXPLANATION,
        value="N",
        unset=f"default: all, or {WINDOW} where all pairs exceed --max_gib",
    )
    steps: str | None = option(
        None,
        "output steps to explain of a long --video, such as -1, 3,10 or ::100",
        group=EXPLANATION,
        value="STEPS",
        unset="default: all",
    )
    max_gib: float | None = option(
        None,
        "memory in GiB that all pairs, or all frames, may take",
        group=EXPLANATION,
        value="GIB",
        unset="default: half of a GPU's memory, at most 16; 4 on a CPU",
    )
    question: str | None = option(
        None,
        "question to answer",
        group=CAPTIONERS,
        value="TEXT",
        unset="default: none, it writes a caption",
    )
    word: str | None = option(
        None,
        "word of the sentence whose maps are shown",
        group=CAPTIONERS,
        value="WORD",
        unset="default: the word with the most support",
    )
    verify: bool = option(
        False,
        "compare with a loop of jax.grad and float64 differences",
        group=EXPLANATION,
    )
    out: str = option("explanation", "folder to write", group=OUTPUT, value="FOLDER")
    vector: str | None = option(
        None,
        "also write strip and matrix as vector figures",
        group=OUTPUT,
        choices=("pdf", "svg"),
    )
    figures: bool = option(
        False,
        "write the page, figures and summary of each video too",
        group=MANY,
        old_name="pictures",
    )
    beta: bool = option(
        False, "write the weights of Eq. 1 too, which are large", group=MANY
    )
    check: bool = option(True, "check the faithfulness of each explanation", group=MANY)
    summary: bool = option(
        True, "write index.html and summary.csv of all videos at the end", group=MANY
    )
    group: str = option(
        "",
        "regular expression for file names; (...) is the recording, for the summary",
        group=MANY,
        value="PATTERN",
        unset="default: every video is a recording",
    )
    threads: int = option(
        0, "threads that decode", group=MANY, unset="default: one per core, at most 8"
    )
    engine: str = option(
        "local",
        "local, or ray: the workers of a Ray cluster",
        group=MANY,
        value="ENGINE",
    )
    ray_address: str | None = option(
        None,
        "Ray cluster",
        group=MANY,
        value="HOST:PORT",
        unset="default: one on this machine",
    )
    ray_workers: int = option(
        0,
        "Ray workers",
        group=MANY,
        unset="default: one per GPU, or per node without GPUs",
    )


def run(options: ExplainOptions) -> None:
    """Load, explain, write, and print what was found."""
    _check(options)
    name = _model_name(options)
    options = dataclasses.replace(options, model=name)
    if options.videos:
        app.stage("")
        return _explain_corpus(options, name)
    out = Path(options.out)
    files.check_writable(out)
    app.stage("load the model")
    if name.endswith(keras_model.SUFFIXES):
        return _explain_keras(options, name, out)
    model = load_model(name)
    _check_captioner(options, model)
    if options.window is not None or options.steps or _is_too_long(options, model):
        app.stage("")
        return _explain_long(options, model, out)
    _explain_clip(options, name, model, out)


def _model_name(options: ExplainOptions) -> str:
    """Return the model that is asked for, or the bundled one for this kind of input."""
    if options.model is not None:
        return options.model
    return VIDEO_MODEL if options.video or options.videos else DEMO_MODEL


def _explain_keras(options: ExplainOptions, name: str, out: Path) -> None:
    """Explain one whole clip by a model that a Keras file holds."""
    model, frames, sentence = keras_model.load(
        name,
        classes=options.classes,
        preprocess=options.preprocess,
        layer=options.layer,
        every_step=options.every_step,
    )
    app.stage("")
    print(f"{name}: {sentence}")
    if frames is not None and options.fps is None and options.video is not None:
        rate = keras_model.rate_for(
            frames, options.video, options.start, options.end, options.stream
        )
        options = dataclasses.replace(options, fps=rate)
    _explain_clip(options, name, model, out, frames)


def _explain_clip(
    options: ExplainOptions,
    name: str,
    model: Model,
    out: Path,
    frames: int | None = None,
) -> None:
    """Explain one whole clip, by ``frames`` of its frames where the model takes so many."""
    # Matplotlib takes a second to import, most of it while the devices compute.
    importing = threading.Thread(
        target=importlib.import_module, args=("rgcam.report.writer",), daemon=True
    )
    importing.start()
    cnn = load_cnn(name, options.cnn)
    app.stage("decode")
    clip, source = _read(options, model)
    if frames is not None:
        clip = keras_model.evenly_spaced(clip, frames, name)
    explained = explain_clip(
        model,
        clip,
        target=_target(options, model),
        method=options.method,
        baseline=options.baseline,
        relu=options.relu,
        aggregate=options.aggregate,
        cnn=cnn,
        source=source,
        question=options.question or "",
        word=options.word or "",
        options=recorded(options),
        on_stage=app.stage,
    )
    app.stage("draw and write")
    importing.join()
    from rgcam.report import writer

    writer.write(out, explained)
    app.stage("")
    print(writer.text(explained, out))
    if options.verify:
        from rgcam.metrics import verify

        gradcam = next(a for a in explained.attributions if a.method == "gradcam")
        variables = model.variables
        target: int | StepClasses = explained.target
        if explained.sentence is not None and explained.step_classes is not None:
            question = captioner.word_numbers(
                explained.sentence.question, model.classes
            )
            sentence = captioner.Sentence(question, explained.step_classes)
            variables = captioner.with_sentence(model.variables, sentence)
            target = StepClasses(sentence.words)
        errors = verify.verify(
            model.module, variables, explained.showing(gradcam).explanation, target
        )
        print(f"verified: {errors.sentence}")


def _explain_long(options: ExplainOptions, model: Model, out: Path) -> None:
    """Explain a file piece by piece."""
    from rgcam.report import long

    if options.video is None:
        raise InputError("--window and --steps are for a --video=FILE")
    changed = _changed(options)
    if changed:
        raise InputError(
            f"all pairs of this video do not fit in --max_gib: --{changed[0]} needs "
            "more of it, or a part of the video by --start and --end"
        )
    steps = long.parse_steps(options.steps)
    window = WINDOW if options.window is None and not steps else options.window
    explained = long.explain_file(
        model,
        options.video,
        _target(options, model),
        fps=_rate(options, model),
        start=options.start,
        end=options.end,
        stream=options.stream,
        out=steps,
        window=window,
        max_bytes=_max_bytes(options),
        options=recorded(options),
    )
    long.write(out, explained)
    print(long.text(explained, out))


def _explain_corpus(options: ExplainOptions, name: str) -> None:
    """Explain many videos."""
    from rgcam.corpus import cluster, jobs, run

    if options.engine == "ray":  # before the models: it takes the accelerators from JAX
        engine = cluster.engine(options.ray_address, options.ray_workers)
    elif options.engine == "local":
        engine = run.explain_here
    else:
        raise InputError(f"unknown --engine={options.engine}: choose local or ray")
    out = Path(options.out).expanduser().absolute()
    listing = run.find_videos(options.videos or "", out)
    for sentence in listing.left_out:
        print(sentence)
    model = load_model(name)
    _check_captioner(options, model)
    cnn = load_cnn(name, options.cnn) if options.figures else None
    if cnn is not None:
        for class_name in model.classes:  # before any video, rather than at each
            class_index(cnn, class_name)
    unchosen = options.method == AUTO and not options.check
    job = jobs.Job(
        model=jobs.on_host(model),
        cnn=None if cnn is None else jobs.on_host(cnn),
        target=_target(options, model),
        # Without checks nothing chooses: the paper's method.
        method=AUTO_METHODS[0] if unchosen else options.method,
        baseline=options.baseline,
        relu=options.relu,
        aggregate=options.aggregate,
        check=options.check,
        fps=_rate(options, model),
        start=options.start,
        end=options.end,
        stream=options.stream,
        out=str(out),
        figures=options.figures,
        beta=options.beta,
        question=options.question or "",
        max_bytes=_max_bytes(options),
        threads=options.threads or min(8, os.cpu_count() or 1),
        options=recorded(options),
    )
    folders.group_pattern(options.group)  # before any video
    result = run.explain_videos(job, listing.root, listing.videos, engine=engine)
    print(_corpus_text(result))
    if options.summary:
        print(summarize.write(out, options.group))


def _corpus_text(summary: "Summary") -> str:
    """Say how many videos were explained and failed, how fast, and where the files are."""
    explained = len(summary.rows) - len(summary.failed)
    earlier = summary.videos - len(summary.rows)
    rate = len(summary.rows) / summary.seconds if summary.rows else 0
    lines = [f"explained: {explained} videos ({rate:.2g} videos/s)"]
    if earlier:
        lines.append(f"explained before: {earlier}")
    if summary.failed:
        first = summary.failed[0]["video"]
        lines.append(f"failed: {len(summary.failed)}, the first {first}")
    lines.append(f"files: {summary.folder}/: manifest.jsonl and a folder per video")
    return "\n".join(lines)


def recorded(options: ExplainOptions) -> Fields:
    """Return the options for the record, without those of many videos for a single one."""
    fields = command_line.to_fields(options)
    if options.videos:
        return fields
    many = {
        field.name
        for field in dataclasses.fields(options)
        if field.metadata["option"].group == MANY
    }
    return {name: value for name, value in fields.items() if name not in many}


def _check(options: ExplainOptions) -> None:
    """Raise where options are impossible, or not offered together."""
    if options.method != AUTO:
        explain.check_method(options.method, options.baseline)
    if options.baseline is not None:
        perturbation.check_baseline(options.baseline, ())
    if options.videos and options.video:
        raise InputError("give --video (one file) or --videos (many), not both")
    if options.videos and options.word is not None:
        raise InputError(
            "--word is for one --video: sentences about many --videos differ in their words"
        )
    if options.fps is not None and not options.fps > 0:
        raise InputError(f"--fps={options.fps:g} must be above 0, such as 7.5")
    end = math.inf if options.end is None else options.end
    if not 0 <= options.start < end:
        raise InputError(f"--start={options.start:g} must be 0 or later, before --end")
    _check_keras(options)
    # These explain every step, by recurrent Grad-CAM alone.
    elsewhere = {
        "window": options.window,
        "steps": options.steps,
        "verify": options.verify,
    }
    for name, value in elsewhere.items():
        # Verification compares all steps, whichever are shown.
        changed = [
            option
            for option in _changed(options)
            if (name, option) != ("verify", "aggregate")
        ]
        if changed and value not in (None, False):
            only = ", which takes recurrent Grad-CAM" * (changed[0] != "aggregate")
            raise InputError(
                f"--{changed[0]} is for one whole clip: leave it out with "
                f"--{name}{only}"
            )


def _check_keras(options: ExplainOptions) -> None:
    """Raise where options belong to Keras files, or not to them."""
    is_keras = (options.model or "").endswith(keras_model.SUFFIXES)
    defaults = ExplainOptions()
    for name in ("classes", "preprocess", "layer", "every_step"):
        if not is_keras and getattr(options, name) != getattr(defaults, name):
            raise InputError(f"--{name} is for a Keras file: give --model=FILE.keras")
    for name in ("videos", "cnn", "window", "steps"):
        if is_keras and getattr(options, name) is not None:
            raise InputError(
                f"--{name} is for rgcam's own models: a Keras file explains one whole "
                "--video"
            )


def _check_captioner(options: ExplainOptions, model: Model) -> None:
    """Raise where options belong to captioners, or not to them."""
    if not _is_captioner(model):
        for name in ("question", "word"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name} is for a captioner, which writes sentences: leave it out "
                    f"with {model.name}, or give --model=stickman-captioner"
                )
        return
    instead = {
        "target": "each word of the sentence is explained; --word=WORD chooses whose maps "
        "are shown",
        "aggregate": "the output steps are words; --word=WORD chooses whose maps are shown",
        "cnn": "the frame-CNN baseline explains one class",
        "window": "a captioner reads the whole video before its first word",
        "steps": "the output steps are words; --word=WORD chooses whose maps are shown",
    }
    defaults = ExplainOptions()
    for name, reason in instead.items():
        if getattr(options, name) != getattr(defaults, name):
            raise InputError(
                f"leave out --{name} with the captioner {model.name}: {reason}"
            )
    if options.video is not None and _is_too_long(options, model):
        raise InputError(
            f"{model.name} reads the whole video at once, and this one does not fit in "
            "--max_gib: raise it, or give a part of the video by --start and --end"
        )


def _changed(options: ExplainOptions) -> list[str]:
    """Name the options of one whole clip's explanation that are not the defaults."""
    defaults = ExplainOptions()
    names = ("method", "baseline", "relu", "aggregate")
    return [
        name
        for name in names
        if getattr(options, name) != getattr(defaults, name)
        and (name, getattr(options, name)) != ("method", "gradcam")
    ]


def _target(options: ExplainOptions, model: Model) -> int | None:
    return None if options.target is None else class_index(model, options.target)


def _rate(options: ExplainOptions, model: Model) -> float:
    return model.description.fps if options.fps is None else options.fps


def _max_bytes(options: ExplainOptions) -> int:
    if options.max_gib is None:
        return explain.max_bytes(MAX_BYTES)
    return int(options.max_gib * 2**30)


def _read(options: ExplainOptions, model: Model) -> tuple[Clip, str]:
    """Read the video, or draw the demo clip; return it, and what it is."""
    if options.video is None:
        if _is_captioner(model):
            drawn = captions.clip(DEMO_SEED)
            return Clip(drawn.frames, drawn.times, ()), f"captions clip {DEMO_SEED}"
        demo = stickman.clip(DEMO_SEED)
        return Clip(demo.frames, demo.times, ()), f"stickman clip {DEMO_SEED}"
    clip = read_clip(
        options.video,
        _rate(options, model),
        start=options.start,
        end=options.end,
        max_bytes=_max_bytes(options),
        stream=options.stream,
    )
    return clip, files.printable(options.video)


def _is_captioner(model: Model) -> bool:
    return model.description.arch["kind"] == "captioner"


def _is_too_long(options: ExplainOptions, model: Model) -> bool:
    """Tell from the header whether all pairs, or all frames, are more than max_gib."""
    if options.video is None:
        return False
    needed = whole_bytes(
        model,
        options.video,
        fps=_rate(options, model),
        start=options.start,
        end=options.end,
        stream=options.stream,
    )
    return needed > _max_bytes(options)


COMMAND = Command(
    name="explain",
    usage="[--model=NAME|FOLDER] [--video=FILE | --videos=PATTERN] [--out=FOLDER] ...",
    options=ExplainOptions,
    run=run,
    examples="""
rgcam explain                                      a demo, nothing to download
rgcam explain --model=ucf101-lrcn --video=my.mp4 --out=my
rgcam explain --model=lrcn.keras --video=my.mp4 --classes=names.txt --out=my
rgcam explain --model=RUN --video=my.mp4 --target=Swing --method=fade --out=swing
rgcam explain --model=RUN --video=lecture.mp4 --window=128 --out=long
rgcam explain --model=RUN --videos='clips/**/*.mp4' --out=explained --figures
rgcam explain --model=stickman-captioner --question='what does the person do first?'
""",
)
