"""The captioner: sentences, answers, and their explanation word by word."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam.errors import InputError
from rgcam.models import captioner
from rgcam.models.backbones import SmallCNN
from rgcam.models.captioner import Captioner, Sentence
from tests.conftest import draw_variables

MODULE = Captioner(backbone=SmallCNN(widths=(4, 4, 4)), classes=9, head="gap", hidden=6)
QUESTION, OTHER_QUESTION = np.array([4, 5, 7], np.int32), np.array([4, 6, 7], np.int32)


@pytest.fixture(scope="module")
def clip():
    """Return variables of random weights, frames and A of one clip of five frames."""
    frames = jax.random.normal(jax.random.key(0), (5, 16, 16, 3))
    params = draw_variables(MODULE, frames)["params"]
    # Untrained scores are nearly equal: larger ones, so that sentences differ.
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    variables = {"params": params}
    return variables, frames, MODULE.apply(variables, frames, method="features")


def scores_of(variables, sentence, features):
    full = captioner.with_sentence(variables, sentence)
    return MODULE.apply(full, features, method="classify")


@pytest.mark.parametrize("given", [None, QUESTION])
def test_every_generated_word_has_the_highest_score_given_the_words_before(clip, given):
    variables, _, features = clip
    sentence = captioner.generate(MODULE, variables, features, given)
    scores = scores_of(variables, sentence, features)
    assert scores.shape == (len(sentence.words), 9)
    assert np.array_equal(scores.argmax(1), sentence.words)


def test_sentences_are_scored_together_as_one_by_one(clip):
    variables, _, features = clip
    sentences = np.array([[2, 3, 8, 1], [4, 5, 1, 1]], np.int32)
    score = functools.partial(
        MODULE.apply, variables, features, sentences, method="score_sentences"
    )
    together = score()
    nothing = np.zeros(0, np.int32)
    for words, scores in zip(sentences, together, strict=True):
        alone = scores_of(variables, Sentence(nothing, words), features)
        np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-6)
    dropped = [
        score(train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 1)
    ]
    assert float(jnp.abs(dropped[0] - dropped[1]).max()) > 1e-3
    # Another mask for each sentence: one mask would drop the same units of equal states.
    twice = functools.partial(
        MODULE.apply, variables, features, sentences[:1].repeat(2, 0)
    )
    first, second = twice(
        train=True, rngs={"dropout": jax.random.key(0)}, method="score_sentences"
    )
    assert float(jnp.abs(first - second).max()) > 1e-3


def test_words_of_a_text_are_found_whatever_its_case_and_marks():
    vocabulary = ("<start>", "<end>", "what", "first", "?")
    assert captioner.word_numbers("What first?", vocabulary).tolist() == [2, 3, 4]
    assert captioner.word_numbers("", vocabulary).shape == (0,)
    with pytest.raises(
        InputError, match="'<' is no word of this captioner: it knows what"
    ):
        captioner.word_numbers("<start> what", vocabulary)


def test_rows_are_gradients_of_the_words_scores(clip):
    variables, frames, features = clip
    words = np.array([2, 3, 8, 2], np.int32)
    full = captioner.with_sentence(variables, Sentence(np.zeros(0, np.int32), words))
    explained = rgcam.explain(MODULE, full, frames, rgcam.StepClasses(words))
    assert explained.matrix.shape == (4, 5)
    classify = functools.partial(MODULE.apply, full, method="classify")
    gradient = jax.jit(jax.grad(lambda maps, step, word: classify(maps)[step, word]))
    for step, word in enumerate(words):
        beta = gradient(features, step, word).mean((1, 2))
        np.testing.assert_allclose(explained.beta[step], beta, atol=1e-6)
    # The first word may depend on the last frame: nothing is zero by structure.
    assert (np.abs(explained.beta).max(2) > 0).all()


def test_the_explanation_of_an_answer_changes_with_the_question(clip):
    variables, frames, _ = clip
    rows = []
    for question in (QUESTION, OTHER_QUESTION):
        full = captioner.with_sentence(variables, Sentence(question, np.array([8])))
        explained = rgcam.explain(MODULE, full, frames, rgcam.StepClasses([8]))
        assert explained.matrix.shape == (1, 5)
        rows.append(explained.beta)
    assert float(jnp.abs(rows[0] - rows[1]).max()) > 1e-3 * float(
        jnp.abs(rows[0]).max()
    )


def test_without_a_sentence_the_error_says_how_to_pass_one(clip):
    variables, frames, _ = clip
    with pytest.raises(InputError, match="with_sentence"):
        rgcam.explain(MODULE, variables, frames)
