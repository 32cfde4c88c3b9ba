"""Clips of two actions in sequence, with the sentence that describes them.

"a person in blue raises the left arm and then walks to the right": a figure of the
``stickman`` clips performs two of nine actions one after the other, with rest before,
between and after, so that the words of a sentence have different moments. The truth says
which frames each verb describes. Colour, actions and their times are drawn independently.
Left and right are those of the frame. Like the ``stickman`` clips, these are drawn from a
seed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from rgcam.data.synthetic import figure, stickman
from rgcam.data.synthetic.cue import COLOURS
from rgcam.data.synthetic.figure import Pose
from rgcam.data.synthetic.stickman import Scene
from rgcam.errors import InputError
from rgcam.models.captioner import END, word_numbers
from rgcam.models.description import SPECIAL_WORDS

LENGTH = 24  # frames, 3.2 s
LONGEST = 16  # words of a caption, or of a question with its answer, and <end>
SHORTEST = 16  # frames of a clip, for two actions and the rests around them
_STRIDE = 0.6  # of the stickman's walk, so that the figure stays in the frame


class Action(NamedTuple):
    """An action, and the words that describe it.

    Attributes:
        phrase: as in a caption; its first word is the verb.
        answer: to the question what the person does.
    """

    phrase: str
    answer: str


ACTIONS = (
    Action("waves", "wave"),
    Action("kicks", "kick"),
    Action("jumps", "jump"),
    Action("squats", "squat"),
    Action("bows", "bow"),
    Action("raises the left arm", "raise"),
    Action("raises the right arm", "raise"),
    Action("walks to the left", "walk"),
    Action("walks to the right", "walk"),
)
QUESTIONS = (
    "what does the person do first ?",
    "what does the person do second ?",
    "which colour does the person wear ?",
)
_RAISE_LEFT, _RAISE_RIGHT = 5, 6
# The others are classes of the stickman clips, by their index there.
_STICKMAN_CLASSES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: 7, 8: 8}
_REST = Pose()
_RAISED_NEAR = Pose(upper_near=158.0, fore_near=172.0)
_RAISED_FAR = Pose(upper_far=-158.0, fore_far=-172.0)


def _words() -> tuple[str, ...]:
    texts = [f"a person in {colour}" for colour in COLOURS] + ["and then"]
    texts += [action.phrase for action in ACTIONS]
    texts += [action.answer for action in ACTIONS] + list(QUESTIONS)
    # A dict keeps the order in which words first occur.
    return (*SPECIAL_WORDS, *dict.fromkeys(" ".join(texts).split()))


WORDS = _words()
"""The vocabulary: all words of sentences, questions and answers, ``<start>`` and ``<end>``."""


class CaptionClip(NamedTuple):
    """A clip with its sentence and the truth about it.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        times: (T,) float64 seconds.
        words: of the sentence.
        intervals: of the two actions: first frame, and the first one after it.
        verbs: positions of the two verbs among the words.
        answers: to ``QUESTIONS``, one word each.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    times: Float[np.ndarray, " T"]
    words: tuple[str, ...]
    intervals: tuple[tuple[int, int], tuple[int, int]]
    verbs: tuple[int, int]
    answers: tuple[str, ...]


class Lessons(NamedTuple):
    """The sentences that a captioner learns of a clip, padded to LONGEST words.

    Attributes:
        words: that it reads: the caption, and each question with its answer.
        labels: the same words where it is to predict them; -1 in a question and beyond
            ``<end>``.
    """

    words: Int[np.ndarray, "S L"]
    labels: Int[np.ndarray, "S L"]


def clip(
    seed: int | tuple[int, ...], *, size: int = 64, length: int = LENGTH
) -> CaptionClip:
    """Draw the clip that a seed determines.

    Each action takes 7 to 9 of 24 frames; the two have different verbs.

    Args:
        seed: anything ``np.random.default_rng`` takes; equal seeds give equal bytes.
        size: height and width H = W in pixels, at least 32.
        length: T in frames, at least 16.

    Raises:
        InputError: if an argument is out of range.
    """
    stickman.check_arguments(seed, size, length, None)
    if length < SHORTEST:
        raise InputError(
            f"length is {length}: a clip of two actions needs {SHORTEST} frames or more."
        )
    rng = np.random.default_rng(seed)
    scene = stickman.draw_scene(rng, size, length)
    colour = str(rng.choice(list(COLOURS)))
    shirt = np.array(COLOURS[colour], float) + rng.uniform(-15, 15, 3)
    scene = scene._replace(palette=scene.palette._replace(shirt=shirt, sleeve=shirt))
    actions = _draw_actions(rng)
    intervals = _draw_intervals(rng, length)
    phrases = [ACTIONS[action].phrase for action in actions]
    start = f"a person in {colour}"
    first_verb = len(start.split())
    return CaptionClip(
        frames=_render(scene, actions, intervals),
        times=np.arange(length) / stickman.FPS,
        words=tuple(f"{start} {phrases[0]} and then {phrases[1]}".split()),
        intervals=intervals,
        verbs=(first_verb, first_verb + len(phrases[0].split()) + 2),
        answers=(*(ACTIONS[action].answer for action in actions), colour),
    )


