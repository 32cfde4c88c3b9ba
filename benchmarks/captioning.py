r"""Captions and answers: does the explanation of a word find the moment that it describes?

    for seed in 0 1 2; do python train.py --config=configs/stickman_captioner.py \
        --workdir=runs/captioner-$seed --config.seed=$seed; done
    python benchmarks/captioning.py \
        --models=runs/captioner-0,runs/captioner-1,runs/captioner-2

Prints, for captioners of one training each and clips of two actions in sequence
(``rgcam.data.synthetic.captions``) that took part in none:

words      share of the words of the right captions that are predicted, given the words
           before them, and share of captions that are generated without an error
moments    how well the row of a word (the verb of either action, or the answer to what the
           person does first or second) finds the frames of the action, by the area under
           the precision-recall curve; only words that are predicted rightly are explained
check      with --checks=N, the share of N clips in which the faithfulness check of the
           explanation that rgcam explain would show passes: of the word with the most
           support in the caption, and of the answer to what the person does first
share      of the positive part of the row, what lies in the interval of the action and in
           that of the other one

Chance is the area of a random order, the share of the frames that are in the interval; *of the
other action* is the area of the same row for the frames of the other action, which has to be
lower. Intervals of 95 % are over clips, each the mean of all models.
"""

import argparse
import functools
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import explain
from rgcam.attribution.explain import StaticOptions
from rgcam.data.synthetic import captions
from rgcam.data.synthetic.captions import CaptionClip
from rgcam.data.video import Clip
from rgcam.metrics import localization, statistics
from rgcam.models import captioner, zoo
from rgcam.models.captioner import Captioner, Sentence
from rgcam.models.cut import CutModel
from rgcam.models.zoo import Model
from rgcam.report.explain import explain_clip
from rgcam.types import Variables

TEST_SEED = 4  # of the clips: training has 1, its test 2, and settings were chosen on 3
METHODS = (
    ("gradcam", "zero"),
    ("fade", "previous"),
    ("fade", "mean"),
    ("fade", "first"),
    ("occlusion", "mean"),
)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=100, help="to measure on")
    parser.add_argument(
        "--checks", type=int, default=0, help="clips whose explanations are checked"
    )
    parser.add_argument(
        "--models", default="stickman-captioner", help="names or runs, with commas"
    )
    options = parser.parse_args()
    clips = [captions.clip((TEST_SEED, i)) for i in range(options.clips)]
    rows: dict[str, list[list[float]]] = {}
    for name in options.models.split(","):
        model = zoo.load_model(name)
        measured = itertools.chain(
            measure(model, clips), check(model, clips[: options.checks])
        )
        for measure_name, values in measured:
            rows.setdefault(measure_name, []).append(values)
        print(f"{name}: done", file=sys.stderr, flush=True)
    print("| | mean | interval | clips |")
    print("|---|---|---|---|")
    for name, of_models in rows.items():
        print(row(name, of_models))


def row(name: str, of_models: Sequence[Sequence[float]]) -> str:
    """Format a measure: a clip is one observation, the mean over the models."""
    values = np.array(of_models)
    measured = ~np.isnan(values).all(0)
    means = np.nanmean(values[:, measured], axis=0)
    groups = [str(i) for i in range(len(means))]
    interval = statistics.mean_interval(means, groups, limits=(0.0, 1.0))
    bounds = "too few clips"
    if interval.low is not None and interval.high is not None:
        bounds = f"{interval.low:.2f} to {interval.high:.2f}"
    return f"| {name} | {means.mean():.3f} | {bounds} | {len(means)} |"


# What is measured.


class Word(NamedTuple):
    """A word that describes one of the two actions of a clip.

    Attributes:
        kind: "verb" or "answer".
        position: among the words of the sentence.
        action: 0 or 1.
    """

    kind: str
    position: int
    action: int


def measure(
    model: Model, clips: Sequence[CaptionClip]
) -> Iterator[tuple[str, list[float]]]:
    """Yield the name of each measure and its values, one for each clip."""
    module, variables = model.module, model.variables
    assert isinstance(module, Captioner)
    compute = jax.jit(functools.partial(module.apply, method="features"))
    predicted, exact, answered = [], [], []
    moments: dict[str, list[list[float]]] = {}
    for clip in clips:
        features = compute(variables, model.preprocess(clip.frames))
        assert isinstance(features, jax.Array)  # ``apply`` may return variables too
        right = np.array(captions.numbers(" ".join(clip.words)), np.int32)
        scores = _scores(module, variables, features, Sentence(NOTHING, right))
        predicted.append(float((scores.argmax(1) == right).mean()))
        written = captioner.generate(module, variables, features)
        exact.append(float(np.array_equal(written.words, right)))
        values_of_measure: dict[str, list[float]] = {}
        words = [Word("verb", p, a) for a, p in enumerate(clip.verbs)]
        _add_moments(
            values_of_measure, module, variables, features, clip, NOTHING, right, words
        )
        of_answers = []
        for number, (question, answer) in enumerate(
            zip(captions.QUESTIONS, clip.answers, strict=True)
        ):
            question_words = np.array(captions.numbers(question), np.int32)
            expected = np.array(captions.numbers(answer), np.int32)
            answered_words = captioner.generate(
                module, variables, features, question_words
            ).words
            of_answers.append(float(np.array_equal(answered_words, expected)))
            if number < len(clip.verbs):
                words = [Word("answer", 0, number)]
                _add_moments(
                    values_of_measure,
                    module,
                    variables,
                    features,
                    clip,
                    question_words,
                    expected,
                    words,
                )
        answered.append(float(np.mean(of_answers)))
        for name in measure_names():
            moments.setdefault(name, []).append(values_of_measure.get(name, []))
    yield "words of the caption, given those before", predicted
    yield "captions without an error", exact
    yield "answers", answered
    for name, values in moments.items():
        yield name, [float(np.mean(v)) if v else float("nan") for v in values]


