"""Grad-CAM++, XGrad-CAM and LayerCAM: by hand, by loops, and where they agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import gradcam, variants
from rgcam.models import classifiers
from tests.attribution.test_gradcam import lrcn, random
from tests.attribution.test_gradients import jacobian_of
from tests.attribution.test_perturbation import FEATURES, above

GRADIENT = jnp.asarray([1.0, -1.0, 2.0, 0.0]).reshape(2, 2, 1)
CELLS = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1)
FORMS = [variants.gradcam_pp, variants.xgradcam, variants.layercam]


def test_hand_computed_weights():
    # Grad-CAM++: mass 10; g^2 / (2 g^2 + 10 g^3) is 1/12, -1/8, 1/22 and, of 0, 0.
    found = variants.gradcam_pp(GRADIENT, CELLS)
    np.testing.assert_allclose(found, [1 / 12 + 2 / 22], rtol=1e-6)
    # XGrad-CAM: (1 - 2 + 6 + 0) / 10.
    np.testing.assert_allclose(variants.xgradcam(GRADIENT, CELLS), [0.5], rtol=1e-6)
    assert variants.layercam(GRADIENT, CELLS).ravel().tolist() == [1, 0, 2, 0]
    nothing = jnp.zeros((2, 2, 1))
    assert variants.gradcam_pp(nothing, nothing).tolist() == [0]
    assert variants.xgradcam(GRADIENT, nothing).tolist() == [0]


def reference(form, gradient, features):
    """Write the published formulas out, channel by channel, as loops."""
    maps = np.zeros(features.shape[:2])
    for k in range(features.shape[2]):
        g, a = gradient[..., k], features[..., k]
        if form is variants.layercam:
            maps += np.maximum(g, 0) * a
            continue
        if form is variants.xgradcam:
            beta = sum(g[c] * a[c] / a.sum() for c in np.ndindex(g.shape))
        else:
            alpha = g**2 / (2 * g**2 + a.sum() * g**3)
            beta = (alpha * np.maximum(g, 0)).sum()
        maps += beta * a
    return maps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["gap", "fc"])
def test_all_pairs_equal_the_formulas(form, head):
    upper, _ = above(head)
    jacobian, steps = jacobian_of(head, FEATURES), len(FEATURES)
    module = lrcn(head)
    variables = classifiers.init(module, jax.random.key(1), FEATURES, "classify")
    variables = jax.tree.map(lambda x: x + 0.3 * random(x.shape, x.size), variables)
    features = jnp.asarray(FEATURES)
    maps, beta = variants.all_pairs(form, module, variables, features, 2)
    for o, t in np.ndindex(steps, steps):
        if t <= o:
            expected = reference(form, jacobian[o, t], FEATURES[t])
            np.testing.assert_allclose(maps[o, t], expected, rtol=2e-3, atol=1e-4)
    assert (np.asarray(maps)[np.triu_indices(steps, 1)] == 0).all()
    if beta is not None:
        of_beta = gradcam.heatmaps(beta, features, relu=False)
        np.testing.assert_allclose(maps, of_beta, rtol=1e-3, atol=1e-5)
