"""LSTM and GRU cut in two: what frames drive into them, and the state that goes on.

The input's share of all gates is one product for a whole stretch of frames (the
*drive*); only the state's share is computed step by step. Parameters have the names,
shapes and initial values of Linen's ``nn.RNN(nn.OptimizedLSTMCell(H))`` and
``nn.RNN(nn.GRUCell(H))``, whose scores these cells give.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Carry = Any  # what a cell remembers: a tuple of (H,) arrays


class Kernel(nn.Module):
    """The kernel (inputs, outputs) and, where there is one, the bias of a Dense."""

    outputs: int
    recurrent: bool = False  # orthogonal, as a state's kernel begins
    bias: bool = True

    @nn.compact
    def __call__(self, inputs: int) -> tuple[Array, Array]:
        """Return the kernel (inputs, outputs) and the bias (outputs,), or zeros."""
        start = nn.initializers.orthogonal() if self.recurrent else None
        start = start or nn.initializers.lecun_normal()
        kernel = self.param("kernel", start, (inputs, self.outputs))
        if not self.bias:
            return kernel, jnp.zeros(self.outputs, kernel.dtype)
        return kernel, self.param("bias", nn.initializers.zeros, (self.outputs,))


class Cell(nn.Module):
    """What the two cells share: gates side by side in one matrix each.

    ``GATES`` are Linen's letters; ``BIASED`` the kernels (i: inputs', h: state's) that
    have a bias.
    """

    hidden: int  # H
    GATES: ClassVar[str] = ""
    BIASED: ClassVar[tuple[str, ...]] = ()

    def setup(self):
        """Name the kernels as Linen does, such as ``ii`` and ``hf``."""
        for gate in self.GATES:
            for source in "ih":
                name = source + gate
                recurrent, bias = source == "h", name in self.BIASED
                setattr(self, name, Kernel(self.hidden, recurrent, bias))

    def matrices(self, source: str, size: int) -> tuple[Array, Array]:
        """Return kernel (size, G H) and bias (G H,) of all G gates, "i" or "h"."""
        made = [getattr(self, source + gate)(size) for gate in self.GATES]
        kernels, biases = zip(*made, strict=True)
        return jnp.concatenate(kernels, 1), jnp.concatenate(biases)

    def begin(self) -> Carry:
        """Return the carry before the first frame."""
        raise NotImplementedError

    def step(self, gates: Any, carry: Carry, drive: Array) -> tuple[Carry, Array]:
        """Return the next carry and the state (H,) of one step."""
        raise NotImplementedError


class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with forget gate."""

    GATES = "ifgo"
    BIASED = ("hi", "hf", "hg", "ho")

    def begin(self) -> Carry:
        """Return memory and state (H,), both 0."""
        return jnp.zeros(self.hidden), jnp.zeros(self.hidden)

    def step(self, gates: Any, carry: Carry, drive: Array) -> tuple[Carry, Array]:
        """Return the next (memory, state) and the state."""
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
        """Return the state (H,), 0."""
        return (jnp.zeros(self.hidden),)

    def step(self, gates: Any, carry: Carry, drive: Array) -> tuple[Carry, Array]:
        """Return the next (state,) and the state."""
        (state,) = carry
        kernel, bias = gates
        own = jnp.split(state @ kernel + bias, 3)
        r, z, n = jnp.split(drive, 3)
        r, z = nn.sigmoid(r + own[0]), nn.sigmoid(z + own[1])
        state = (1 - z) * jnp.tanh(n + r * own[2]) + z * state
        return (state,), state


CELLS = {"lstm": LSTM, "gru": GRU}


class Recurrent(nn.Module):
    """A cell over time."""

    kind: str = "lstm"  # CELLS
    hidden: int = 256  # H

    def setup(self):
        """Make the cell."""
        self.cell = CELLS[self.kind](self.hidden)

    def drive(self, vectors: Float[Array, "T D"]) -> Float[Array, "T GH"]:
        """Return what the vectors add to the gates: affine, frame by frame."""
        kernel, bias = self.cell.matrices("i", vectors.shape[-1])
        return vectors @ kernel + bias

    def response(self, size: int) -> Float[Array, "{size} GH"]:
        """Return the drive's derivative with respect to a vector of ``size``."""
        return self.cell.matrices("i", size)[0]

    def begin(self) -> Carry:
        """Return the carry before the first frame."""
        return self.cell.begin()

    def advance(
        self, carry: Carry, drive: Float[Array, "T GH"]
    ) -> tuple[Carry, Float[Array, "T H"]]:
        """Go on from ``carry`` over a stretch of frames; return the states."""
        gates = self.cell.matrices("h", self.hidden)
        dtype = jnp.result_type(drive, gates[0])
        carry = jax.tree.map(lambda leaf: leaf.astype(dtype), carry)
        return jax.lax.scan(lambda c, u: self.cell.step(gates, c, u), carry, drive)
