"""Explain and check one clip: everything that is shown of it, in one record."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam.attribution import explain, padding, targets
from rgcam.attribution.explain import ClassMaps, Method, StaticOptions
from rgcam.attribution.maps import Aggregation, importance_matrix
from rgcam.attribution.perturbation import Baseline
from rgcam.attribution.targets import StepClasses
from rgcam.data import video
from rgcam.data.video import Clip
from rgcam.errors import InputError
from rgcam.metrics import faithfulness
from rgcam.metrics.faithfulness import FaithfulnessCheck
from rgcam.models import backbones, captioner, out_of_distribution
from rgcam.models.captioner import Captioner
from rgcam.models.cut import CausalModel, frames_of_steps
from rgcam.models.zoo import Model, class_index, cut_shape
from rgcam.report import record
from rgcam.report.record import Attribution, CheckedView, ExplainedClip, FrameBaseline
from rgcam.types import Fields

CLASSES = 4  # whose signed maps are kept: the explained class and the best others
CHECKS = ("all", "shown", "none")
"""Which maps are checked: every view that the page offers, the shown maps alone, in time
and space, or none."""
AUTO = "auto"
# What "auto" computes: the paper's method, shown where it passes its check, and the
# faithful attribution that is shown where it does not.
AUTO_METHODS = ("gradcam", "fade")


def explain_clip(
    model: Model,
    clip: Clip,
    *,
    target: int | StepClasses | None = None,
    method: Method | Sequence[Method] = "gradcam",
    baseline: Baseline | None = None,
    relu: bool | None = None,
    aggregate: Aggregation = "last",
    cnn: Model | None = None,
    source: str = "",
    options: Fields | None = None,
    classes: int = CLASSES,
    beta: bool = True,
    checks: str = "all",
    features: Float[Array, "padded h w K"] | None = None,
    question: str = "",
    word: str = "",
    on_stage: Callable[[str], None] = lambda name: None,
) -> ExplainedClip:
    """Explain a clip by one or more methods and check each result.

    The feature map is computed once, and everything else from it. A captioner writes its
    sentence first; each word is then explained, given the words before it.

    Args:
        model: to explain.
        clip: uint8 frames.
        target: class index, or one for each output step; None: the predicted class. A
            captioner takes none.
        method: of ``explain.METHODS``, or a function (``explain.MapsFunction``); of
            several, the first is the one that is shown.
            "auto": recurrent Grad-CAM and fade are computed; Grad-CAM is shown where it
            passes its faithfulness check, and fade where it does not. Of a captioner,
            fade is preferred.
        baseline: what the methods that take one replace frames by: a name, feature maps
            or a function of A; None: their own, of a captioner ``captioner.BASELINE``.
        relu: keep the positive part of the maps; None: of the CAMs, as published.
        aggregate: one of ``maps.AGGREGATIONS``: which output steps are shown; or a
            function (values, scores, target) -> one row of values.
        cnn: frame CNN, whose Grad-CAM is the frame-CNN baseline; or None.
        source: path of the video, or what the clip is.
        options: of the command, for the record.
        classes: how many classes' signed maps to keep for the page.
        beta: keep the weights of Eq. 1, which are large.
        checks: one of CHECKS.
        features: A from ``padding.clip_features``, where it is computed already.
        question: for a captioner to answer; "": it writes a caption.
        word: of a captioner's sentence, whose maps are shown; "": the one with the most
            support.
        on_stage: called with the name of each stage as it begins.

    Raises:
        InputError: an unknown method, baseline, aggregation, class or word; a frame CNN with
            classes of steps; a target or a frame CNN with a captioner.
    """
    is_captioner = isinstance(model.module, Captioner)
    _check_sentence(is_captioner, target, cnn, aggregate, question, word)
    if isinstance(target, StepClasses):
        if cnn is not None:
            raise InputError(
                "the frame-CNN baseline explains one class: leave the CNN out, or give one "
                "class instead of one for each output step"
            )
    elif target is not None:  # before anything is computed
        targets.check_target(target, len(model.classes))
    on_stage("features")
    length = len(clip.frames)
    if features is None:
        frames = model.preprocess(clip.frames)
        features = padding.clip_features(model.module, model.variables, frames)
    sentence, step = None, None
    if is_captioner:
        on_stage("write the sentence")
        written = _write_sentence(model, features, question)
        variables = captioner.with_sentence(model.variables, written)
        model = model._replace(variables=variables)
        target = StepClasses(written.words)
        sentence = record.Sentence(
            words=tuple(model.classes[number] for number in written.words),
            question=" ".join(model.classes[number] for number in written.question),
        )
        classes = 0  # no word is explained where another one stands
        step = _position(word, sentence) if word else None
    spans = None
    if len(features) < length:  # a model that strides over time
        frames = model.preprocess(clip.frames)
        spans = frames_of_steps(model.module, model.variables, frames)
    distribution_check = None
    if model.statistics is not None:
        distribution_check = out_of_distribution.check(
            model.statistics, features, length, model.description.arch["head"]
        )
        if distribution_check.warning:
            clip = clip._replace(notes=(*clip.notes, distribution_check.warning))
    scores = padding.clip_scores(model.module, model.variables, features, length)
    step_classes = None
    if isinstance(target, StepClasses):
        step_classes = np.asarray(targets.class_index(target, scores.shape))
        target = int(step_classes[-1])
    elif target is None:
        target = int(targets.predicted_class(jnp.asarray(scores)))
    class_indices = best_classes(scores[-1], target, classes)
    is_one = isinstance(method, str) or callable(method)
    names: tuple[Method, ...] = (method,) if is_one else tuple(method)
    if method == AUTO:
        names = AUTO_METHODS[::-1] if is_captioner else AUTO_METHODS
    attributions: list[Attribution] = []
    for name in names:
        # Of several methods, the CAMs among them keep their own baseline of zeros.
        on_stage(f"explain and check: {explain.method_title(name)}")
        takes_baseline = len(names) == 1 or name not in explain.CAMS
        own_baseline = baseline if takes_baseline else None
        if is_captioner and own_baseline is None and name not in explain.CAMS:
            own_baseline = captioner.BASELINE
        attribution = _attribute(
            model,
            features,
            scores,
            class_indices,
            step_classes,
            method=name,
            baseline=own_baseline,
            relu=relu,
            aggregate=aggregate,
            beta=beta,
            checks=checks,
            step=step,
            by_support=is_captioner,
        )
        step = attribution.step if is_captioner else None  # all show the same word
        attributions.append(attribution)
    ordered, selection = tuple(attributions), ""
    if method == AUTO:
        head = str(model.description.arch.get("head", ""))
        ordered, selection = record.select(attributions, scores, head)
    frame_baseline = None
    if cnn is not None:
        on_stage("frame-CNN baseline")
        class_names = [model.classes[index] for index in class_indices]
        frame_baseline = explain_frames(cnn, clip, class_names, model, features)
    return ExplainedClip(
        clip=clip,
        source=source,
        model=record.model_info(model),
        box=backbones.crop_box(model.description.preprocess, *clip.frames.shape[1:3]),
        scores=scores,
        times_out=record.output_times(clip.times, len(scores)),
        target=target,
        attributions=ordered,
        selection=selection,
        frame_baseline=frame_baseline,
        options=options or {},
        features=np.asarray(features)[:length],
        distribution_check=distribution_check,
        frames_of_steps=spans,
        step_classes=step_classes,
        labels=() if sentence is None else sentence.words,
        sentence=sentence,
    )


def _check_sentence(
    is_captioner: bool,
    target: int | StepClasses | None,
    cnn: Model | None,
    aggregate: Aggregation,
    question: str,
    word: str,
) -> None:
    """Raise where what is asked for is a captioner's alone, or not for one."""
    if not is_captioner:
        if question or word:
            raise InputError(
                f"{'question' if question else 'word'} is for a captioner, which writes "
                "sentences: leave it out with this model, or give --model=stickman-captioner"
            )
        return
    if target is not None:
        raise InputError(
            "a captioner explains each word of the sentence that it writes: leave target "
            "out, and choose the word whose maps are shown by word"
        )
    if cnn is not None:
        raise InputError(
            "the frame-CNN baseline explains one class: leave cnn out with a captioner"
        )
    if aggregate != "last":
        raise InputError(
            "the output steps of a captioner are words: leave aggregate out, and choose "
            "the word whose maps are shown by word"
        )


