"""The same network in PyTorch, and the methods that explain it there.

Weights are copied from ours (batch normalisation is folded there, so here too). Maps that
a peer computes in addition are discarded at once, so that they do not count as memory
held. Memory layout is channels-last, which is faster here than PyTorch's default, and
subnormal numbers count as 0, as in XLA. Parameters require gradients, as they do after
loading; the hand-written loops stop at A.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torchvision_import import import_torchvision
from benchmarks.work import TARGET, Method, Rows, Work
from rgcam.models import efficientnet, resnet


class Lrcn(nn.Module):
    """The LRCN: frames (T, 3, S, S) -> scores (T, C); ``backbone`` makes A."""

    def __init__(self, work: Work):
        super().__init__()
        params = work.variables["params"]
        self.backbone = _backbone(work.module.backbone, params["backbone"])
        maps = self.backbone(torch.zeros(1, 3, *work.frames.shape[1:3])).shape
        self.head = _head(params, maps[1:])
        self.recurrent = _lstm(params["recurrent"]["cell"])
        self.scores = _linear(params["scores"])

    def classify(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the scores (T, C) of A (T, K, h, w)."""
        return self.scores(self.recurrent(self.head(maps))[0])

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the scores (1, T, C): to PyTorch's tools a clip is one example."""
        return self.classify(self.backbone(frames))[None]


