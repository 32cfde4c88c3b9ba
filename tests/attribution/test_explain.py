"""explain(method=...): every method, head and target, one signature and record."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from rgcam.attribution import causal, perturbation
from rgcam.attribution import explain as attribution
from rgcam.attribution.targets import StepClasses
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.models import classifiers, layers, zoo
from rgcam.models.backbones import SmallCNN
from rgcam.models.layers import Dense
from tests.attribution.test_gradcam import C, lrcn, random
from tests.conftest import draw_variables, wide_and_strict

T, TARGET = 5, 2
EFFECTS = ("gradient", "path", "occlusion", "cells", "shapley")


class Given(nn.Module):
    """A model whose frames are feature maps already: no time spent below A."""

    model: nn.Module

    def features(self, frames):
        return nn.relu(frames)

    def classify(self, features):
        return self.model.classify(features)

    def drive(self, features):
        return self.model.drive(features)

    def shares(self, features):
        return self.model.shares(features)

    def response(self, channels):
        return self.model.response(channels)

    def begin(self):
        return self.model.begin()

    def advance(self, carry, drive):
        return self.model.advance(carry, drive)


class Whole(nn.Module):
    """The same of which only ``classify`` is known."""

    model: nn.Module

    def features(self, frames):
        return nn.relu(frames)

    def classify(self, features):
        return self.model.classify(features)


@functools.cache
def small(head, kind=Given):
    """Return a module, its variables and frames."""
    module, frames = kind(lrcn(head)), random((T, 3, 3, 3))
    variables = draw_variables(module, frames, "classify")
    variables = jax.tree.map(lambda x: x + 0.3 * random(x.shape, x.size), variables)
    return module, variables, frames


def explain(head, method, target=TARGET, kind=Given, **options):
    module, variables, frames = small(head, kind)
    return attribution.explain(
        module, variables, frames, target, method=method, **options
    )


@pytest.mark.parametrize("method", attribution.METHODS)
def test_every_method_gives_the_same_record_of_any_model(method):
    cut, whole = explain("fc", method), explain("fc", method, kind=Whole)
    assert cut.scores.shape == (T, C) and cut.matrix.shape == (T, T)
    assert cut.maps.shape == (T, T, 3, 3)
    weighs = attribution.has_weights(method)
    assert (cut.beta is not None) == weighs
    assert (np.asarray(cut.matrix)[np.triu_indices(T, 1)] == 0).all()
    assert np.asarray(cut.matrix).any()
    for one, other in zip(cut, whole, strict=True):
        if one is not None:
            size = np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize("head", ["gap", "fc"])
def test_where_methods_are_equal(head):
    of = functools.partial(explain, head, relu=False)
    same = lambda a, b: np.allclose(a.maps, b.maps, rtol=1e-3, atol=1e-6)
    pooled = head == "gap"
    assert same(of("gradcam"), of("hirescam")) == pooled
    assert same(of("gradcam"), of("xgradcam")) == pooled
    assert same(of("hirescam"), of("gradient", baseline="zero"))
    assert not same(of("gradient", baseline="zero"), of("gradient"))
    cells = of("cells")  # alone in its frame, a cell's effect is not its gradient's
    assert not same(cells, of("gradient"))


def test_signs_are_kept_unless_published_otherwise():
    for method in ("gradcam", "layercam", "path"):
        kept = explain("fc", method, relu=False).maps
        rectified = explain("fc", method, relu=True).maps
        np.testing.assert_array_equal(rectified, np.maximum(kept, 0))
        default = rectified if method in attribution.CAMS else kept
        np.testing.assert_array_equal(explain("fc", method).maps, default)


CLAIMS = {"path": 0.01, "occlusion": 0, "shapley": 1e-3}  # how exact they are


@pytest.mark.parametrize("method", CLAIMS)
def test_masses_are_the_changes_that_they_claim(method):
    e = explain("fc", method, baseline="zero")
    module, variables, frames = small("fc")
    scores = lambda a: module.apply(variables, a, method="classify")[:, TARGET]
    whole = e.scores[:, TARGET] - scores(jnp.zeros_like(e.features))
    total = np.asarray(e.matrix).sum(1)
    if method == "occlusion":
        without = [scores(e.features.at[t].set(0)) for t in range(T)]
        lost = e.scores[:, TARGET] - np.stack(without)
        np.testing.assert_allclose(e.matrix, lost.T, rtol=1e-3, atol=1e-5)
    else:
        size = np.abs(whole).max()
        np.testing.assert_allclose(total, whole, atol=CLAIMS[method] * size)


def why_2_rather_than_1(scores):
    return scores[:, 2] - scores[:, 1]


@pytest.mark.parametrize("method", ["hirescam", "fade", "occlusion", "cells"])
def test_contrast_of_two_classes(method):
    contrast, two, one = (
        explain("fc", method, target) for target in (why_2_rather_than_1, 2, 1)
    )
    if method != "occlusion":  # its maps, unlike its matrix, are not linear
        difference = two.maps - one.maps
        if method == "hirescam":
            two, one = (explain("fc", method, t, relu=False) for t in (2, 1))
            difference = jax.nn.relu(two.maps - one.maps)
        np.testing.assert_allclose(contrast.maps, difference, rtol=1e-3, atol=1e-5)
    else:
        difference = two.matrix - one.matrix
        np.testing.assert_allclose(contrast.matrix, difference, rtol=1e-3, atol=1e-5)


def test_several_targets_and_batches():
    module, variables, frames = small("fc")
    single = explain("fc", "path")
    several = explain("fc", "path", [0, TARGET])
    np.testing.assert_allclose(several.maps[1], single.maps, rtol=1e-4, atol=1e-6)
    run = functools.partial(attribution.explain, method="path", target=TARGET)
    batch = np.stack([frames, frames[::-1]])
    both = jax.vmap(lambda v, x: run(module, v, x), (None, 0))(variables, batch)
    np.testing.assert_allclose(both.maps[0], single.maps, rtol=1e-3, atol=1e-5)


def test_reference_maps_as_baseline():
    mean = explain("fc", "gradient", baseline="mean")
    given = np.asarray(mean.features).mean(0)
    same = explain("fc", "gradient", baseline=given)
    np.testing.assert_allclose(same.maps, mean.maps, rtol=1e-3, atol=1e-6)
    still = explain("fc", "gradient")
    assert not np.asarray(still.matrix)[:, 0].any()  # the first frame stands for itself


def test_frame_cnn_has_a_diagonal_by_every_method():
    module, frames = classifiers.FrameCNN(SmallCNN(), C), random((T, 16, 16, 3))
    variables = draw_variables(module, frames)
    for method in ("path", "shapley"):
        options = {"method": method, "baseline": "mean"}
        e = attribution.explain(module, variables, frames, 0, **options)
        off = np.abs(np.asarray(e.matrix))[~np.eye(T, dtype=bool)]
        assert (off <= 1e-6).all() and np.asarray(e.matrix).diagonal().all()


def test_mistakes_get_one_sentence():
    with pytest.raises(InputError, match="unknown method 'cam': choose one of gradcam"):
        explain("fc", "cam")
    with pytest.raises(InputError, match="layercam compares with.*zeros"):
        explain("fc", "layercam", baseline="mean")
    with pytest.raises(InputError, match="unknown baseline 'black'"):
        explain("fc", "path", baseline="black")


@pytest.mark.parametrize("name", ["stickman-lrcn", "stickman-cnn"])
def test_signed_maps_of_a_class_are_those_of_explain(name):
    m = zoo.load_model(name)
    frames = m.preprocess(stickman.clip(1).frames)
    features = attribution.explain(m.module, m.variables, frames).features
    indices = (m.classes.index("kick"), m.classes.index("wave"))
    maps = [
        attribution.class_maps(m.module, m.variables, features, index)
        for index in indices
    ]
    expected = attribution.explain(
        m.module, m.variables, frames, indices, relu=False, beta=False
    )
    np.testing.assert_allclose(maps, expected.maps, rtol=1e-3, atol=1e-6)
    pair = lambda y: y[:, indices[0]] - y[:, indices[1]]
    why = attribution.explain(m.module, m.variables, frames, pair, relu=False)
    np.testing.assert_allclose(maps[0] - maps[1], why.maps, rtol=1e-3, atol=1e-5)


def test_an_unknown_class_is_rejected_before_anything_is_computed(monkeypatch):
    m = zoo.load_model("stickman-lrcn")
    frames = m.preprocess(stickman.clip(1).frames)
    programs = attribution._explain._cache_size()
    with pytest.raises(InputError, match="target 11 is not a class of this model"):
        attribution.explain(m.module, m.variables, frames, 11, relu=False)
    assert attribution._explain._cache_size() == programs


def test_products_are_computed_at_the_asked_precision():
    m = zoo.load_model("stickman-lrcn")
    frames = m.preprocess(stickman.clip(1).frames)

    def lowered(**options):
        run = functools.partial(attribution.explain, m.module, m.variables, **options)
        return jax.jit(run).lower(frames, 3).as_text()

    assert "precision = [HIGHEST, HIGHEST]" in lowered()
    assert "precision = [DEFAULT, DEFAULT]" not in lowered()
    assert "precision = [HIGHEST, HIGHEST]" not in lowered(precision="default")


# length=: the explanation of a padded clip is that of its valid frames.

STEPS, VALID = 7, 4
FRAMES = random((STEPS, 3, 3, 3))
PADDED_BY = ("gradcam", "gradcam++", "gradient", "path", "fade", "occlusion", "cells")


def gru(vectors):
    """Read vectors by a GRU, which is traced in a part of the time of Linen's."""
    cell = layers.Recurrent("gru", 6)
    return cell.advance(cell.begin(), cell.drive(vectors))[1]