def _write_sentence(
    model: Model, features: Float[Array, "T h w K"], question: str
) -> captioner.Sentence:
    """Write a captioner's caption of a clip, or its answer to a question."""
    assert isinstance(model.module, Captioner)
    question_words = captioner.word_numbers(question, model.classes)
    return captioner.generate(model.module, model.variables, features, question_words)


def _position(word: str, sentence: record.Sentence) -> int:
    """Return the first position of a word in a sentence."""
    if word not in sentence.words:
        raise InputError(
            f"the {sentence.kind} has no word {word!r}: it is “{sentence.text}”"
        )
    return sentence.words.index(word)


def whole_bytes(
    model: Model,
    path: str,
    *,
    fps: float,
    start: float,
    end: float | None,
    stream: int | None = None,
) -> float:
    """Estimate from the header the bytes of all frames, or of all pairs if more.

    Returns:
        0 where the header does not say how long the video is.
    """
    info, size = video.probe(path, stream), model.description.preprocess.size
    seconds = np.fmin(info.duration, np.inf if end is None else end) - start
    # A header may not know its duration or rate: fmin ignores NaN.
    steps = max(seconds, 0) * np.fmin(fps, info.fps)
    if not np.isfinite(steps):
        return 0.0
    height, width, channels = model.feature_map or cut_shape(model.module, size)
    pair = explain.explanation_bytes(1, 1, height * width, channels)
    return float(max(steps**2 * pair, steps * 3 * info.width * info.height))


