"""Any module of Flax Linen, cut at the output of a named layer."""

import dataclasses
from collections.abc import Callable, Hashable

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from rgcam.errors import InputError
from rgcam.interop import layer as layers
from rgcam.interop.functions import FunctionModel
from rgcam.interop.layer import (
    Exchange,
    LayerCut,
    ToInputs,
    ToMaps,
    ToScores,
)
from rgcam.types import Tensor, Variables


@dataclasses.dataclass(frozen=True)
class LinenRun:
    """The forward pass of a Linen module, with the output of one layer exchanged.

    Attributes:
        module: the module.
        layer: path of the layer, such as ``encoder/norm``.
        options: keyword arguments of the call, such as ``train=False``.
    """

    module: nn.Module
    layer: str
    options: tuple[tuple[str, Hashable], ...]

    def __call__(
        self, variables: Variables, inputs: PyTree, exchange: Exchange
    ) -> PyTree:
        """Apply the module; ``exchange`` gets the layer's output."""

        def intercept(
            call: Callable[..., PyTree],
            arguments: tuple[PyTree, ...],
            options: dict[str, PyTree],
            context: nn.module.InterceptorContext,
        ) -> PyTree:
            outputs = call(*arguments, **options)
            name = "/".join(context.module.path)
            if name != self.layer or context.method_name != "__call__":
                return outputs
            # Of a layer that returns more, such as attention weights, the first is it.
            if isinstance(outputs, tuple):
                return (exchange(outputs[0]), *outputs[1:])
            return exchange(outputs)

        options = dict(self.options)
        try:
            with nn.intercept_methods(intercept):
                # Arguments of the module's own call, whatever they are.
                return self.module.apply(variables, inputs, **options)  # pyrefly: ignore[bad-argument-type]
        except flax.errors.InvalidRngError as error:
            raise InputError(
                f"{type(self.module).__name__} needs a random key: call it in evaluation "
                "mode, by keyword arguments of its own such as train=False"
            ) from error


def from_linen(
    module: object,  # validated below, with a sentence
    variables: Variables,
    frames: Float[Tensor, "T S S 3"],
    *,
    layer: str,
    to_inputs: ToInputs | None = None,
    to_maps: ToMaps | None = None,
    to_scores: ToScores | None = None,
    check: bool = True,
    **options: Hashable,
) -> tuple[FunctionModel, Variables]:
    """Cut a Linen module at a layer: any module, without a change to its code.

    The output of the layer is replaced through ``nn.intercept_methods``. A module that
    has methods ``features`` and ``classify`` needs none of this.

    What ``to_maps`` leaves out of the layer's output, such as a class token, keeps its
    value if it is the same for every clip. If it depends on the frames it is carried with
    A as further channels, the same in all cells: the scores stay exact, and what it
    contributes is spread evenly over the frame (a token of the clip: over all frames).

    Args:
        module: the module; in evaluation mode, see ``options``.
        variables: its variables.
        frames: preprocessed frames of a clip, by which shapes are known and the cut is
            checked.
        layer: path of the layer, such as ``encoder/norm``; of a layer that returns a
            tuple, its first element is replaced.
        to_inputs: frames (T, S, S, 3) -> what the module is called with; None: a batch of
            one clip, ``frames[None]``.
        to_maps: output of the layer -> A (T, h, w, K), by selection and rearrangement:
            ``lambda tokens: tokens[0, :, 1:].reshape(-1, 4, 4, 64)``; None: the output is
            A, with or without a batch axis of 1.
        to_scores: what the module returns -> scores before softmax (T_out, C); None: it
            returns them, with or without a batch axis of 1, alone or as first of a tuple.
        check: compare the scores, and one row of beta, with the module itself.
        options: keyword arguments of the module's call, such as ``train=False``.

    Returns:
        ``module, variables`` for ``rgcam.explain(module, variables, frames)``.

    Raises:
        InputError: no such layer, shapes that do not fit, or a cut whose scores or
            gradients differ from the module's.
    """
    if not isinstance(module, nn.Module):
        raise InputError(
            f"from_linen takes a flax.linen.Module, not a {type(module).__name__}: "
            "NNX modules go to rgcam.from_nnx"
        )
    cut = LayerCut(
        run=LinenRun(module, layer, tuple(sorted(options.items()))),
        to_inputs=to_inputs or layers.batch_of_one,
        to_maps=to_maps or layers.without_batch,
        to_scores=to_scores or layers.default_scores,
        layer=layer,
        frame=tuple(frames.shape[1:]),
    )
    frames = jnp.asarray(frames)
    names = layer_names(cut, variables, frames)
    if layer not in names:
        raise layers.unknown_layer(layer, names)
    try:
        cut_module = layers.cut_at_layer(cut, variables, frames)
        result = layers.own_result(cut, variables, frames)
        layers.check_not_probabilities(jnp.asarray(result.scores))
        if check:
            layers.check_cut(cut_module, variables, frames, result, layer)
    except jax.errors.UnexpectedTracerError as error:
        raise InputError(
            f"layer {layer!r} runs inside nn.scan, nn.remat or nn.jit, where its output "
            "cannot be exchanged: name a layer outside, or build the module without it"
        ) from error
    return cut_module, variables


def layer_names(cut: LayerCut, variables: Variables, frames: Array) -> list[str]:
    """Return the paths of all layers that a module calls, in the order of their calls."""
    names: dict[str, None] = {}

    def intercept(
        call: Callable[..., PyTree],
        arguments: tuple[PyTree, ...],
        options: dict[str, PyTree],
        context: nn.module.InterceptorContext,
    ) -> PyTree:
        outputs = call(*arguments, **options)
        if context.method_name == "__call__" and context.module.path:
            names["/".join(context.module.path)] = None
        return outputs

    def forward(variables: Variables, frames: Array) -> PyTree:
        return cut.run(variables, cut.to_inputs(frames), lambda output: output)

    with nn.intercept_methods(intercept):
        jax.eval_shape(forward, variables, frames)
    return list(names)