class Attention(nn.Module):
    """Every score depends on all frames, earlier and later ones."""

    def features(self, frames):
        return nn.relu(frames)

    @nn.compact
    def classify(self, features):
        vectors = Dense(6)(features.mean((1, 2)))
        return Dense(C)(nn.tanh(nn.softmax(vectors @ vectors.T) @ vectors))


class Bidirectional(Attention):
    @nn.compact
    def classify(self, features):
        vectors = features.mean((1, 2))
        states = [gru(vectors), gru(vectors[::-1])[::-1]]
        return Dense(C)(jnp.concatenate(states, -1))


class ManyToOne(Attention):
    """One score for the whole clip."""

    @nn.compact
    def classify(self, features):
        return Dense(C)(gru(features.mean((1, 2))))[-1:]


class Strided(Attention):
    """A 3D CNN in small: two frames make one step of A."""

    def features(self, frames):
        pairs = frames[: len(frames) // 2 * 2].reshape(-1, 2, *frames.shape[1:])
        return nn.relu(pairs.sum(1))


class LooksAhead(Given):
    """Causal above the cut, but each feature map shows the next frame too."""

    def features(self, frames):
        return nn.relu(frames + jnp.roll(frames, -1, 0))


@functools.cache
def initialised(kind):
    module = kind(lrcn("fc")) if issubclass(kind, Given) else kind()
    features = module.apply({}, FRAMES, method="features")
    variables = draw_variables(module, features, "classify")
    variables = jax.tree.map(lambda x: x + 0.3 * random(x.shape, x.size), variables)
    return module, variables


@functools.cache
def framewise():
    """Return an LRCN, which never looks ahead, its variables and frames."""
    module, frames = lrcn("fc"), random((STEPS, 16, 16, 3))
    return module, draw_variables(module, frames), frames


def assert_padded(padded, short, steps, out):
    """Compare with the explanation of the valid frames; beyond it all is 0."""
    assert padded.matrix.shape == (out, steps)
    for values, expected in zip(padded, short, strict=True):
        if expected is None:
            assert values is None
            continue
        size = np.abs(expected).max()
        inside = tuple(slice(n) for n in expected.shape)
        np.testing.assert_allclose(
            values[inside], expected, rtol=1e-4, atol=1e-5 * size
        )
        beyond = np.array(values)
        beyond[inside] = 0
        assert not beyond.any()


@pytest.mark.parametrize(
    "kind, method",
    [
        # The padding is cut off before any method sees the features.
        *((kind, "gradcam") for kind in (Attention, Bidirectional, LooksAhead)),
        (Attention, "path"),
        (Bidirectional, "gradcam++"),
        (LooksAhead, "path"),
        (LooksAhead, "cells"),
    ],
)
def test_a_model_that_looks_ahead_does_not_see_the_padding(kind, method):
    module, variables = initialised(kind)
    run = functools.partial(attribution.explain, module, variables, method=method)
    short = run(FRAMES[:VALID], TARGET)
    if method == "gradcam":  # each model does look ahead
        whole = run(FRAMES, TARGET)
        assert not np.allclose(whole.matrix[:VALID, :VALID], short.matrix, rtol=0.01)
    assert_padded(run(FRAMES, TARGET, length=VALID), short, STEPS, STEPS)


@pytest.mark.parametrize("method", ["gradcam", "path", "shapley"])
@pytest.mark.parametrize(
    ("kind", "steps", "out"), [(ManyToOne, STEPS, 1), (Strided, STEPS // 2, STEPS // 2)]
)
def test_output_steps_need_not_be_frames(kind, steps, out, method):
    module, variables = initialised(kind)
    run = functools.partial(attribution.explain, module, variables, method=method)
    short = run(FRAMES[:VALID], TARGET)
    assert_padded(run(FRAMES, TARGET, length=VALID), short, steps, out)
    whole = run(FRAMES, TARGET)
    assert_padded(run(FRAMES, TARGET, length=STEPS), whole, steps, out)


@pytest.mark.parametrize("target", [None, [2, 0]])
def test_the_valid_frames_alone_give_the_prediction_and_several_classes(target):
    module, variables = initialised(Attention)
    run = functools.partial(attribution.explain, module, variables)
    short = run(FRAMES[:VALID], target)
    padded = run(FRAMES, target, length=VALID)
    np.testing.assert_allclose(
        padded.maps[..., :VALID, :VALID, :, :], short.maps, rtol=1e-4, atol=1e-7
    )
    assert padded.beta.shape == (*short.beta.shape[:-3], STEPS, STEPS, 3)


def test_baseline_maps_of_every_step_are_cut_too():
    module, variables = initialised(Attention)
    baseline = random(FRAMES.shape, 3)
    run = functools.partial(attribution.explain, module, variables, method="path")
    short = run(FRAMES[:VALID], TARGET, baseline=baseline[:VALID])
    padded = run(FRAMES, TARGET, baseline=baseline, length=VALID)
    assert_padded(padded, short, STEPS, STEPS)


def centred(scores):
    return scores[:, 0] - scores[:, 0].mean()


def test_a_function_of_the_scores_does_not_see_the_padding():
    module, variables, frames = framewise()
    run = functools.partial(attribution.explain, module, variables)
    assert_padded(
        run(frames, centred, length=VALID), run(frames[:VALID], centred), STEPS, STEPS
    )


@pytest.mark.parametrize("method", PADDED_BY)
def test_one_program_serves_all_lengths_of_a_model_that_never_looks_ahead(method):
    module, variables, frames = framewise()
    run = functools.partial(attribution.explain, module, variables, method=method)
    padded = frames.copy()
    padded[VALID:] = np.nan  # whatever the padding holds
    masked = run(padded, TARGET, length=VALID)
    programs = attribution._explain._cache_size()
    run(padded, TARGET, length=VALID - 1)
    assert attribution._explain._cache_size() == programs
    assert_padded(masked, run(frames[:VALID], TARGET), STEPS, STEPS)


def test_a_blur_far_behind_the_valid_frames_is_a_number():
    features = jnp.asarray(random((80, 1, 1, 1)))
    blurred = perturbation.baseline_features(features, "blur", 2)
    assert np.isfinite(blurred).all()
    expected = perturbation.baseline_features(features[:2], "blur")
    np.testing.assert_allclose(blurred[:2], expected, rtol=1e-5)


def test_traced_lengths_are_for_models_that_never_look_ahead():
    module, variables, frames = framewise()
    lengths = jnp.asarray([VALID, STEPS, 0, STEPS + 1])
    run = functools.partial(attribution.explain, module, variables, frames, TARGET)
    batch = jax.vmap(lambda length: run(length=length))(lengths)
    for row, length in enumerate((VALID, STEPS)):
        short = attribution.explain(module, variables, frames[:length], TARGET)
        assert_padded(jax.tree.map(lambda x, r=row: x[r], batch), short, STEPS, STEPS)
    assert np.isnan(batch.maps[2:]).all() and np.isnan(batch.beta[2:]).all()
    for kind in (Attention, LooksAhead):
        blind = functools.partial(attribution.explain, *initialised(kind), FRAMES, 1)
        with pytest.raises(InputError, match="length is traced.*" + kind.__name__):
            jax.vmap(lambda length, run=blind: run(length=length))(lengths)
    with pytest.raises(InputError, match="length is traced.*a target function"):
        jax.jit(
            lambda length: attribution.explain(
                module, variables, frames, centred, length=length
            )
        )(VALID)


@pytest.mark.parametrize(
    "length",
    [99, STEPS + 1, 0, -1, 7.5, True, "4", [4], np.array([4, 5]), np.float32(4)],
)
def test_a_length_that_is_not_a_number_of_frames_is_rejected(length):
    for module, variables, frames in ((*initialised(Attention), FRAMES), framewise()):
        with pytest.raises(InputError, match="length is .*whole number from 1 to 7"):
            attribution.explain(module, variables, frames, TARGET, length=length)


@pytest.mark.parametrize("length", [np.int64(VALID), jnp.int32(VALID)])
def test_any_kind_of_integer_is_a_length(length):
    module, variables = initialised(Attention)
    run = functools.partial(attribution.explain, module, variables, FRAMES, TARGET)
    np.testing.assert_array_equal(run(length=length).maps, run(length=VALID).maps)


def test_features_are_masked_for_causal_models_alone():
    module, variables = initialised(Attention)
    features = module.apply({}, FRAMES, method="features")
    with pytest.raises(InputError, match="Attention.*may look ahead"):
        attribution.class_maps(module, variables, features, TARGET, VALID)


# What the model's functions and the caller return and give.


class OfTheClip(ManyToOne):
    """The same score without the axis of output steps, (C,)."""

    @nn.compact
    def classify(self, features):
        return Dense(C)(gru(features.mean((1, 2))))[-1]


class Batched(ManyToOne):
    @nn.compact
    def classify(self, features):
        return Dense(C)(features.mean((1, 2)))[None]


def first_minus_second(scores):
    return scores[:, 0] - scores[:, 1]


@pytest.mark.parametrize(
    "method, target",
    [
        # The axis is added where the model is called, below methods and targets.
        *(("gradcam", target) for target in (TARGET, None, [0, 1], first_minus_second)),
        ("layercam", None),
        ("path", first_minus_second),
        ("shapley", [0, 1]),
        ("cells", TARGET),
    ],
)
def test_a_score_of_the_clip_is_explained_as_one_output_step(method, target):
    module, variables = initialised(ManyToOne)
    one_step = attribution.explain(module, variables, FRAMES, target, method=method)
    of_clip = attribution.explain(OfTheClip(), variables, FRAMES, target, method=method)
    assert of_clip.scores.shape == (1, C)
    for values, expected in zip(of_clip, one_step, strict=True):
        if expected is not None:
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", attribution.METHODS)
def test_scores_with_a_batch_axis_are_rejected_by_every_method(method):
    match = r"Batched.classify returned float32 \(1, 7, 4\).*\(T_out, C\)"
    variables = Batched().init(jax.random.key(0), FRAMES, method="classify")
    for target in (TARGET, None, first_minus_second):
        with pytest.raises(InputError, match=match):
            attribution.explain(Batched(), variables, FRAMES, target, method=method)


@pytest.mark.parametrize("target", [3.0, True, [], "stand up", [0.5]])
def test_a_target_that_is_no_class_is_rejected(target):
    with pytest.raises(InputError, match="target .*give"):
        explain("fc", "gradcam", target)


@pytest.mark.parametrize("kind", [Given, Whole])
@pytest.mark.parametrize("method", ["gradcam", "xgradcam", "path", "cells"])
def test_a_target_function_that_returns_all_classes_is_rejected(method, kind):
    with pytest.raises(InputError, match=r"function returned float32 \(5, 4\)"):
        explain("fc", method, lambda y: y, kind)


def test_a_clip_without_frames_is_rejected():
    module, variables, frames = small("fc")
    with pytest.raises(InputError, match="there is no frame"):
        attribution.explain(module, variables, frames[:0], TARGET)


# Numbers of other kinds: JAX_ENABLE_X64 and strict promotion.

# Every method, and every baseline: it is computed from A alone, whichever method it is of.
METHODS_AND_BASELINES = [
    *((method, None) for method in attribution.METHODS),
    *(("occlusion", baseline) for baseline in perturbation.BASELINES),
]


def assert_float32(model, target, **options):
    """Dtypes are fixed as a function is traced: nothing is computed."""
    module, variables, frames = model
    run = functools.partial(attribution.explain, module, **options)
    with wide_and_strict():
        shapes = jax.eval_shape(run, variables, frames, target)
    for leaf in jax.tree.leaves(shapes):
        assert leaf.dtype == np.float32, options


def test_every_method_and_baseline_keeps_float32():
    model = small("fc", Given)
    for method, baseline in METHODS_AND_BASELINES:
        assert_float32(model, TARGET, method=method, baseline=baseline)


@pytest.mark.parametrize(
    "length, target", [(None, TARGET), (VALID, np.int32([0, 1]))], ids=["one", "padded"]
)
def test_every_method_of_a_model_with_causal_blocks_keeps_float32(length, target):
    model = small("fc", Whole)
    for method in attribution.METHODS:
        assert_float32(model, target, method=method, length=length)


@pytest.mark.parametrize("method", attribution.METHODS)
def test_every_method_gives_the_same_values_in_other_numerics(method):
    expected = explain("gap", method)
    with wide_and_strict():
        values = explain("gap", method)
    for one, other in zip(values, expected, strict=True):
        if other is not None and method != "shapley":
            size = np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * size)


def removal(cut, features, baseline, target):
    """A method of one's own: occlusion of whole frames, spread over the cells."""
    whole = cut.outputs(features, target)
    frames = jnp.arange(len(features))
    without = jax.vmap(
        lambda t: cut.outputs(
            jnp.where((frames == t)[:, None, None, None], baseline, features), target
        )
    )(frames)
    cells = features.shape[1:3]
    maps = (whole - without).T[..., None, None] / math.prod(cells)
    return jnp.broadcast_to(maps, (*maps.shape[:2], *cells))


def test_a_method_of_one_s_own_is_given_where_a_name_is():
    module, variables, frames = small("fc")
    for baseline in ("previous", "mean"):
        options = {"target": TARGET, "baseline": baseline}
        own = attribution.explain(module, variables, frames, method=removal, **options)
        same = attribution.explain(
            module, variables, frames, method="occlusion", **options
        )
        np.testing.assert_allclose(own.matrix, same.matrix, atol=1e-5)
        assert own.beta is None and (own.maps < 0).any()  # signs are kept
        assert not np.triu(own.matrix, 1).any()
    padded = attribution.explain(
        module, variables, frames, TARGET, method=removal, length=4
    )
    short = attribution.explain(module, variables, frames[:4], TARGET, method=removal)
    np.testing.assert_allclose(padded.matrix[:4, :4], short.matrix, atol=1e-6)
    several = attribution.explain(
        module, variables, frames, [TARGET, 0], method=removal
    )
    one = attribution.explain(module, variables, frames, TARGET, method=removal)
    np.testing.assert_allclose(several.matrix[0], one.matrix, atol=1e-6)


def test_a_method_of_one_s_own_has_a_name_and_a_title():
    assert attribution.method_name(removal) == "removal"
    partial = functools.partial(removal)
    assert attribution.method_name(partial) == "removal"
    assert attribution.method_title(removal) == "removal"
    titled = lambda *arguments: removal(*arguments)
    titled.title = "frame removal"
    assert attribution.method_title(titled) == "frame removal"


def test_baselines_are_names_arrays_and_functions():
    module, variables, frames = small("fc")
    features = np.asarray(attribution.explain(module, variables, frames).features)
    explain = lambda baseline: attribution.explain(
        module, variables, frames, TARGET, method="fade", baseline=baseline
    )
    channel = features.mean((0, 1, 2))
    arrays = [channel, np.broadcast_to(channel, features.shape[1:])]
    arrays.append(np.broadcast_to(channel, features.shape))
    of_channels = lambda maps: maps.mean((0, 1, 2))
    expected = explain(arrays[-1]).maps
    for baseline in (*arrays, of_channels):
        np.testing.assert_allclose(explain(baseline).maps, expected, atol=1e-5)
    named = explain("mean").maps
    np.testing.assert_allclose(explain(lambda a: a.mean(0)).maps, named, atol=1e-5)


def test_what_a_function_of_one_s_own_returns_is_validated():
    module, variables, frames = small("fc")
    explain = lambda **options: attribution.explain(
        module, variables, frames, TARGET, **options
    )
    with pytest.raises(InputError, match="method flat returned float32.*expected maps"):
        flat = lambda cut, features, baseline, target: features
        flat.__name__ = "flat"
        explain(method=flat)
    with pytest.raises(InputError, match="baseline two returned .*2,.* for a feature"):
        two = lambda features: features[0, 0, 0, :2]
        two.__name__ = "two"
        explain(method="fade", baseline=two)
    with pytest.raises(InputError, match="compares with a feature map of zeros"):
        explain(method="gradcam", baseline=lambda features: 0 * features)
    with pytest.raises(InputError, match="unknown method 'removal'.*give a function"):
        explain(method="removal")


@pytest.mark.parametrize(
    "kind, method",
    [
        # Explicit axes ask more of a method than automatic ones.
        *((AxisType.Explicit, method) for method in ("gradcam", "fade", removal)),
        (AxisType.Auto, "gradcam"),
    ],
)
def test_a_batch_divided_over_a_mesh_of_any_axes_is_the_batch(kind, method):
    model = zoo.load_model("stickman-lrcn")
    clips = np.stack([model.preprocess(stickman.clip(i).frames[:4]) for i in range(8)])
    targets = np.arange(8)
    explain = jax.vmap(
        lambda frames, target: attribution.explain(
            model.module, model.variables, frames, target, method=method
        )
    )
    mesh = jax.make_mesh((8,), ("clips",), axis_types=(kind,))
    divided = jax.device_put((clips, targets), jax.NamedSharding(mesh, jax.P("clips")))
    expected = explain(clips, targets)
    for compute in (explain, jax.jit(explain)):
        found = compute(*divided)
        assert {shard.data.shape[0] for shard in found.maps.addressable_shards} == {1}
        for values, same in zip(found, expected, strict=True):
            if same is not None:
                scale = np.abs(same).max()
                np.testing.assert_allclose(values, same, atol=1e-5 * scale)


def test_a_clip_on_a_mesh_of_explicit_axes_is_explained_alone():
    module, variables, frames = small("fc")
    mesh = jax.make_mesh((8,), ("clips",))
    copied = jax.device_put(frames, jax.NamedSharding(mesh, jax.P()))
    found = attribution.explain(module, variables, copied, TARGET, method="fade")
    expected = attribution.explain(module, variables, frames, TARGET, method="fade")
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-6)


def test_a_model_s_code_is_traced_once_for_all_methods():
    class Counting:
        traced = []

        def apply(self, variables, inputs, *, method):
            self.traced.append(method)
            return inputs[:, ::8, ::8] if method == "features" else inputs.mean((1, 2))

    module, frames = Counting(), np.ones((T, 16, 16, 3), np.float32)

    @jax.jit
    def explain_all(frames):
        explain = lambda method: attribution.explain(
            module, {}, frames, 1, method=method
        )
        return {method: explain(method).matrix for method in attribution.METHODS}

    explain_all(frames)
    assert sorted(module.traced) == ["classify", "features"]


# One class for each output step.

CLASSES = np.array([2, 0, 1, 1, 3])


def class_of_each_step(scores):
    return scores[jnp.arange(T), CLASSES]


# Of a model that is not cut, classes are selected in one place: a CAM, an integral and a
# removal reach it.
OF_WHOLE = ("gradcam", "path", "occlusion")
# Their maps are integrals along a path; the matrix of the last two is not.
INTEGRATED = ("path", "occlusion", "shapley")


@pytest.mark.parametrize(
    "method, kind",
    [
        *((method, Given) for method in attribution.METHODS),
        *((method, Whole) for method in OF_WHOLE),
    ],
)
def test_the_row_of_each_step_is_that_of_its_own_class(method, kind):
    of_steps = explain("fc", method, StepClasses(CLASSES), kind)
    own_rows = lambda values: np.asarray(values)[CLASSES, np.arange(T)]
    compared = {}
    if method != "path":
        of_classes = explain("fc", method, sorted(set(CLASSES)), kind)
        compared = {"matrix": own_rows(of_classes.matrix)}
        np.testing.assert_array_equal(of_steps.scores, of_classes.scores)
    if method in INTEGRATED:
        # Integration takes its points where the scores of all rows need them: the same
        # ones for the same scalars as a function of the scores, others for all classes.
        chosen = explain("fc", method, class_of_each_step, kind)
        assert_close(of_steps.matrix, chosen.matrix)
        compared["maps"] = chosen.maps
        np.testing.assert_array_equal(of_steps.scores, chosen.scores)
    else:
        compared["maps"] = own_rows(of_classes.maps)
        if attribution.has_weights(method):
            compared["beta"] = own_rows(of_classes.beta)
    for name, expected in compared.items():
        assert_close(getattr(of_steps, name), expected)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_classes_of_steps_of_long_clips_are_taken_block_by_block(monkeypatch):
    monkeypatch.setattr(causal, "MAX_BLOCK", 3)
    monkeypatch.setattr(causal, "MAX_STRETCH", 2)
    jax.clear_caches()
    in_blocks = explain("gap", "gradcam", StepClasses(CLASSES))
    monkeypatch.undo()
    jax.clear_caches()
    at_once = explain("gap", "gradcam", StepClasses(CLASSES))
    np.testing.assert_allclose(in_blocks.beta, at_once.beta, rtol=1e-4, atol=1e-6)


def test_a_batch_has_classes_of_steps_of_its_own():
    module, variables, frames = small("gap")
    clips = jnp.stack([jnp.asarray(frames), 2 * jnp.asarray(frames)])
    classes = jnp.stack([CLASSES, CLASSES[::-1]])
    run = jax.vmap(attribution.explain, in_axes=(None, None, 0, 0))
    batch = run(module, variables, clips, StepClasses(classes))
    second = attribution.explain(
        module, variables, clips[1], StepClasses(CLASSES[::-1].tolist())
    )
    np.testing.assert_allclose(batch.beta[1], second.beta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "fade"])
