"""The two models: the cut, the shapes, the gates, the counts, PyTorch's LSTM."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from rgcam.errors import InputError
from rgcam.models import captioner, classifiers, description, layers
from rgcam.models.backbones import SmallCNN
from tests.conftest import draw_variables, shapes_of

ARCH = {
    "kind": "lrcn",
    "backbone": "small",
    "head": "gap",
    "width": 12,
    "cell": "lstm",
    "hidden": 7,
    "dropout": 0.5,
}
FRAMES = np.random.default_rng(0).normal(size=(5, 32, 32, 3)).astype(np.float32)


def built(**fields):
    module = classifiers.build(ARCH | fields, classes=4)
    return module, draw_variables(module, FRAMES)


@pytest.mark.parametrize("head", layers.HEADS)
@pytest.mark.parametrize("kind", description.KINDS)
def test_call_is_classify_of_features(kind, head):
    module, variables = built(kind=kind, head=head)
    if kind == "captioner":
        words = np.array([2, 3, 0, 1, 2], np.int32)
        sentence = captioner.Sentence(np.zeros(0, np.int32), words)
        variables = captioner.with_sentence(variables, sentence)
    features = module.apply(variables, FRAMES, method="features")
    assert features.ndim == 4 and len(features) == 5
    scores = module.apply(variables, features, method="classify")
    assert scores.shape == (5, 4)
    np.testing.assert_array_equal(scores, module.apply(variables, FRAMES))


def test_lstm_starts_with_open_forget_gates_and_gru_as_linen_does():
    module = classifiers.build(ARCH, classes=4)
    features = np.zeros((2, 1, 1, 16), np.float32)
    variables = classifiers.init(module, jax.random.key(0), features, "classify")
    recurrent = variables["params"]["recurrent"]["cell"]
    assert (recurrent["hf"]["bias"] == 1).all()
    assert all((recurrent[gate]["bias"] == 0).all() for gate in ("hi", "hg", "ho"))
    assert "hf" not in built(cell="gru")[1]["params"]["recurrent"]["cell"]


def test_attribution_survives_64_steps_at_the_start_of_training():
    module = classifiers.build(ARCH | {"hidden": 64}, classes=4)
    features = jnp.asarray(np.random.default_rng(0).random((64, 1, 1, 16)), jnp.float32)
    variables = classifiers.init(module, jax.random.key(0), features, "classify")
    last = lambda a: module.apply(variables, a, method="classify")[-1, 0]
    norms = np.linalg.norm(jax.jit(jax.grad(last))(features)[:, 0, 0], axis=-1)
    assert norms[0] / norms[-1] > 1e-8  # 4e-9 with closed gates


def test_dropout_only_in_training():
    module, variables = built()
    twice = [module.apply(variables, FRAMES) for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    rngs = {"dropout": jax.random.key(1)}
    trained = module.apply(variables, FRAMES, train=True, rngs=rngs)
    assert (trained != twice[0]).any()


def test_classify_alone_initialises_all_but_the_backbone():
    module, variables = built(head="fc")
    features = module.apply(variables, FRAMES, method="features")
    head = shapes_of(module, features, "classify")["params"]
    assert set(variables["params"]) - set(head) == {"backbone"}


def test_lrcn_and_cnn_share_the_names_that_are_copied():
    lrcn, cnn = (built(kind=kind, head="fc")[1]["params"] for kind in ("lrcn", "cnn"))
    for name in ("backbone", "frame_head"):
        shapes = [jax.tree.map(np.shape, tree[name]) for tree in (lrcn, cnn)]
        assert shapes[0] == shapes[1]


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_parameter_counts_by_hand():
    module = classifiers.build(ARCH, classes=4)
    a = jnp.zeros((2, 3, 3, 10))
    params = shapes_of(module, a, "classify")["params"]
    assert count(params) == 4 * (10 * 7 + 7 * 7 + 7) + 7 * 4 + 4
    module = classifiers.build(ARCH | {"head": "fc", "kind": "cnn"}, classes=4)
    params = shapes_of(module, a, "classify")["params"]
    assert count(params) == 90 * 12 + 12 + 12 * 4 + 4


@pytest.mark.parametrize("field", ["kind", "backbone", "head", "cell"])
def test_unknown_choice_is_one_sentence(field):
    with pytest.raises(InputError, match=f"model.{field} is 'nope'; it must be one of"):
        classifiers.build(ARCH | {field: "nope"}, classes=4)


def test_same_scores_and_betas_as_pytorch():
    torch = pytest.importorskip("torch")
    from rgcam.attribution import gradcam

    module = classifiers.build(ARCH | {"head": "fc"}, classes=4)
    a = np.random.default_rng(3).normal(size=(6, 3, 2, 5)).astype(np.float32)
    variables = draw_variables(module, a, "classify")
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    net = torch_lrcn(torch, {k: torch.tensor(np.array(v)) for k, v in flat.items()})

    classify = jax.jit(lambda x: module.apply(variables, x, method="classify"))
    beta_of = lambda x: gradcam.importance_weights(classify, x, 2)
    beta = np.asarray(jax.jit(beta_of)(a))
    x = torch.tensor(a, requires_grad=True)
    scores = net(x)
    np.testing.assert_allclose(classify(a), scores.detach(), rtol=1e-4, atol=1e-6)
    for o in range(6):
        (grad,) = torch.autograd.grad(scores[o, 2], x, retain_graph=True)
        expected = grad.mean((1, 2)).numpy()
        assert np.abs(beta[o] - expected).max() <= 1e-5 * np.abs(expected).max()


def torch_lrcn(torch, p):
    """Return the LRCN's head in PyTorch, with torch.nn.LSTM, on the same weights."""
    gates, hidden = "ifgo", 7
    lstm = torch.nn.LSTM(12, hidden)
    cell = "recurrent/cell/"
    with torch.no_grad():
        lstm.weight_ih_l0[:] = torch.cat([p[f"{cell}i{g}/kernel"].T for g in gates])
        lstm.weight_hh_l0[:] = torch.cat([p[f"{cell}h{g}/kernel"].T for g in gates])
        lstm.bias_ih_l0[:] = torch.cat([p[f"{cell}h{g}/bias"] for g in gates])
        lstm.bias_hh_l0.zero_()

    def net(a):
        flat = a.reshape(len(a), -1)
        kernel, bias = p["frame_head/fc6/kernel"], p["frame_head/fc6/bias"]
        states = lstm(torch.relu(flat @ kernel + bias)[:, None])[0][:, 0]
        return states @ p["scores/kernel"] + p["scores/bias"]

    return net


