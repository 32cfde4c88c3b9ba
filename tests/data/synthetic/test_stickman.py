"""Stickman clips: exact ground truth, and pairs that differ in order only."""

import numpy as np
import pytest

from rgcam.data.synthetic import stickman
from rgcam.data.synthetic.stickman import CLASSES, StickmanClip, clip
from rgcam.errors import InputError

LABELS = range(len(CLASSES))
PAIRS = [
    tuple(CLASSES.index(name) for name in names)
    for names in (
        ("raise arms", "lower arms"),
        ("walk left", "walk right"),
        ("sit down", "stand up"),
    )
]
RESTING = ("wave", "kick", "jump", "squat", "bow", "raise arms", "sit down")


def scene_of(seed, *, size=64, length=16):
    return stickman.draw_scene(np.random.default_rng(seed), size, length)


def backwards(scene):
    """The scene with time reversed, which is as likely as the scene itself."""
    return scene._replace(
        progress=1 - scene.progress[::-1],
        sway=scene.sway[::-1],
        ball=scene.ball[::-1],
        noise=scene.noise[..., ::-1],
    )


def without_distractors(scene):
    """The scene without noise, sway or ball: only the action changes the frames."""
    return scene._replace(
        noise=0 * scene.noise, sway=0 * scene.sway, ball=scene.ball * 0 - 1.0
    )


def grow(mask, reach=2):
    """The mask (..., H, W) and all pixels within ``reach`` of it."""
    mask = mask.copy()
    for _ in range(reach):
        for axis in (-1, -2):
            mask |= np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return mask


def change(frames):
    """Mean absolute change (T - 1, H, W) from each frame to the next."""
    return np.abs(np.diff(frames.astype(float), axis=0)).mean(-1)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(("size", "length"), [(64, 16), (32, 8), (128, 21)])
def test_every_class_has_the_documented_shapes(label, size, length):
    drawn = clip((size, length), size=size, length=length, label=label)
    assert isinstance(drawn, StickmanClip)
    assert drawn.frames.shape == (length, size, size, 3)
    assert drawn.frames.dtype == np.uint8
    assert drawn.frames.flags.c_contiguous
    assert drawn.mask.shape == (length, size, size)
    assert drawn.mask.dtype == bool
    assert drawn.label == label
    np.testing.assert_allclose(drawn.times, np.arange(length) / 7.5)


def test_a_seed_always_draws_the_same_clip():
    first = clip((3, 1))
    np.random.default_rng(0).random(5)
    second = clip((3, 1))
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert (first.label, first.interval) == (second.label, second.interval)
    assert not np.array_equal(first.frames, clip((3, 2)).frames)
    assert not np.array_equal(clip(3).frames, clip(4).frames)


def test_naming_the_drawn_label_changes_nothing():
    drawn = clip(12)
    named = clip(12, label=drawn.label)
    np.testing.assert_array_equal(drawn.frames, named.frames)


def test_labels_are_drawn_uniformly():
    labels = [clip((7, seed), size=32, length=8).label for seed in range(165)]
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert len(counts) == len(CLASSES)
    assert counts.min() > 3 and counts.max() < 30  # 15 expected, 3.7 the deviation


@pytest.mark.parametrize(
    ("length", "shortest", "longest"), [(8, 4, 6), (16, 7, 12), (40, 7, 12)]
)
def test_the_action_is_complete_and_of_the_documented_length(length, shortest, longest):
    durations = set()
    for seed in range(300):
        progress = stickman._progress(np.random.default_rng(seed), length)
        assert progress[0] == 0 and progress[-1] == 1
        durations.add(int(((progress > 0) & (progress < 1)).sum()))
    assert durations == set(range(shortest, longest + 1))


@pytest.mark.parametrize("label", LABELS)
def test_the_mask_is_not_empty_exactly_during_the_action(label):
    for seed in range(8):
        drawn = clip((1, seed), label=label)
        first, last = drawn.interval
        assert 1 <= first and first + 7 <= last <= len(drawn.frames) - 1
        present = drawn.mask.any(axis=(1, 2))
        assert present[first:last].all()
        assert not present[:first].any() and not present[last:].any()
        assert drawn.mask[first:last].mean() < 0.35


@pytest.mark.parametrize("label", LABELS)
def test_mask_pixels_show_the_figure_and_not_the_background(label):
    for seed in range(4):
        scene = without_distractors(scene_of((2, seed)))
        drawn = stickman._render(scene, label)
        background = stickman.to_frames(scene.background, 0 * scene.noise[..., :1])
        shown = (drawn.frames != background).any(-1)
        assert shown[drawn.mask].mean() > 0.97


