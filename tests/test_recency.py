"""benchmarks/recency.py measures how far back an LRCN looks."""

import functools

import jax
import numpy as np
import pytest

from benchmarks import accuracy, recency
from rgcam.data import splits
from rgcam.models import classifiers

CLASSES, STEPS, WIDTH = 3, 6, 8


@pytest.fixture(scope="module")
def module():
    arch = {
        "kind": "lrcn",
        "backbone": "small",
        "head": "fc",
        "width": WIDTH,
        "cell": "lstm",
        "hidden": 16,
        "dropout": 0.0,
    }
    return classifiers.build(arch, CLASSES)


@pytest.fixture(scope="module")
def clips():
    """Return frame vectors whose first frame determines the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % CLASSES
    inputs = rng.normal(size=(96, STEPS, WIDTH)).astype(np.float32)
    inputs[:, 0, :CLASSES] += 6 * np.eye(CLASSES)[labels]
    return inputs, labels


@pytest.fixture(scope="module")
def params(module, clips):
    recency.EPOCHS, before = 20, recency.EPOCHS
    found = recency.train_above(module, *clips, recency.Setting("last_step", 3.0), 0)
    recency.EPOCHS = before
    return found


def test_a_model_that_must_remember_the_first_frame_is_found_to(module, clips, params):
    test = recency.Test(*clips, groups=[str(n) for n in range(96)])
    measured = recency.measure(module, params, test)
    assert measured.correct.mean() > 0.9
    shares = recency.by_lag(measured.effects)
    assert shares.mean(0).argmax() == STEPS - 1
    assert recency.mean_lag(shares).mean() > 2.5
    # With its first frames unseen it must guess.
    assert measured.short[1].mean() < 0.6


def test_effects_are_what_the_last_score_loses(module, clips, params):
    test = recency.Test(clips[0][:2], clips[1][:2], groups=["a", "b"])
    effects = recency.measure(module, params, test).effects
    score = jax.jit(functools.partial(recency.scores_of, module, params))
    for clip, row in zip(test.inputs, effects, strict=True):
        whole = np.asarray(score(clip))[-1]
        for t in range(STEPS):
            other = clip.copy()
            other[t] = clip.mean(0)
            lost = whole - np.asarray(score(other))[-1]
            assert row[t] == pytest.approx(abs(lost[whole.argmax()]), abs=1e-4)


def test_the_forget_gate_starts_at_the_bias_of_the_setting(module, clips, monkeypatch):
    monkeypatch.setattr(recency, "EPOCHS", 0)
    monkeypatch.setattr(recency.optax, "warmup_cosine_decay_schedule", lambda *_: 0.0)
    params = recency.train_above(module, *clips, recency.Setting("last_step", 2.0), 0)
    cell = params["recurrent"]
    biases = {
        path[-2].key: leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(cell)
        if path[-1].key == "bias"
    }
    assert (biases["hf"] == 2).all() and not biases["hi"].any()
    assert "backbone" not in params and "frame_head" not in params


def test_lags_count_from_the_last_frame():
    shares = recency.by_lag(np.array([[1.0, 0, 0, 3], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(shares[0], [0.75, 0, 0, 0.25])
    assert recency.mean_lag(shares)[0] == 0.75
    assert np.isnan(shares[1]).all()


def test_every_line_of_the_table_has_the_columns_of_its_heading(capsys):
    ones = np.ones(12)
    run = recency.Measured(
        correct=ones,
        short={count: ones for count in recency.SHORT},
        effects=np.random.default_rng(0).random((12, 16)),
        gradcam=None,
    )
    test = recency.Test(None, None, groups=[str(n) for n in range(12)])
    line = recency.row(recency.Setting("last_step", 1.0), [run, run], test)
    recency.print_heading("drawn")
    heading = capsys.readouterr().out.splitlines()[0]
    assert line.count("|") == heading.count("|")


def test_real_clips_that_are_long_enough_are_measured(monkeypatch):
    rng = np.random.default_rng(0)

    def make(count, steps):
        return [
            accuracy.Clip(
                views={"rgb": rng.normal(size=(steps, 4, 16))},
                label=number % CLASSES,
                group=str(number),
                name=str(number),
            )
            for number in range(count)
        ]

    parts = splits.Parts(train=[1], validation=[2], test=[3], name="")
    clips = {(1, 2): make(12, 24), (3,): [*make(11, 20), *make(4, 8)]}
    monkeypatch.setattr(accuracy, "divide", lambda _: (parts, ("a", "b", "c")))
    monkeypatch.setattr(accuracy, "load", lambda items, *_: clips[tuple(items)])
    monkeypatch.setattr(accuracy, "EPOCHS", 2)
    monkeypatch.setattr(accuracy, "COMPONENTS", 8)
    monkeypatch.setattr(recency, "SEEDS", (0,))
    monkeypatch.setattr(recency, "REAL_SETTINGS", recency.REAL_SETTINGS[:1])
    monkeypatch.setattr(recency, "REAL_STEPS", 10)
    measured = []
    measure = recency.measure
    monkeypatch.setattr(
        recency,
        "measure",
        lambda module, params, test: (
            measured.append(test) or measure(module, params, test)
        ),
    )
    assert len(list(recency.real_rows("", None))) == 1
    assert measured[0].inputs.shape == (11, 10, 8)
    assert len(measured[0].groups) == 11