def test_backbone_keeps_frames_apart():
    module = SmallCNN()
    variables = draw_variables(module, FRAMES)
    apply = jax.jit(module.apply)
    together, alone = apply(variables, FRAMES), apply(variables, FRAMES[2:3])
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-5)


def test_views_by_hand():
    frames = jnp.asarray([1.0, 3.0, 9.0]).reshape(3, 1, 1, 1) * jnp.ones((3, 2, 2, 3))
    for view, expected in {
        "rgb": [[1], [3], [9]],
        "difference": [[0], [1], [3]],
        "rgb+difference": [[1, 0], [3, 1], [9, 3]],
    }.items():
        images = classifiers.see(frames, view)
        assert images.shape == (3, len(expected[0]), 2, 2, 3)
        np.testing.assert_array_equal(images[:, :, 0, 0, 0], expected)


def test_two_views_are_joined_along_the_channels():
    module, variables = built(view="rgb+difference", head="grid")
    features = module.apply(variables, FRAMES, method="features")
    assert features.shape == (5, 4, 4, 128)
    seen = classifiers.see(FRAMES, "rgb+difference")
    for view, part in ((0, features[..., :64]), (1, features[..., 64:])):
        one = SmallCNN().apply(
            {"params": variables["params"]["backbone"]}, seen[:, view]
        )
        np.testing.assert_allclose(part, one, rtol=1e-5, atol=1e-6)


def test_a_view_of_changes_is_causal():
    module, variables = built(view="difference")
    score = lambda x: module.apply(variables, x)[2].sum()
    moved = np.abs(jax.jit(jax.grad(score))(FRAMES)).max((1, 2, 3))
    assert (moved[:3] > 0).all() and (moved[3:] == 0).all()