def check(
    model: Model, clips: Sequence[CaptionClip]
) -> Iterator[tuple[str, list[float]]]:
    """Yield whether the explanation of the word that is shown passes its check, by clip."""
    if not clips:
        return
    questions = {"caption": "", "answer": captions.QUESTIONS[0]}
    for (kind, question), (method, baseline) in itertools.product(
        questions.items(), METHODS
    ):
        passed = []
        for clip in clips:
            explained = explain_clip(
                model,
                Clip(clip.frames, clip.times, ()),
                method=method,
                baseline=baseline,
                question=question,
                checks="shown",
                beta=False,
            )
            passed.append(float(explained.shown.passed is True))
        yield f"{kind}: {method} ({baseline}): check passed", passed


NOTHING = np.zeros(0, np.int32)  # the question of a caption
COLUMNS = ("AUPRC", "AUPRC of the other action", "share inside", "share in the other")


def measure_names() -> list[str]:
    """Return the names of all measures of moments."""
    names = [f"{method} ({baseline})" for method, baseline in METHODS]
    return [
        f"{kind}: {name}: {column}"
        for kind in ("verb", "answer")
        for name in (*names, "chance", "recency")
        for column in (COLUMNS if name in names else COLUMNS[:1])
    ]


def _add_moments(
    values_of_measure: dict[str, list[float]],
    module: Captioner,
    variables: Variables,
    features: Float[Array, "T h w K"],
    clip: CaptionClip,
    question: Int[np.ndarray, " G"],
    right: Int[np.ndarray, " N"],
    words: Sequence[Word],
) -> None:
    """Measure the rows of some words, as far as the model predicts them rightly."""
    sentence = Sentence(question, right)
    predicted = _scores(module, variables, features, sentence).argmax(1)
    words = [w for w in words if predicted[w.position] == right[w.position]]
    if not words:
        return
    steps = np.arange(len(features))
    intervals = [(steps >= start) & (steps < stop) for start, stop in clip.intervals]
    for word in words:
        truth = intervals[word.action]
        _add(values_of_measure, f"{word.kind}: chance: AUPRC", truth.mean())
        recency = localization.average_precision(steps.astype(float), truth)
        _add(values_of_measure, f"{word.kind}: recency: AUPRC", recency)
    for method, baseline in METHODS:
        matrix = _matrix(module, variables, features, sentence, method, baseline)
        name = f"({baseline})"
        for word in words:
            row = matrix[word.position]
            truth, other = intervals[word.action], intervals[1 - word.action]
            positive = np.maximum(row, 0)
            total = max(float(positive.sum()), 1e-12)
            values = (
                localization.average_precision(row, truth),
                localization.average_precision(row, other),
                float(positive[truth].sum()) / total,
                float(positive[other].sum()) / total,
            )
            for column, value in zip(COLUMNS, values, strict=True):
                _add(
                    values_of_measure, f"{word.kind}: {method} {name}: {column}", value
                )


def _add(values_of_measure: dict[str, list[float]], name: str, value: float) -> None:
    values_of_measure.setdefault(name, []).append(float(value))


def _scores(
    module: Captioner,
    variables: Variables,
    features: Float[Array, "T h w K"],
    sentence: Sentence,
) -> Float[np.ndarray, "N C"]:
    with_words = captioner.with_sentence(variables, sentence)
    return np.asarray(_classify(module, with_words, features))


@functools.partial(jax.jit, static_argnames="module")
def _classify(
    module: CutModel, variables: Variables, features: Float[Array, "T h w K"]
) -> Float[Array, "N C"]:
    return module.apply(variables, features, method="classify")


def _matrix(
    module: Captioner,
    variables: Variables,
    features: Float[Array, "T h w K"],
    sentence: Sentence,
    method: str,
    baseline: str,
) -> Float[np.ndarray, "N T"]:
    """Explain every word of a sentence: a row for each."""
    options = StaticOptions(
        relu=explain.is_rectified(method, None),
        beta=False,
        method=method,
        baseline=baseline,
    )
    with_words = captioner.with_sentence(variables, sentence)
    explanation = _explain(
        module, with_words, features, jnp.asarray(sentence.words), options=options
    )
    return np.asarray(explanation.matrix)


@functools.partial(jax.jit, static_argnames=("module", "options"))
def _explain(
    module: Captioner,
    variables: Variables,
    features: Float[Array, "T h w K"],
    words: Int[Array, " N"],
    *,
    options: StaticOptions,
) -> explain.Explanation:
    return explain.explain_features(module, variables, features, words, options=options)


if __name__ == "__main__":
    main()
