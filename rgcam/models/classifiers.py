"""The two classifiers, cut at the last convolutional map, and the models by their ``arch``.

FrameCNN and LRCN are Linen modules with the same two pure methods, for one video:

    features: frames (T, S, S, 3) -> A (T, h, w, K); ``below(see(frames))``
    classify: A (T, h, w, K)      -> scores (T, C), pre-softmax

``__call__`` is ``classify(features(frames))``; ``jax.vmap`` adds the batch. Both models are
causal, and cut once more inside ``classify``, at their first linear map, by the methods of
``cut.SharingModel``: drive, response, shares, begin and advance. ``classify(A)`` is
``advance(begin(), drive(A))[1]``. ``rgcam.attribution.causal`` differentiates ``advance``
alone, so that neither (h, w) nor K take part in its reverse passes.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcam.models.backbones import Backbone, Preprocess, SmallCNN
from rgcam.models.captioner import Captioner
from rgcam.models.cut import Carry
from rgcam.models.description import VARIANTS, check_architecture, check_backbone
from rgcam.models.layers import (
    CELLS,
    GRID,
    Dense,
    FrameHead,
    Recurrent,
    cell_contributions,
)
from rgcam.types import Fields, Tensor, Variables


def see(frames: Float[Tensor, "T S S 3"], view: str) -> Float[Array, "T V S S 3"]:
    """Return the V images that a backbone receives of each frame.

    ``rgb``: the frame. ``difference``: half its change from the frame before (of the
    first: none), the RGB difference of Wang et al., Temporal Segment Networks
    (arXiv:1608.00859). ``rgb+difference``: both.
    """
    frames = jnp.asarray(frames)
    images = {"rgb": frames, "difference": change(frames) / 2}
    return jnp.stack([images[name] for name in view.split("+")], 1)


def change(x: Float[Array, "T *D"]) -> Float[Array, "T *D"]:
    """Return x[t] - x[t - 1], and 0 for the first step."""
    return x - jnp.concatenate([x[:1], x[:-1]])


class Classifier(nn.Module):
    """What the two models have in common: backbone -> A, the cut, and the frame head."""

    backbone: Backbone
    classes: int
    head: str = "gap"  # layers.HEADS
    width: int = 512  # of the fc head
    dropout: float = 0.5  # of the frame vector, in training
    view: str = "rgb"  # description.VIEWS

    def setup(self):
        """Name the parts that an LRCN can start from: backbone and frame_head."""
        self.frame_head = FrameHead(self.head, self.width)
        self.drop = nn.Dropout(self.dropout)
        self.scores = Dense(self.classes)

    def __call__(
        self, frames: Float[Tensor, "T S S 3"], *, train: bool = False
    ) -> Float[Array, "T C"]:
        """Return the scores of every step; ``train`` needs an rng "dropout"."""
        return self.classify(self.features(frames), train=train)

    def features(
        self, inputs: Float[Tensor, "T ..."], *, start: int = 0
    ) -> Float[Array, "T h w K"]:
        """Return A, the last convolutional map of every frame, of frames (T, S, S, 3).

        With ``start`` n, ``inputs`` are what block n - 1 returned for V images of each
        frame, (T, V, h, w, K).
        """
        return self.below(inputs if start else self.see(inputs), start=start)

    def see(self, frames: Float[Tensor, "T S S 3"]) -> Float[Array, "T V S S 3"]:
        """Return the images that the backbone receives of each frame."""
        return see(frames, self.view)

    def below(
        self, images: Float[Tensor, "T V H W C"], *, start: int = 0
    ) -> Float[Array, "T h w K"]:
        """Return A of images; the maps of several images of a frame are joined along K.

        With ``start`` n, ``images`` are instead what block n - 1 of the backbone returned.
        """
        return join(self.backbone(images, start=start))

    def classify(
        self, features: Float[Tensor, "T h w K"], *, train: bool = False
    ) -> Float[Array, "T C"]:
        """Return pre-softmax scores; row t' depends on A[0..t']."""
        drive = self.drive(features, train=train)
        return self.advance(self.begin(), drive, train=train)[1]

    def drive(
        self, features: Float[Tensor, "T h w K"], *, train: bool = False
    ) -> Float[Array, "T D"]:
        """Return u, affine in A and frame by frame: all before the first non-linearity."""
        vectors = self.frame_head(features)
        return vectors if self.head == "fc" else self.project(vectors, train)

    def response(self, channels: int) -> Float[Array, "{channels} D"]:
        """Return S: an offset d (K), the same in all cells of A, adds ``d @ S`` to u."""
        if self.head == "fc":
            return self.frame_head.response(channels)
        cells = GRID[self.head] ** 2  # the mean of each region changes by all of d
        return (
            self.projection_kernel(cells * channels).reshape(cells, channels, -1).sum(0)
        )

    def shares(self, features: Float[Tensor, "T h w K"]) -> Float[Array, "T h w D"]:
        """Return what each cell of A adds to u: their sum is ``drive(A) - drive(0)``."""
        if self.head == "fc":
            return self.frame_head.shares(features)
        side, channels = GRID[self.head], features.shape[-1]
        kernel = self.projection_kernel(side * side * channels)
        return cell_contributions(features, kernel.reshape(side, side, channels, -1))

    def advance(
        self, carry: Carry, drive: Float[Tensor, "T D"], *, train: bool = False
    ) -> tuple[Carry, Float[Array, "T C"]]:
        """Continue from ``carry`` over some frames; return the next carry, their scores."""
        if self.head == "fc":
            drive = self.project(nn.relu(drive), train)
        return self.score(carry, jnp.asarray(drive), train)

    def begin(self) -> Carry:
        """Return the carry before the first frame."""
        raise NotImplementedError

    def project(self, vectors: Float[Array, "T D"], train: bool) -> Float[Array, "T P"]:
        """Return the linear map of the frame vectors that ``score`` continues from."""
        raise NotImplementedError

    def projection_kernel(self, size: int) -> Float[Array, "{size} P"]:
        """Return the matrix of ``project`` for vectors of this size."""
        raise NotImplementedError

    def score(
        self, carry: Carry, projected: Float[Array, "T P"], train: bool
    ) -> tuple[Carry, Float[Array, "T C"]]:
        """Return the next carry, and the scores of what ``project`` returned."""
        raise NotImplementedError


class FrameCNN(Classifier):
    """Classify every frame by itself: the baseline that ordinary Grad-CAM explains.

    frame head -> dropout -> scores: row t depends on A[t] alone, nothing is carried.
    """

    def begin(self) -> Carry:
        """Return (): nothing is carried from frame to frame."""
        return ()

    def project(self, vectors: Float[Array, "T D"], train: bool) -> Float[Array, "T C"]:
        """Return the scores of the frame vectors."""
        return self.scores(self.drop(vectors, deterministic=not train))

    def projection_kernel(self, size: int) -> Float[Array, "{size} C"]:
        """Return the kernel of the scores."""
        return self.scores.variables["params"]["kernel"]

    def score(
        self, carry: Carry, projected: Float[Array, "T C"], train: bool
    ) -> tuple[Carry, Float[Array, "T C"]]:
        """Return both as they are: ``project`` returns scores."""
        return carry, projected


class LRCN(Classifier):
    """Long-term recurrent convolutional network (Donahue et al., arXiv:1411.4389).

    backbone -> frame head -> dropout -> LSTM or GRU -> dropout -> scores per step.
    Causal: scores at t' depend on frames t <= t' only, so padding at the end of a clip
    leaves the rows before it unchanged.

    With ``differences`` the input of step t is [v[t], v[t] - v[t - 1]] (of the first
    [v[0], 0]) for the frame vectors v: motion, for a head that averages over space. With
    the kernels W1 and W2 of its halves, the gates receive
    ``v[t] W1 + v[t] W2 - v[t - 1] W2``; the drive is [v W1, v W2], frame by frame.
    """

    cell: str = "lstm"  # layers.CELLS
    hidden: int = 256  # H, units of the recurrent state
    differences: bool = False  # whether steps also receive how the frame vector changed

    def setup(self):
        """Name the parts; backbone and frame_head as in FrameCNN."""
        super().setup()
        self.recurrent = Recurrent(self.cell, self.hidden)

    def begin(self) -> Carry:
        """Return the cell's carry; with ``differences`` three parts.

        These are the cell's carry, ``v W2`` of the frame before, and 1 where there has
        been a frame before.
        """
        if not self.differences:
            return self.recurrent.begin()
        size = len(CELLS[self.cell].GATES) * self.hidden
        return self.recurrent.begin(), jnp.zeros(size), jnp.zeros(())

    def project(self, vectors: Float[Array, "T D"], train: bool) -> Float[Array, "T P"]:
        """Return what the frame vectors add to the gates of the cell."""
        vectors = self.drop(vectors, deterministic=not train)
        if not self.differences:
            return self.recurrent.drive(vectors)
        no_change = jnp.zeros_like(vectors)
        from_vectors = self.recurrent.drive(jnp.concatenate([vectors, no_change], -1))
        change_kernel = jnp.split(self.projection_kernel(vectors.shape[-1]), 2, -1)[1]
        return jnp.concatenate([from_vectors, vectors @ change_kernel], -1)

    def projection_kernel(self, size: int) -> Float[Array, "{size} P"]:
        """Return the cell's input kernel; with ``differences`` [W1, W2]."""
        if not self.differences:
            return self.recurrent.response(size)
        halves = jnp.split(self.recurrent.response(2 * size), 2)
        return jnp.concatenate(halves, -1)

    def score(
        self, carry: Carry, projected: Float[Array, "T P"], train: bool
    ) -> tuple[Carry, Float[Array, "T C"]]:
        """Continue with the cell; return the next carry, and the scores."""
        if not self.differences:
            carry, states = self.recurrent.advance(carry, projected)
        else:
            cell_carry, previous, started = carry
            from_vectors, from_changes = jnp.split(projected, 2, axis=-1)
            # The first frame has not changed: it is its own previous one.
            previous = jnp.where(started > 0, previous, from_changes[0])
            before = jnp.concatenate([previous[None], from_changes[:-1]])
            drive = from_vectors + from_changes - before
            cell_carry, states = self.recurrent.advance(cell_carry, drive)
            carry = cell_carry, from_changes[-1], jnp.ones_like(started)
        return carry, self.scores(self.drop(states, deterministic=not train))