def test_part_of_the_backbone_goes_on_from_what_was_kept():
    module, variables = built(view="rgb+difference")
    params = variables["params"]["backbone"]
    kept = SmallCNN().apply(
        {"params": params}, classifiers.see(FRAMES, "rgb+difference"), stop=2
    )
    made = module.apply(variables, kept, start=2, method="below")
    whole = module.apply(variables, FRAMES, method="features")
    np.testing.assert_allclose(made, whole, rtol=1e-5, atol=1e-6)


def test_every_backbone_is_built():
    for name in description.BACKBONES:
        arch = ARCH | {"backbone": name}
        size = classifiers.preprocess_of(arch).size
        make = functools.partial(
            classifiers.build(arch, 4).init_with_output, method="features"
        )
        frames = jnp.zeros((2, size, size, 3))
        shape = jax.eval_shape(make, jax.random.key(0), frames)[0].shape
        cells = 8 if name == "small" else -(-size // 32)
        assert shape[1:3] == (cells, cells)


def test_what_each_backbone_reads():
    spec = lambda name: classifiers.preprocess_of({"backbone": name})
    assert [spec(f"efficientnet_lite{n}").size for n in range(3)] == [224, 240, 260]
    for name in description.BACKBONES:
        offset, scale = (np.asarray(x, np.float32) for x in spec(name)[2:])
        zero, one = (0 - offset) / scale, (255 - offset) / scale
        assert (-2.2 < zero).all() and (zero < -0.9).all()
        assert (0.9 < one).all() and (one < 2.7).all()
        assert offset.shape == scale.shape == ((3,) if "resnet" in name else ())


@pytest.mark.parametrize("kind", description.KINDS)
def test_features_go_on_from_a_block(kind):
    module, variables = built(kind=kind)
    params = {"params": variables["params"]["backbone"]}
    kept = SmallCNN().apply(params, classifiers.see(FRAMES, "rgb"), stop=1)
    made = module.apply(variables, kept, start=1, method="features")
    whole = module.apply(variables, FRAMES, method="features")
    np.testing.assert_array_equal(made, whole)


def test_change_by_hand():
    x = jnp.asarray([[1.0, 2.0], [4.0, 1.0], [4.0, 7.0]])
    np.testing.assert_array_equal(classifiers.change(x), [[0, 0], [3, -1], [0, 6]])


def differencing(head="gap", **fields):
    """An LRCN with differences, its head's variables, and features of 6 steps."""
    module = classifiers.build(ARCH | {"head": head, "differences": True, **fields}, 4)
    a = jnp.asarray(np.random.default_rng(5).normal(size=(6, 4, 4, 3)), jnp.float32)
    return module, draw_variables(module, a, "classify"), a


def test_differences_are_the_frame_vectors_changes():
    module, variables, a = differencing()
    params = variables["params"]
    assert params["recurrent"]["cell"]["ii"]["kernel"].shape == (6, 7)
    plain = classifiers.build(ARCH, 4)  # given [v, change(v)] as a map of one cell
    vectors = a.mean((1, 2))
    both = jnp.concatenate([vectors, classifiers.change(vectors)], -1)[:, None, None]
    expected = plain.apply(variables, both, method="classify")
    found = module.apply(variables, a, method="classify")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_differences_are_causal():
    module, variables, a = differencing("fc")
    scores = lambda x: module.apply(variables, x, method="classify")[:, 0]
    moved = np.abs(jax.jit(jax.jacrev(scores))(a)).max((2, 3, 4))
    assert (moved[np.triu_indices(6, 1)] == 0).all()
    assert (moved[np.tril_indices(6)] > 0).all()


def test_differences_are_off_unless_asked_for_and_not_for_a_frame_cnn():
    assert not classifiers.build(ARCH, 4).differences
    same = jax.tree.map(np.shape, built(differences=False)[1])
    assert same == jax.tree.map(np.shape, built()[1])
    assert classifiers.build(ARCH | {"kind": "cnn", "differences": False}, 4)
    with pytest.raises(InputError, match="model.differences is True; it must be False"):
        classifiers.build(ARCH | {"kind": "cnn", "differences": True}, 4)
    with pytest.raises(InputError, match="differences is 2; it must be true or false"):
        classifiers.build(ARCH | {"differences": 2}, 4)
