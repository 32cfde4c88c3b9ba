"""Linen modules cut at a named layer: gradients, tokens and class tokens, plain mistakes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam import interop
from rgcam.errors import InputError

T, SIZE, CELLS, WIDTH, CLASSES = 4, 8, 2, 8, 3
FRAMES = np.random.default_rng(0).normal(size=(T, SIZE, SIZE, 3)).astype(np.float32)
TO_MAPS = {
    "": lambda tokens: tokens.reshape(-1, CELLS, CELLS, WIDTH),
    "frame": lambda tokens: tokens[:, 1:].reshape(-1, CELLS, CELLS, WIDTH),
    "clip": lambda tokens: tokens[0, 1:].reshape(-1, CELLS, CELLS, WIDTH),
}


class Block(nn.Module):
    """A transformer block that also returns its attention's input."""

    @nn.compact
    def __call__(self, tokens):
        normalised = nn.LayerNorm()(tokens)
        return tokens + nn.MultiHeadDotProductAttention(2)(normalised), normalised


class VideoTransformer(nn.Module):
    """Shaped like ViViT: tokens of patches, spatial blocks, temporal blocks.

    Attributes:
        token: whether each "frame" or the "clip" has a class token, or nothing ("").
    """

    token: str = ""

    @nn.compact
    def __call__(self, videos, train=True):
        batch, steps = videos.shape[:2]
        patches = nn.Conv(WIDTH, (4, 4), strides=4, name="patches")(videos)
        rows = batch if self.token == "clip" else batch * steps
        tokens = patches.reshape(rows, -1, WIDTH)
        if self.token:
            token = self.param("token", nn.initializers.normal(1.0), (1, 1, WIDTH))
            token = jnp.broadcast_to(token, (rows, 1, WIDTH))
            tokens = jnp.concatenate([token, tokens], 1)
        tokens = nn.LayerNorm(name="embedding")(tokens)
        tokens = nn.Dropout(0.5, deterministic=not train)(tokens)
        tokens, _ = Block(name="spatial")(tokens)
        # Attention mixes the class token with the others above the cut.
        tokens, _ = Block(name="mixed")(tokens) if self.token else (tokens, None)
        vectors = tokens[:, 0] if self.token else tokens.mean(1)
        if self.token == "clip":
            return nn.Dense(CLASSES, name="scores")(vectors), tokens
        vectors, _ = Block(name="temporal")(vectors.reshape(batch, steps, WIDTH))
        return nn.Dense(CLASSES, name="scores")(vectors), tokens


@functools.cache
def variables_of(model, **options):
    """Return a model's initial variables, compiled in one piece and once for all tests."""
    init = jax.jit(functools.partial(model.init, **options))
    return init(jax.random.key(0), FRAMES[None])


def transformer(token="", layer="spatial", **options):
    model = VideoTransformer(token)
    variables = variables_of(model, train=False)
    options = {"to_maps": TO_MAPS[token], "train": False} | options
    return model, *interop.from_linen(model, variables, FRAMES, layer=layer, **options)


def own_results(model, variables, layer, token, target):
    """Return scores, and dy/dA of every step by an offset that an interceptor adds."""

    def score_and_all(offset, step):
        def add(call, arguments, options, context):
            outputs = call(*arguments, **options)
            if "/".join(context.module.path) != layer:
                return outputs
            if isinstance(outputs, tuple):
                return outputs[0] + offset, outputs[1]
            return outputs + offset

        with nn.intercept_methods(add):
            outputs, _ = model.apply(variables, FRAMES[None], train=False)
        scores = outputs.reshape(-1, CLASSES)
        return scores[step, target], scores

    tokens = T * CELLS * CELLS
    shape = {"": (T, 4, WIDTH), "frame": (T, 5, WIDTH), "clip": (1, tokens + 1, WIDTH)}
    steps = 1 if token == "clip" else T
    gradient = jax.jit(jax.grad(score_and_all, has_aux=True))
    results = [gradient(jnp.zeros(shape[token]), step) for step in range(steps)]
    return results[0][1], np.stack([TO_MAPS[token](row) for row, _ in results])


@pytest.mark.parametrize(
    "token, layer, carried",
    [
        ("", "spatial", 0),
        ("", "embedding", 0),
        ("frame", "spatial", WIDTH),
        ("clip", "spatial", WIDTH),
        ("clip", "embedding", 0),
    ],
)
def test_scores_and_beta_equal_those_of_the_module(token, layer, carried):
    """A class token that depends on the frames is carried as channels."""
    model, module, variables = transformer(token, layer)
    e = rgcam.explain(module, variables, FRAMES, 1, relu=False)
    assert e.features.shape == (T, CELLS, CELLS, WIDTH + carried)
    scores, gradients = own_results(model, variables, layer, token, 1)
    np.testing.assert_allclose(e.scores, scores, atol=1e-5)
    slow = gradients.mean((2, 3))
    scale = np.abs(slow).max()
    assert scale > 1e-4
    np.testing.assert_allclose(e.beta[..., :WIDTH], slow, atol=1e-5 * scale)
    if carried:  # it is the same in all cells, and reaches the scores
        assert (e.features[:, :1, :1, WIDTH:] == e.features[..., WIDTH:]).all()
        assert np.abs(e.beta[..., WIDTH:]).max() > 1e-4


