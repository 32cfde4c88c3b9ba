import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.models import parameters

IMAGES = jnp.arange(2 * 5 * 5 * 3.0).reshape(2, 5, 5, 3) / 100
LAYERS = {
    "Dense": ((4,), IMAGES),
    "Conv": ((4, (3, 3), 2), IMAGES),
    "Embed": ((7, 4), jnp.arange(5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_linens(name):
    arguments, inputs = LAYERS[name]
    ours, linens = (getattr(room, name)(*arguments) for room in (parameters, nn))
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

    layer = parameters.Dense(4, kernel_init=initialiser)
    variables = layer.init(jax.random.key(0), IMAGES)
    assert calls == [(3, 4)]
    layer.apply(variables, IMAGES)
    assert calls == [(3, 4)]


def test_a_parameter_of_another_shape_is_an_error():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return parameters.Dense(4)(parameters.Dense(3)(x))

    variables = Two().init(jax.random.key(0), IMAGES)
    with pytest.raises(flax.errors.ScopeParamShapeError, match="Dense_1") as error:
        Two().apply(variables, IMAGES[..., :2])
    assert "(3, 3)" in str(error.value) and "(2, 3)" in str(error.value)


def test_a_parameter_that_is_missing_is_an_error():
    with pytest.raises(flax.errors.ScopeParamNotFoundError, match="bias"):
        parameters.Dense(4).apply({"params": {"kernel": jnp.ones((3, 4))}}, IMAGES)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_may_be_numpy_arrays(name):
    arguments, inputs = LAYERS[name]
    layer = getattr(parameters, name)(*arguments)
    variables = layer.init(jax.random.key(0), inputs)
    read = jax.tree.map(np.asarray, variables)  # as from a file
    assert (layer.apply(read, inputs) == layer.apply(variables, inputs)).all()
