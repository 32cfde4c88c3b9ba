"""Haiku: with and without random keys and state, keys of functions, plain mistakes."""

import functools

import haiku as hk
import jax
import numpy as np
import pytest

import rgcam
from rgcam import interop
from rgcam.errors import InputError
from tests.interop.cases import FRAMES, haiku_network


def test_the_random_key_may_be_there_or_removed():
    transformed = hk.multi_transform(haiku_network)
    params = transformed.init(jax.random.key(0), FRAMES)
    with_key = rgcam.explain(*interop.from_haiku(transformed, params), FRAMES, 1)
    without = hk.without_apply_rng(transformed)
    removed = rgcam.explain(*interop.from_haiku(without, params), FRAMES, 1)
    np.testing.assert_array_equal(with_key.maps, removed.maps)


@pytest.mark.parametrize("remove", [hk.without_apply_rng, lambda x: x])
def test_a_state_is_read_and_not_changed(remove):
    network = functools.partial(haiku_network, normalise=True)
    transformed = remove(hk.multi_transform_with_state(network))
    params, state = transformed.init(jax.random.key(0), FRAMES)
    state = jax.tree.map(lambda leaf: leaf + 0.5, state)
    module, variables = interop.from_haiku(transformed, params, state)
    e = rgcam.explain(module, variables, FRAMES, 1)
    key = () if remove is hk.without_apply_rng else (None,)
    expected, _ = transformed.apply[0](params, state, *key, FRAMES)
    np.testing.assert_allclose(e.features, expected, atol=1e-5)
    alone = rgcam.explain(module, variables, FRAMES[:1], 1)
    np.testing.assert_allclose(alone.features[0], e.features[0], atol=1e-5)


def test_functions_may_have_names():
    def network():
        initialise, (features, classify) = haiku_network()
        return initialise, {"above": classify, "below": features}

    transformed = hk.without_apply_rng(hk.multi_transform(network))
    params = transformed.init(jax.random.key(0), FRAMES)
    module, variables = interop.from_haiku(
        transformed, params, features="below", classify="above"
    )
    assert rgcam.explain(module, variables, FRAMES, 1).matrix.shape == (6, 6)
    with pytest.raises(InputError, match="has no function 0"):
        interop.from_haiku(transformed, params)


def test_mistakes_are_one_sentence(monkeypatch):
    plain = hk.transform(lambda x: hk.Linear(3)(x))
    with pytest.raises(InputError, match="the result of hk.multi_transform, not"):
        interop.from_haiku(plain, {})
    transformed = hk.multi_transform(haiku_network)
    with pytest.raises(InputError, match="has no state"):
        interop.from_haiku(transformed, {}, {})
    stateful = hk.multi_transform_with_state(haiku_network)
    with pytest.raises(InputError, match="needs state"):
        interop.from_haiku(stateful, {})
    monkeypatch.setitem(__import__("sys").modules, "haiku", None)
    with pytest.raises(InputError, match="needs Haiku: pip install dm-haiku"):
        interop.from_haiku(transformed, {})
