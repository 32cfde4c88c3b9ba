"""Eq. 1 and 2 against a hand computation, a loop, finite differences, closed forms."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.attribution import explain, gradcam
from rgcam.attribution.maps import importance_matrix
from rgcam.errors import InputError
from rgcam.models import classifiers, layers
from rgcam.models.backbones import SmallCNN
from tests.conftest import draw_variables

T, H, W, K, C = 6, 3, 2, 5, 4


def random(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def lrcn(head="gap", cell="lstm", **kwargs):
    kwargs = {"classes": C, "hidden": 7, "width": 9} | kwargs
    return classifiers.LRCN(SmallCNN(), head=head, cell=cell, **kwargs)


def head_of(module, dtype=np.float32, shape=(T, H, W, K)):
    """Return a pure classify with random weights of the given dtype."""
    variables = draw_variables(module, jnp.zeros(shape), "classify")
    variables = jax.tree.map(
        lambda x: (x + 0.3 * random(x.shape, x.size)).astype(dtype), variables
    )
    return jax.jit(functools.partial(module.apply, variables, method="classify"))


def beta_by_loop(classify, features, target):
    """Differentiate each pair (t', t) by itself: the definition, Eq. 1."""
    features = jnp.asarray(features)

    @jax.jit
    def pair(o, t):
        score = lambda a_t: classify(features.at[t].set(a_t))[o, target]
        return jax.grad(score)(features[t]).mean((0, 1))

    outs = range(len(jax.eval_shape(classify, features)))
    ins = range(len(features))
    return np.array([[pair(o, t) for t in ins] for o in outs])


def beta_by_differences(classify, features, target, eps=1e-5):
    """Central differences of every A[t, i, j, k] in float64."""
    flat = np.zeros((classify(features).shape[0], features.size))
    for n in range(features.size):
        step = np.zeros(features.size)
        step[n] = eps
        step = step.reshape(features.shape)
        up, down = classify(features + step), classify(features - step)
        flat[:, n] = (up - down)[:, target] / (2 * eps)
    return flat.reshape(-1, *features.shape).mean((2, 3))


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def test_hand_computed_case():
    # y[0] = 2 a0 + 1, y[1] = 3 a0 * a1 with a_t the sum of a frame's four cells.
    features = jnp.asarray([[1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0]])
    features = features.reshape(2, 2, 2, 1)

    def classify(a):
        a0, a1 = a.sum((1, 2, 3))
        return jnp.stack([2 * a0 + 1, 3 * a0 * a1])[:, None]

    beta = gradcam.importance_weights(classify, features, 0)
    np.testing.assert_allclose(beta[..., 0], [[2, 0], [6, 30]])
    maps = gradcam.heatmaps(beta, features)
    np.testing.assert_allclose(maps[0, 0], [[2, 4], [6, 8]])
    np.testing.assert_allclose(maps[1, 1], [[30, 0], [0, 30]])
    matrix = importance_matrix(maps)
    np.testing.assert_allclose(matrix, [[20, 0], [60, 60]])


def test_relu_is_a_step_of_its_own():
    features = jnp.asarray([[[[1.0, 1.0], [3.0, 1.0]]]])
    beta = jnp.asarray([[[1.0, -2.0]]])
    signed = gradcam.heatmaps(beta, features, relu=False)
    np.testing.assert_array_equal(signed, [[[[-1.0, 1.0]]]])
    np.testing.assert_array_equal(gradcam.heatmaps(beta, features), [[[[0.0, 1.0]]]])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("head", layers.HEADS)
def test_equals_the_loop_over_pairs(head, cell):
    classify, features = head_of(lrcn(head, cell)), random((T, H, W, K))
    beta = jax.jit(lambda a: gradcam.importance_weights(classify, a, 2))(features)
    assert beta.shape == (T, T, K)
    assert relative(beta, beta_by_loop(classify, features, 2)) <= 1e-5


@pytest.mark.parametrize("head", layers.HEADS)
def test_equals_finite_differences_in_float64(head):
    with jax.enable_x64(True):
        module = Float64LRCN(head)
        features = random((4, H, W, K), dtype=np.float64)
        classify = head_of(module, np.float64, features.shape)
        beta = gradcam.importance_weights(classify, jnp.asarray(features), 1)
        assert beta.dtype == np.float64
        assert relative(beta, beta_by_loop(classify, features, 1)) <= 1e-12
        assert relative(beta, beta_by_differences(classify, features, 1)) <= 1e-8


class Float64LRCN(nn.Module):
    """The LRCN's head with float64 state: Linen's carry follows param_dtype."""

    head: str

    @nn.compact
    def classify(self, features):
        vectors = classifiers.FrameHead(self.head, 9)(features)
        vectors = nn.relu(vectors) if self.head == "fc" else vectors
        cell = nn.OptimizedLSTMCell(7, param_dtype=jnp.float64)
        return nn.Dense(C)(nn.RNN(cell)(vectors))


def test_future_is_exactly_zero_and_past_is_not():
    classify, features = head_of(lrcn("fc")), random((T, H, W, K))
    beta = np.abs(gradcam.importance_weights(classify, features, 0)).max(-1)
    assert (beta[np.triu_indices(T, 1)] == 0).all()
    assert (beta[np.tril_indices(T)] > 0).all()


def test_linear_recurrence_has_its_closed_form():
    decay = 0.7

    def classify(features):
        def step(h, x):
            h = decay * h + x
            return h, h

        pooled = features.mean((1, 2, 3))
        return jax.lax.scan(step, jnp.zeros(()), pooled)[1][:, None]

    beta = gradcam.importance_weights(classify, jnp.asarray(random((T, H, W, K))), 0)
    lag = np.arange(T)[:, None] - np.arange(T)
    expected = np.where(lag >= 0, decay ** np.maximum(lag, 0), 0) / (H * W * K)
    np.testing.assert_allclose(beta, np.repeat(expected[..., None], K, 2), rtol=1e-5)


class DetachedCell(layers.LSTM):
    """An LSTM through whose state no gradient flows back in time."""

    def step(self, gates, carry, drive):
        return super().step(gates, jax.lax.stop_gradient(carry), drive)


def test_detached_state_gives_a_diagonal_matrix(monkeypatch):
    monkeypatch.setitem(layers.CELLS, "lstm", DetachedCell)
    features = jnp.asarray(random((T, H, W, K)))
    beta = gradcam.importance_weights(head_of(lrcn()), features, 0)
    matrix = np.abs(gradcam.heatmaps(beta, features, relu=False)).sum((2, 3))
    assert (matrix[~np.eye(T, dtype=bool)] == 0).all()
    assert (matrix[np.eye(T, dtype=bool)] > 0).all()


def test_output_steps_need_not_be_input_steps():
    def classify(features):
        return features.mean((1, 2)).sum(0)[None, :C] ** 2

    features = jnp.asarray(random((T, H, W, K)))
    beta = gradcam.importance_weights(classify, features, 3)
    assert beta.shape == (1, T, K)
    assert relative(beta, beta_by_loop(classify, features, 3)) <= 1e-5


def test_target_may_be_a_function_of_the_scores():
    classify, features = head_of(lrcn()), jnp.asarray(random((T, H, W, K)))
    of = functools.partial(gradcam.importance_weights, classify, features)
    difference = of(lambda y: y[:, 1] - y[:, 3])
    np.testing.assert_allclose(difference, of(1) - of(3), atol=1e-7)
    log_prob = of(lambda y: jax.nn.log_softmax(y)[:, 1])
    shares = jax.nn.softmax(classify(features))  # d log p1 = dy1 - sum_c p_c dy_c
    mean = sum(shares[:, c, None, None] * of(c) for c in range(C))
    np.testing.assert_allclose(log_prob, of(1) - mean, atol=1e-6)


# explain(): the whole module, from frames.


def test_explain_of_an_fc_head_equals_the_definition():
    module, frames = lrcn("fc"), random((T, 16, 16, 3))
    variables = draw_variables(module, frames)
    e = explain.explain(module, variables, frames, 2)
    classify = functools.partial(module.apply, variables, method="classify")
    assert relative(e.beta, beta_by_loop(classify, e.features, 2)) <= 1e-5


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, Any, np.ndarray]:
    module, frames = lrcn(), random((T, 32, 32, 3))
    return module, draw_variables(module, frames), frames


