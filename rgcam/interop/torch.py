"""Modules of PyTorch, cut at the output of a layer, by torchax."""

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from rgcam.errors import InputError
from rgcam.interop import layer as layers
from rgcam.interop.layer import (
    Exchange,
    LayerCut,
    LayerModel,
    OwnResult,
    ToInputs,
    ToMaps,
    ToScores,
)
from rgcam.models.cut import PRECISION
from rgcam.types import Tensor, Variables

if TYPE_CHECKING:
    import torch

AXES = "btchw"


@dataclasses.dataclass(frozen=True)
class TorchRun:
    """The forward pass of a PyTorch module on JAX, with the output of one layer exchanged.

    Attributes:
        module: the module.
        layer: its name, as ``named_modules`` has it.
    """

    module: "torch.nn.Module"
    layer: str

    def __call__(
        self, variables: Variables, inputs: PyTree, exchange: Exchange
    ) -> PyTree:
        """Call the module through torchax; ``exchange`` gets the layer's output."""
        torchax, torch = _import_torchax()
        environment = torchax.default_env()

        def exchange_tensor(output: "torch.Tensor") -> "torch.Tensor":
            return environment.j2t_iso(exchange(environment.t2j_iso(output)))

        weights = environment.j2t_iso(variables)
        arguments = environment.j2t_iso(inputs)
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        with (
            _exchanging(self.module, self.layer, exchange_tensor),
            environment,
            # Where tensors that the module makes, such as a first state, belong.
            torch.device("jax"),
        ):
            outputs = torch.func.functional_call(self.module, weights, arguments)
        return environment.t2j_iso(_arrays(outputs))


def from_torch(
    module: object,  # validated below, with a sentence
    frames: Float[Tensor, "T S S 3"],
    *,
    layer: str,
    axes: str = AXES,
    to_inputs: ToInputs | None = None,
    to_maps: ToMaps | None = None,
    to_scores: ToScores | None = None,
    check: bool = True,
) -> tuple[LayerModel, Variables]:
    """Cut a PyTorch module at a layer: any module, without a change to its code.

    The module runs on JAX through torchax, and a forward hook replaces the output of the
    layer by A. So the layer may be called once on all frames or once for each, under
    ``torch.no_grad()`` too, and anything may follow: ``nn.LSTM``, an ``LSTMCell`` in a
    loop, attention, 3D convolutions.

    Args:
        module: the module; it is set to evaluation mode for the time of a call.
        frames: preprocessed frames of a clip, by which shapes are known and the cut is
            checked.
        layer: its name, as ``module.named_modules()`` has it, such as ``cnn.layer4``; of a
            layer that returns a tuple, its first element is replaced.
        axes: of the module's input, one letter each: b (a batch of one), t, c (colours),
            h, w: "btchw", "bcthw" of 3D convolutions, "tchw" without a batch.
        to_inputs: frames (T, S, S, 3) -> what the module is called with, JAX arrays, for
            inputs that ``axes`` cannot say; a tuple is several arguments.
        to_maps: output of the layer -> A (T, h, w, K), JAX arrays, by selection and
            rearrangement: ``lambda tokens: tokens[0, 1:].reshape(-1, 4, 4, 64)``. None:
            maps with PyTorch's axes, (T, K, h, w), or with a batch axis of one and time
            where ``axes`` has it.
        to_scores: what the module returns -> scores before softmax (T_out, C). None: it
            returns them, with or without a batch axis of 1, alone, as the first of a tuple
            or as ``logits``.
        check: compare scores and one row of beta with those of PyTorch itself.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``. Weights are
        copied: train the module further, and it has to be cut again.

    Raises:
        InputError: torchax is not installed, no such layer, shapes that do not fit, an
            operation that torchax does not have, or scores or gradients that differ from
            PyTorch's.
    """
    torchax, torch = _import_torchax()
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"from_torch takes a torch.nn.Module, not a {type(module).__name__}: load the "
            "state_dict into the module, and pass that"
        )
    if sorted(axes.replace("b", "")) != sorted("tchw") or axes.count("b") > 1:
        raise InputError(
            f"axes is {axes!r}: give t, c, h and w in the order of the module's input, and "
            "b for a batch axis"
        )
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        raise layers.unknown_layer(layer, names)
    cut = LayerCut(
        run=TorchRun(module, layer),
        to_inputs=to_inputs or Arrange(axes),
        to_maps=to_maps or Rearrange("bcthw" if "ct" in axes else "btchw"),
        to_scores=to_scores or layers.default_scores,
        layer=layer,
        frame=tuple(frames.shape[1:]),
    )
    weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    variables = {
        name: jnp.asarray(weight.detach().cpu().numpy())
        for name, weight in weights.items()
    }
    frames = jnp.asarray(frames, jnp.float32)
    try:
        cut_module = layers.cut_at_layer(cut, variables, frames)
    except torchax.tensor.OperatorNotFound as error:
        raise InputError(
            f"torchax has no operation that this module calls ({_first_line(error)}): "
            "replace it, or cut above it"
        ) from error
    result = _own_result(cut, frames)
    layers.check_not_probabilities(jnp.asarray(result.scores))
    if check:
        layers.check_cut(cut_module, variables, frames, result, layer)
    return cut_module, variables


