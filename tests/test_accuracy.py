"""benchmarks/accuracy.py trains, compares and lists errors as its tables say."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import accuracy
from rgcam.models import layers

CLASSES = 3


def make_clips(count, seed, steps=20, channels=16):
    """Make clips whose features have another mean in every class."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(7).normal(size=(CLASSES, 4, channels))
    clips = []
    for number in range(count):
        label = number % CLASSES
        maps = means[label] + rng.normal(size=(steps, 4, channels))
        clips.append(
            accuracy.Clip(
                views={"rgb": maps, "difference": maps[::2] / 2},
                label=label,
                group=f"{label} {number // CLASSES}",
                name=f"clip {seed} {number}",
            )
        )
    return clips


def test_the_mean_of_the_quarters_by_their_cells_is_the_mean_of_the_map():
    maps = np.random.default_rng(0).normal(size=(3, 7, 7, 5)).astype(np.float32)
    quarters = np.asarray(layers.pool(maps, accuracy.GRID)).reshape(3, 4, 5)
    clip = accuracy.Clip({"rgb": quarters}, label=0, group="", name="")
    pooled = accuracy.vectors(clip, "rgb", grid=False)
    np.testing.assert_allclose(pooled, maps.mean((1, 2)), atol=1e-6)


def test_components_are_orthogonal_directions_of_unit_mean_variance():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 30)) + 5
    found = accuracy.components(samples, 3)
    projected = (samples - found.mean) @ found.kernel
    covariance = projected.T @ projected / len(samples)
    assert np.trace(covariance) == pytest.approx(3, rel=1e-4)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)
    # Three components hold all of it: distances are those of the samples, scaled.
    distances = np.linalg.norm(projected[:1] - projected[1:], axis=1)
    expected = np.linalg.norm(samples[:1] - samples[1:], axis=1)
    np.testing.assert_allclose(
        distances / expected, distances[0] / expected[0], rtol=1e-4
    )


def test_steps_and_their_changes_are_those_of_the_recipe():
    inputs = np.arange(10.0)[:, None] ** 2
    recipe = accuracy.LRCN._replace(lags=(1, 2))
    steps = accuracy.sampled(inputs, recipe, offset=1)
    np.testing.assert_array_equal(steps[:, 0], [1, 9, 25, 49, 81])
    np.testing.assert_array_equal(steps[:, 1], [0, 8, 16, 24, 32])
    np.testing.assert_array_equal(steps[:, 2], [0, 8, 24, 40, 56])


def test_mixed_clips_are_as_long_as_the_shorter_and_share_their_labels():
    inputs = [np.full((n, 2), float(n)) for n in (4, 8, 12, 16)]
    recipe = accuracy.LRCN._replace(mixup=1.0)
    batch = accuracy.draw(
        inputs, np.arange(4), np.arange(4), recipe, 4, np.random.default_rng(0)
    )
    np.testing.assert_allclose(batch.targets.sum(1), 1, atol=1e-6)
    own = np.array([2, 4, 6, 8])
    assert (batch.lengths <= own).all() and (batch.lengths < own).any()
    expected = batch.targets @ np.array([4.0, 8, 12, 16])
    np.testing.assert_allclose(batch.inputs[:, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss, marked",
    [("every_step", [0, 1, 2]), ("last_half", [1, 2]), ("last_step", [2])],
)
def test_only_valid_steps_of_the_loss_are_trained(loss, marked):
    batch = accuracy.Batch(np.zeros((1, 5, 1)), np.array([3]), np.zeros((1, 2)))
    steps = np.flatnonzero(np.asarray(accuracy.trained_steps(batch, loss))[0])
    assert steps.tolist() == marked


@pytest.mark.parametrize(
    "recipe",
    [
        accuracy.CNN,
        accuracy.LRCN._replace(difference=True, grid=True, averaging=True, mixup=0.4),
    ],
    ids=["cnn", "lrcn"],
)
def test_a_recipe_learns_what_tells_classes_apart(recipe, monkeypatch):
    monkeypatch.setattr(accuracy, "BATCH", 8)
    monkeypatch.setattr(accuracy, "SECONDS", 1.0)  # 8 of the 10 steps of a clip
    monkeypatch.setattr(accuracy, "EPOCHS", 20)  # of three batches
    monkeypatch.setattr(accuracy, "COMPONENTS", 8)
    monkeypatch.setattr(accuracy, "RATE", 1e-2)
    tested = make_clips(12, seed=2)
    scores = accuracy.fit(recipe, make_clips(24, seed=1), tested, seed=0)
    assert scores.shape == (12, CLASSES) and (scores <= 0).all()
    assert accuracy.is_correct(scores, tested).mean() > 0.9


def test_a_recipe_is_trained_once(tmp_path, monkeypatch):
    clips = make_clips(3, seed=1)
    answers = iter([np.eye(3), np.zeros((3, 3))])
    monkeypatch.setattr(accuracy, "fit", lambda *_, seed: next(answers))
    first = accuracy.run(accuracy.CNN, clips, clips, tmp_path, 0)
    again = accuracy.run(accuracy.CNN, clips, clips, tmp_path, 0)
    np.testing.assert_array_equal(first, again)
    other = accuracy.run(accuracy.CNN, clips, clips, tmp_path, 1)
    assert not other.any()


def test_differences_are_of_the_same_clips_and_seeds_are_averaged():
    clips = make_clips(36, seed=1)
    right = np.eye(CLASSES)[[clip.label for clip in clips]]
    wrong = np.roll(right, 1, axis=1)
    half = np.where(np.arange(36)[:, None] < 18, right, wrong)
    gain = accuracy.difference([right, half], [half, half], clips)
    assert gain.mean == pytest.approx(0.25)
    assert gain.low is not None and 0 < gain.low < 0.25 < gain.high


def test_misclassified_clips_are_listed_with_what_was_predicted(capsys):
    clips = make_clips(6, seed=1)
    right = np.eye(CLASSES)[[clip.label for clip in clips]]
    wrong = right.copy()
    wrong[4] = np.eye(CLASSES)[2]
    accuracy.print_errors({"a": [right, wrong]}, clips, ("kick", "jump", "bow"))
    text = capsys.readouterr().out
    assert "| jump | bow | 0.5 |" in text
    assert "| clip 1 4 | bow |" in text
    assert "clip 1 3" not in text


def test_log_probabilities_of_padded_clips_ignore_the_padding():
    recipe, rng = accuracy.LRCN, np.random.default_rng(0)
    module = accuracy.build(recipe, CLASSES)
    clips = [rng.normal(size=(n, 4)).astype(np.float32) for n in (5, 9)]
    variables = accuracy.classifiers.init(
        module, accuracy.jax.random.key(0), jnp.zeros((2, 1, 1, 4)), "classify"
    )
    both = accuracy.predict(module, recipe, variables["params"], clips)
    alone = accuracy.predict(module, recipe, variables["params"], clips[:1])
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)
