"""Layers: Dense, Conv, Embed, LSTM and GRU against Linen's, and the head of each frame."""

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.errors import InputError
from rgcam.models import layers

IMAGES = jnp.arange(2 * 5 * 5 * 3.0).reshape(2, 5, 5, 3) / 100
LAYERS = {
    "Dense": ((4,), IMAGES),
    "Conv": ((4, (3, 3), 2), IMAGES),
    "Embed": ((7, 4), jnp.arange(5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_linens(name):
    arguments, inputs = LAYERS[name]
    ours, linens = (getattr(room, name)(*arguments) for room in (layers, nn))
    variables = ours.init(jax.random.key(0), inputs)
    expected = linens.init(jax.random.key(0), inputs)
    equal = jax.tree.map(lambda a, b: bool((a == b).all()), variables, expected)
    assert all(jax.tree.leaves(equal))
    assert (ours.apply(variables, inputs) == linens.apply(variables, inputs)).all()


def test_an_initialiser_is_not_traced_where_its_parameter_is_given():
    calls = []

    def initialiser(key, shape, dtype):
        calls.append(shape)
        return jnp.ones(shape, dtype)

    layer = layers.Dense(4, kernel_init=initialiser)
    variables = layer.init(jax.random.key(0), IMAGES)
    assert calls == [(3, 4)]
    layer.apply(variables, IMAGES)
    assert calls == [(3, 4)]


def test_a_parameter_of_another_shape_is_an_error():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.Dense(4)(layers.Dense(3)(x))

    variables = Two().init(jax.random.key(0), IMAGES)
    with pytest.raises(flax.errors.ScopeParamShapeError, match="Dense_1") as error:
        Two().apply(variables, IMAGES[..., :2])
    assert "(3, 3)" in str(error.value) and "(2, 3)" in str(error.value)


def test_a_parameter_that_is_missing_is_an_error():
    with pytest.raises(flax.errors.ScopeParamNotFoundError, match="bias"):
        layers.Dense(4).apply({"params": {"kernel": jnp.ones((3, 4))}}, IMAGES)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_may_be_numpy_arrays(name):
    arguments, inputs = LAYERS[name]
    layer = getattr(layers, name)(*arguments)
    variables = layer.init(jax.random.key(0), inputs)
    read = jax.tree.map(np.asarray, variables)  # as from a file
    assert (layer.apply(read, inputs) == layer.apply(variables, inputs)).all()


def test_pool_averages_quarters():
    maps = np.arange(9.0).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(layers.pool(maps, 1)[0, :, :, 0], [[4]])
    quarters = layers.pool(maps, 2)[0, :, :, 0]
    np.testing.assert_array_equal(quarters, [[2, 3.5], [6.5, 8]])
    np.testing.assert_array_equal(
        layers.pool(quarters[None, :, :, None], 2)[0, ..., 0], quarters
    )


def test_contributions_of_cells_add_up_to_the_pooled_projection():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    kernels = rng.normal(size=(2, 2, 4, 6)).astype(np.float32)
    contributions = layers.cell_contributions(maps, kernels)
    assert contributions.shape == (2, 3, 5, 6)
    pooled = layers.pool(maps, 2)
    total = np.einsum("tijk,ijkd->td", pooled, kernels)
    np.testing.assert_allclose(contributions.sum((1, 2)), total, rtol=1e-4, atol=1e-5)
    alone = np.zeros_like(maps)
    alone[:, 2, 1] = maps[:, 2, 1]  # below and left: 2 of 3 rows, 3 of 5 columns
    part = np.einsum("tijk,ijkd->td", layers.pool(alone, 2), kernels)
    np.testing.assert_allclose(contributions[:, 2, 1], part, rtol=1e-4, atol=1e-5)


def test_a_map_smaller_than_the_grid_is_an_error_and_not_nan():
    maps, kernels = np.ones((2, 1, 3, 4), np.float32), np.ones((2, 2, 4, 6), np.float32)
    for function, argument in ((layers.pool, 2), (layers.cell_contributions, kernels)):
        with pytest.raises(InputError, match="of 1 cells cannot be divided into 2"):
            function(maps, argument)


@pytest.mark.parametrize(
    ("kind", "cell"), [("lstm", nn.OptimizedLSTMCell), ("gru", nn.GRUCell)]
)
def test_recurrent_layers_are_linens_with_the_same_parameters(kind, cell):
    vectors = jax.random.normal(jax.random.key(0), (6, 5))
    linen = nn.RNN(cell(4))
    expected, variables = linen.init_with_output(jax.random.key(0), vectors)

    def run(layer):
        return layer.advance(layer.begin(), layer.drive(vectors))[1]

    layer = layers.Recurrent(kind, hidden=4)
    states, initial = nn.init_with_output(run, layer)(jax.random.key(0))
    shapes = lambda tree: jax.tree.map(np.shape, tree)
    assert shapes(initial) == shapes(variables)
    states = nn.apply(run, layer)(variables)
    np.testing.assert_allclose(states, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", layers.CELLS)
def test_states_of_two_stretches_are_those_of_one(kind):
    vectors = jax.random.normal(jax.random.key(1), (7, 5))
    layer = layers.Recurrent(kind, hidden=4)

    def run(layer, stops):
        carry, states = layer.begin(), []
        for start, stop in zip([0, *stops], [*stops, len(vectors)], strict=True):
            carry, part = layer.advance(carry, layer.drive(vectors[start:stop]))
            states.append(part)
        return np.concatenate(states)

    variables = nn.init(lambda layer: run(layer, []), layer)(jax.random.key(0))
    one = nn.apply(lambda layer: run(layer, []), layer)(variables)
    two = nn.apply(lambda layer: run(layer, [3]), layer)(variables)
    assert np.abs(one).max() > 0
    np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-7)
