r"""Captions and answers: does the explanation of a word find the moment that it describes?

    python benchmarks/captioning.py [--train_clips=1500] [--clips=100] [--seeds=0]

Trains ``rgcam.models.captioner.Captioner`` above the frozen backbone of ``stickman-cnn`` on
drawn clips of two actions in sequence (``rgcam.data.synthetic.captions``), for captions and
for the answers to questions about the clip at once, and prints for test clips:

words      share of the words of the right captions that are predicted, given the words
           before them, and share of captions that are generated without an error
moments    how well the row of a word (the verb of either action, or the answer to what the
           person does first or second) finds the frames of the action, by the area under
           the precision-recall curve; only words that are predicted rightly are explained
share      of the positive part of the row, what lies in the interval of the action and in
           that of the other one

Chance is the area of a random order, the share of the frames that are in the interval; *of the
other action* is the area of the same row for the frames of the other action, which has to be
lower. Intervals of 95 % are over
clips, each the mean of all seeds.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

sys.path.insert(0, str(Path(__file__).parents[1]))
from rgcam.attribution import explain
from rgcam.attribution.explain import StaticOptions
from rgcam.data.synthetic import captions
from rgcam.data.synthetic.captions import CaptionClip
from rgcam.metrics import localization, statistics
from rgcam.models import backbones, captioner, zoo
from rgcam.models.captioner import Captioner, Sentence
from rgcam.models.cut import CutModel
from rgcam.types import Params, Variables

TRAINING_SEED, TEST_SEED = 1, 2  # of the clips
BATCH, EPOCHS, RATE, DECAY = 32, 20, 2e-3, 1e-4
LONGEST = 18  # words of a caption or of a question with its answer, and <end>
METHODS = (
    ("gradcam", "zero"),
    ("fade", "previous"),
    ("fade", "mean"),
    ("fade", "first"),
    ("occlusion", "mean"),
)


class Lesson(NamedTuple):
    """Words that a decoder is trained on, padded to LONGEST.

    Attributes:
        words: in their order, the last one ``<end>``.
        weights: 1 for words that it should predict, 0 for a question and the padding.
    """

    words: Int[np.ndarray, " longest"]
    weights: Float[np.ndarray, " longest"]


def main() -> None:
    """Train, measure, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train_clips", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=100, help="to measure on")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", default="0", help="of the training")
    options = parser.parse_args()
    module, variables = frozen_captioner()
    train = [captions.clip((TRAINING_SEED, i)) for i in range(options.train_clips)]
    test = [captions.clip((TEST_SEED, i)) for i in range(options.clips)]
    train_maps = feature_maps(module, variables, train)
    test_maps = feature_maps(module, variables, test)
    rows: dict[str, list[list[float]]] = {}
    for seed in map(int, options.seeds.split(",")):
        params = fit(module, variables, train, train_maps, seed, options.epochs)
        trained = {"params": {**variables["params"], **params}}
        for name, values in measure(module, trained, test, test_maps):
            rows.setdefault(name, []).append(values)
        print(f"seed {seed}: done", file=sys.stderr, flush=True)
    print("| | mean | interval | clips |")
    print("|---|---|---|---|")
    for name, of_seeds in rows.items():
        print(row(name, of_seeds))


def row(name: str, of_seeds: Sequence[Sequence[float]]) -> str:
    """Format a measure: a clip is one observation, the mean over its seeds."""
    values = np.array(of_seeds)
    measured = ~np.isnan(values).all(0)
    means = np.nanmean(values[:, measured], axis=0)
    groups = [str(i) for i in range(len(means))]
    interval = statistics.mean_interval(means, groups)
    bounds = "too few clips"
    if interval.low is not None and interval.high is not None:
        bounds = f"{interval.low:.2f} to {interval.high:.2f}"
    return f"| {name} | {means.mean():.3f} | {bounds} | {len(means)} |"


# The model.


def frozen_captioner() -> tuple[Captioner, Variables]:
    """Return an untrained captioner above the backbone of ``stickman-cnn``."""
    source = zoo.load_model("stickman-cnn")
    module = Captioner(
        backbone=source.module.backbone,
        classes=len(captions.WORDS),
        head=source.description.arch["head"],
        width=source.description.arch["width"],
    )
    below = {
        name: source.variables["params"][name] for name in ("backbone", "frame_head")
    }
    return module, {"params": below}


