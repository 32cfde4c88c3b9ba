"""Layers: Linen's, traced faster, and those above the feature map: head, LSTM and GRU.

Wherever a parameter is read, Flax traces its initialiser, to compare shapes. Of tracing
``ucf101-lrcn`` that was more than half of the time (0.90 s of CPU time for the backbone,
0.11 s above it; 0.35 and 0.02 s without), at every start of a program. All layers here
compare the shape that the initialiser would be asked for by itself (``GivenParameters``).
``Dense``, ``Conv`` and ``Embed`` are named as Linen's, since their names are parts of those
of parameters.

An LSTM or GRU is divided in two: the product of its inputs and their kernels, computed for
all frames at once (the *drive*), and the recurrence, computed step by step. Names, shapes
and initial values of its parameters are those of Linen's
``nn.RNN(nn.OptimizedLSTMCell(H))`` and ``nn.RNN(nn.GRUCell(H))``, and so are its outputs.
"""

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, no_type_check

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rgcam.errors import InputError
from rgcam.models.cut import Carry
from rgcam.types import Tensor

HEADS = ("gap", "grid", "fc")
GRID = {"gap": 1, "grid": 2}  # the head averages over GRID x GRID regions of the map

# At run time a plain class: Linen would wrap the methods of a Module.
_MixinBase = nn.Module if TYPE_CHECKING else object


class GivenParameters(_MixinBase):
    """Mixed into a Linen module: reads a parameter that is given, by its shape alone."""

    # Of Linen's overloads, which allow any arguments, only what its layers use.
    def param(  # pyrefly: ignore[bad-override]
        self,
        name: str,
        init_fn: Callable[..., Array],
        shape: tuple[int, ...],
        *arguments: object,
    ) -> Tensor:
        """Return the parameter that was given, or a new one.

        Args:
            name: of the parameter.
            init_fn: (key, shape, *arguments) -> a new one.
            shape: of the parameter.
            arguments: of ``init_fn``, such as the dtype.

        Raises:
            flax.errors.ScopeParamShapeError: the given one has another shape.
        """
        if not self.has_variable("params", name):
            return super().param(name, init_fn, shape, *arguments)
        parameter = nn.unbox(self.get_variable("params", name))
        if parameter.shape != tuple(shape):
            path = "/".join(self.path)
            raise flax.errors.ScopeParamShapeError(name, path, parameter.shape, shape)
        return parameter


# The types of some of Linen's fields cannot be checked at run time, as tests do.
@no_type_check
class Dense(GivenParameters, nn.Dense):
    """``nn.Dense``."""


@no_type_check
class Conv(GivenParameters, nn.Conv):
    """``nn.Conv``."""


@no_type_check
class Embed(GivenParameters, nn.Embed):
    """``nn.Embed``."""


def pool(
    maps: Float[Tensor, "*T h w K"], cells: int
) -> Float[Array, "*T {cells} {cells} K"]:
    """Average over a grid of ``cells`` x ``cells`` regions, as equal as h and w allow.

    Raises:
        InputError: h or w is smaller than ``cells``.
    """
    for axis in (-3, -2):
        regions = [
            jax.lax.slice_in_dim(jnp.asarray(maps), start, stop, axis=axis)
            for start, stop in _regions(maps.shape[axis], cells)
        ]
        means = [region.mean(axis, keepdims=True) for region in regions]
        maps = jnp.concatenate(means, axis)
    return jnp.asarray(maps)


def cell_contributions(
    maps: Float[Tensor, "T h w K"], kernels: Float[Tensor, "g g K D"]
) -> Float[Array, "T h w D"]:
    """Compute what each cell of a map contributes to its pooled projection.

    The sum over h and w is ``pool(maps, g)``, each region multiplied by its own kernel.

    Args:
        maps: feature maps.
        kernels: one kernel (K, D) for each of g x g regions.

    Raises:
        InputError: h or w is smaller than g.
    """
    maps = jnp.asarray(maps)
    row_regions, column_regions = (_regions(n, len(kernels)) for n in maps.shape[1:3])
    rows = []
    for i, (top, bottom) in enumerate(row_regions):
        row = []
        for j, (left, right) in enumerate(column_regions):
            region = maps[:, top:bottom, left:right] @ kernels[i, j]
            row.append(region / math.prod(region.shape[1:3]))
        rows.append(jnp.concatenate(row, 2))
    return jnp.concatenate(rows, 1)