def join(maps: Float[Array, "T V h w K"]) -> Float[Array, "T h w VK"]:
    """Join the maps of V images along the channels."""
    steps, views, height, width, channels = maps.shape
    moved = jnp.moveaxis(maps, 1, 3)
    return moved.reshape(steps, height, width, views * channels)


# One program: operation by operation, each initialiser of each shape would be compiled by
# itself, which takes twice as long.
@functools.partial(jax.jit, static_argnames=("module", "method"))
def init(
    module: nn.Module, key: Array, inputs: Tensor, method: str = "__call__"
) -> Variables:
    """Initialise variables, with the forget gates of an LSTM open (bias 1).

    Linen's LSTM starts at bias 0, with which the gradient of step 63 with respect to frame
    0 is some 1e-9 of that with respect to the last frame; 1 is the field's default
    (Jozefowicz et al. 2015).

    Args:
        module: from ``build``.
        key: from ``jax.random.key``.
        inputs: one clip's frames (T, S, S, 3), or with ``method="classify"`` its
            features (T, h, w, K): then the result lacks the backbone.
        method: which method to trace.
    """
    variables = module.init(key, inputs, method=method)
    return jax.tree.map_with_path(_open_forget_gate, variables)


def _open_forget_gate(path: tuple[object, ...], leaf: Array) -> Array:
    names = [getattr(entry, "key", None) for entry in path]
    return jnp.ones_like(leaf) if names[-2:] == ["hf", "bias"] else leaf


