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


def test_an_unknown_class_is_refused():
    targets.check(jnp.asarray([0, 2]), 3)
    with pytest.raises(InputError, match="target 3 is not a class.*0 to 2"):
        targets.check(3, 3)
