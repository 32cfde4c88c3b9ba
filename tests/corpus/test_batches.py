"""Batches: buckets, sizes that fit, the numbers of single clips, all devices."""

import jax
import numpy as np
import pytest

from rgcam.attribution import explain as attribution
from rgcam.corpus import batches
from rgcam.corpus.batches import MemoryLimits, Outputs, padded_size
from rgcam.data.synthetic import stickman
from rgcam.models import cut, zoo
from rgcam.report.explain import best_classes
from rgcam.training import mesh

LENGTHS = (2, 5, 16)
OUTPUTS = Outputs()


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


@pytest.fixture(scope="module")
def clips():
    return [stickman.clip((1, n)).frames[:n] for n in LENGTHS]


def explain(model, clips, shape, target=None, outputs=OUTPUTS):
    devices = mesh.make()
    return batches.explain_batch(
        model.module,
        mesh.repeat(devices, model.variables),
        clips,
        None if target is None else np.full(shape[0], target, np.int32),
        devices=devices,
        preprocess=model.description.preprocess,
        shape=shape,
        outputs=outputs,
    )


@pytest.mark.parametrize("target", [None, 3])
def test_a_batch_equals_single_explanations(model, clips, target):
    batch = mesh.gather(explain(model, clips, (8, 16), target, Outputs(beta=True)))
    for row, (clip, length) in enumerate(zip(clips, LENGTHS, strict=True)):
        arrays = batches.without_padding(batch, row, length)
        index = arrays.scores[-1].argmax() if target is None else target
        assert arrays.target == index
        frames = model.preprocess(clip)
        e = attribution.explain(model.module, model.variables, frames, int(index))
        for actual, expected in [
            (arrays.scores, e.scores),
            (arrays.matrix, e.matrix),
            (arrays.maps, e.maps[-1:]),
            (arrays.beta, e.beta),
        ]:
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_all_maps_are_returned_on_request(model, clips):
    batch = explain(model, clips, (8, 16), 3, Outputs(all_maps=True))
    arrays = batches.without_padding(mesh.gather(batch), 1, 5)
    e = attribution.explain(
        model.module, model.variables, model.preprocess(clips[1]), 3
    )
    np.testing.assert_allclose(arrays.maps, e.maps, rtol=1e-5, atol=1e-5)
    assert arrays.beta is None


def test_signed_maps_of_the_best_classes_are_returned_on_request(model, clips):
    batch = explain(model, clips, (8, 16), None, Outputs(classes=3))
    arrays = batches.without_padding(mesh.gather(batch), 1, 5)
    expected = best_classes(arrays.scores[-1], int(arrays.target), 3)
    assert tuple(arrays.class_maps.targets) == expected
    features = attribution.explain(
        model.module, model.variables, model.preprocess(clips[1])
    ).features
    maps = [
        attribution.class_maps(model.module, model.variables, features, index)
        for index in expected
    ]
    np.testing.assert_allclose(arrays.class_maps.maps, maps, rtol=1e-3, atol=1e-5)


def test_all_devices_share_a_batch(model, clips):
    batch = explain(model, clips, (16, 16))
    assert jax.device_count() == 8
    for leaf in jax.tree.leaves(batch):
        shares = {(s.device.id, s.data.shape[0]) for s in leaf.addressable_shards}
        assert shares == {(device.id, 2) for device in jax.devices()}


def test_predicting_the_class_costs_no_second_forward_pass(model, monkeypatch):
    monkeypatch.setattr(cut, "PIXELS", dict.fromkeys(cut.PIXELS, 8 * 64**2))
    frames = np.zeros((2, 16, 64, 64, 3), np.float32)
    two = np.full(2, 16, np.int32)
    arguments = model.variables, frames, two, two * 0

    def plain(variables, frames, lengths, targets):
        one = lambda x, n, c: attribution.explain(
            model.module, variables, x, c, length=n
        )
        return jax.vmap(one)(frames, lengths, targets)

    lowered = batches._explain_batch.lower(
        model.module, *arguments[:3], None, Outputs()
    )
    flops = [
        low.compile().cost_analysis()["flops"]
        for low in (lowered, jax.jit(plain).lower(*arguments))
    ]
    assert flops[0] < 1.02 * flops[1]


def test_buckets_are_few_and_at_most_half_as_long_again():
    limits = MemoryLimits(frame=10, pair=1, total=10**7)
    buckets = {n: limits.bucket(n) for n in range(2, limits.longest + 1)}
    assert all(n <= b for n, b in buckets.items())
    assert all(b <= 1.5 * n for n, b in buckets.items() if n > 16)
    assert len(set(buckets.values())) <= 2 * np.log2(limits.longest)
    assert buckets[16] == 16 and buckets[17] == 24 and buckets[25] == 32


def test_batches_fit_and_are_shared_evenly():
    limits = MemoryLimits(frame=10, pair=1, total=10**4)
    assert limits.longest**2 + 10 * limits.longest <= 10**4
    assert (limits.longest + 1) ** 2 + 10 * (limits.longest + 1) > 10**4
    for length in (16, 24, 64, limits.longest):
        size = limits.batch_size(length, 8)
        assert size % 8 == 0 and size // 8 * length * (length + 10) <= 10**4
    assert limits.batch_size(16, 1) == min(limits.most, 10**4 // (16 * 26))


def test_short_batches_are_padded_to_few_sizes():
    compiled = set()
    sizes = [padded_size(n, 24, 2, compiled) for n in (3, 4, 1, 9, 12, 24, 13)]
    assert sizes == [4, 4, 4, 16, 16, 24, 16] and compiled == {4, 16, 24}
    assert all(padded_size(n, 8, 8, set()) == 8 for n in range(1, 9))


def test_limits_count_what_explanation_bytes_counts(model):
    limits = batches.memory_limits(model, 2**30)
    assert limits.pair == attribution.explanation_bytes(1, 1, 64, 64)
    assert batches.memory_limits(model, 2**30, 4).pair == limits.pair + 4 * 4 * 64
    assert limits.longest < (2**30 / limits.pair) ** 0.5
