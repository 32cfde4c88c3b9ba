"""Weights of a PyTorch ResNet and LSTM or GRU -> our LRCN, without PyTorch.

What ``from_torch`` runs through torchax, this turns into rgcam's own model, which is causal
to rgcam too: explained in blocks, in long videos and frame by frame.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rgcam.errors import InputError
from rgcam.models import torch_files
from rgcam.models.classifiers import LRCN, build_backbone
from rgcam.models.layers import CELLS
from rgcam.types import Params, Variables

# Names of torchvision's ResNet in nn.Sequential(*list(resnet.children())[:-1]).
CHILDREN = {
    "0": "conv1",
    "1": "bn1",
    "4": "layer1",
    "5": "layer2",
    "6": "layer3",
    "7": "layer4",
}
PARTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def from_torch_weights(
    state: Mapping[str, object] | str | Path,
    backbone: str,
    *,
    cnn: str = "cnn",
    rnn: str = "rnn",
    scores: str = "fc",
) -> tuple[LRCN, Variables]:
    """Make an LRCN of a PyTorch model's weights: ResNet, average pooling, LSTM or GRU, Linear.

    Args:
        state: its ``state_dict()``, or a ``.pth`` or ``.safetensors`` file of it.
        backbone: "resnet18", "resnet34" or "resnet50", with torchvision's names or those
            of ``nn.Sequential(*list(resnet.children())[:-1])``.
        cnn: name of the ResNet in the model.
        rnn: name of the ``nn.LSTM`` or ``nn.GRU``: one layer, forward.
        scores: name of the Linear layer above.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``.

    Raises:
        InputError: a weight is missing, left over, or of another shape, or a recurrence of
            several layers or both directions.
    """
    if backbone not in torch_files.RESNETS:
        raise InputError(
            f"from_torch_weights takes {', '.join(torch_files.RESNETS)}, not {backbone!r}: "
            "rgcam.from_torch takes any module"
        )
    if isinstance(state, str | Path):
        arrays = torch_files.read_weights(state)
    else:
        arrays = {name: _array(value) for name, value in state.items()}
    starts = tuple(f"{name}." for name in (cnn, rnn, scores))
    others = [name for name in arrays if not name.startswith(starts)]
    if others:
        raise InputError(
            f"the weights hold {others[0]!r} beside {cnn}, {rnn} and {scores}: "
            "rgcam.from_torch takes a module with further layers"
        )
    weights = {
        _torchvision_name(name): value for name, value in _part(arrays, cnn).items()
    }
    linear = _part(arrays, scores)
    # The Linear layer above the recurrence, in the place of ImageNet's.
    above = {f"fc.{name}": value for name, value in linear.items()}
    if any(name.startswith("fc.") for name in weights):
        raise InputError(
            f"{cnn}.fc is a layer between the ResNet and the recurrence: "
            "rgcam.from_torch takes such a module"
        )
    variables, classifier = torch_files.port_resnet(
        {**weights, **above}, torch_files.RESNETS[backbone]
    )
    cell, recurrent = _recurrent(_part(arrays, rnn), rnn)
    hidden = classifier["kernel"].shape[0]
    module = LRCN(
        build_backbone(backbone),
        classifier["kernel"].shape[1],
        head="gap",
        dropout=0.0,
        cell=cell,
        hidden=hidden,
    )
    params = {
        "backbone": variables["params"],
        "recurrent": {"cell": recurrent},
        "scores": classifier,
    }
    return module, {"params": jax.tree.map(jnp.asarray, params)}


def _recurrent(weights: Mapping[str, np.ndarray], name: str) -> tuple[str, Params]:
    """Return the kind of cell and its parameters, by our names of the gates.

    PyTorch stacks the gates in our order, i f g o and r z n. Of its two biases we have
    the sum, but for the GRU's candidate n, where the reset gate comes between them.
    """
    if set(weights) != set(PARTS):
        names = ", ".join(sorted(weights)) or "nothing"
        raise InputError(
            f"{name} holds {names}: expected {', '.join(PARTS)}, of one layer that runs "
            "forward; rgcam.from_torch takes any recurrence"
        )
    input_kernel, state_kernel, input_bias, state_bias = (
        weights[part] for part in PARTS
    )
    hidden = state_kernel.shape[1]
    kinds = {4: "lstm", 3: "gru"}
    gates = len(state_kernel) // hidden
    if gates not in kinds or len(state_kernel) != gates * hidden:
        raise InputError(
            f"{name}.weight_hh_l0 is {state_kernel.shape}, which is neither an nn.LSTM nor "
            "an nn.GRU"
        )
    cell = CELLS[kinds[gates]]
    params: Params = {}
    for number, gate in enumerate(cell.GATES):
        rows = slice(number * hidden, (number + 1) * hidden)
        params[f"i{gate}"] = {"kernel": input_kernel[rows].T}
        params[f"h{gate}"] = {"kernel": state_kernel[rows].T}
        summed = input_bias[rows] + state_bias[rows]
        if kinds[gates] == "lstm":
            params[f"h{gate}"]["bias"] = summed
        elif gate == "n":
            params["in"]["bias"] = input_bias[rows]
            params["hn"]["bias"] = state_bias[rows]
        else:
            params[f"i{gate}"]["bias"] = summed
    return kinds[gates], params


def _array(value: object) -> np.ndarray:
    """Return a tensor of PyTorch, or an array, as a NumPy array."""
    detach = getattr(value, "detach", None)
    return np.asarray(value if detach is None else detach().cpu().numpy())


def _part(state: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Return the weights of one layer, by their names inside it."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def _torchvision_name(name: str) -> str:
    """Return torchvision's name of a weight of the ResNet's children."""
    return re.sub(r"^\d+", lambda match: CHILDREN.get(match[0], match[0]), name)