def build(arch: Fields, classes: int) -> Classifier | Captioner:
    """Build the module that an ``arch`` (as in a config or model.json) describes.

    Args:
        arch: the fields of ``description.Architecture``.
        classes: C; of a captioner the number of its words.

    Raises:
        InputError: a field is missing, unknown, or has a value that is not allowed.
    """
    fields = check_architecture(arch, "model.")
    backbone, view = build_backbone(fields["backbone"]), fields.get("view", "rgb")
    if fields["kind"] == "lrcn":
        return LRCN(
            backbone,
            classes,
            head=fields["head"],
            width=fields["width"],
            dropout=fields["dropout"],
            view=view,
            cell=fields["cell"],
            hidden=fields["hidden"],
            differences=fields.get("differences", False),
        )
    if fields["kind"] == "captioner":
        return Captioner(
            backbone,
            classes,
            head=fields["head"],
            width=fields["width"],
            dropout=fields["dropout"],
            cell=fields["cell"],
            hidden=fields["hidden"],
        )
    return FrameCNN(
        backbone,
        classes,
        head=fields["head"],
        width=fields["width"],
        dropout=fields["dropout"],
        view=view,
    )


def build_backbone(name: str) -> Backbone:
    """Build a backbone by one of the names ``description.BACKBONES``."""
    if name == "small":
        return SmallCNN()
    # Only the network that is built is imported.
    if name in VARIANTS:
        from rgcam.models.efficientnet import EfficientNetLite

        return EfficientNetLite(depth=VARIANTS[name].depth, width=VARIANTS[name].width)
    from rgcam.models.resnet import ResNet

    return ResNet(depth=int(name.removeprefix("resnet")))


def preprocess_of(arch: Fields) -> Preprocess:
    """Return how whole video frames become the input of ``arch``'s backbone.

    Raises:
        InputError: there is no such backbone.
    """
    backbone = check_backbone(arch, "model.")
    if backbone == "small":
        return Preprocess(size=64, crop=None, offset=127.5, scale=127.5)
    if backbone in VARIANTS:
        size = VARIANTS[backbone].size
        return Preprocess(size=size, crop=None, offset=127.0, scale=128.0)
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's
    return Preprocess(size=224, crop=None, offset=mean, scale=deviation)