@pytest.mark.parametrize("label", LABELS)
def test_mask_pixels_change_more_than_other_pixels(label):
    inside, outside = [], []
    for seed in range(6):
        drawn = clip((3, seed), label=label)
        first, last = drawn.interval
        moved = change(drawn.frames)[first : last - 1]
        mask = drawn.mask[first : last - 1] | drawn.mask[first + 1 : last]
        inside.append(moved[mask].mean())
        outside.append(moved[~mask].mean())
    assert np.mean(inside) > 2.5 * np.mean(outside)


@pytest.mark.parametrize("name", ["wave", "raise arms", "lower arms"])
def test_only_the_arms_move_in_actions_of_the_arms(name):
    for seed in range(4):
        drawn = stickman._render(
            without_distractors(scene_of((4, seed))), CLASSES.index(name)
        )
        first, last = drawn.interval
        moved = change(drawn.frames)[first : last - 1] > 8
        mask = drawn.mask[first : last - 1] | drawn.mask[first + 1 : last]
        assert moved.any()
        assert not (moved & ~grow(mask)).any()


def test_the_wave_is_by_one_arm_on_either_side():
    side = {scene_of(seed, size=32).side for seed in range(20)}
    assert side == {-1, 1}
    label = CLASSES.index("wave")
    for seed in range(4):
        scene = scene_of((5, seed))
        drawn = stickman._render(scene, label)
        x = np.nonzero(drawn.mask)[2].mean() / 64
        assert np.sign(x - scene.position[0]) == scene.side


def test_walks_go_in_the_direction_of_their_name_whichever_way_the_figure_faces():
    for name, sign in (("walk left", -1), ("walk right", 1)):
        for seed in range(6):
            drawn = clip((6, seed), label=CLASSES.index(name))
            first, last = drawn.interval
            start, end = (
                np.nonzero(drawn.mask[t])[1].mean() for t in (first, last - 1)
            )
            assert sign * (end - start) > 12


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_pair_has_the_same_frames_in_reverse(one, other):
    for seed in range(3):
        scene = scene_of((8, seed))
        forward = stickman._render(scene, one)
        reverse = stickman._render(backwards(scene), other)
        gap = np.abs(forward.frames[::-1].astype(int) - reverse.frames)
        assert gap.max() <= 1  # rounding of 1 - progress
        assert (forward.mask[::-1] != reverse.mask).mean() < 1e-4
        first, last = forward.interval
        assert reverse.interval == (16 - last, 16 - first)


def test_scenes_are_equally_distributed_forwards_and_backwards():
    rng = np.random.default_rng(9)
    progress = np.array([stickman._progress(rng, 16) for _ in range(3000)])
    before, after = (progress == 0).sum(1), (progress == 1).sum(1)
    assert abs((before - after).mean()) < 3 * (before - after).std() / 3000**0.5
    shares = [np.bincount(hold, minlength=16) / 3000 for hold in (before, after)]
    np.testing.assert_allclose(*shares, atol=0.03)
    paths = np.array([stickman._ball(rng, 16)[0] for _ in range(1000)])
    drift = paths[:, -1] - paths[:, 0]
    assert np.all(np.abs(drift.mean(0)) < 3 * drift.std(0) / 1000**0.5)


def test_frames_before_the_action_do_not_depend_on_the_label():
    first = [clip(10, label=CLASSES.index(name)).frames[0] for name in RESTING]
    for frame in first[1:]:
        np.testing.assert_array_equal(frame, first[0])


def test_size_scales_the_same_scene():
    small, large = clip(11, label=5), clip(11, label=5, size=128)
    assert small.interval == large.interval
    shrunk = large.frames.reshape(16, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(shrunk - small.frames).mean() < 6


@pytest.mark.parametrize(
    ("seed", "options", "word"),
    [
        (0, {"label": 11}, "label is 11"),
        (0, {"label": -1}, "label is -1"),
        (0, {"length": 7}, "length is 7"),
        (0, {"size": 31}, "size is 31"),
        (-1, {}, "seed is -1"),
        ((2, -1), {}, "seed is"),
    ],
)
def test_bad_arguments_are_named(seed, options, word):
    with pytest.raises(InputError, match=word):
        clip(seed, **options)