class Conv(nn.Conv2d):
    """A convolution that pads where ours does: ``same`` as TensorFlow, or evenly."""

    def __init__(self, layer, stride=1, groups=1, same=False):
        kernel = np.asarray(layer["kernel"])
        if kernel.ndim == 2 and groups > 1:  # depthwise (k * k, C)
            side = round(len(kernel) ** 0.5)
            kernel = kernel.reshape(side, side, 1, -1)
        elif kernel.ndim == 2:  # dense, 1 x 1
            kernel = kernel[None, None]
        side, _, inputs, outputs = kernel.shape
        self.uneven = same and stride == 2 and side > 1
        padding = 0 if self.uneven else side // 2
        super().__init__(inputs * groups, outputs, side, stride, padding, groups=groups)
        _copy(self, kernel.transpose(3, 2, 0, 1), layer["bias"])

    def forward(self, input):
        """Pad an even side so that the odd pixel goes right and below; convolve."""
        if self.uneven:
            total = self.kernel_size[0] - 2
            input = F.pad(input, (total // 2, total - total // 2) * 2)
        return super().forward(input)


class Residual(nn.Module):
    """Two convolutions beside a skip."""

    def __init__(self, params, stride: int):
        super().__init__()
        self.conv1, self.conv2 = Conv(params["conv1"], stride), Conv(params["conv2"])
        skip = "skip" in params
        self.skip = Conv(params["skip"], stride) if skip else nn.Identity()

    def forward(self, x):
        """Return the next map."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.skip(x))


class Inverted(nn.Module):
    """Expand, filter each channel, project; skip where nothing changes shape."""

    def __init__(self, params, stride: int):
        super().__init__()
        channels = params["depthwise"]["kernel"].shape[1]
        depthwise = Conv(params["depthwise"], stride, channels, same=True)
        layers = [depthwise, nn.ReLU6(), Conv(params["project"])]
        if "expand" in params:
            layers = [Conv(params["expand"]), nn.ReLU6(), *layers]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        """Return the next map."""
        y = self.layers(x)
        return x + y if x.shape == y.shape else y


def peer(name: str, work: Work) -> Method:
    """Make the peer of this name.

    Raises:
        ImportError: what it needs is not installed.
    """
    torch.set_flush_denormal(True)
    frames = torch.tensor(np.asarray(work.frames)).permute(0, 3, 1, 2)
    model = Lrcn(work).eval()
    # The stub of ``to`` lacks this documented overload.
    model = model.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]
    return PEERS[name](model, frames)


def forward(model: Lrcn, frames: torch.Tensor) -> Method:
    """One forward pass, frames -> scores."""

    @torch.inference_mode()
    def run(_):
        return Rows(model(frames)[0])

    return Method(run, all_steps=True)


def loop(model: Lrcn, frames: torch.Tensor) -> Method:
    """By an expert's hand: features once, one ``autograd.grad`` of the head per t'."""

    def run(outs: Sequence[int]) -> Rows:
        maps, scores = _cut(model, frames)
        picked = scores[:, TARGET]
        rows = []
        for out in outs:
            (gradient,) = torch.autograd.grad(picked[out], maps, retain_graph=True)
            rows.append(gradient.mean((2, 3)))
        return _rows(scores, torch.stack(rows), maps)

    return Method(run)


def batched(model: Lrcn, frames: torch.Tensor) -> Method:
    """The same by ``is_grads_batched``: one call, which holds (T', T, K, h, w)."""

    def run(_) -> Rows:
        maps, scores = _cut(model, frames)
        (gradient,) = torch.autograd.grad(
            scores[:, TARGET], maps, torch.eye(len(maps)), is_grads_batched=True
        )
        return _rows(scores, gradient.mean((3, 4)), maps)

    return Method(run, all_steps=True)


def captum(model: Lrcn, frames: torch.Tensor) -> Method:
    """Captum's LayerGradCam, one call per t'."""
    from captum.attr import LayerGradCam  # pyrefly: ignore[missing-import]

    tool = LayerGradCam(model, model.backbone)

    def run(outs: Sequence[int]) -> Rows:
        ask = functools.partial(tool.attribute, frames, relu_attributions=True)
        # Each map holds the graph of its pass until it is detached.
        # One layer has one map, although captum's type allows several.
        detached = lambda t: ask(target=(t, TARGET)).detach()  # pyrefly: ignore[missing-attribute]
        maps = torch.stack([detached(t)[:, 0] for t in outs])
        return Rows(maps=maps, matrix=maps.sum((2, 3)))

    return Method(run)


def pytorch_grad_cam(model: Lrcn, frames: torch.Tensor) -> Method:
    """pytorch-grad-cam's GradCAM as its README calls it, one call per t'.

    Its maps are normalised frame by frame and resized to the frame, so its
    intermediate weights are recorded and compared with ours.
    """
    import_torchvision()
    from pytorch_grad_cam import GradCAM  # pyrefly: ignore[missing-import]

    class RecordingGradCAM(GradCAM):
        weights: np.ndarray

        def get_cam_weights(self, *arguments, **options):
            self.weights = super().get_cam_weights(*arguments, **options)
            return self.weights

    tool = RecordingGradCAM(model=model, target_layers=[model.backbone])

    def weights(out: int) -> np.ndarray:
        # Its README passes functions, although its type names modules alone.
        target = lambda scores: scores[out, TARGET]
        tool(input_tensor=frames, targets=[target])  # pyrefly: ignore[bad-argument-type]
        return tool.weights

    def run(outs: Sequence[int]) -> Rows:
        beta = np.stack([weights(out) for out in outs])
        model.zero_grad()  # or its gradients would count as held before the next run
        return Rows(beta=beta)

    return Method(run)


PEERS = {
    "torch-forward": forward,
    "torch-loop": loop,
    "torch-batched": batched,
    "captum": captum,
    "pytorch-grad-cam": pytorch_grad_cam,
}


def _cut(model: Lrcn, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A, from which gradients are asked, and the scores."""
    with torch.no_grad():
        maps = model.backbone(frames)
    maps.requires_grad_()
    return maps, model.classify(maps)


def _rows(scores: torch.Tensor, beta: torch.Tensor, maps: torch.Tensor) -> Rows:
    with torch.no_grad():
        heatmaps = torch.einsum("otk,tkhw->othw", beta, maps).relu()
        return Rows(
            scores=scores.detach(),
            beta=beta,
            maps=heatmaps,
            matrix=heatmaps.sum((2, 3)),
        )


def _backbone(module, params) -> nn.Sequential:
    if isinstance(module, resnet.ResNet):
        blocks = resnet.blocks(module.depth)
        residuals = [Residual(params[block.name], block.stride) for block in blocks]
        stem = Conv(params["stem"], 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        return nn.Sequential(*stem, *residuals)
    blocks = efficientnet.blocks(module.depth, module.width)
    inverted = [Inverted(params[block.name], block.stride) for block in blocks]
    stem = Conv(params["stem"], 2, same=True), nn.ReLU6()
    return nn.Sequential(*stem, *inverted, Conv(params["head"]), nn.ReLU6())


def _head(params, shape: Sequence[int]) -> nn.Module:
    """Pool A of ``shape`` (K, h, w), or flatten it: there channels come first."""
    if "frame_head" not in params:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layer = params["frame_head"]["fc6"]
    kernel = np.asarray(layer["kernel"])
    kernel = kernel.reshape(*shape[1:], shape[0], -1).transpose(2, 0, 1, 3)
    layer = {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": layer["bias"]}
    return nn.Sequential(nn.Flatten(), _linear(layer), nn.ReLU())


def _lstm(cell) -> nn.LSTM:
    """Stack the gates in PyTorch's order: input, forget, cell, output."""
    gates = {side: [cell[side + gate] for gate in "ifgo"] for side in "ih"}
    inputs, hiddens = (
        np.concatenate([np.asarray(gate["kernel"]).T for gate in gates[side]])
        for side in "ih"
    )
    bias = np.concatenate([np.asarray(gate["bias"]) for gate in gates["h"]])
    lstm = nn.LSTM(inputs.shape[1], hiddens.shape[1])
    values = inputs, hiddens, np.zeros_like(bias), bias
    with torch.no_grad():
        for parameter, value in zip(lstm.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
    return lstm


def _linear(layer) -> nn.Linear:
    kernel = np.asarray(layer["kernel"])
    linear = nn.Linear(*kernel.shape)
    _copy(linear, kernel.T, layer["bias"])
    return linear


def _copy(module, weight, bias) -> None:
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(np.asarray(bias)))