def test_explain_agrees_with_its_parts(small):
    module, variables, frames = small
    e = explain.explain(module, variables, frames, 2)
    features = jax.jit(functools.partial(module.apply, method="features"))(
        variables, frames
    )
    classify = jax.jit(functools.partial(module.apply, variables, method="classify"))
    np.testing.assert_allclose(e.features, features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(e.scores, classify(features), rtol=1e-4, atol=1e-6)
    assert relative(e.beta, beta_by_loop(classify, features, 2)) <= 1e-5
    expected = jax.nn.relu(jnp.einsum("otk,tijk->otij", e.beta, e.features))
    np.testing.assert_allclose(e.maps, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(e.matrix, e.maps.sum((2, 3)), rtol=1e-6)


def test_frame_cnn_is_the_diagonal_case():
    module, frames = classifiers.FrameCNN(SmallCNN(), C), random((T, 32, 32, 3))
    variables = draw_variables(module, frames)
    e = explain.explain(module, variables, frames, 0, relu=False)
    off = ~np.eye(T, dtype=bool)
    assert (np.asarray(e.beta)[off] == 0).all()
    for t in range(T):
        alone = explain.explain(module, variables, frames[t : t + 1], 0, relu=False)
        np.testing.assert_allclose(alone.maps[0, 0], e.maps[t, t], rtol=1e-4, atol=1e-6)


def test_one_compilation_serves_all_classes(small):
    module, variables, frames = small
    explain.explain(module, variables, frames, 0)
    before = explain._explain._cache_size()
    for target in range(C):
        explain.explain(module, variables, frames, target)
    assert explain._explain._cache_size() == before


def test_batch_equals_single(small):
    module, variables, frames = small
    batch = np.stack([frames, frames[::-1]])
    batched = jax.vmap(explain.explain, (None, None, 0, 0))
    both = batched(module, variables, batch, jnp.array([1, 2]))
    for row, clip, target in zip((0, 1), batch, (1, 2), strict=True):
        single = explain.explain(module, variables, clip, target)
        of_row = jax.tree.leaves(jax.tree.map(lambda x, r=row: x[r], both))
        for a, b in zip(of_row, jax.tree.leaves(single), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_longer_clip_and_padding_leave_earlier_rows_unchanged(small):
    module, variables, frames = small
    whole = explain.explain(module, variables, frames, 1)
    prefix = explain.explain(module, variables, frames[:4], 1)
    np.testing.assert_allclose(whole.maps[:4, :4], prefix.maps, rtol=1e-4, atol=1e-6)
    padded = frames.copy()
    padded[4:] = 0
    masked = explain.explain(module, variables, padded, 1, length=4)
    np.testing.assert_allclose(masked.beta[:4, :4], prefix.beta, rtol=1e-4, atol=1e-7)
    assert not masked.matrix[4:].any() and not masked.matrix[:, 4:].any()


def test_bfloat16_features_are_explained_in_float32():
    class Half(nn.Module):
        def features(self, frames):
            return frames.astype(jnp.bfloat16)

        def classify(self, features):
            return features.mean((1, 2))

    e = explain.explain(Half(), {}, random((2, 3, 3, 3)), 0)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(e))


def test_mistakes_get_one_sentence(small):
    module, variables, frames = small
    with pytest.raises(InputError, match="target 4 is not a class.*0 to 3"):
        explain.explain(module, variables, frames, C)
    with pytest.raises(InputError, match="target -1 is not a class"):
        explain.explain(module, variables, frames, -1)
    with pytest.raises(InputError, match="uint8.*preprocess"):
        explain.explain(module, variables, np.zeros((2, 8, 8, 3), np.uint8), 0)
    with pytest.raises(InputError, match="vmap for a batch"):
        explain.explain(module, variables, frames[None], 0)
    beta = gradcam.importance_weights(
        lambda a: a.mean((1, 2)), jnp.ones((2, 1, 1, 3)), 9
    )
    assert np.isnan(beta).any()


def test_explanation_bytes_counts_what_is_returned(small):
    module, variables, frames = small
    e = explain.explain(module, variables, frames, 0)
    cells, channels = e.maps[0, 0].size, e.features.shape[-1]
    held = e.beta.nbytes + e.maps.nbytes + e.matrix.nbytes
    assert explain.explanation_bytes(T, T, cells, channels) == held


GRADIENT = jnp.asarray([1.0, -1.0, 2.0, 0.0]).reshape(2, 2, 1)
CELLS = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1)
FORMS = [gradcam.gradcam_pp, gradcam.xgradcam, gradcam.layercam]


def test_hand_computed_weights():
    # Grad-CAM++: mass 10; g^2 / (2 g^2 + 10 g^3) is 1/12, -1/8, 1/22 and, of 0, 0.
    found = gradcam.gradcam_pp(GRADIENT, CELLS)
    np.testing.assert_allclose(found, [1 / 12 + 2 / 22], rtol=1e-6)
    # XGrad-CAM: (1 - 2 + 6 + 0) / 10.
    np.testing.assert_allclose(gradcam.xgradcam(GRADIENT, CELLS), [0.5], rtol=1e-6)
    assert gradcam.layercam(GRADIENT, CELLS).ravel().tolist() == [1, 0, 2, 0]
    nothing = jnp.zeros((2, 2, 1))
    assert gradcam.gradcam_pp(nothing, nothing).tolist() == [0]
    assert gradcam.xgradcam(GRADIENT, nothing).tolist() == [0]


def reference(form, gradient, features):
    """Write the published formulas out, channel by channel, as loops."""
    maps = np.zeros(features.shape[:2])
    for k in range(features.shape[2]):
        g, a = gradient[..., k], features[..., k]
        if form is gradcam.layercam:
            maps += np.maximum(g, 0) * a
            continue
        if form is gradcam.xgradcam:
            beta = sum(g[c] * a[c] / a.sum() for c in np.ndindex(g.shape))
        else:
            alpha = g**2 / (2 * g**2 + a.sum() * g**3)
            beta = (alpha * np.maximum(g, 0)).sum()
        maps += beta * a
    return maps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["gap", "fc"])
def test_all_pairs_equal_the_formulas(form, head):
    # These modules import this one.
    from tests.attribution.test_gradients import jacobian_of
    from tests.attribution.test_perturbation import FEATURES

    jacobian, steps = jacobian_of(head, FEATURES), len(FEATURES)
    module = lrcn(head)
    variables = draw_variables(module, FEATURES, "classify")
    variables = jax.tree.map(lambda x: x + 0.3 * random(x.shape, x.size), variables)
    features = jnp.asarray(FEATURES)
    classify = functools.partial(module.apply, variables, method="classify")
    maps, beta = gradcam.weighted_maps(form, classify, features, 2)
    for o, t in np.ndindex(steps, steps):
        if t <= o:
            expected = reference(form, jacobian[o, t], FEATURES[t])
            np.testing.assert_allclose(maps[o, t], expected, rtol=2e-3, atol=1e-4)
    assert (np.asarray(maps)[np.triu_indices(steps, 1)] == 0).all()
    if beta is not None:
        of_beta = gradcam.heatmaps(beta, features, relu=False)
        np.testing.assert_allclose(maps, of_beta, rtol=1e-3, atol=1e-5)
