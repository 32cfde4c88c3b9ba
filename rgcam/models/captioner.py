"""The captioner: LRCN's other half, which writes a sentence about a clip, word by word.

    frames (T, S, S, 3) --features--> A (T, h, w, K) --encoder LSTM--> its last carry
    its last carry --decoder LSTM, one step for each word--> y (N, C), C words

The sequence-to-sequence form of Venugopalan et al. (arXiv:1505.00487), without attention.
Scores depend on the words before them, so a sentence is generated first, and ``classify``
then scores the words of that sentence (teacher forcing): row t' is the score of word t',
given the words before it. It may depend on all frames.

A question is answered by the same decoder: its words are read first, and the sentence that
follows them is the answer.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgcam import programs
from rgcam.errors import InputError
from rgcam.models.backbones import Backbone
from rgcam.models.cut import Carry, CutModel
from rgcam.models.description import SPECIAL_WORDS
from rgcam.models.layers import Dense, Embed, FrameHead, Recurrent
from rgcam.types import Tensor, Variables

START, END = range(len(SPECIAL_WORDS))  # the first classes of a captioner
LONGEST = 24  # words of a generated sentence
EMBEDDING = 32  # numbers that the decoder reads of a word
SENTENCE = "sentence"  # collection of the words in the variables of a captioner
# What the explanation of a word replaces frames by: the person at rest before any action.
# Measured in docs/captions.md: of the baselines, the one that finds a word's frames best.
BASELINE = "first"


class Sentence(NamedTuple):
    """The words that a captioner is explained for: its variables' "sentence".

    Attributes:
        question: (G,) words of a question, which the decoder reads first; () for a caption.
        words: (N,) words that are scored, without ``<end>``.
    """

    question: Int[np.ndarray, " question"]
    words: Int[np.ndarray, " out"]


class Captioner(nn.Module):
    """Encoder LSTM over frames, decoder LSTM over words; a ``cut.FramewiseModel``."""

    backbone: Backbone
    classes: int
    head: str = "fc"  # layers.HEADS
    width: int = 32  # of the fc head
    hidden: int = 96  # units of either LSTM
    cell: str = "lstm"  # layers.CELLS
    dropout: float = 0.2  # of frame vectors and decoder states, in training
    view: str = "rgb"

    def setup(self):
        """Name the parts."""
        self.frame_head = FrameHead(self.head, self.width)
        self.encoder = Recurrent(self.cell, self.hidden)
        self.decoder = Recurrent(self.cell, self.hidden)
        self.embedding = Embed(self.classes, EMBEDDING)
        self.scores = Dense(self.classes)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, frames: Float[Tensor, "T S S 3"]) -> Float[Array, "out C"]:
        """Return the scores of the words in the variables."""
        return self.classify(self.features(frames))

    def features(
        self, inputs: Float[Tensor, "T ..."], *, start: int = 0
    ) -> Float[Array, "T h w K"]:
        """Return A, the last convolutional map of every frame, of frames (T, S, S, 3).

        With ``start`` n, ``inputs`` are what block n - 1 returned, (T, 1, h, w, K).
        """
        return self.below(inputs if start else self.see(inputs), start=start)

    def see(self, frames: Float[Tensor, "T S S 3"]) -> Float[Array, "T V S S 3"]:
        """Return the one image that the backbone receives of each frame: itself."""
        return jnp.asarray(frames)[:, None]

    def below(
        self, images: Float[Tensor, "T V H W C"], *, start: int = 0
    ) -> Float[Array, "T h w K"]:
        """Return A of these images, or of what block ``start`` - 1 of the backbone returned."""
        return self.backbone(images, start=start)[:, 0]

    def classify(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "out C"]:
        """Return the scores of each word of the sentence, given the words before it.

        Raises:
            InputError: the variables hold no sentence.
        """
        if not (self.has_variable(SENTENCE, "words") or self.is_initializing()):
            raise InputError(
                "a captioner is explained for a sentence: pass "
                "rgcam.models.captioner.with_sentence(variables, sentence), where generate("
                "module, variables, features) returns the sentence"
            )
        question = self.get_variable(SENTENCE, "question", jnp.zeros(0, int))
        words = self.get_variable(SENTENCE, "words", jnp.zeros(1, int))
        carry = self.encode(features)
        return self.decode(carry, jnp.concatenate([question, words]))[len(question) :]

    def encode(
        self,
        features: Float[Tensor, "T h w K"],
        length: int | Int[Tensor, ""] | None = None,
        *,
        train: bool = False,
    ) -> Carry:
        """Return the encoder's carry after the last frame, of ``length`` or all."""
        vectors = self.frame_head(features)
        if self.head == "fc":
            vectors = nn.relu(vectors)
        vectors = self.drop(vectors, deterministic=not train)
        drive = self.encoder.drive(vectors)
        return self.encoder.last_carry(drive, len(drive) if length is None else length)

    def decode(
        self, carry: Carry, words: Int[Array, " N"], *, train: bool = False
    ) -> Float[Array, "N C"]:
        """Return the scores of each of these words, given the carry and the words before."""
        read = jnp.concatenate([jnp.full(1, START, words.dtype), words[:-1]])
        drive = self.decoder.drive(self.embedding(read))
        _, states = self.decoder.advance(carry, drive)
        return self.scores(self.drop(states, deterministic=not train))

    def score_sentences(
        self,
        features: Float[Tensor, "T h w K"],
        sentences: Int[Tensor, "S N"],
        length: int | Int[Tensor, ""] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "S N C"]:
        """Return the scores of each word of S sentences about one clip (teacher forcing).

        A question and the words that follow it are one sentence here. Frames from
        ``length`` on are padding. ``train`` needs an rng "dropout".
        """
        carry = self.encode(features, length, train=train)

        def score(module: "Captioner", words: Int[Array, " N"]) -> Float[Array, "N C"]:
            return module.decode(carry, words, train=train)

        score_each = nn.vmap(
            score,
            variable_axes={"params": None},
            split_rngs={"params": False, "dropout": True},
        )
        return score_each(self, jnp.asarray(sentences))

    def continue_sentence(
        self, features: Float[Tensor, "T h w K"], question: Int[Tensor, " G"]
    ) -> Int[Array, " longest"]:
        """Return the LONGEST words with the highest scores, each read by the next step."""
        carry = self.encode(features)
        first = jnp.full(1, START, jnp.int32)
        # The question is read at once, all but its last word, which begins the loop.
        read = jnp.concatenate([first, jnp.asarray(question, jnp.int32)])
        drive = self.decoder.drive(self.embedding(read[:-1]))
        carry, _ = self.decoder.advance(carry, drive)

        def write(
            module: "Captioner", state: tuple[Carry, Array], _: None
        ) -> tuple[tuple[Carry, Array], Array]:
            carry, word = state
            drive = module.decoder.drive(module.embedding(word[None]))
            carry, states = module.decoder.advance(carry, drive)
            word = module.scores(states)[0].argmax(-1).astype(word.dtype)
            return (carry, word), word

        # One step compiled, rather than LONGEST of them.
        write_all = nn.scan(
            write,
            variable_broadcast="params",
            split_rngs={"params": False},
            length=LONGEST,
        )
        return write_all(self, (carry, read[-1]), None)[1]