class PerFrame(nn.Module):
    """A loop over frames: the layer is called once for each."""

    @nn.compact
    def __call__(self, frames):
        conv, cell = nn.Conv(4, (3, 3), strides=2), nn.GRUCell(8)
        carry = cell.initialize_carry(jax.random.key(0), (4,))
        states = []
        for frame in frames:
            carry, state = cell(carry, nn.relu(conv(frame[None])).mean((0, 1, 2)))
            states.append(state)
        return nn.Dense(CLASSES)(jnp.stack(states))


def test_a_layer_that_is_called_for_every_frame_is_cut_at_all_its_calls():
    model = PerFrame()
    variables = jax.jit(model.init)(jax.random.key(0), FRAMES)
    module, variables = interop.from_linen(
        model, variables, FRAMES, layer="Conv_0", to_inputs=lambda frames: frames
    )
    e = rgcam.explain(module, variables, FRAMES, 1, relu=False)
    assert e.features.shape == (T, 4, 4, 4) and e.matrix.shape == (T, T)
    beta = np.asarray(e.beta).any(-1)
    assert (beta == np.tri(T, dtype=bool)).all()  # causal, and every frame matters
    longer = np.concatenate([FRAMES, FRAMES])  # than the clip that it was cut with
    features = module.apply(variables, longer, method="features")
    scores = module.apply(variables, features, method="classify")
    np.testing.assert_allclose(scores, model.apply(variables, longer), atol=1e-5)


class Convolution3D(nn.Module):
    """The map has a step for every two frames."""

    @nn.compact
    def __call__(self, videos):
        maps = nn.relu(nn.Conv(4, (3, 3, 3), strides=(2, 2, 2), name="conv")(videos))
        maps = nn.relu(nn.Conv(8, (3, 3, 3), name="top")(maps))
        return nn.Dense(CLASSES)(maps.mean((1, 2, 3)))


def test_a_3d_cnn_has_fewer_steps_than_frames():
    model = Convolution3D()
    variables = variables_of(model)
    module, variables = interop.from_linen(model, variables, FRAMES, layer="conv")
    e = rgcam.explain(module, variables, FRAMES, 1)
    assert e.maps.shape == (1, T // 2, 4, 4)
    np.testing.assert_allclose(
        e.scores, model.apply(variables, FRAMES[None]), atol=1e-5
    )


def test_a_module_cut_twice_is_one_model_for_jit():
    (_, first, _), (_, second, _) = transformer(), transformer()
    assert first == second and hash(first) == hash(second)
    assert first != transformer(layer="embedding")[1]


class Probabilities(nn.Module):
    @nn.compact
    def __call__(self, videos):
        maps = nn.Conv(CLASSES, (2, 2), name="conv")(videos)
        return nn.softmax(maps.mean((2, 3)))


class Bypassed(nn.Module):
    """Frames reach the scores beside the layer."""

    @nn.compact
    def __call__(self, videos):
        maps = nn.Conv(CLASSES, (2, 2), name="conv")(videos)
        return maps.mean((2, 3)) + videos.mean((2, 3))


class Rematerialised(nn.Module):
    @nn.compact
    def __call__(self, videos):
        maps, _ = nn.remat(Inner)(name="inner")(videos)
        return maps.mean((2, 3))


class Inner(nn.Module):
    @nn.compact
    def __call__(self, videos):
        return nn.Conv(CLASSES, (2, 2), name="conv")(videos), None


@pytest.mark.parametrize(
    "model, options, message",
    [
        (
            Bypassed(),
            {"layer": "convolution"},
            "did you mean conv. its layers are conv",
        ),
        (Probabilities(), {"layer": "conv"}, "returns probabilities"),
        (Bypassed(), {"layer": "conv"}, r"other scores than by itself \(error"),
        (Rematerialised(), {"layer": "inner/conv"}, "inside nn.scan, nn.remat"),
        (VideoTransformer(), {"layer": "spatial"}, "needs a random key.*train=False"),
        (
            VideoTransformer(),
            {"layer": "spatial", "train": False},
            r"returns an array \(4, 4, 8\).*to_maps=lambda tokens",
        ),
        (
            VideoTransformer(),
            {
                "layer": "spatial",
                "train": False,
                "to_maps": lambda tokens: 2 * TO_MAPS[""](tokens),
            },
            "changes or repeats values",
        ),
        (
            VideoTransformer(),
            {
                "layer": "spatial",
                "train": False,
                "to_maps": lambda tokens: tokens.reshape(-1, 3, 3, WIDTH),
            },
            r"to_maps does not take .* \(4, 4, 8\)",
        ),
        (
            VideoTransformer(),
            {"layer": "temporal", "train": False, "to_scores": lambda outputs: outputs},
            "to_maps",
        ),
    ],
)
def test_mistakes_are_one_sentence(model, options, message):
    # Without dropout: the parameters are the same.
    without = {"train": False} if isinstance(model, VideoTransformer) else {}
    variables = variables_of(model, **without)
    with pytest.raises(InputError, match=message):
        interop.from_linen(model, variables, FRAMES, **options)


def test_a_module_of_nnx_is_sent_to_its_own_function():
    from flax import nnx

    with pytest.raises(InputError, match="NNX modules go to rgcam.from_nnx"):
        interop.from_linen(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), {}, FRAMES, layer="x")
