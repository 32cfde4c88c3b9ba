"""Controls: model-free maps, shuffled maps, and other models."""

import numpy as np
import pytest

from rgcam.errors import InputError
from rgcam.evaluation import clips, controls
from rgcam.metrics import randomization
from rgcam.models import zoo

FRAMES = np.zeros((3, 4, 6, 3), np.uint8)
FRAMES[1:, 3, 5] = 40  # a pixel below and right lights up between frames 0 and 1
FEATURES = np.arange(36.0).reshape(3, 2, 3, 2)


def of(name):
    return controls.model_free_maps(name, FRAMES, FEATURES, 0)


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


def test_every_visible_frame_has_the_same_map_at_all_steps():
    maps = controls.same_for_all_steps(np.ones((2, 1, 1)))[..., 0, 0]
    assert maps.tolist() == [[1, 0], [1, 1]]


def test_visible_frames_are_shuffled_within_each_row():
    maps = np.tril(np.arange(1, 37.0).reshape(6, 6))[..., None, None]
    shuffled = controls.shuffle_visible(maps, 2)
    assert not shuffled[np.triu_indices(6, 1)].any()
    np.testing.assert_array_equal(np.sort(shuffled, 1), np.sort(maps, 1))
    # No frame keeps its map, but for the first step's, which sees a single one.
    assert not (shuffled == maps)[np.tril_indices(6)][1:].any()
    assert (shuffled != controls.shuffle_visible(maps, 3)).any()


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


def test_random_labels_need_a_model_of_the_same_kind(model):
    cnn = zoo.load_model("stickman-cnn")
    with pytest.raises(InputError, match="not of the same kind"):
        controls.prepare_models(model, None, cnn)