@programs.kept("module")
def _continue(
    module: CutModel,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    question: Int[Tensor, " G"],
) -> Int[Array, " longest"]:
    return module.apply(variables, features, question, method="continue_sentence")


def word_numbers(text: str, vocabulary: Sequence[str]) -> Int[np.ndarray, " words"]:
    """Return the words of a text as int32 indices into a captioner's classes.

    Case does not matter, and a mark such as ``?`` is a word of its own.

    Args:
        text: a question, such as "what does the person do first?"; "": no words.
        vocabulary: the captioner's classes, of which the first are ``<start>``, ``<end>``.

    Raises:
        InputError: the captioner does not know one of the words.
    """
    known_words = vocabulary[len(SPECIAL_WORDS) :]
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    unknown = [word for word in words if word not in known_words]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is no word of this captioner: it knows {' '.join(known_words)}"
        )
    return np.array([vocabulary.index(word) for word in words], np.int32)


def generate(
    module: Captioner,
    variables: Variables,
    features: Float[Tensor, "T h w K"],
    question: Int[Tensor, " G"] | None = None,
) -> Sentence:
    """Write the caption of a clip, or the answer to a question, greedily.

    Args:
        module: the captioner.
        variables: its variables.
        features: A of the clip.
        question: its words; None: none, for a caption.

    Returns:
        The words up to ``<end>``, at least one and at most LONGEST.
    """
    question_words = np.asarray([] if question is None else question, np.int32)
    words = np.asarray(_continue(module, variables, features, question_words), np.int32)
    ends = np.flatnonzero(words[1:] == END)
    stop = int(ends[0]) + 1 if len(ends) else len(words)
    return Sentence(question=question_words, words=words[:stop])


def with_sentence(variables: Variables, sentence: Sentence) -> Variables:
    """Return the variables with the sentence that ``classify`` is to score."""
    fields = sentence._asdict()
    return {**variables, SENTENCE: {n: jnp.asarray(w) for n, w in fields.items()}}
