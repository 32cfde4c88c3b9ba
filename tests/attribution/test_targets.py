"""What is explained of the scores: a class, a class of each step, a function of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import targets
from rgcam.attribution.targets import StepClasses
from rgcam.errors import InputError

SCORES = jnp.asarray([[1.0, 5.0, 2.0], [3.0, 0.0, 4.0]])


def test_a_class_or_a_function_is_selected():
    assert targets.select_target(SCORES, 1).tolist() == [5, 0]
    assert targets.select_target(SCORES, lambda y: y[:, 0] - y[:, 2]).tolist() == [
        -1,
        -1,
    ]
    assert np.isnan(targets.select_target(SCORES, 3)).all()


def test_the_last_valid_step_decides():
    assert targets.predicted_class(SCORES) == 2
    assert targets.predicted_class(SCORES, 1) == 1


def test_an_unknown_class_is_rejected():
    targets.check_target(jnp.asarray([0, 2]), 3)
    with pytest.raises(InputError, match="target 3 is not a class.*0 to 2"):
        targets.check_target(3, 3)


@pytest.mark.parametrize("target", [3.0, True, [], [1.5], "stand up", [[1]], ["kick"]])
def test_a_target_that_is_no_class_number_is_rejected(target):
    expected = "class_index.*'stand up'" if target == "stand up" else "class's number"
    with pytest.raises(InputError, match=f"target .*{expected}"):
        targets.validated_target(target)
    with pytest.raises(InputError, match="target"):
        targets.check_target(target, 4)


def test_class_numbers_of_any_kind_are_targets():
    for target in (2, np.int64(2), jnp.int32(2), np.uint8(2)):
        assert (
            targets.validated_target(target).shape == ()
            and targets.validated_target(target) == 2
        )
    assert targets.validated_target((0, 2)).tolist() == [0, 2]
    assert (
        targets.validated_target(None) is None and targets.validated_target(abs) is abs
    )


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        (lambda y: y, r"float32 \(2, 3\)"),
        (lambda y: y[-1, 1], r"float32 \(\)"),
        (lambda y: y[-1:, 1], r"float32 \(1,\)"),
        (lambda y: y.argmax(1), r"int32 \(2,\)"),
        (lambda y: [y[0, 1], y[1, 1]], "list"),
        (lambda y: None, "NoneType"),
    ],
)
def test_a_target_function_returns_one_number_for_every_step(function, returned):
    with pytest.raises(InputError, match=rf"returned {returned} for scores \(2, 3\)"):
        targets.select_target(SCORES, function)


# One class for each output step.


def test_every_step_has_the_score_of_its_own_class():
    assert targets.select_target(SCORES, jnp.asarray([2, 0])).tolist() == [2, 3]
    of_steps = targets.select_target(SCORES, jnp.asarray([1, 3]))
    assert of_steps[0] == 5 and np.isnan(of_steps[1])
    with pytest.raises(InputError, match="holds 3 classes and the model scores 2 out"):
        targets.select_target(SCORES, jnp.asarray([0, 1, 2]))


def test_the_seed_is_the_derivative_of_the_selected_scores():
    for index in (1, jnp.asarray([2, 0])):
        of_scores = jax.grad(lambda y, i=index: targets.select_target(y, i).sum())
        seed = targets.seed(index, SCORES.shape, SCORES.dtype)
        np.testing.assert_array_equal(
            np.broadcast_to(seed, SCORES.shape), of_scores(SCORES)
        )
    unknown = targets.seed(jnp.asarray([1, 3]), SCORES.shape, SCORES.dtype)
    assert np.isnan(unknown[1]).all() and unknown[0].tolist() == [0, 1, 0]
    with pytest.raises(InputError, match="give one class for each"):
        targets.seed(jnp.asarray([1]), SCORES.shape, SCORES.dtype)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 2], "holds 3 classes and the model scores 2 output steps"),
        ([0, 3], "the target of step 1 is 3.*it has 3, numbered 0 to 2"),
        ([-1, 0], "the target of step 0 is -1"),
        ([0.0, 1.0], r"holds float32 \(2,\): give one class number for each"),
        ([[0, 1]], r"int32 \(1, 2\).*jax.vmap for a batch"),
        ([], r"\(0,\)"),
        (["walk", "run"], "give one class number for each output step"),
        (2, r"int32 \(\)"),
    ],
)
def test_classes_of_steps_are_one_number_for_each(classes, message):
    with pytest.raises(InputError, match=message):
        targets.check_step_classes(StepClasses(classes), SCORES.shape)


def test_what_takes_one_class_says_so():
    with pytest.raises(InputError, match="takes the number of a class"):
        targets.check_target(StepClasses([0, 1]), 3)