def explain_frames(
    cnn: Model,
    clip: Clip,
    names: Sequence[str],
    model: Model,
    features: Float[Array, "padded h w K"],
) -> FrameBaseline:
    """Explain a frame CNN by Grad-CAM of each frame by itself.

    Args:
        cnn: to explain.
        clip: uint8 frames.
        names: classes, the explained one first; the maps end before the first further
            class that the CNN does not have.
        model: the recurrent model that it is compared with.
        features: A of that model, which is the CNN's too where both have the same
            backbone: then it is not computed again.

    Raises:
        InputError: the CNN does not have the explained class.
    """
    if not _share_features(cnn, model):
        frames = cnn.preprocess(clip.frames)
        features = padding.clip_features(cnn.module, cnn.variables, frames)
    indices = [class_index(cnn, names[0])]
    for name in names[1:]:
        try:
            indices.append(class_index(cnn, name))
        except InputError:
            break
    explanations = [
        padding.explain_class(
            cnn.module,
            cnn.variables,
            features,
            len(clip.frames),
            index,
            options=StaticOptions(beta=False),
        )
        for index in indices
    ]
    return FrameBaseline(
        model=record.model_info(cnn),
        scores=np.asarray(explanations[0].scores),
        maps=np.stack([diagonal(np.asarray(e.maps)) for e in explanations]),
    )


def best_classes(
    last: Float[np.ndarray, " C"], target: int, count: int
) -> tuple[int, ...]:
    """Return the target and then the classes with the highest other scores."""
    order = [int(c) for c in np.argsort(-last, kind="stable") if c != target]
    return (target, *order)[:count]


def diagonal(
    maps: Float[np.ndarray, "*batch T T h w"],
) -> Float[np.ndarray, "*batch T h w"]:
    """Return L[t, t]: a frame CNN's map of each frame by itself."""
    steps = np.arange(maps.shape[-3])
    return maps[..., steps, steps, :, :]


