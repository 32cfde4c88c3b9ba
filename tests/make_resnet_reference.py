"""Write tests/data/resnet.npz: PyTorch's logits for generated weights and picture.

    python tests/make_resnet_reference.py        # needs torch

The network is written here with PyTorch's own convolutions and batch norms, straight
from torchvision's names, and shares no code with rgcam's port.
"""

from pathlib import Path

import numpy as np

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
FILE = Path(__file__).parent / "reference" / "resnet.npz"


def picture(size: int = 64) -> np.ndarray:
    """Return noise, (1, size, size, 3) float32; numpy alone makes it."""
    return np.random.default_rng(7).normal(size=(1, size, size, 3)).astype(np.float32)


def weights(depth: int, classes: int = 5) -> dict[str, np.ndarray]:
    """Generate a state_dict with torchvision's names and shapes."""
    rng, state = np.random.default_rng(depth), {}

    def conv(name, norm, out, before, kernel):
        size = (out, before, kernel, kernel)
        scale = np.sqrt(2 / (before * kernel**2))
        state[f"{name}.weight"] = rng.normal(0, scale, size).astype(np.float32)
        for part, low, high in (
            ("weight", 0.5, 1.0),
            ("bias", -0.2, 0.2),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.5, 1.5),
        ):
            state[f"{norm}.{part}"] = rng.uniform(low, high, out).astype(np.float32)

    conv("conv1", "bn1", 64, 3, 7)
    before, wide = 64, 4 if depth == 50 else 1
    for stage, repeats in enumerate(REPEATS[depth], 1):
        width = 32 * 2**stage
        for n in range(repeats):
            at = f"layer{stage}.{n}"
            kernels = (1, 3, 1) if depth == 50 else (3, 3)
            inputs = before
            for i, kernel in enumerate(kernels, 1):
                out = width * wide if i == len(kernels) else width
                conv(f"{at}.conv{i}", f"{at}.bn{i}", out, inputs, kernel)
                inputs = out
            if n == 0 and before != width * wide:
                name = f"{at}.downsample"
                conv(f"{name}.0", f"{name}.1", width * wide, before, 1)
            before = width * wide
    state["fc.weight"] = rng.normal(0, 0.05, (classes, before)).astype(np.float32)
    state["fc.bias"] = rng.normal(0, 0.05, classes).astype(np.float32)
    return state


def logits(state: dict[str, np.ndarray], depth: int, frames: np.ndarray) -> np.ndarray:
    """Run the network in PyTorch."""
    import torch
    from torch.nn import functional as F

    t = {name: torch.tensor(value) for name, value in state.items()}

    def conv(x, name, norm, stride=1, padding=0):
        parts = "running_mean running_var weight bias".split()
        y = F.conv2d(x, t[f"{name}.weight"], stride=stride, padding=padding)
        return F.batch_norm(y, *(t[f"{norm}.{p}"] for p in parts), eps=1e-5)

    x = torch.tensor(frames).permute(0, 3, 1, 2)
    x = F.max_pool2d(F.relu(conv(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for stage, repeats in enumerate(REPEATS[depth], 1):
        for n in range(repeats):
            at, stride = f"layer{stage}.{n}", 2 if n == 0 and stage > 1 else 1
            y = x
            if depth == 50:
                y = F.relu(conv(y, f"{at}.conv1", f"{at}.bn1"))
                y = F.relu(conv(y, f"{at}.conv2", f"{at}.bn2", stride, 1))
                y = conv(y, f"{at}.conv3", f"{at}.bn3")
            else:
                y = F.relu(conv(y, f"{at}.conv1", f"{at}.bn1", stride, 1))
                y = conv(y, f"{at}.conv2", f"{at}.bn2", 1, 1)
            if f"{at}.downsample.0.weight" in t:
                x = conv(x, f"{at}.downsample.0", f"{at}.downsample.1", stride)
            x = F.relu(x + y)
    return (x.mean((2, 3)) @ t["fc.weight"].T + t["fc.bias"]).numpy()


def main() -> None:
    """Write the reference."""
    made = {f"resnet{d}": logits(weights(d), d, picture()) for d in REPEATS}
    np.savez_compressed(FILE, **made)


if __name__ == "__main__":
    main()