def numbers(text: str) -> list[int]:
    """Return the words of a text as indices into ``WORDS``.

    Raises:
        InputError: it has a word that is not among them.
    """
    return word_numbers(text, WORDS).tolist()


def lessons(of_clip: CaptionClip) -> Lessons:
    """Return what is learnt of a clip: its caption, and the answer to every question."""
    sentences = [("", " ".join(of_clip.words))]
    sentences += zip(QUESTIONS, of_clip.answers, strict=True)
    words = np.full((len(sentences), LONGEST), END, np.int32)
    labels = np.full_like(words, -1)
    for row, (question, text) in enumerate(sentences):
        start = len(question.split())
        sentence = [*map(WORDS.index, f"{question} {text}".split()), END]
        words[row, : len(sentence)] = sentence
        labels[row, start : len(sentence)] = sentence[start:]
    return Lessons(words, labels)


def _draw_actions(rng: np.random.Generator) -> tuple[int, int]:
    """Draw two actions of different verbs; every ordered pair of them is as likely."""
    while True:
        first, second = (int(action) for action in rng.integers(len(ACTIONS), size=2))
        if ACTIONS[first].answer != ACTIONS[second].answer:
            return first, second


def _draw_intervals(
    rng: np.random.Generator, length: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Draw the frames of two actions, with one frame of rest or more around each."""
    shortest, longest = 7 * length // 24, 9 * length // 24
    first, second = (int(n) for n in rng.integers(shortest, longest + 1, 2))
    free = length - first - second - 3  # frames of rest beyond one around each
    # Two marks divide the frames that are left into those before, between and after.
    before, until = sorted(int(n) for n in rng.integers(0, free + 1, 2))
    begin = 1 + before
    begin_second = begin + first + 1 + until - before
    return (begin, begin + first), (begin_second, begin_second + second)


def _pose_path(action: int, side: int, progress: Float[np.ndarray, " T"]) -> Pose:
    """Return the poses of an action of a figure that faces ``side``."""
    if action in (_RAISE_LEFT, _RAISE_RIGHT):
        is_front = (action == _RAISE_RIGHT) == (side == 1)
        raised = _RAISED_NEAR if is_front else _RAISED_FAR
        return figure.path_through((_REST, raised, raised, _REST), progress)
    label = _STICKMAN_CLASSES[action]
    path = figure.pose_path(label, progress)
    start = float(np.asarray(figure.pose_path(label, np.zeros(1)).travel)[0])
    return path._replace(travel=_STRIDE * (path.travel - start))


def _render(
    scene: Scene,
    actions: tuple[int, int],
    intervals: tuple[tuple[int, int], tuple[int, int]],
) -> UInt8[np.ndarray, "T H W 3"]:
    """Render two actions in a scene."""
    size, length = scene.noise.shape[1:]
    canvas = scene.background.repeat(length, 3)
    half, corner = (part * size for part in scene.ball_shape)
    figure.rounded_box(
        canvas, scene.ball * size, (half, half), corner, scene.palette.ball
    )
    paths = []
    for action, (start, stop) in zip(actions, intervals, strict=True):
        progress = (np.arange(length) - start + 1) / (stop - start + 1)
        paths.append(_pose_path(action, scene.side, np.clip(progress, 0, 1)))
    # Both paths begin and end at rest: only one of them is not, in any frame.
    is_second = np.arange(length) >= intervals[1][0]
    pose = Pose(*(np.where(is_second, b, a) for a, b in zip(*paths, strict=True)))
    travel = np.asarray(paths[0].travel) + np.asarray(paths[1].travel)
    centred = travel - (travel.max() + travel.min()) / 2
    pose = pose._replace(travel=centred)
    figure.draw_figure(
        canvas,
        figure.joints(figure.sway(pose, scene.sway), scene.side),
        scene.position * size,
        scene.height * size,
        scene.palette,
        (),
    )
    return stickman.to_frames(canvas, scene.noise)
