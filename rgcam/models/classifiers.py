"""The two classifiers, cut at the last convolutional map: FrameCNN and LRCN.

Both are Linen modules with the same two pure methods, for one video:

    features: frames (T, S, S, 3) -> A (T, h, w, K); ``below(see(frames, view))``
    classify: A (T, h, w, K)      -> scores (T, C), pre-softmax

``__call__`` is ``classify(features(frames))``; ``jax.vmap`` adds the batch. Both
models are causal, and cut once more inside ``classify``, at their first linear map:

    drive:    A -> u (T, D), affine, frame by frame
    response: S (K, D), what u answers to an offset d (K) alike in all cells of A: d @ S
    shares:   A -> (T, h, w, D), what each cell adds to u: ``drive(A) - drive(0)``
    begin:    the carry before the first frame
    advance:  carry, u of some frames -> the next carry, their scores

so that ``classify(A)`` is ``advance(begin(), drive(A))[1]``. ``rgcam.attribution.causal`` goes
through ``advance`` alone: neither (h, w) nor K take part in its reverse passes.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.errors import InputError
from rgcam.models.backbones import Preprocess, SmallCNN
from rgcam.models.cut import Carry
from rgcam.models.efficientnet import VARIANTS, EfficientNetLite
from rgcam.models.layers import (
    CELLS,
    GRID,
    HEADS,
    FrameHead,
    Recurrent,
    cell_contributions,
)
from rgcam.models.resnet import REPEATS, ResNet
from rgcam.types import Tensor

KINDS = ("cnn", "lrcn")
BACKBONES = {
    "small": SmallCNN,
    **{n: functools.partial(EfficientNetLite, *v[1:]) for n, v in VARIANTS.items()},
    **{f"resnet{n}": functools.partial(ResNet, n) for n in REPEATS},
}
VIEWS = ("rgb", "difference", "rgb+difference")


def see(frames: Float[Tensor, "T S S 3"], view: str) -> Float[Array, "T V S S 3"]:
    """Return the V pictures that a backbone sees of each frame.

    ``rgb``: the frame. ``difference``: half its change from the frame before (of the
    first: none), the RGB difference of Wang et al., Temporal Segment Networks
    (arXiv:1608.00859). ``rgb+difference``: both.
    """
    frames = jnp.asarray(frames)
    pictures = {"rgb": frames, "difference": change(frames) / 2}
    return jnp.stack([pictures[name] for name in view.split("+")], 1)


def change(x: Float[Array, "T *D"]) -> Float[Array, "T *D"]:
    """Return x[t] - x[t - 1], and 0 for the first step."""
    return x - jnp.concatenate([x[:1], x[:-1]])


class Classifier(nn.Module):
    """What the two models share: backbone -> A, the cut, and the frame head."""

    backbone: nn.Module
    classes: int
    head: str = "gap"  # HEADS
    width: int = 512  # of the fc head
    dropout: float = 0.5  # on the frame vector, in training
    view: str = "rgb"  # VIEWS

    def setup(self):
        """Name the parts that an LRCN can start from: backbone and frame_head."""
        self.frame_head = FrameHead(self.head, self.width)
        self.drop = nn.Dropout(self.dropout)
        self.scores = nn.Dense(self.classes)

    def __call__(
        self, frames: Float[Tensor, "T S S 3"], *, train: bool = False
    ) -> Float[Array, "T C"]:
        """Return the scores of every step; ``train`` needs an rng "dropout"."""
        return self.classify(self.features(frames), train=train)

    def features(
        self, inputs: Float[Tensor, "T ..."], *, start: int = 0
    ) -> Float[Array, "T h w K"]:
        """Return A, the last convolutional map of every frame, of frames (T, S, S, 3).

        With ``start`` n, ``inputs`` is what block n - 1 made of V pictures a frame:
        (T, V, h, w, K).
        """
        return self.below(inputs if start else self.see(inputs), start=start)

    def see(self, frames: Float[Tensor, "T S S 3"]) -> Float[Array, "T V S S 3"]:
        """Return the pictures that the backbone sees of each frame, one by one."""
        return see(frames, self.view)

    def below(
        self, seen: Float[Tensor, "T V H W C"], *, start: int = 0
    ) -> Float[Array, "T h w K"]:
        """Return A of what is seen; the maps of several pictures are joined along K.

        With ``start`` n, ``seen`` is instead what block n - 1 of the backbone made.
        """
        return join(self.backbone(seen, start=start))

    def classify(
        self, features: Float[Tensor, "T h w K"], *, train: bool = False
    ) -> Float[Array, "T C"]:
        """Return pre-softmax scores; row t' depends on A[0..t']."""
        drive = self.drive(features, train=train)
        return self.advance(self.begin(), drive, train=train)[1]

    def drive(
        self, features: Float[Tensor, "T h w K"], *, train: bool = False
    ) -> Float[Array, "T D"]:
        """Return u, affine in A and frame by frame: all up to the first bend."""
        vectors = self.frame_head(features)
        return vectors if self.head == "fc" else self.project(vectors, train)

    def response(self, channels: int) -> Float[Array, "{channels} D"]:
        """Return S: an offset d (K) alike in all cells of A adds ``d @ S`` to u."""
        if self.head == "fc":
            return self.frame_head.response(channels)
        cells = GRID[self.head] ** 2  # each cell's mean moves by the whole offset
        return self.kernel(cells * channels).reshape(cells, channels, -1).sum(0)

    def shares(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "T h w D"]:
        """Return what each cell of A adds to u, linear: ``drive(A) - drive(0)``."""
        if self.head == "fc":
            return self.frame_head.shares(features)
        side, channels = GRID[self.head], features.shape[-1]
        kernel = self.kernel(side * side * channels)
        return cell_contributions(features, kernel.reshape(side, side, channels, -1))

    def advance(
        self, carry: Carry, drive: Float[Tensor, "T D"], *, train: bool = False
    ) -> tuple[Carry, Float[Array, "T C"]]:
        """Go on from ``carry`` over a stretch of frames; return their scores."""
        if self.head == "fc":
            drive = self.project(nn.relu(drive), train)
        return self.decide(carry, drive, train)


class FrameCNN(Classifier):
    """Classify every frame by itself: the baseline that ordinary Grad-CAM explains.

    frame head -> dropout -> scores: row t depends on A[t] alone, nothing is carried.
    """

    def begin(self) -> Carry:
        """Return what is carried from frame to frame: nothing."""
        return ()

    def project(self, vectors, train):
        """Return the scores of frame vectors."""
        return self.scores(self.drop(vectors, deterministic=not train))

    def kernel(self, size):
        """Return the matrix of ``project``."""
        return self.scores.variables["params"]["kernel"]

    def decide(self, carry, drive, train):
        """Return the carry and the scores, which ``project`` made."""
        return carry, drive


class LRCN(Classifier):
    """Long-term recurrent convolutional network (Donahue et al., arXiv:1411.4389).

    backbone -> frame head -> dropout -> LSTM or GRU -> dropout -> scores per step.
    Causal: scores at t' depend on frames t <= t' only, so padding at the end of a
    clip leaves the rows before it unchanged. With ``differences`` the vector of step t
    is [v[t], v[t] - v[t - 1]], of the first [v[0], 0]: what moves, for a head that
    averages over space. The drive then holds the shares of v in both halves.
    """

    cell: str = "lstm"  # CELLS
    hidden: int = 256  # units of the recurrent state
    differences: bool = False  # whether steps also see how the frame vector changed

    def setup(self):
        """Name the parts; backbone and frame_head as in FrameCNN."""
        super().setup()
        self.recurrent = Recurrent(self.cell, self.hidden)

    def begin(self) -> Carry:
        """Return the cell's carry; with ``differences`` also v's share, and if any."""
        if not self.differences:
            return self.recurrent.begin()
        size = len(CELLS[self.cell].GATES) * self.hidden
        return self.recurrent.begin(), jnp.zeros(size), jnp.zeros(())

    def project(self, vectors, train):
        """Return what frame vectors drive into the cell."""
        vectors = self.drop(vectors, deterministic=not train)
        if not self.differences:
            return self.recurrent.drive(vectors)
        nothing = jnp.zeros_like(vectors)
        own = self.recurrent.drive(jnp.concatenate([vectors, nothing], -1))
        changed = vectors @ self.kernel(vectors.shape[-1])[:, own.shape[1] :]
        return jnp.concatenate([own, changed], -1)

    def kernel(self, size):
        """Return the matrix (size, D) of ``project``."""
        if not self.differences:
            return self.recurrent.response(size)
        halves = jnp.split(self.recurrent.response(2 * size), 2)
        return jnp.concatenate(halves, -1)

    def decide(self, carry, drive, train):
        """Go on with the cell; return its carry and the scores."""
        rest = ()
        if self.differences:
            carry, drive, rest = _changes(carry, drive)
        carry, states = self.recurrent.advance(carry, drive)
        scores = self.scores(self.drop(states, deterministic=not train))
        return ((carry, *rest) if self.differences else carry), scores


def _changes(carry, drive):
    """Add v's share and its change's: u1[t] + u2[t] - u2[t - 1]."""
    carry, last, begun = carry
    own, changed = jnp.split(drive, 2, axis=-1)
    last = jnp.where(begun > 0, last, changed[0])
    before = jnp.concatenate([last[None], changed[:-1]])
    return carry, own + changed - before, (changed[-1], jnp.ones_like(begun))


def join(maps: Float[Array, "T V h w K"]) -> Float[Array, "T h w VK"]:
    """Join the maps of V pictures along the channels."""
    steps, views, height, width, channels = maps.shape
    moved = jnp.moveaxis(maps, 1, 3)
    return moved.reshape(steps, height, width, views * channels)


def init(
    module: nn.Module, key: Array, inputs: Tensor, method: str = "__call__"
) -> Any:
    """Initialise variables, with the forget gates of an LSTM open (bias 1).

    Linen's LSTM starts at bias 0, under which the credit of frame 0 at step 63 is
    some 1e-9 of the last frame's; 1 is the field's default (Jozefowicz et al. 2015).

    Args:
        module: FrameCNN or LRCN.
        key: from ``jax.random.key``.
        inputs: one clip's frames (T, S, S, 3), or with ``method="classify"`` its
            features (T, h, w, K): then the result lacks the backbone.
        method: which method to trace.
    """
    variables = module.init(key, inputs, method=method)
    return jax.tree.map_with_path(_open_forget_gate, variables)


def build(arch: Mapping[str, Any], classes: int) -> nn.Module:
    """Build the module that an ``arch`` (as in a config or model.json) describes.

    Args:
        arch: kind, backbone, head, width, dropout, for an LRCN cell and hidden; view
            (rgb where there is none) and, of an LRCN, differences (or False).
        classes: C.

    Raises:
        InputError: a field's value that is not one of the known ones, or differences
            asked of a frame CNN.
    """
    for field, known in _CHOICES.items():
        if field in arch and arch[field] not in known:
            raise InputError(
                f"model.{field} is {arch[field]!r}; choose one of "
                f"{', '.join(map(str, known))}"
            )
    common = {name: arch[name] for name in ("head", "width", "dropout")}
    common["view"] = arch.get("view", "rgb")
    backbone = BACKBONES[arch["backbone"]]()
    differences = arch.get("differences", False)
    if arch["kind"] == "lrcn":
        recurrent = {name: arch[name] for name in ("cell", "hidden")}
        recurrent["differences"] = differences
        return LRCN(backbone, classes, **common, **recurrent)
    if differences:
        raise InputError(
            "model.differences needs the frame before, and model.kind=cnn sees one "
            "frame at a time: set model.kind=lrcn or model.differences=False"
        )
    return FrameCNN(backbone, classes, **common)


def preprocess_of(arch: Mapping[str, Any]) -> Preprocess:
    """Return how whole video frames become the input of ``arch``'s backbone."""
    name = arch["backbone"]
    if name == "small":
        return Preprocess(size=64, crop=None, offset=127.5, scale=127.5)
    if name in VARIANTS:
        return Preprocess(VARIANTS[name].size, crop=None, offset=127.0, scale=128.0)
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's
    return Preprocess(size=224, crop=None, offset=mean, scale=deviation)


_CHOICES = {
    "kind": KINDS,
    "backbone": BACKBONES,
    "head": HEADS,
    "cell": CELLS,
    "view": VIEWS,
    "differences": (False, True),
}


def _open_forget_gate(path, leaf):
    names = [getattr(entry, "key", None) for entry in path]
    return jnp.ones_like(leaf) if names[-2:] == ["hf", "bias"] else leaf
