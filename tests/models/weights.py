"""Random weights by NumPy: initialisers take longer to compile than most tests to run."""

import functools

import jax
import numpy as np

from rgcam.models import classifiers


def drawn(shapes):
    """Return weights of the shapes of a tree, which keep the scale of what they weigh."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return rng.normal(0, scale, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)


def shapes_of(module, inputs, method="__call__"):
    """Return the shapes of the variables that ``classifiers.init`` makes."""
    make = functools.partial(classifiers.init, module, inputs=inputs, method=method)
    return jax.eval_shape(make, jax.random.key(0))
