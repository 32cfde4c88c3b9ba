"""PyTorch's network of benchmarks/explain.py gives the same results as ours."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from benchmarks import flops, methods, peers  # noqa: E402
from benchmarks import work as works  # noqa: E402


@pytest.fixture(scope="module")
def work():
    return works.build(works.Case("resnet18", "fc", steps=3, size=64))


@pytest.fixture(scope="module")
def truth(work):
    return methods.ours(work).run(())


@pytest.mark.parametrize("name", ["torch-forward", "torch-loop", "torch-batched"])
def test_peers_agree_with_ours(work, truth, name):
    rows = peers.peer(name, work).run([0, 1, 2])
    assert max(works.differences(truth, rows, [0, 1, 2]).values()) < 1e-4


def test_the_definition_agrees_with_ours(work, truth):
    rows = methods.looped(work).run([2, 0])
    differences = works.differences(truth, rows, [2, 0])
    assert set(differences) == {"scores", "beta", "maps", "matrix"}
    assert max(differences.values()) < 1e-4


def multiply_adds(work):
    """Count those of the convolutions, and scale them to 224 px."""
    counts, model = [], peers.Lrcn(work)
    for layer in model.backbone.modules():
        if isinstance(layer, peers.Conv):
            count = lambda l, _, out: counts.append(
                l.weight.numel() * out[0, 0].numel()
            )
            layer.register_forward_hook(count)
    size = work.frames.shape[1]
    model.backbone(torch.zeros(1, 3, size, size))
    return sum(counts) * (224 / size) ** 2


def test_multiply_adds(work):
    assert multiply_adds(work) == pytest.approx(flops.MULTIPLY_ADDS["resnet18"])


@pytest.mark.slow
def test_the_other_network_and_head_too():
    work = works.build(works.Case("efficientnet_lite0", "gap", steps=2, size=32))
    rows = peers.peer("torch-forward", work).run(())
    expected = methods.forward(work).run(())
    np.testing.assert_allclose(rows.scores, expected.scores, rtol=1e-3, atol=1e-5)
    counted = flops.MULTIPLY_ADDS["efficientnet_lite0"]
    assert multiply_adds(work) == pytest.approx(counted)