def feature_maps(
    module: Captioner, variables: Variables, clips: Sequence[CaptionClip]
) -> Float[np.ndarray, "N T h w K"]:
    """Compute A of clips, in half precision."""
    spec = zoo.load_model("stickman-cnn").description.preprocess
    features = jax.jit(functools.partial(module.apply, variables, method="features"))
    return np.stack(
        [
            np.asarray(features(backbones.preprocess(spec, clip.frames)), np.float16)
            for clip in clips
        ]
    )


def lessons(clip: CaptionClip) -> list[Lesson]:
    """Return what is learnt of a clip: its caption, and the answer to every question."""
    caption_and_answers = [_lesson([], captions.numbers(" ".join(clip.words)))]
    for question, answer in zip(captions.QUESTIONS, clip.answers, strict=True):
        caption_and_answers.append(
            _lesson(captions.numbers(question), captions.numbers(answer))
        )
    return caption_and_answers


def _lesson(question: Sequence[int], words: Sequence[int]) -> Lesson:
    written = [*words, captioner.END]
    padding = LONGEST - len(question) - len(written)
    weights = [0.0] * len(question) + [1.0] * len(written) + [0.0] * padding
    every = [*question, *written, *[captioner.END] * padding]
    return Lesson(np.array(every, np.int32), np.array(weights, np.float32))


def fit(
    module: Captioner,
    variables: Variables,
    clips: Sequence[CaptionClip],
    maps: Float[np.ndarray, "N T h w K"],
    seed: int,
    epochs: int,
) -> Params:
    """Train all but the backbone; return what was trained."""
    rng = np.random.default_rng(seed)
    sentence = {"question": jnp.zeros(0, int), "words": jnp.zeros(1, int)}
    template = {captioner.SENTENCE: sentence}
    keys = jax.random.split(jax.random.key(seed))
    params = module.init(keys[0], jnp.asarray(maps[0], jnp.float32), method="classify")
    params = {**params["params"], "frame_head": variables["params"]["frame_head"]}
    every = [lessons(clip) for clip in clips]
    steps = epochs * (len(clips) // BATCH)
    schedule = optax.cosine_decay_schedule(RATE, steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=DECAY)
    )
    state = optimizer.init(params)

    def loss_of(
        params: Params, maps: Array, words: Array, weights: Array, key: Array
    ) -> Array:
        def losses(maps: Array, words: Array, weights: Array, key: Array) -> Array:
            apply: Callable[..., Any] = functools.partial(
                module.apply, {"params": params, **template}, rngs={"dropout": key}
            )
            carry = apply(maps.astype(jnp.float32), train=True, method="encode")
            decode = lambda sentence: apply(
                carry, sentence, train=True, method="decode"
            )
            scores = jax.vmap(decode)(words)
            errors = optax.softmax_cross_entropy_with_integer_labels(scores, words)
            return (errors * weights).sum() / weights.sum()

        keys = jax.random.split(key, len(maps))
        return jax.vmap(losses)(maps, words, weights, keys).mean()

    @jax.jit
    def update(
        params: optax.Params, state: optax.OptState, *batch: Array
    ) -> tuple[optax.Params, optax.OptState, Array]:
        loss, gradient = jax.value_and_grad(loss_of)(params, *batch)
        changes, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, changes), state, loss

    key = keys[1]
    for epoch in range(epochs):
        order = rng.permutation(len(clips))
        losses = []
        for start in range(0, len(order) - BATCH + 1, BATCH):
            picks = order[start : start + BATCH]
            key, now = jax.random.split(key)
            words = np.stack([[x.words for x in every[i]] for i in picks])
            weights = np.stack([[x.weights for x in every[i]] for i in picks])
            params, state, loss = update(
                params, state, maps[picks], words, weights, now
            )
            losses.append(loss)
        if epoch % 5 == 4:
            mean = float(np.mean([float(loss) for loss in losses]))
            print(f"epoch {epoch + 1}: loss {mean:.3f}", file=sys.stderr, flush=True)
    return params


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
    module: Captioner,
    variables: Variables,
    clips: Sequence[CaptionClip],
    maps: Float[np.ndarray, "N T h w K"],
) -> Iterator[tuple[str, list[float]]]:
    """Yield the name of each measure and its values, one for each clip."""
    predicted, exact, answered = [], [], []
    moments: dict[str, list[list[float]]] = {}
    for clip, of_clip in zip(clips, maps, strict=True):
        features = jnp.asarray(of_clip, jnp.float32)
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
            asked = np.array(captions.numbers(question), np.int32)
            expected = np.array(captions.numbers(answer), np.int32)
            answered_words = captioner.generate(
                module, variables, features, asked
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
                    asked,
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