def _attribute(
    model: Model,
    features: Float[Array, "padded h w K"],
    scores: Float[np.ndarray, "out C"],
    class_indices: Sequence[int],
    step_classes: Int[np.ndarray, " out"] | None,
    *,
    method: Method,
    baseline: Baseline | None,
    relu: bool | None,
    aggregate: Aggregation,
    beta: bool,
    checks: str,
    step: int | None = None,
    by_support: bool = False,
) -> Attribution:
    """Compute one method's attribution to the first class, with the others' maps.

    Where every output step has a class of its own, these come before the classes. The
    output step that is shown is ``step``; without one, ``by_support``, that with the most
    support, or else what ``aggregate`` chooses.
    """
    explain.check_method(method, baseline)
    baseline = explain.default_baseline(method, baseline)
    static, baseline_maps = explain.static_baseline(baseline)
    rectified = explain.is_rectified(method, relu)
    numbers = list(class_indices)
    explained: list[int | Int[np.ndarray, " out"]] = list(class_indices)
    if step_classes is not None:
        numbers.insert(0, scores.shape[1])
        explained.insert(0, step_classes)
    target = explained[0]
    explanations = [
        padding.explain_class(
            model.module,
            model.variables,
            features,
            len(scores),
            index,
            # Signed maps of all classes; beta, which is large, of the explained one.
            options=StaticOptions(
                relu=False,
                beta=beta and index is target and explain.has_weights(method),
                method=method,
                baseline=static,
            ),
            baseline_maps=baseline_maps,
        )
        for index in explained
    ]
    signed = np.stack([np.asarray(e.maps) for e in explanations])
    maps = np.maximum(signed[0], 0) if rectified else signed[0]
    weights = explanations[0].beta
    matrix = np.asarray(importance_matrix(jnp.asarray(maps)))
    if by_support and step is None:
        step = int(np.maximum(matrix, 0).sum(1).argmax())
    attribution = record.attribution(
        scores,
        target,
        method=method,
        baseline=baseline,
        rectified=rectified,
        aggregate=aggregate,
        matrix=matrix,
        maps=maps,
        beta=None if weights is None else np.asarray(weights),
        class_maps=ClassMaps(tuple(numbers), signed),
        step=step,
    )
    if checks == "none":
        return attribution
    views = _check_views(
        model, features, target, attribution, signed[0], baseline, checks
    )
    return dataclasses.replace(attribution, checks=views)


def _check_views(
    model: Model,
    features: Float[Array, "padded h w K"],
    target: int | Int[np.ndarray, " out"],
    attribution: Attribution,
    signed: Float[np.ndarray, "out in h w"],
    baseline: Baseline,
    checks: str,
) -> tuple[CheckedView, ...]:
    """Check the shown maps and, if asked, every output step by both signs for the page.

    One set of interventions serves all. An aggregation over all output steps answers
    for no score, so that there is nothing to check it by: the last step is checked in
    its place.
    """
    step, length = attribution.step, len(signed)
    every_view = checks == "all"
    interventions = faithfulness.intervene(
        model.module,
        model.variables,
        features,
        target if isinstance(target, int) else StepClasses(target),
        # Only the features of a causal model are padded beyond the output steps.
        length=length if isinstance(model.module, CausalModel) else None,
        baseline=baseline,
        orders=[] if step is None else [attribution.shown_row],
        deletions=every_view,
    )
    views = []
    for rectified in (False, True) if every_view else (attribution.rectified,):
        maps = np.maximum(signed, 0) if rectified else signed
        judged: dict[int, FaithfulnessCheck] = {}
        if every_view:
            each = faithfulness.judge_each(
                interventions, maps, method=attribution.method
            )
            # Where nothing can be lost, as at the first step, nothing is checked.
            judged = {t: c for t, c in enumerate(each) if np.isfinite(c.score)}
        if rectified == attribution.rectified:
            judged_step = length - 1 if step is None else step
            judged[judged_step] = faithfulness.judge(
                interventions,
                maps,
                method=attribution.method,
                steps=[judged_step],
                order=0 if every_view and step is not None else None,
            )
        views += [
            CheckedView(step=t, rectified=rectified, check=check)
            for t, check in sorted(judged.items())
        ]
    return tuple(views)


def _share_features(cnn: Model, model: Model) -> bool:
    """Tell whether two models make the same feature map of a clip."""
    parts = lambda m: (m.description.preprocess, m.module.backbone, m.module.view)
    if parts(cnn) != parts(model):
        return False
    backbones = [m.variables["params"].get("backbone", {}) for m in (cnn, model)]
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, *backbones)))
