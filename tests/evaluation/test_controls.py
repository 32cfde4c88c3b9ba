"""Controls: model-free maps, shuffled maps, and other models."""

import jax
import numpy as np
import pytest

from rgcam import interop
from rgcam.errors import InputError
from rgcam.evaluation import clips, controls
from rgcam.metrics import randomization
from rgcam.models import zoo

FRAMES = np.zeros((3, 4, 6, 3), np.uint8)
FRAMES[1:, 3, 5] = 40  # a pixel below and right lights up between frames 0 and 1
FEATURES = np.arange(36.0).reshape(3, 2, 3, 2)
CLIP = clips.EvaluationClip(
    name="clip",
    group="clip",
    frames=FRAMES.astype(np.float32),
    pixels=FRAMES,
    target=None,
    mask=None,
    true_frames=None,
)
CASE = controls.Case(
    model=None,
    clip=CLIP,
    features=FEATURES,
    scores=np.zeros((3, 2)),
    target=0,
    visible=np.tril(np.ones((3, 3))),
)
# Frames 0 and 1 are the first step of A, frame 2 the second; one score of the clip.
STRIDED = CASE._replace(
    features=FEATURES[:2],
    scores=np.zeros((1, 2)),
    visible=np.ones((1, 2)),
    frames_of_steps=np.array([[0, 1], [2, 2]]),
)


def of(name, case=CASE):
    return controls.model_free_maps(name, case, 0)


@pytest.mark.parametrize("name", controls.MODEL_FREE)
def test_model_free_maps_are_0_for_frames_that_are_not_visible_yet(name):
    maps = of(name)
    assert maps.shape == (3, 3, 2, 3) and maps.any()
    assert not maps[np.triu_indices(3, 1)].any()
    later = maps[2, 0] / maps[2, 0].max() if maps[2, 0].any() else maps[2, 0]
    first = maps[0, 0] / maps[0, 0].max() if maps[0, 0].any() else maps[0, 0]
    np.testing.assert_allclose(later, first)


def test_model_free_maps_by_hand():
    assert (of("uniform")[2] == 1).all()
    assert of("recency")[2, 0, 0, 0] == pytest.approx(np.exp(-2 / 4))
    assert of("activation")[1, 1, 0, 0] == (12 + 13) / 2
    assert of("motion")[2, 1].tolist() == [[0, 0, 0], [0, 0, 40]]
    assert not of("motion")[2, 0].any() and not of("motion")[2, 2].any()
    centre = of("centre")[0, 0]
    assert centre[0, 1] == centre[1, 1] == centre.max()


def test_model_free_maps_of_a_strided_model_are_of_its_steps():
    motion = of("motion", STRIDED)
    assert motion.shape == (1, 2, 2, 3)
    assert motion[0, 0].tolist() == [[0, 0, 0], [0, 0, 20]]  # the mean of two frames
    recency = of("recency", STRIDED)[0, :, 0, 0]
    np.testing.assert_allclose(recency, [np.exp(-1 / 4), 1])
    assert (of("uniform", STRIDED) == 1).all()


def test_frames_are_shown_the_map_of_their_step():
    maps = np.arange(2.0)[:, None, None]
    assert STRIDED.of_frames(maps).ravel().tolist() == [0, 0, 1]
    assert CASE.of_frames(maps) is maps


def test_every_visible_frame_has_the_same_map_at_all_steps():
    ones = np.ones((2, 1, 1))
    maps = controls.same_for_all_steps(ones, np.tril(np.ones((2, 2))))[..., 0, 0]
    assert maps.tolist() == [[1, 0], [1, 1]]


def test_visible_frames_are_shuffled_within_each_row():
    maps = np.tril(np.arange(1, 37.0).reshape(6, 6))[..., None, None]
    causal = np.tril(np.ones((6, 6)))
    shuffled = controls.shuffle_visible(maps, 2, causal)
    assert not shuffled[np.triu_indices(6, 1)].any()
    np.testing.assert_array_equal(np.sort(shuffled, 1), np.sort(maps, 1))
    # No frame keeps its map, but for the first step's, which sees a single one.
    assert not (shuffled == maps)[np.tril_indices(6)][1:].any()
    assert (shuffled != controls.shuffle_visible(maps, 3, causal)).any()
    of_clip = controls.shuffle_visible(maps[-1:], 2, np.ones((1, 6)))
    np.testing.assert_array_equal(np.sort(of_clip, 1), maps[-1:])
    assert not (of_clip == maps[-1:]).any()


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("stickman-lrcn")


def test_controls_are_of_other_variables_or_of_the_clip_in_another_order(model):
    models = controls.prepare_models(model, None, model)
    assert tuple(models.randomised) == randomization.CASCADE
    (clip,) = clips.load(model, data="stickman", clips=1, length=8)
    case = controls.prepare_case(model, clip)
    assert case.target == case.scores[-1].argmax()
    named = controls.controls(models, case)
    assert set(named) == {*randomization.CASCADE, "random_labels", "shuffled_frames"}
    for part in ("scores", "recurrent", "frame_head"):
        np.testing.assert_array_equal(named[part].features, case.features)
    assert (named["backbone"].features != case.features).any()
    shuffled = named["shuffled_frames"]
    in_order = shuffled.features[shuffled.position]
    np.testing.assert_allclose(in_order, case.features, rtol=1e-4, atol=1e-5)
    references = controls.reference_maps(None, case)
    assert set(references) == set(controls.MODEL_FREE)
    other = case._replace(clip=clip._replace(name="another"))
    noise = controls.reference_maps(None, other)["random"]
    assert (noise[-1] != references["random"][-1]).any()


def test_a_model_of_other_parts_is_randomised_as_a_whole():
    rng = np.random.default_rng(0)
    weights = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
    variables = {"params": {"scores": weights, "conv": weights}}
    assert not randomization.has_cascade(variables)
    assert not randomization.has_cascade(weights)
    assert randomization.has_cascade({"params": {"scores": weights}})
    shuffled = randomization.randomise(variables, None, jax.random.key(0))["params"]
    for layer in shuffled.values():
        assert (layer["kernel"] != weights["kernel"]).any()
        np.testing.assert_allclose(
            np.sort(layer["kernel"].ravel()), np.sort(weights["kernel"].ravel())
        )
        assert layer["bias"] is weights["bias"]


def test_a_frame_cnn_scores_every_frame(model):
    (clip,) = clips.load(model, data="stickman", clips=1, length=8)
    case = controls.prepare_case(model, clip)
    one_score = interop.from_functions(
        lambda weights, frames: frames[:, ::8, ::8] * weights,
        lambda weights, features: features.mean((0, 1, 2)) * weights,
        np.float32(1),
    )
    cnn = interop.video_model(*one_score, ("a", "b", "c"), size=64)
    with pytest.raises(InputError, match=r"the frame CNN the model has maps of shape"):
        controls.reference_maps(cnn, case._replace(target=0))


def test_random_labels_need_a_model_of_the_same_kind(model):
    cnn = zoo.load_model("stickman-cnn")
    with pytest.raises(InputError, match="not of the same kind"):
        controls.prepare_models(model, None, cnn)
