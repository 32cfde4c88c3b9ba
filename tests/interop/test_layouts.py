"""Models of every shape: clip-level scores, tokens, channels first, a batch axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam.attribution import maps as attribution_maps
from rgcam.attribution.explain import METHODS
from rgcam.errors import InputError
from rgcam.metrics import faithfulness, verify
from rgcam.models import cut

T, SIDE, K, C, WORDS = 6, 3, 4, 3, 5
RNG = np.random.default_rng(0)
FRAMES = RNG.normal(size=(T, 12, 12, 3)).astype(np.float32)
WEIGHTS = {
    "below": jnp.asarray(RNG.normal(size=(3, K)), "float32"),
    "above": jnp.asarray(RNG.normal(size=(T, SIDE, SIDE, K, C)), "float32"),
    "words": jnp.asarray(RNG.normal(size=(WORDS, T)), "float32"),
}


def features(weights, frames):
    cells = frames.reshape(len(frames), SIDE, 4, SIDE, 4, 3).mean((2, 4))
    return jax.nn.relu(cells @ weights["below"])


def evidence(weights, maps):
    """Weigh every cell of every step by itself, and not linearly: (T, C)."""
    return jnp.tanh(jnp.einsum("thwk,thwkc->tc", maps, weights["above"]))


def clip_level(weights, maps):
    return evidence(weights, maps).mean(0)


def clip_level_row(weights, maps):
    return clip_level(weights, maps)[None]


def words(weights, maps):
    return jnp.tanh(weights["words"] @ evidence(weights, maps))


HEADS = {"(C,)": (clip_level, 1), "(1, C)": (clip_level_row, 1), "words": (words, 5)}


@pytest.mark.parametrize(
    ("method", "head"),
    [(method, "(C,)") for method in METHODS]
    + [(method, "words") for method in ("gradcam", "fade", "cells", "shapley")],
)
def test_every_method_explains_any_number_of_output_steps(head, method):
    classify, out = HEADS[head]
    module, variables = rgcam.from_functions(features, classify, WEIGHTS)
    e = rgcam.explain(module, variables, FRAMES, 1, method=method, relu=False)
    assert e.scores.shape == (out, C) and e.maps.shape == (out, T, SIDE, SIDE)
    assert np.isfinite(e.matrix).all() and np.abs(e.matrix).max() > 0
    if e.beta is not None:
        assert e.beta.shape == (out, T, K)
    if method == "path":  # a row sums to the change from the baseline
        other = np.concatenate([e.features[:1], e.features[:-1]])
        change = e.scores - cut.classify(module, variables, jnp.asarray(other))
        np.testing.assert_allclose(e.matrix.sum(1), change[:, 1], atol=0.02)


@pytest.mark.parametrize("head", HEADS)
def test_maps_of_any_number_of_output_steps_are_checked_and_aggregated(head):
    classify, out = HEADS[head]
    module, variables = rgcam.from_functions(features, classify, WEIGHTS)
    e = rgcam.explain(module, variables, FRAMES, 1, method="fade")
    check = lambda maps: faithfulness.check_faithfulness(
        module, variables, e.features, maps, 1, method="fade"
    )
    assert check(e.maps).passed
    assert not check(-np.asarray(e.maps)).passed
    # Not causal: every output step sees every frame, and a lag means nothing.
    assert faithfulness.visible_frames(module, variables, e.features).all()
    mean = attribution_maps.aggregate(e.matrix, e.scores, 1, "mean")
    np.testing.assert_allclose(mean, np.asarray(e.matrix).mean(0))
    largest = attribution_maps.aggregate(e.maps, e.scores, 1, "max")
    np.testing.assert_array_equal(largest, np.asarray(e.maps).max(0))
    reach = attribution_maps.lag_profile(np.asarray(e.matrix))
    assert reach.profile.size == 0 and np.isnan(reach.recurrent_share)
    exact = rgcam.explain(module, variables, FRAMES, 1, relu=False)
    assert verify.verify(module, variables, exact, 1).as_defined


def test_frames_that_an_output_step_cannot_see_are_known_from_its_derivatives():
    causal = lambda _, maps: jnp.cumsum(jnp.tanh(maps).mean((1, 2)), 0)
    looks_ahead = lambda _, maps: jnp.cumsum(jnp.tanh(maps).mean((1, 2))[::-1], 0)
    visible_of = lambda classify: faithfulness.visible_frames(
        *rgcam.from_functions(features, classify, WEIGHTS), features(WEIGHTS, FRAMES)
    )
    np.testing.assert_array_equal(visible_of(causal), np.tril(np.ones((T, T))))
    assert visible_of(looks_ahead).all()


def test_a_length_with_another_number_of_output_steps_is_that_of_the_valid_frames():
    # The head of a clip of any length: a mean over its frames.
    head = lambda w, maps: jnp.tanh(maps.mean(0)).reshape(-1, K)[:, :C].mean(0)
    module, variables = rgcam.from_functions(features, head, WEIGHTS)
    for method in ("gradcam", "fade", "occlusion"):
        padded = rgcam.explain(module, variables, FRAMES, 1, method=method, length=4)
        short = rgcam.explain(module, variables, FRAMES[:4], 1, method=method)
        assert padded.maps.shape == (1, T, SIDE, SIDE)
        np.testing.assert_array_equal(padded.scores, short.scores)
        np.testing.assert_array_equal(padded.maps[:, :4], short.maps)
        assert not padded.maps[:, 4:].any() and not padded.features[4:].any()


def in_layout(axes):
    """Return the clip-level model with the axes of its feature map in another order."""
    order = [axes.replace("b", "").index(axis) for axis in "thwk"]
    back = np.argsort(order)

    def permuted(weights, frames):
        maps = features(weights, frames).transpose(back)
        return jnp.expand_dims(maps, axes.index("b")) if "b" in axes else maps

    def classify(weights, maps):
        assert maps.ndim == len(axes)
        maps = maps.squeeze(axes.index("b")) if "b" in axes else maps
        scores = words(weights, maps.transpose(order))
        return scores[None] if "b" in axes else scores

    layout = rgcam.Layout(features=axes)
    return rgcam.from_functions(permuted, classify, WEIGHTS, layout=layout)


@pytest.mark.parametrize("axes", ["tkhw", "bktwh"])
def test_channels_first_and_a_batch_axis_are_the_same_explanation(axes):
    module, variables = rgcam.from_functions(features, words, WEIGHTS)
    other, same = in_layout(axes)
    for method in ("gradcam", "fade", "cells"):
        expected = rgcam.explain(module, variables, FRAMES, 1, method=method)
        e = rgcam.explain(other, same, FRAMES, 1, method=method)
        np.testing.assert_allclose(e.features, expected.features, atol=1e-6)
        np.testing.assert_allclose(e.maps, expected.maps, atol=1e-5)


def test_frames_reach_the_model_with_the_axes_that_it_takes():
    taken = lambda w, frames: features(w, frames[0].transpose(1, 2, 3, 0))
    layout = rgcam.Layout(frames="bcthw")
    module, variables = rgcam.from_functions(taken, words, WEIGHTS, layout=layout)
    maps = cut.features(module, variables, jnp.asarray(FRAMES))
    np.testing.assert_array_equal(maps, features(WEIGHTS, FRAMES))


def token_model(class_tokens=0, **options):
    """Return a model of tokens, whose head reads all tokens, class tokens too."""

    def tokens(weights, frames):
        maps = features(weights, frames).reshape(len(frames), -1, K)
        own = jnp.sin(maps.mean(1, keepdims=True) + jnp.arange(class_tokens)[:, None])
        return jnp.concatenate([own, maps], 1)[None]

    def classify(weights, tokens):
        assert tokens.shape[2:] == (class_tokens + SIDE**2, K)
        own, maps = jnp.split(tokens[0], [class_tokens], 1)
        scores = evidence(weights, maps.reshape(len(maps), SIDE, SIDE, K))
        return (scores + jnp.tanh(own[..., :C]).sum(1)).sum(0)

    layout = rgcam.Layout(features="btnk", class_tokens=class_tokens, **options)
    return rgcam.from_functions(tokens, classify, WEIGHTS, layout=layout)


@pytest.mark.parametrize(
    ("class_tokens", "grid"), [(0, None), (1, (1, SIDE**2)), (2, (SIDE, SIDE))]
)
def test_tokens_are_the_cells_of_a_grid(class_tokens, grid):
    module, variables = token_model(class_tokens, grid=grid)
    e = rgcam.explain(module, variables, FRAMES, 1, method="path", baseline="zero")
    height, width = grid or (SIDE, SIDE)
    assert e.maps.shape == (1, T, height, width)
    plain = features(WEIGHTS, FRAMES).reshape(T, height, width, K)
    np.testing.assert_allclose(e.features[..., :K], plain, atol=1e-6)
    # What the class tokens contribute is part of their frame, the same in all cells.
    only = rgcam.explain(
        *token_model(grid=grid), FRAMES, 1, method="path", baseline="zero"
    )
    beside = np.asarray(e.maps - only.maps)
    assert (np.abs(beside).max() > 0.001) == bool(class_tokens)
    assert np.abs(beside - beside.mean((2, 3), keepdims=True)).max() < 0.02
    empty = cut.classify(module, variables, jnp.zeros_like(e.features))
    np.testing.assert_allclose(e.matrix.sum(1), (e.scores - empty)[:, 1], atol=0.05)


def test_beta_of_tokens_is_the_mean_of_their_gradients():
    module, variables = token_model(1)
    e = rgcam.explain(module, variables, FRAMES, 1)
    tokens = module.features(variables, FRAMES)
    gradient = jax.grad(lambda x: module.classify(variables, x)[1])(tokens)[0]
    expected = gradient[:, 1:].mean(1)
    np.testing.assert_allclose(e.beta[0, :, :K], expected, atol=1e-6)
    np.testing.assert_allclose(e.beta[0, :, K:], gradient[:, 0] / SIDE**2, atol=1e-6)


def test_vectors_of_frames_are_maps_of_one_cell():
    vectors = lambda w, frames: features(w, frames).mean((1, 2))
    head = lambda w, x: jnp.cumsum(jnp.tanh(x), 0)
    layout = rgcam.Layout(features="tk")
    module, variables = rgcam.from_functions(vectors, head, WEIGHTS, layout=layout)
    e = rgcam.explain(module, variables, FRAMES, 1, method="fade")
    assert e.maps.shape == (T, T, 1, 1)
    assert faithfulness.check_faithfulness(
        module, variables, e.features, e.maps, 1, method="fade"
    ).passed


def test_what_does_not_fit_the_layout_is_one_sentence():
    two_clips = lambda w, frames: jnp.stack([features(w, frames)] * 2)
    explain = lambda functions, layout: rgcam.explain(
        *rgcam.from_functions(*functions, WEIGHTS, layout=layout), FRAMES, 1
    )
    with pytest.raises(
        InputError, match=r"features returned .* \(2, 6, 3, 3, 4\).*\(1, T"
    ):
        explain((two_clips, words), rgcam.Layout(features="bthwk"))
    with pytest.raises(
        InputError, match=r"features returned .* \(6, 3, 3, 4\).*T, N, K"
    ):
        explain((features, words), rgcam.Layout(features="tnk"))
    with pytest.raises(InputError, match="11 tokens.*2 of them.*grid of 2 x 4"):
        rgcam.explain(*token_model(2, grid=(2, 4)), FRAMES, 1)
    with pytest.raises(InputError, match="layout of features is 'thwc'"):
        rgcam.Layout(features="thwc")
    with pytest.raises(InputError, match="layout of frames is 'thw'"):
        rgcam.Layout(frames="thw")
    tuple_of = lambda w, maps: (words(w, maps), maps)
    with pytest.raises(InputError, match=r"classify returned tuple .* \(6, 3, 3, 4\)"):
        explain((features, tuple_of), rgcam.Layout())
