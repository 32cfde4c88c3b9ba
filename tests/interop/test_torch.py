"""PyTorch modules cut at a layer: scores, gradients, styles of recurrence, mistakes."""

import importlib.metadata

import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
try:
    importlib.metadata.version("torchax")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("torchax is not installed", allow_module_level=True)
nn = torch.nn

# Of torchax and of PyTorch, not of rgcam.
pytestmark = pytest.mark.filterwarnings("ignore")

T, SIZE, CLASSES = 4, 12, 3
FRAMES = np.random.default_rng(0).normal(size=(T, SIZE, SIZE, 3)).astype(np.float32)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


class Recurrent(nn.Module):
    """A small ResNet over folded frames, then LSTM or GRU: scores of every step."""

    def __init__(self, cell):
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), Residual())
        self.dropout = nn.Dropout(0.5)
        self.rnn = cell(8, 6, batch_first=True)
        self.scores = nn.Linear(6, CLASSES)

    def forward(self, videos):
        batch, steps = videos.shape[:2]
        maps = self.cnn(videos.flatten(0, 1))
        vectors = maps.mean((2, 3)).reshape(batch, steps, -1)
        return self.scores(self.dropout(self.rnn(vectors)[0]))


class Loop(Recurrent):
    """A loop over frames with an LSTMCell, the CNN under no_grad: the last score."""

    def __init__(self):
        super().__init__(nn.LSTM)
        self.cell = nn.LSTMCell(8, 6)

    def forward(self, videos):
        state = memory = torch.zeros(len(videos), 6)
        for t in range(videos.shape[1]):
            with torch.no_grad():
                vector = self.cnn(videos[:, t]).mean((2, 3))
            state, memory = self.cell(vector, (state, memory))
        return self.scores(state)


class Convolution3D(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3, stride=2, padding=1)
        self.top, self.scores = nn.Conv3d(8, 8, 3, padding=1), nn.Linear(8, CLASSES)

    def forward(self, videos):
        maps = torch.relu(self.top(torch.relu(self.conv(videos))))
        return self.scores(maps.mean((2, 3, 4)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, tokens):
        mixed, weights = self.attention(tokens, tokens, tokens)
        return tokens + mixed, weights


class Output:
    def __init__(self, logits):
        self.logits = logits


class Transformer(nn.Module):
    """Shaped like ViViT: a class token of the clip; layers return tuples, the model logits."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.block0, self.block1 = Block(), Block()
        self.scores = nn.Linear(8, CLASSES)

    def forward(self, videos):
        tokens = self.patches(videos[0]).flatten(2).transpose(1, 2).reshape(1, -1, 8)
        tokens = torch.cat([self.token, tokens], 1)
        tokens = self.block1(self.block0(tokens)[0])[0]
        return Output(self.scores(tokens[:, 0]))


def tokens_to_maps(tokens):
    return tokens[0, 1:].reshape(-1, 3, 3, 8)


# Model, layer, further options, axes of the input, the layer's output -> (T, h, w, K).
to_channels_last = lambda maps: maps.transpose(0, 2, 3, 1)
CASES = {
    "ResNet and LSTM": (lambda: Recurrent(nn.LSTM), "cnn", {}, to_channels_last),
    "GRU": (lambda: Recurrent(nn.GRU), "cnn.1", {}, to_channels_last),
    "LSTMCell in a loop": (Loop, "cnn", {}, to_channels_last),
    "3D CNN": (
        Convolution3D,
        "conv",
        {"axes": "bcthw"},
        lambda maps: maps[0].transpose(1, 2, 3, 0),
    ),
    "transformer": (
        Transformer,
        "block0",
        {"to_maps": tokens_to_maps},
        tokens_to_maps,
    ),
}


def own_results(model, layer, videos, target):
    """Return PyTorch's scores and dy/dA of every step, by a hook that adds an offset."""
    offsets = []

    def add(part, arguments, outputs):
        output = outputs[0] if isinstance(outputs, tuple) else outputs
        offsets.append(torch.zeros_like(output, requires_grad=True))
        moved = output + offsets[-1]
        return (moved, *outputs[1:]) if isinstance(outputs, tuple) else moved

    handle = model.get_submodule(layer).register_forward_hook(add)
    outputs = model(videos)
    handle.remove()
    scores = getattr(outputs, "logits", outputs).reshape(-1, CLASSES)
    gradients = []
    for row in scores:
        parts = torch.autograd.grad(row[target], offsets, retain_graph=True)
        gradients.append([part.numpy() for part in parts])
    return scores.detach().numpy(), gradients


@pytest.mark.parametrize("name", CASES)
def test_scores_and_beta_equal_pytorch_s_own(name, monkeypatch):
    make, layer, options, to_maps = CASES[name]
    torch.manual_seed(0)
    model = make()
    module, variables = rgcam.from_torch(model, FRAMES, layer=layer, **options)
    e = rgcam.explain(module, variables, FRAMES, 1, relu=False)
    axes = (3, 0, 1, 2) if options.get("axes") == "bcthw" else (0, 3, 1, 2)
    videos = torch.from_numpy(FRAMES.transpose(axes).copy())[None]
    # PyTorch gives no gradient under no_grad, which is what the loop has.
    monkeypatch.setattr(torch, "no_grad", torch.enable_grad)
    scores, gradients = own_results(model.eval(), layer, videos, 1)
    np.testing.assert_allclose(e.scores, scores, atol=1e-5)
    slow = np.stack(
        [np.concatenate([to_maps(p) for p in row]).mean((1, 2)) for row in gradients]
    )
    assert np.abs(slow).max() > 1e-5
    error = np.abs(e.beta[..., : slow.shape[-1]] - slow).max() / np.abs(slow).max()
    assert error < 1e-5


def test_the_module_is_unchanged():
    torch.manual_seed(0)
    model = Recurrent(nn.LSTM)
    model.cnn.eval()  # a part of it alone
    before = {name: value.clone() for name, value in model.state_dict().items()}
    module, variables = rgcam.from_torch(model, FRAMES, layer="cnn")
    rgcam.explain(module, variables, FRAMES, 1)
    assert model.training and model.dropout.training and not model.cnn.training
    assert not model.cnn._forward_hooks
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)


