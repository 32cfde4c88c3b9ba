"""Compiled programs between processes: the same bits, without a trace."""

import functools
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcam import programs
from rgcam.models import classifiers
from tests.conftest import draw_variables

ROOT = Path(__file__).parents[1]
ARCH = {
    "kind": "lrcn",
    "backbone": "small",
    "head": "fc",
    "width": 4,
    "dropout": 0.5,
    "cell": "gru",
    "hidden": 3,
}
# Explains a drawn clip, and says how often JAX traced or compiled and what came out.
SCRIPT = """
import sys
from pathlib import Path
import jax
import numpy as np
from rgcam import programs
from rgcam.attribution import padding
from rgcam.attribution.explain import StaticOptions
from rgcam.models import classifiers

module = classifiers.build({arch}, 3)
rng = np.random.default_rng(0)
frames = rng.normal(size=(5, 8, 8, 3)).astype(np.float32)
shapes = jax.eval_shape(lambda: classifiers.init(module, jax.random.key(0), frames[:1]))
draw = lambda leaf: rng.normal(size=leaf.shape).astype(np.float32)
variables = jax.tree.map(draw, shapes)
programs.keep_in(Path(sys.argv[1]))
events = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, fun_name="", **fields: events.append(fun_name)
)
features = padding.clip_features(module, variables, frames)
result = padding.explain_class(
    module, variables, features, 5, 1, options=StaticOptions(relu=False)
)
count = sum("_explain_class" in name or "_features" in name for name in events)
print(count, result.beta.tobytes().hex(), result.maps.tobytes().hex())
"""


@pytest.fixture(autouse=True)
def keep_nothing_afterwards():
    yield
    programs.keep_in(None)


@pytest.fixture
def traces(monkeypatch):
    """Count the traces of a function that is kept."""
    count = []

    @programs.kept("module", "name")
    def scores(module, variables, features, *, name="plain"):
        count.append(name)
        return {"scores": module.apply(variables, features, method="classify")}

    return scores, count


@functools.cache
def model(kind="lrcn"):
    module = classifiers.build(ARCH | {"kind": kind}, 3)
    return module, draw_variables(module, _a(), "classify")


def _a():
    return jnp.ones((4, 2, 2, 64))


def files(folder):
    return sorted(folder.rglob(f"*{programs.SUFFIX}"))


def forget():
    """Do as a new process does: drop what is in memory."""
    programs._store.loaded.clear()
    jax.clear_caches()


def test_a_second_process_neither_traces_nor_compiles_and_gives_the_same_bits(tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(arch=ARCH), str(tmp_path)]
    outputs = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (traced, *arrays), (traced_again, *arrays_again) = (
        output.stdout.split() for output in outputs
    )
    assert int(traced) > 0 and int(traced_again) == 0
    assert arrays == arrays_again
    assert len(files(tmp_path)) == 2


def test_a_program_is_found_by_shapes_and_settings(tmp_path, traces):
    scores, count = traces
    module, variables = model()
    programs.keep_in(tmp_path)
    expected = scores(module, variables, _a())["scores"]
    forget()
    result = scores(module, variables, _a())["scores"]
    np.testing.assert_array_equal(result, expected)
    assert count == ["plain"]
    scores(module, variables, jnp.ones((5, 2, 2, 64)))
    scores(module, variables, _a(), name="other")
    scores(*model("cnn"), _a())
    with jax.default_matmul_precision("highest"):
        scores(module, variables, _a())
    assert count == ["plain", "plain", "other", "plain", "plain"]
    assert len(files(tmp_path)) == 5


@pytest.mark.parametrize("content", [b"", b"no program"])
def test_a_damaged_program_is_compiled_anew(tmp_path, traces, content):
    scores, count = traces
    module, variables = model()
    programs.keep_in(tmp_path)
    expected = scores(module, variables, _a())["scores"]
    (file,) = files(tmp_path)
    file.write_bytes(content)
    forget()
    np.testing.assert_array_equal(scores(module, variables, _a())["scores"], expected)
    assert count == ["plain"] * 2 and file.stat().st_size > 1000


def test_programs_of_modules_that_are_not_ours_are_not_kept(tmp_path, traces):
    class Doubled(nn.Module):
        @nn.compact
        def classify(self, features):
            return 2 * features.mean((1, 2))

    scores, count = traces
    programs.keep_in(tmp_path)
    scores(Doubled(), {}, _a())
    assert count and not files(tmp_path)


def test_inside_another_trace_a_function_is_traced(tmp_path, traces):
    scores, count = traces
    module, variables = model()
    programs.keep_in(tmp_path)
    batch = jnp.stack([_a(), 2 * _a()])
    vmapped = jax.vmap(lambda a: scores(module, variables, a)["scores"])(batch)
    assert vmapped.shape == (2, 4, 3) and not files(tmp_path)


def test_the_first_device_shares_its_programs_and_others_have_none(tmp_path, traces):
    scores, count = traces
    module, variables = model()
    programs.keep_in(tmp_path)
    scores(module, variables, _a())
    first, second = jax.devices()[:2]
    with jax.default_device(first):
        scores(module, variables, _a())
    assert count == ["plain"] and len(files(tmp_path)) == 1
    moved = jax.device_put((variables, _a()), second)
    result = scores(module, *moved)["scores"]
    assert result.devices() == {second} and len(files(tmp_path)) == 1


def test_programs_of_the_latest_versions_stay(tmp_path):
    for number in range(5):
        (tmp_path / f"old{number}").mkdir()
        (tmp_path / f"old{number}" / f"a{programs.SUFFIX}").touch()
    programs.keep_in(tmp_path)
    assert len(list(tmp_path.iterdir())) == programs.VERSIONS
    assert programs._store.folder is not None and programs._store.folder.is_dir()


def test_nothing_is_kept_unless_asked_for(tmp_path, traces):
    scores, _ = traces
    module, variables = model()
    scores(module, variables, _a())
    assert not files(tmp_path)