def test_classes_of_steps_fit_a_padded_clip(method):
    classes = StepClasses(np.arange(STEPS) % 2)
    valid = StepClasses(np.arange(VALID) % 2)
    for module, variables, frames in (framewise(), (*initialised(Attention), FRAMES)):
        run = functools.partial(attribution.explain, module, variables, method=method)
        padded = run(frames, classes, length=VALID)
        assert_padded(padded, run(frames[:VALID], valid), STEPS, STEPS)


def test_classes_of_steps_that_do_not_fit_are_one_sentence():
    with pytest.raises(InputError, match="holds 4 classes and the model scores 5"):
        explain("gap", "gradcam", StepClasses(CLASSES[:4]))
    with pytest.raises(InputError, match="target of step 4 is 9, which is not a class"):
        explain("gap", "fade", StepClasses([0, 0, 0, 0, 9]))


@pytest.mark.parametrize(
    "statistics, expected",
    [
        (None, 7),
        ({}, 7),
        ({"bytes_limit": 8 * 2**30}, 4 * 2**30),
        ({"bytes_limit": 80 * 2**30}, 16 * 2**30),
    ],
)
def test_the_budget_follows_from_the_memory_of_the_device(
    monkeypatch, statistics, expected
):
    class Device:
        def memory_stats(self):
            return statistics

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert attribution.max_bytes(7) == expected
