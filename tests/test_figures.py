"""docs/figures.py chooses the clips of its strips by rule."""

import importlib.util
from typing import NamedTuple

import pytest

from rgcam.data.folder import Item
from rgcam.metrics.faithfulness import FaithfulnessCheck
from tests.conftest import ROOT


class Explained(NamedTuple):
    """What ``first_correct`` reads of an explained clip."""

    source: str
    target: int


class Model(NamedTuple):
    """What ``first_correct`` reads of a model."""

    classes: tuple[str, ...]
    description: object


@pytest.fixture
def figures(monkeypatch):
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs/figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    predicted = {"v_kick_g02_c01.mp4": 1, "v_kick_g03_c01.mp4": 0}
    monkeypatch.setattr(module, "read_clip", lambda *_: None)
    monkeypatch.setattr(
        module.explain,
        "explain_clip",
        lambda *_, source, **__: Explained(source, predicted[source]),
    )
    return module


def items(root, *names):
    return [
        Item(clip=root / name, label=0, group=name[8:10], place=f"kick/{name}")
        for name in names
    ]


def test_the_first_test_clip_by_name_that_is_classified_correctly_is_shown(
    figures, tmp_path
):
    model = Model(("kick", "jump"), type("", (), {"fps": 7.5}))
    clips = items(
        tmp_path, "v_kick_g09_c01.mp4", "v_kick_g03_c01.mp4", "v_kick_g02_c01.mp4"
    )
    shown = figures.first_correct(model, None, "kick", clips)
    assert shown.source == "v_kick_g03_c01.mp4"
    assert figures.first_correct(model, None, "kick", clips[:1]) is None


def test_the_table_counts_the_clips_whose_maps_pass(figures):
    def check(score):
        return FaithfulnessCheck(
            method="",
            baseline="",
            time=score,
            space=score,
            deletion=0.0,
            completeness=None,
        )

    judged = {
        "a": figures.Judged([check(0.2), check(0.7), check(1.0)], 0.25),
        "b": figures.Judged([check(float("nan")), check(0.6), check(0.9)], 0.5),
    }
    lines = figures.table(judged).splitlines()
    assert lines[2:] == [
        "| a | 0.20, failed | 0.70, passed | 1.00, passed | 25 |",
        "| b | no effect, failed | 0.60, failed | 0.90, passed | 50 |",
        "| passed | 0 of 2 (0.00 to 0.84) | 1 of 2 (0.01 to 0.99) | 2 of 2 (0.16 to 1.00) | |",
    ]