@dataclasses.dataclass(frozen=True)
class Arrange:
    """Frames (T, S, S, 3) -> an array with these axes; equal for equal axes.

    Attributes:
        axes: one letter each, of b, t, c, h and w.
    """

    axes: str

    def __call__(self, frames: Array) -> Array:
        """Return the frames with these axes."""
        order = ["thwc".index(axis) for axis in self.axes if axis != "b"]
        frames = frames.transpose(order)
        if "b" not in self.axes:
            return frames
        return jnp.expand_dims(frames, self.axes.index("b"))


@dataclasses.dataclass(frozen=True)
class Rearrange:
    """Output of a layer with PyTorch's axes -> A (T, h, w, K); equal for equal axes.

    Attributes:
        axes: of an output of five axes: "btchw" or "bcthw".
    """

    axes: str

    def __call__(self, output: Array) -> Array:
        """Return A of (T, K, h, w), or of an output with a batch axis of one."""
        if output.ndim == 5 and output.shape[0] == 1:
            axes = self.axes.replace("b", "")
            output = output[0].transpose([axes.index(axis) for axis in "tchw"])
        return output.transpose(0, 2, 3, 1) if output.ndim == 4 else output


def _own_result(cut: LayerCut, frames: Array) -> OwnResult:
    """Compute scores and one gradient by PyTorch itself.

    The gradient with respect to the layer's output is that with respect to an offset that
    is added to it, also where the layer is called under ``torch.no_grad()``.
    """
    _, torch = _import_torchax()
    run = cut.run
    assert isinstance(run, TorchRun)
    offsets: list[torch.Tensor] = []

    def add_offset(output: "torch.Tensor") -> "torch.Tensor":
        offsets.append(torch.zeros_like(output, requires_grad=True))
        return output.detach() + offsets[-1]

    device = next((p.device for p in run.module.parameters()), torch.device("cpu"))
    inputs = jax.tree.map(
        lambda array: torch.from_numpy(np.array(array)).to(device),
        cut.to_inputs(frames),
    )
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    with (
        _exchanging(run.module, run.layer, add_offset),
        torch.enable_grad(),
        _no_grad_ignored(torch),
    ):
        outputs = _arrays(run.module(*inputs))
    # Scores may be any rearrangement of what the module returns: JAX tells which.
    leaves, structure = jax.tree.flatten(outputs)
    values = [np.asarray(leaf.detach().cpu()) for leaf in leaves]
    with jax.default_matmul_precision(PRECISION):
        scores, pull_back = jax.vjp(
            lambda values: cut.to_scores(jax.tree.unflatten(structure, values)),
            [jnp.asarray(value) for value in values],
        )
    target = int(scores[-1].argmax())
    (cotangents,) = pull_back(jnp.zeros_like(scores).at[-1, target].set(1.0))
    differentiable = [
        (leaf, torch.from_numpy(np.array(cotangent)).to(leaf.device))
        for leaf, cotangent in zip(leaves, cotangents, strict=True)
        if leaf.requires_grad
    ]
    gradients = torch.autograd.grad(
        [leaf for leaf, _ in differentiable],
        offsets,
        [cotangent for _, cotangent in differentiable],
    )
    maps = [cut.to_maps(jnp.asarray(gradient.cpu().numpy())) for gradient in gradients]
    return OwnResult(np.asarray(scores), np.concatenate(maps))


@contextlib.contextmanager
def _exchanging(
    module: "torch.nn.Module",
    layer: str,
    exchange: "Callable[[torch.Tensor], torch.Tensor]",
) -> Iterator[None]:
    """Exchange what a layer returns, in evaluation mode, for the time of a call."""
    modes = {part: part.training for part in module.modules()}

    def hook(
        part: "torch.nn.Module", arguments: PyTree, outputs: PyTree
    ) -> "torch.Tensor | tuple":
        # Of a layer that returns more, such as attention weights, the first is it.
        if isinstance(outputs, tuple):
            return exchange(outputs[0]), *outputs[1:]
        return exchange(outputs)

    handle = module.get_submodule(layer).register_forward_hook(hook)
    module.eval()
    try:
        yield
    finally:
        handle.remove()
        for part, mode in modes.items():
            part.training = mode


@contextlib.contextmanager
def _no_grad_ignored(torch: ModuleType) -> Iterator[None]:
    """Let ``torch.no_grad()`` do nothing, for gradients through a part that is under it."""
    enter = torch.no_grad.__enter__
    torch.no_grad.__enter__ = lambda context: setattr(
        context, "prev", torch.is_grad_enabled()
    )
    try:
        yield
    finally:
        torch.no_grad.__enter__ = enter


def _arrays(outputs: PyTree) -> PyTree:
    """Return the tensors of what a module returned: logits of a record, else a tree."""
    return getattr(outputs, "logits", outputs)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _import_torchax() -> tuple[ModuleType, ModuleType]:
    """Import torchax and PyTorch.

    Raises:
        InputError: they are not installed, or do not fit each other.
    """
    try:
        return importlib.import_module("torchax"), importlib.import_module("torch")
    except (ImportError, AttributeError) as error:
        raise InputError(
            "from_torch needs PyTorch and torchax: pip install 'rgcam[torch]' "
            f"({_first_line(error)})"
        ) from error
