"""Every field of an experiment has a type and a range, and nothing else passes."""

import dataclasses

import jax
import numpy as np
import pytest

from rgcam.data import augment, splits
from rgcam.errors import InputError
from rgcam.models import description
from rgcam.training import fields

FIELDS = list(fields.every_field())
NUMBERS = [field for field in FIELDS if field.kind in (int, float)]
by_name = lambda field: field.name


def nested(name, value):
    """Return the plain data in which one field, named with dots, has a value."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def make(name, value):
    config = fields.make_config(nested(name, value))
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_a_config_is_frozen_and_holds_the_defaults():
    config = fields.make_config({})
    assert config == fields.Config() and config.model.hidden == 256
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 3


def test_plain_data_gives_the_config_back():
    config = fields.make_config({"epochs": 3, "data": {"augment": {"crop": 0.5}}})
    assert fields.make_config(config.to_dict()) == config
    assert config.data.augment.crop == 0.5 and config.data.augment.mirror


@pytest.mark.parametrize("field", FIELDS, ids=by_name)
def test_a_default_is_in_its_range_and_explained(field):
    value = make(field.name, field.default)
    assert value == field.default and type(value) is field.kind
    assert field.rule.help


@pytest.mark.parametrize("field", NUMBERS, ids=by_name)
def test_a_number_outside_its_range_is_one_sentence(field):
    rule = field.rule
    step = 1 if field.kind is int else 1e-9
    below = rule.low - step if rule.low_included else rule.low
    above = rule.high * (1 + 1e-9) + step if rule.high_included else rule.high
    wrong = [below, above, -(10**9)]
    if field.kind is float:
        wrong += [float("nan"), float("inf"), -float("inf")]
    for value in wrong:
        with pytest.raises(
            InputError, match=f"^{field.name} is .*; it must be (at|above)"
        ):
            make(field.name, field.kind(value))


@pytest.mark.parametrize("field", NUMBERS, ids=by_name)
def test_the_bounds_themselves_are_allowed_where_the_range_says_so(field):
    rule = field.rule
    for bound, included in (
        (rule.low, rule.low_included),
        (rule.high, rule.high_included),
    ):
        if included:
            assert make(field.name, field.kind(bound)) == bound


@pytest.mark.parametrize("field", FIELDS, ids=by_name)
def test_a_value_of_another_type_is_one_sentence(field):
    for value in (None, [1], "x" if field.kind is not str else 3, True):
        if type(value) is field.kind:
            continue
        with pytest.raises(
            InputError, match=f"^{field.name} is .*; it must be (a|True)"
        ):
            make(field.name, value)


def test_a_whole_number_is_a_number():
    assert type(make("learning_rate", 1)) is float


@pytest.mark.parametrize("field", [f for f in FIELDS if f.rule.choices], ids=by_name)
def test_a_text_that_is_not_a_choice_names_the_choices(field):
    for value in field.rule.choices:
        assert make(field.name, value) == value
    with pytest.raises(InputError) as error:
        make(field.name, "nonsense")
    assert all(value in str(error.value) for value in field.rule.choices)


@pytest.mark.parametrize(
    "name, nearest",
    [("epohcs", "epochs"), ("data.rot", "data.root"), ("modle", "model")],
)
def test_an_unknown_field_names_the_nearest(name, nearest):
    with pytest.raises(InputError, match=f"field {name}: did you mean {nearest}.$"):
        make(name, 3)
    with pytest.raises(InputError, match="rgcam train --help lists all"):
        make("zzzzzz", 3)
    with pytest.raises(InputError, match="model is 3; it must be a group of fields"):
        make("model", 3)


def test_a_range_is_said_in_words():
    ranges = {field.name: field.rule.range_text() for field in FIELDS}
    assert ranges["data.test_fraction"] == "above 0 and below 1"
    assert ranges["batch_size"] == "at least 1 and at most 1,000,000,000"
    assert ranges["model.cell"] == "one of lstm, gru"
    assert ranges["data.root"] == ""


def test_choices_are_those_of_the_functions_that_read_them():
    choices = {field.name: field.rule.choices for field in FIELDS}
    assert choices["model.backbone"] == description.BACKBONES
    assert choices["data.split"] == tuple(splits.KINDS)
    assert set(fields.AugmentFields().to_dict()) == set(augment.Augmentation._fields)


def test_the_largest_seeds_are_seeds_of_jax_and_numpy():
    seed = next(field.rule.high for field in FIELDS if field.name == "seed")
    jax.random.key(seed)
    np.random.default_rng((seed, 1, 2, 3))
