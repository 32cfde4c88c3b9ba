"""What fits on a device: counted like an explanation, at the padded length."""

from rgcam.attribution import explain, padding
from rgcam.corpus import memory
from rgcam.corpus.memory import ClipMemory
from rgcam.models import zoo


def test_the_longest_clip_is_the_longest_padded_length_that_fits():
    need = ClipMemory(frame=10, pair=1)
    longest = need.longest(10**4)
    assert padding.padded_length(longest) == longest == 80
    assert longest**2 + 10 * longest <= 10**4
    more = padding.padded_length(longest + 1)
    assert more**2 + 10 * more > 10**4


def test_pairs_are_counted_as_an_explanation_is():
    model = zoo.load_model("stickman-lrcn")
    count = explain.explanation_bytes
    with_beta = memory.clip_memory(model, classes=1, beta=True)
    assert with_beta.pair == count(1, 1, 64, 64)
    four = memory.clip_memory(model, classes=4, beta=False)
    assert four.pair == 4 * count(1, 1, 64, 64, beta=False)
    assert four.frame > 4 * 64 * 64 * 3


def test_below_the_shortest_padded_length_clips_are_counted_as_they_are():
    need = ClipMemory(frame=10**3, pair=10)
    assert need.longest(5 * 10**3 + 10 * 25) == 5
    assert need.longest(1) == 0
