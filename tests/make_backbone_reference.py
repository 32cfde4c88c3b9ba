"""Write tests/data/efficientnet_lite0.npz: PyTorch's logits on a generated picture.

    python tests/make_backbone_reference.py        # needs torch and [pretrained]

The network is written here with PyTorch's own convolutions and batch norms, straight
from the weights file's names, and shares no code with rgcam's port but the file.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rgcam.weights import efficientnet_lite0_file

# repeats, kernel, stride, expansion: EfficientNet's table 1
STAGES = "1 3 1 1,2 3 2 6,2 5 2 6,3 3 2 6,3 5 1 6,4 5 2 6,1 3 1 6"


def picture(seed: int = 0) -> np.ndarray:
    """Return random tiles, (1, 224, 224, 3) float32 in [-1, 1]; numpy alone makes it."""
    tiles = np.random.default_rng(seed).uniform(-1, 1, (1, 28, 28, 3))
    return tiles.repeat(8, 1).repeat(8, 2).astype(np.float32)


def same(x, kernel, stride):
    """Pad as TensorFlow's 'SAME' does: the odd pixel goes to the right and bottom."""
    total = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    (top, left), (bottom, right) = (
        [n // 2 for n in total],
        [n - n // 2 for n in total],
    )
    return F.pad(x, (left, right, top, bottom))


def features(state, x):
    """Return the map after the head convolution, (N, 1280, 7, 7)."""

    def bn(x, name):
        parts = "running_mean running_var weight bias".split()
        return F.batch_norm(x, *(state[f"{name}.{p}"] for p in parts), eps=1e-3)

    def conv(x, name, norm):
        return bn(F.conv2d(x, state[f"{name}.weight"]), norm)

    stem = F.conv2d(same(x, 3, 2), state["_conv_stem.weight"], stride=2)
    x, n = F.relu6(bn(stem, "_bn0")), 0
    for stage in STAGES.split(","):
        repeats, kernel, stride, expand = map(int, stage.split())
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
    """Write the reference."""
    state = torch.load(efficientnet_lite0_file(), weights_only=True)
    x = picture()
    with torch.inference_mode():
        a = features(state, torch.tensor(x).permute(0, 3, 1, 2))
        logits = a.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    file = Path(__file__).parent / "data" / "efficientnet_lite0.npz"
    pooled, cells = a.mean((2, 3)).numpy(), a.mean(1).numpy()
    np.savez_compressed(file, logits=logits.numpy(), pooled=pooled, cells=cells)


if __name__ == "__main__":
    main()
