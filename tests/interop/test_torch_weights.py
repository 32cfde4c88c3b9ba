"""Weights of PyTorch's LSTM and GRU in our LRCN: scores, causality, plain mistakes."""

import numpy as np
import pytest

import rgcam
from rgcam.errors import InputError
from rgcam.models.cut import CausalModel
from tests.make_resnet_reference import weights

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
T, HIDDEN, CLASSES = 4, 6, 3


class Above(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.rnn = cell(512, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, CLASSES)

    def forward(self, vectors):
        return self.fc(self.rnn(vectors[None])[0])[0]


def state_of(cell, name=lambda name: name):
    """Return PyTorch's layers above a ResNet-18, and the weights of both."""
    torch.manual_seed(0)
    above = Above(cell)
    resnet = {n: v for n, v in weights(18).items() if not n.startswith("fc.")}
    state = {f"cnn.{name(n)}": value for n, value in resnet.items()}
    return above, {**state, **above.state_dict()}


def child_name(name):
    """Return a weight's name in nn.Sequential(*list(resnet.children())[:-1])."""
    first, rest = name.split(".", 1)
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    return f"{numbers[first]}.{rest}"


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_scores_above_the_map_equal_pytorch_s(cell):
    above, state = state_of(cell)
    module, variables = rgcam.from_torch_weights(state, "resnet18")
    assert isinstance(module, CausalModel)
    A = np.random.default_rng(0).normal(size=(T, 2, 2, 512)).astype(np.float32)
    scores = module.apply(variables, A, method="classify")
    with torch.no_grad():
        expected = above(torch.from_numpy(A.mean((1, 2))))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_list_of_children_is_the_same_resnet_and_a_file_the_same_state(tmp_path):
    _, state = state_of(nn.GRU)
    _, children = state_of(nn.GRU, child_name)
    torch.save({n: torch.as_tensor(v) for n, v in children.items()}, tmp_path / "a.pth")
    module, variables = rgcam.from_torch_weights(state, "resnet18")
    other, other_variables = rgcam.from_torch_weights(tmp_path / "a.pth", "resnet18")
    assert module == other
    kernel = lambda v: v["params"]["backbone"]["block07"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel(variables), kernel(other_variables))
    ours = other_variables["params"]["backbone"]["stem"]["kernel"]
    np.testing.assert_array_equal(
        ours, variables["params"]["backbone"]["stem"]["kernel"]
    )


def test_other_layers_are_one_sentence():
    _, state = state_of(nn.LSTM)
    with pytest.raises(InputError, match="not 'vgg16': rgcam.from_torch takes any"):
        rgcam.from_torch_weights(state, "vgg16")
    with pytest.raises(InputError, match="'attention.weight' beside cnn, rnn and fc"):
        rgcam.from_torch_weights({**state, "attention.weight": np.zeros(2)}, "resnet18")
    with pytest.raises(InputError, match="cnn.fc is a layer between"):
        rgcam.from_torch_weights(
            {**state, "cnn.fc.weight": np.zeros((2, 2))}, "resnet18"
        )
    with pytest.raises(InputError, match="weight_ih_l1.*one layer that runs forward"):
        rgcam.from_torch_weights(
            {**state, "rnn.weight_ih_l1": np.zeros((24, 6))}, "resnet18"
        )
    with pytest.raises(InputError, match="neither an nn.LSTM nor an nn.GRU"):
        rgcam.from_torch_weights(
            {**state, "rnn.weight_hh_l0": np.zeros((6, 6))}, "resnet18"
        )