def _regions(size: int, count: int) -> list[tuple[int, int]]:
    """Divide an axis into ``count`` regions; return where each starts and stops."""
    if size < count:
        raise InputError(
            f"a feature map of {size} cells cannot be divided into {count} regions: "
            "use larger frames, or the head gap"
        )
    edges = [round(i * size / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


class FrameHead(nn.Module):
    """Map the feature map of each frame to one vector, linearly.

    ``gap``: global average pooling, K numbers. ``grid``: the averages of the four quarters
    of the map, 4 K numbers, which keep left from right and top from bottom. ``fc``: flatten
    and Dense, the fc6 layer of Donahue et al.'s LRCN (arXiv:1411.4389), which depends on
    positions; its ReLU is applied by the classifier.
    """

    kind: str = "gap"  # HEADS
    width: int = 512  # of fc

    def setup(self):
        """Create the Dense layer of fc."""
        if self.kind == "fc":
            self.fc6 = Dense(self.width)

    def __call__(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "T D"]:
        """Return a vector per frame: D is K (gap), 4 K (grid) or width (fc)."""
        if self.kind == "fc":
            return self.fc6(features.reshape(len(features), -1))
        return pool(features, GRID[self.kind]).reshape(len(features), -1)

    def response(self, channels: int) -> Float[Array, "{channels} D"]:
        """Return what fc's vector adds for an offset that is the same in all cells.

        That is ``sum_hw W`` of the Dense kernel W (h w K, D).
        """
        kernel = self.fc6.variables["params"]["kernel"]
        kernel = kernel.reshape(-1, channels * self.width)
        ones = jnp.ones(len(kernel), kernel.dtype)  # 40 times faster than sum(0)
        return (ones @ kernel).reshape(channels, self.width)

    def shares(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "T h w D"]:
        """Return what each cell contributes to fc's vector, without the bias."""
        kernel = self.fc6.variables["params"]["kernel"]
        kernel = kernel.reshape(*features.shape[1:], self.width)
        return jnp.einsum("thwk,hwkd->thwd", features, kernel)


class DenseParameters(GivenParameters, nn.Module):
    """The parameters of a Dense layer: a kernel and, optionally, a bias."""

    outputs: int
    recurrent: bool = False  # initialised orthogonally, as kernels of the state are
    bias: bool = True

    @nn.compact
    def __call__(self, inputs: int) -> tuple[Tensor, Tensor]:
        """Return the kernel (inputs, outputs) and the bias (outputs,), or zeros."""
        orthogonal, lecun = nn.initializers.orthogonal(), nn.initializers.lecun_normal()
        initializer = orthogonal if self.recurrent else lecun
        kernel = self.param("kernel", initializer, (inputs, self.outputs))
        if not self.bias:
            return kernel, jnp.zeros(self.outputs, kernel.dtype)
        return kernel, self.param("bias", nn.initializers.zeros, (self.outputs,))


class Cell(nn.Module):
    """A recurrent cell whose G gates are computed as one matrix product.

    ``GATES`` are Linen's letters of the gates. A kernel is named by its source, "i" for
    inputs or "h" for the state, and its gate; ``BIASED`` are those with a bias.
    """

    hidden: int  # H
    GATES: ClassVar[str] = ""
    BIASED: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        """Name the kernels as Linen does, such as ``ii`` and ``hf``."""
        for source, gate in itertools.product("ih", self.GATES):
            name = source + gate
            layer = DenseParameters(
                outputs=self.hidden, recurrent=source == "h", bias=name in self.BIASED
            )
            setattr(self, name, layer)

    def gate_parameters(self, source: str, size: int) -> tuple[Array, Array]:
        """Return the kernels (size, G H) and biases (G H,) of all gates, side by side.

        Args:
            source: "i" for inputs, "h" for the state.
            size: of the inputs or of the state.
        """
        layers = [getattr(self, source + gate)(size) for gate in self.GATES]
        kernels, biases = zip(*layers, strict=True)
        return jnp.concatenate(kernels, 1), jnp.concatenate(biases)

    def begin(self) -> Carry:
        """Return the carry before the first frame."""
        raise NotImplementedError

    def step(
        self, gates: tuple[Array, Array], carry: Carry, drive: Array
    ) -> tuple[Carry, Array]:
        """Compute one time step.

        Args:
            gates: ``gate_parameters`` of the state.
            carry: of the step before.
            drive: (G H,), what the inputs add to the gates.

        Returns:
            The next carry, and the state (H,).
        """
        raise NotImplementedError


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with forget gate."""

    GATES = "ifgo"
    BIASED = ("hi", "hf", "hg", "ho")

    def begin(self) -> Carry:
        """Return memory and state (H,), both 0."""
        return jnp.zeros(self.hidden), jnp.zeros(self.hidden)

    def step(
        self, gates: tuple[Array, Array], carry: Carry, drive: Array
    ) -> tuple[Carry, Array]:
        """Return the next carry (memory, state), and the state."""
        memory, state = carry
        kernel, bias = gates
        i, f, g, o = jnp.split(drive + (state @ kernel + bias), 4)
        memory = nn.sigmoid(f) * memory + nn.sigmoid(i) * jnp.tanh(g)
        state = nn.sigmoid(o) * jnp.tanh(memory)
        return (memory, state), state


class GRU(Cell):
    """Gated recurrent unit (Cho et al., arXiv:1406.1078), reset after the product."""

    GATES = "rzn"
    BIASED = ("ir", "iz", "in", "hn")

    def begin(self) -> Carry:
        """Return the state (H,), 0, as a tuple."""
        return (jnp.zeros(self.hidden),)

    def step(
        self, gates: tuple[Array, Array], carry: Carry, drive: Array
    ) -> tuple[Carry, Array]:
        """Return the next carry (state,), and the state."""
        (state,) = carry
        kernel, bias = gates
        state_r, state_z, state_n = jnp.split(state @ kernel + bias, 3)
        input_r, input_z, input_n = jnp.split(drive, 3)
        reset, update = nn.sigmoid(input_r + state_r), nn.sigmoid(input_z + state_z)
        candidate = jnp.tanh(input_n + reset * state_n)
        state = (1 - update) * candidate + update * state
        return (state,), state


CELLS = {"lstm": LSTM, "gru": GRU}


class Recurrent(nn.Module):
    """A recurrent cell applied over time."""

    kind: str = "lstm"  # CELLS
    hidden: int = 256  # H

    def setup(self):
        """Create the cell."""
        self.cell = CELLS[self.kind](self.hidden)

    def drive(self, vectors: Float[Array, "T D"]) -> Float[Array, "T GH"]:
        """Return what the inputs add to the gates: affine, frame by frame."""
        kernel, bias = self.cell.gate_parameters("i", vectors.shape[-1])
        return vectors @ kernel + bias

    def response(self, size: int) -> Float[Array, "{size} GH"]:
        """Return the derivative of the drive with respect to an input of this size."""
        return self.cell.gate_parameters("i", size)[0]

    def begin(self) -> Carry:
        """Return the carry before the first frame."""
        return self.cell.begin()

    def last_carry(
        self, drive: Float[Array, "T GH"], length: int | Int[Tensor, ""]
    ) -> Carry:
        """Return the carry after the first ``length`` frames; what follows is padding."""
        gates = self.cell.gate_parameters("h", self.hidden)

        def step(carry: Carry, inputs: tuple[Array, Array]) -> tuple[Carry, None]:
            step_drive, is_frame = inputs
            after, _ = self.cell.step(gates, carry, step_drive)
            keep = lambda new, old: jnp.where(is_frame, new, old)
            return jax.tree.map(keep, after, carry), None

        dtype = jnp.result_type(drive, gates[0])
        carry = jax.tree.map(lambda leaf: leaf.astype(dtype), self.begin())
        is_frame = jnp.arange(len(drive)) < length
        return jax.lax.scan(step, carry, (drive, is_frame))[0]

    def advance(
        self, carry: Carry, drive: Float[Array, "T GH"]
    ) -> tuple[Carry, Float[Array, "T H"]]:
        """Continue from ``carry`` over some frames; return the next carry, the states."""
        gates = self.cell.gate_parameters("h", self.hidden)
        dtype = jnp.result_type(drive, gates[0])
        carry = jax.tree.map(lambda leaf: leaf.astype(dtype), carry)
        return jax.lax.scan(
            lambda state, step_drive: self.cell.step(gates, state, step_drive),
            carry,
            drive,
        )