def test_a_module_cut_twice_is_one_model_for_jit():
    model = Recurrent(nn.LSTM)
    cut = lambda: rgcam.from_torch(model, FRAMES, layer="cnn", check=False)[0]
    assert cut() == cut() and hash(cut()) == hash(cut())


def test_inputs_and_scores_may_be_functions():
    class Named(Recurrent):
        def forward(self, frames, scale):
            return {"scores": super().forward(frames[None] * scale)}

    torch.manual_seed(0)
    model = Named(nn.LSTM)
    module, variables = rgcam.from_torch(
        model,
        FRAMES,
        layer="cnn",
        to_inputs=lambda frames: (frames.transpose(0, 3, 1, 2), jnp.asarray(2.0)),
        to_scores=lambda outputs: outputs["scores"][0],
    )
    e = rgcam.explain(module, variables, FRAMES, 1)
    videos = torch.from_numpy(FRAMES.transpose(0, 3, 1, 2).copy())
    own = model.eval()(videos, torch.tensor(2.0))["scores"][0].detach().numpy()
    np.testing.assert_allclose(e.scores, own, atol=1e-5)


class Probabilities(Recurrent):
    def forward(self, videos):
        return super().forward(videos).softmax(-1)


class Bypassed(Recurrent):
    def forward(self, videos):
        return super().forward(videos) + videos.mean()


@pytest.mark.parametrize(
    "make, options, message",
    [
        (Recurrent, {"layer": "cnn.3"}, "no layer 'cnn.3': did you mean cnn"),
        (Recurrent, {"layer": "rnn"}, r"returns an array \(1, 4, 6\).*to_maps"),
        (Recurrent, {"layer": "cnn", "axes": "bthw"}, "axes is 'bthw'"),
        (Probabilities, {"layer": "cnn"}, "returns probabilities"),
        (Bypassed, {"layer": "cnn"}, "other scores than by itself"),
    ],
)
def test_mistakes_are_one_sentence(make, options, message):
    with pytest.raises(InputError, match=message):
        rgcam.from_torch(make(nn.LSTM), FRAMES, **options)


def test_a_state_dict_and_a_missing_torchax_are_one_sentence(monkeypatch):
    with pytest.raises(InputError, match="takes a torch.nn.Module, not a OrderedDict"):
        rgcam.from_torch(Recurrent(nn.GRU).state_dict(), FRAMES, layer="cnn")
    monkeypatch.setitem(__import__("sys").modules, "torchax", None)
    with pytest.raises(InputError, match=r"pip install 'rgcam\[torch\]'"):
        rgcam.from_torch(Recurrent(nn.GRU), FRAMES, layer="cnn")
