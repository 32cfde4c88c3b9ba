"""Models of every framework by every function of rgcam that takes a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from rgcam import interop
from rgcam.attribution.explain import METHODS
from rgcam.errors import InputError
from rgcam.metrics import faithfulness, verify
from rgcam.models.cut import CausalModel, CutModel, FramewiseModel
from tests.interop.cases import CASES, CLASSES, FRAMES, T, check_causal

TARGET = 1


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]()


def test_the_feature_map_is_that_of_the_framework(case):
    e = rgcam.explain(case.module, case.variables, FRAMES, TARGET, relu=False)
    np.testing.assert_allclose(e.features, case.features(FRAMES), atol=1e-5)


def test_beta_equals_a_loop_of_the_framework_s_own_gradients(case):
    e = rgcam.explain(case.module, case.variables, FRAMES, TARGET, relu=False)
    features = jnp.asarray(e.features)
    rows = [case.gradient(features, step, TARGET).mean((1, 2)) for step in range(T)]
    slow = np.stack(rows)
    assert np.abs(slow).max() > 1e-4
    np.testing.assert_allclose(e.beta, slow, rtol=1e-5, atol=1e-5 * np.abs(slow).max())
    maps = np.einsum("otk,thwk->othw", slow, features)
    np.testing.assert_allclose(e.maps, maps, atol=1e-5 * np.abs(maps).max())


@pytest.fixture(scope="module")
def functions():
    """Return the model that is no row of test_consistency.py, which tests the others."""
    return CASES["functions"]()


def test_every_method_explains_past_frames_and_no_future_one(functions):
    @jax.jit  # one program for all, which share the feature map
    def explain_all(variables, frames):
        explain = lambda method: rgcam.explain(
            functions.module, variables, frames, TARGET, method=method
        )
        return {method: explain(method) for method in METHODS}

    for e in explain_all(functions.variables, FRAMES).values():
        assert e.matrix.shape == (T, T) and np.isfinite(e.maps).all()
        check_causal(e)


def test_weights_are_verified_in_float64(functions):
    model = functions.module, functions.variables
    e = rgcam.explain(*model, FRAMES, TARGET, relu=False)
    errors = verify.verify(*model, e, TARGET)
    assert errors.as_defined and max(errors[:2]) < 1e-5
    wrong = e._replace(beta=e.beta + 0.01 * np.abs(e.beta).max())
    assert not verify.verify(*model, wrong, TARGET).as_defined


def test_the_faithfulness_check_passes_genuine_maps_and_fails_reversed_ones(functions):
    model = functions.module, functions.variables
    e = rgcam.explain(*model, FRAMES, TARGET, method="fade")
    check = lambda maps: faithfulness.check_faithfulness(
        *model, e.features, maps, TARGET, method="fade"
    )
    genuine, corrupted = check(e.maps), check(-np.asarray(e.maps))
    assert genuine.passed and not corrupted.passed
    assert genuine.score > corrupted.score


def test_a_batch_by_vmap_equals_its_clips_one_by_one(functions):
    clips = np.stack([FRAMES, FRAMES[::-1]])
    batched = jax.vmap(rgcam.explain, in_axes=(None, None, 0, 0))
    both = batched(functions.module, functions.variables, clips, jnp.array([0, 2]))
    for number, target in enumerate((0, 2)):
        e = rgcam.explain(functions.module, functions.variables, clips[number], target)
        np.testing.assert_allclose(both.matrix[number], e.matrix, rtol=1e-4, atol=1e-6)


def test_several_classes_and_the_predicted_one(case):
    model = case.module, case.variables
    several = rgcam.explain(*model, FRAMES, np.arange(CLASSES))
    predicted = rgcam.explain(*model, FRAMES)
    best = int(np.argmax(several.scores[-1]))
    np.testing.assert_allclose(several.matrix[best], predicted.matrix, rtol=1e-5)


def test_a_model_made_twice_is_one_model_for_jit():
    for make in CASES.values():
        first, second = make().module, make().module
        assert isinstance(first, CutModel) and first == first
        assert not isinstance(first, CausalModel | FramewiseModel)
        # Haiku's functions are new objects whenever they are transformed.
        assert make is CASES["haiku"] or hash(first) == hash(second)
        assert (first == second) is (make is not CASES["haiku"])


def test_results_of_another_rank_are_one_sentence():
    frames, features = (
        np.zeros((2, 4, 4, 3), np.float32),
        lambda _, frames: frames[None],
    )
    module, variables = interop.from_functions(features, lambda _, a: a.mean((1, 2)))
    shapes = r"features returned .* \(1, 2, 4, 4, 3\): expected \(T, H, W, K\).*Layout"
    with pytest.raises(InputError, match=shapes):
        module.apply(variables, frames, method="features")
    module, _ = interop.from_functions(lambda _, x: x, lambda _, a: a.mean(1))
    shapes = r"classify returned float32 \(2, 4, 3\) .* \(2, 4, 4, 3\).* \(T_out, C\)"
    with pytest.raises(InputError, match=shapes):
        module.apply((), frames, method="classify")
    with pytest.raises(InputError, match="no method 'begin'.*CausalModel"):
        module.apply((), frames, method="begin")


def test_the_public_functions_are_those_of_the_room():
    for name in ("from_equinox", "from_functions", "from_haiku", "from_nnx"):
        assert getattr(rgcam, name) is getattr(interop, name)
