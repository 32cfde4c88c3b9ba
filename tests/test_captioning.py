"""benchmarks/captioning.py averages over models, and has a chance beside each measure."""

import numpy as np

from benchmarks import captioning


def test_a_clip_is_one_observation_however_many_models():
    nan = float("nan")
    text = captioning.row("verbs", [[0.2, 0.4, nan], [0.4, nan, nan]])
    assert text == "| verbs | 0.350 | too few clips | 2 |"
    values = np.tile([0.0, 1.0], 20).tolist()
    assert captioning.row("x", [values]) == captioning.row("x", [values, values])
    assert "| 0.500 | 0.34 to 0.66 | 40 |" in captioning.row("x", [values])


def test_every_measure_comes_with_its_chance():
    names = captioning.measure_names()
    assert len(names) == len(set(names))
    for kind in ("verb", "answer"):
        assert f"{kind}: chance: AUPRC" in names
        assert f"{kind}: fade (first): AUPRC of the other action" in names
