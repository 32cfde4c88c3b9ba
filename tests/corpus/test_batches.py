"""Batches: buckets, sizes that fit, the numbers of single clips, all devices."""

import jax
import numpy as np
import pytest

from rgcam.attribution import explain as attribution
from rgcam.corpus import batches
from rgcam.corpus.batches import Keep, Limits, padded_size
from rgcam.data.synthetic import stickman
from rgcam.models import cut, zoo
from rgcam.report.explain import best_classes
from rgcam.training import mesh

LENGTHS = (2, 5, 16)
KEEP = Keep()


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


@pytest.fixture(scope="module")
def clips():
    return [stickman.clip((1, n)).frames[:n] for n in LENGTHS]


def explain(model, clips, shape, target=None, keep=KEEP, devices=None):
    devices = devices or mesh.make()
    spec = model.description.preprocess
    variables = mesh.repeat(devices, model.variables)
    targets = None if target is None else np.full(shape[0], target, np.int32)
    return batches.explain(
        model.module, variables, devices, spec, clips, targets, shape, keep
    )


@pytest.mark.parametrize("target", [None, 3])
def test_a_batch_equals_single_explanations(model, clips, target):
    found = explain(model, clips, (8, 16), target, Keep(beta=True))
    gathered = mesh.gather(found)
    for row, (clip, length) in enumerate(zip(clips, LENGTHS, strict=True)):
        one = batches.cut(gathered, row, length)
        chosen = one.scores[-1].argmax() if target is None else target
        assert one.target == chosen
        frames = model.preprocess(clip)
        e = attribution.explain(model.module, model.variables, frames, int(chosen))
        for a, b in [
            (one.scores, e.scores),
            (one.matrix, e.matrix),
            (one.maps, e.maps[-1:]),
            (one.beta, e.beta),
        ]:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_all_maps_are_kept_where_asked(model, clips):
    found = explain(model, clips, (8, 16), 3, Keep(all_maps=True))
    one = batches.cut(mesh.gather(found), 1, 5)
    e = attribution.explain(
        model.module, model.variables, model.preprocess(clips[1]), 3
    )
    np.testing.assert_allclose(one.maps, e.maps, rtol=1e-5, atol=1e-5)
    assert one.beta is None


def test_signed_maps_of_rivals_are_kept_where_asked(model, clips):
    found = explain(model, clips, (8, 16), None, Keep(classes=3))
    one = batches.cut(mesh.gather(found), 1, 5)
    expected = best_classes(one.scores[-1], int(one.target), 3)
    assert tuple(one.shown.targets) == expected
    features = attribution.explain(
        model.module, model.variables, model.preprocess(clips[1])
    ).features
    alone = [
        attribution.class_maps(model.module, model.variables, features, index)
        for index in expected
    ]
    np.testing.assert_allclose(one.shown.maps, alone, rtol=1e-3, atol=1e-5)


def test_all_devices_share_a_batch(model, clips):
    found = explain(model, clips, (16, 16))
    assert jax.device_count() == 8
    for leaf in jax.tree.leaves(found):
        shares = {(s.device.id, s.data.shape[0]) for s in leaf.addressable_shards}
        assert shares == {(device.id, 2) for device in jax.devices()}


def test_deciding_does_not_cost_a_second_forward_pass(model, monkeypatch):
    monkeypatch.setattr(cut, "PIXELS", dict.fromkeys(cut.PIXELS, 8 * 64**2))
    frames = np.zeros((2, 16, 64, 64, 3), np.float32)
    two = np.full(2, 16, np.int32)
    arguments = model.variables, frames, two, two * 0

    def plain(variables, frames, lengths, targets):
        one = lambda x, n, c: attribution.explain(
            model.module, variables, x, c, length=n
        )
        return jax.vmap(one)(frames, lengths, targets)

    lowered = batches._explain.lower(model.module, *arguments[:3], None, Keep())
    flops = [
        low.compile().cost_analysis()["flops"]
        for low in (lowered, jax.jit(plain).lower(*arguments))
    ]
    assert flops[0] < 1.02 * flops[1]


def test_buckets_are_few_and_at_most_half_as_long_again():
    limits = Limits(frame=10, pair=1, total=10**7)
    found = {n: limits.bucket(n) for n in range(2, limits.longest + 1)}
    assert all(n <= b for n, b in found.items())
    assert all(b <= 1.5 * n for n, b in found.items() if n > 16)
    assert len(set(found.values())) <= 2 * np.log2(limits.longest)
    assert found[16] == 16 and found[17] == 24 and found[25] == 32


def test_batches_fit_and_are_shared_evenly():
    limits = Limits(frame=10, pair=1, total=10**4)
    assert limits.longest**2 + 10 * limits.longest <= 10**4
    assert (limits.longest + 1) ** 2 + 10 * (limits.longest + 1) > 10**4
    for length in (16, 24, 64, limits.longest):
        size = limits.batch_size(length, 8)
        assert size % 8 == 0 and size // 8 * length * (length + 10) <= 10**4
    assert limits.batch_size(16, 1) == min(limits.most, 10**4 // (16 * 26))


def test_short_batches_are_padded_to_few_sizes():
    known = set()
    sizes = [padded_size(n, 24, 2, known) for n in (3, 4, 1, 9, 12, 24, 13)]
    assert sizes == [4, 4, 4, 16, 16, 24, 16] and known == {4, 16, 24}
    assert all(padded_size(n, 8, 8, set()) == 8 for n in range(1, 9))


def test_limits_count_what_explanation_bytes_counts(model):
    found = batches.limits(model, 2**30)
    assert found.pair == attribution.explanation_bytes(1, 1, 64, 64)
    assert batches.limits(model, 2**30, 4).pair == found.pair + 4 * 4 * 64
    assert found.longest < (2**30 / found.pair) ** 0.5
