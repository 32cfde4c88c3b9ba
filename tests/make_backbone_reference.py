"""Write tests/data/efficientnet_lite*.npz: PyTorch's logits on a generated picture.

    python tests/make_backbone_reference.py        # needs torch and [pretrained]

The network is written here with PyTorch's own convolutions and batch norms, straight
from the weights file's names, and shares no code with rgcam's port but the file.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rgcam.models.torch_files import package_file

# repeats, kernel, stride, expansion: EfficientNet's table 1
STAGES = "1 3 1 1,2 3 2 6,2 5 2 6,3 3 2 6,3 5 1 6,4 5 2 6,1 3 1 6"
# pixels, depth multiplier of the inner stages; widths come with the weights
VARIANTS = {"lite0": (224, 1.0), "lite1": (240, 1.1), "lite2": (260, 1.2)}


def picture(size: int = 224, seed: int = 0) -> np.ndarray:
    """Return random tiles, (1, S, S, 3) float32 in [-1, 1]; numpy alone makes it."""
    sides = (1, math.ceil(size / 8), math.ceil(size / 8), 3)
    tiles = np.random.default_rng(seed).uniform(-1, 1, sides)
    tiles = tiles.repeat(8, 1).repeat(8, 2)[:, :size, :size]
    return tiles.astype(np.float32)


def same(x, kernel, stride):
    """Pad as TensorFlow's 'SAME' does: the odd pixel goes to the right and bottom."""
    total = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    (top, left), (bottom, right) = (
        [n // 2 for n in total],
        [n - n // 2 for n in total],
    )
    return F.pad(x, (left, right, top, bottom))


def features(state, x, depth):
    """Return the map after the head convolution, (N, 1280, h, w)."""

    def bn(x, name):
        parts = "running_mean running_var weight bias".split()
        return F.batch_norm(x, *(state[f"{name}.{p}"] for p in parts), eps=1e-3)

    def conv(x, name, norm):
        return bn(F.conv2d(x, state[f"{name}.weight"]), norm)

    stem = F.conv2d(same(x, 3, 2), state["_conv_stem.weight"], stride=2)
    x, n = F.relu6(bn(stem, "_bn0")), 0
    stages = STAGES.split(",")
    for stage in stages:
        repeats, kernel, stride, expand = map(int, stage.split())
        if stage not in (stages[0], stages[-1]):
            repeats = math.ceil(depth * repeats)
        for r in range(repeats):
            at, y, s = f"_blocks.{n}.", x, stride if r == 0 else 1
            if expand > 1:
                y = F.relu6(conv(y, f"{at}_expand_conv", f"{at}_bn0"))
            weight = state[f"{at}_depthwise_conv.weight"]
            y = F.conv2d(same(y, kernel, s), weight, stride=s, groups=len(weight))
            y = conv(F.relu6(bn(y, f"{at}_bn1")), f"{at}_project_conv", f"{at}_bn2")
            x, n = (x + y if x.shape == y.shape else y), n + 1
    return F.relu6(conv(x, "_conv_head", "_bn1"))


def main() -> None:
    """Write the references."""
    for name, (size, depth) in VARIANTS.items():
        state = torch.load(package_file(f"efficientnet_{name}"), weights_only=True)
        x = torch.tensor(picture(size)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            a = features(state, x, depth)
            logits = a.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
        file = Path(__file__).parent / "reference" / f"efficientnet_{name}.npz"
        pooled, cells = a.mean((2, 3)).numpy(), a.mean(1).numpy()
        np.savez_compressed(file, logits=logits.numpy(), pooled=pooled, cells=cells)


if __name__ == "__main__":
    main()
