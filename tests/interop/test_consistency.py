"""Models of other frameworks by everything that takes a model: docs/own-model.md's table."""

import functools
import re
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest

import rgcam
from rgcam.attribution.explain import METHODS
from rgcam.data.video import Clip
from rgcam.metrics import faithfulness, verify
from rgcam.models import zoo
from rgcam.report import plots, writer
from rgcam.report.explain import explain_clip
from tests.conftest import ROOT
from tests.interop import cases, test_linen
from tests.make_keras2_reference import ARCHIVE

pytestmark = [
    pytest.mark.slow,
    # Of torchax and of PyTorch, where they are installed.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def keras_case(name):
    from tests.interop import test_keras  # skips without Keras

    module, variables = rgcam.from_keras(test_keras.CASES[name][0]())
    return module, variables, (test_keras.T, test_keras.SIZE)


def keras2_case(folder):
    from tests.interop import test_keras_files  # noqa: F401, skips without Keras

    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extract("lrcn.h5", folder)
    return *rgcam.from_keras(folder / "lrcn.h5"), (4, 16)


def torch_case(name):
    from tests.interop import test_torch  # skips without PyTorch and torchax

    test_torch.torch.manual_seed(0)
    make, layer, options, _ = test_torch.CASES[name]
    frames = test_torch.FRAMES
    return *rgcam.from_torch(make(), frames, layer=layer, **options), frames.shape[:2]


def function_case(name):
    case = cases.CASES[name]()
    return case.module, case.variables, (cases.T, cases.SIZE)


def convolution_3d():
    model, frames = test_linen.Convolution3D(), test_linen.FRAMES
    variables = test_linen.variables_of(model)
    return *rgcam.from_linen(model, variables, frames, layer="conv"), frames.shape[:2]


ROWS = {
    "Keras tutorial LRCN": lambda _: keras_case("tutorial LRCN"),
    "Keras MobileNet and BiLSTM": lambda _: keras_case("MobileNet and BiLSTM"),
    "Keras pooling inside TimeDistributed": lambda _: keras_case("pooling inside"),
    "Keras ConvLSTM2D": lambda _: keras_case("ConvLSTM2D"),
    "Keras 2 file": keras2_case,
    "PyTorch ResNet and LSTM": lambda _: torch_case("ResNet and LSTM"),
    "PyTorch GRU": lambda _: torch_case("GRU"),
    "Flax NNX": lambda _: function_case("nnx"),
    "Equinox": lambda _: function_case("equinox"),
    "Haiku": lambda _: function_case("haiku"),
    "Transformer with tokens": lambda _: (
        *test_linen.transformer()[1:],
        test_linen.FRAMES.shape[:2],
    ),
    "3D CNN": lambda _: convolution_3d(),
}
# Whose scores of a step depend on no later frame, which rgcam does not know.
CAUSAL = "PyTorch ResNet and LSTM", "PyTorch GRU", "Flax NNX", "Equinox", "Haiku"
NAMES = ("walk", "run", "jump")


class Row(NamedTuple):
    """A model of the table and a clip.

    Attributes:
        name: of the row.
        model: with classes and preprocessing.
        pixels: of the clip (T, S, S, 3).
        frames: the same, preprocessed.
        explain: (frames, target) -> signed explanations by every method, in one program,
            which the tests share.
    """

    name: str
    model: zoo.Model
    pixels: np.ndarray
    frames: np.ndarray
    explain: Callable


@pytest.fixture(scope="module", params=ROWS)
def row(request, tmp_path_factory):
    name = request.param
    module, variables, (steps, size) = ROWS[name](tmp_path_factory.mktemp("k"))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (steps, size, size, 3)).astype(np.uint8)
    model = rgcam.video_model(
        module,
        variables,
        NAMES,
        size=size,
        frames=steps,
        preprocess="minus_one_one",
        name=name,
    )

    @jax.jit
    def explain_all(variables, frames, target):
        explain = functools.partial(
            rgcam.explain, module, variables, frames, target, relu=False
        )
        return {method: explain(method=method) for method in METHODS}

    explain = functools.partial(explain_all, variables)
    return Row(name, model, pixels, model.preprocess(pixels), explain)


def test_every_method_explains(row):
    """And of causal models no future frame."""
    for method, e in row.explain(row.frames, 1).items():
        assert np.isfinite(e.maps).all() and np.abs(e.maps).max() > 0, method
        assert e.matrix.shape == (len(e.scores), len(e.features))
        if row.name in CAUSAL:
            cases.check_causal(e)


def test_the_checks_accept_its_explanation_and_reject_a_wrong_one(row):
    parts = row.model.module, row.model.variables
    explanations = row.explain(row.frames, 1)
    e = explanations["gradcam"]
    errors = verify.verify(*parts, e, 1)
    assert errors.as_defined and max(errors[:2]) < 1e-5
    wrong = e._replace(beta=e.beta + 0.01 * np.abs(e.beta).max())
    assert not verify.verify(*parts, wrong, 1).as_defined
    maps = np.asarray(explanations["fade"].maps)
    genuine, reversed_maps = (
        faithfulness.check_faithfulness(*parts, e.features, m, 1, method="fade")
        for m in (maps, -maps)
    )
    assert genuine.passed and not reversed_maps.passed


def test_the_page_and_all_files_are_written(row, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "DPI", 72)
    clip = Clip(row.pixels, np.arange(len(row.pixels)) / 5)
    explained = explain_clip(row.model, clip, method="fade", checks="shown")
    assert explained.shown.checks
    writer.write(tmp_path, explained)
    names = {file.name for file in tmp_path.iterdir()}
    assert {"report.html", "matrix.png", "strip.png", "summary.json"} <= names
    assert row.name in (tmp_path / "report.html").read_text()


def test_a_batch_equals_its_clips(row):
    clips = np.stack([row.frames, row.frames[::-1]])
    explain_one = functools.partial(rgcam.explain, relu=False)
    batched = jax.vmap(explain_one, in_axes=(None, None, 0, 0))
    both = batched(row.model.module, row.model.variables, clips, np.array([0, 2]))
    for number, target in enumerate((0, 2)):
        e = row.explain(clips[number], target)["gradcam"]
        np.testing.assert_allclose(both.maps[number], e.maps, rtol=1e-4, atol=1e-6)
        matrix = both.matrix[number]
        np.testing.assert_allclose(matrix, e.matrix, rtol=1e-4, atol=1e-6)


def test_the_table_of_the_docs_is_that_of_these_tests():
    page = (ROOT / "docs" / "own-model.md").read_text()
    rows = re.findall(r"^\| ([^|]+?) \|.*\| yes \| yes \| yes \| yes \|$", page, re.M)
    assert rows == list(ROWS)
