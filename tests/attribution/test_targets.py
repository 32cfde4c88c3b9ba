"""What is explained of the scores."""

import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import targets
from rgcam.errors import InputError

SCORES = jnp.asarray([[1.0, 5.0, 2.0], [3.0, 0.0, 4.0]])


def test_a_class_or_a_function_is_selected():
    assert targets.select(SCORES, 1).tolist() == [5, 0]
    assert targets.select(SCORES, lambda y: y[:, 0] - y[:, 2]).tolist() == [-1, -1]
    assert np.isnan(targets.select(SCORES, 3)).all()


def test_the_last_valid_step_decides():
    assert targets.predicted_class(SCORES) == 2
    assert targets.predicted_class(SCORES, 1) == 1


def test_an_unknown_class_is_rejected():
    targets.check(jnp.asarray([0, 2]), 3)
    with pytest.raises(InputError, match="target 3 is not a class.*0 to 2"):
        targets.check(3, 3)


@pytest.mark.parametrize("target", [3.0, True, [], [1.5], "stand up", [[1]], ["kick"]])
def test_a_target_that_is_no_class_number_is_rejected(target):
    expected = "class_index.*'stand up'" if target == "stand up" else "class's number"
    with pytest.raises(InputError, match=f"target .*{expected}"):
        targets.validated(target)
    with pytest.raises(InputError, match="target"):
        targets.check(target, 4)


def test_class_numbers_of_any_kind_are_targets():
    for target in (2, np.int64(2), jnp.int32(2), np.uint8(2)):
        assert targets.validated(target).shape == () and targets.validated(target) == 2
    assert targets.validated((0, 2)).tolist() == [0, 2]
    assert targets.validated(None) is None and targets.validated(abs) is abs


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
        targets.select(SCORES, function)
