"""Descriptions of models: each kind of value that a field must not have, and the message."""

import copy
import dataclasses
import json
import math

import pytest

from rgcam.errors import InputError
from rgcam.models import classifiers, description, zoo
from rgcam.models.backbones import Preprocess
from rgcam.training.fields import ModelFields

FIELDS = {
    "arch": {
        "kind": "lrcn",
        "backbone": "efficientnet_lite0",
        "head": "gap",
        "width": 512,
        "dropout": 0.5,
        "cell": "lstm",
        "hidden": 256,
        "view": "rgb+difference",
        "differences": True,
    },
    "classes": ["walk", "run"],
    "preprocess": {
        "size": 224,
        "crop": None,
        "offset": 127.0,
        "scale": [128, 128, 1.5],
    },
    "fps": 7.5,
    "frozen": True,
    "results": {"accuracy": 0.5},
}
OPTIONAL = ("results", "arch.view", "arch.differences")
CONDITIONAL = ("arch.cell", "arch.hidden")  # an LRCN needs them


def places(fields=FIELDS, prefix=""):
    """Return the dotted name of every field."""
    names = []
    for name, value in fields.items():
        names.append(prefix + name)
        if name in ("arch", "preprocess"):
            names += places(value, f"{prefix}{name}.")
    return names


def changed(place, value):
    """Return the fields with another value at one place, such as ``arch.hidden``."""
    fields = copy.deepcopy(FIELDS)
    *parents, name = place.split(".")
    parent = fields
    for step in parents:
        parent = parent[step]
    parent[name] = value
    return fields


def without(place):
    """Return the fields without one of them."""
    fields = changed(place, None)
    parent = fields["arch"] if place.startswith("arch.") else fields
    parent = fields["preprocess"] if place.startswith("preprocess.") else parent
    del parent[place.split(".")[-1]]
    return fields


def message(fields):
    """Return why fields are rejected, as a model.json would be."""
    with pytest.raises(InputError) as caught:
        description.from_fields(fields)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_allowed_fields_become_a_description():
    model = description.from_fields(FIELDS)
    assert model.arch == FIELDS["arch"] and model.classes == ("walk", "run")
    assert model.preprocess == Preprocess(224, None, 127.0, (128, 128, 1.5))
    assert (model.fps, model.frozen, model.results) == (7.5, True, {"accuracy": 0.5})
    written = json.loads(json.dumps(description.to_fields(model)))
    assert written == FIELDS


def test_every_field_has_a_rule_and_every_rule_a_field():
    named = [f"arch.{name}" for name in description.Architecture.__annotations__]
    named += [
        f"preprocess.{name}" for name in description.PreprocessFields.__annotations__
    ]
    named += list(description.DescriptionFields.__annotations__)
    assert sorted(named) == sorted(places())


@pytest.mark.parametrize("place", ["arch.width", "arch.hidden", "preprocess.size"])
@pytest.mark.parametrize(
    "value",
    [-3, 0, 10**400, "256", True, None, 256.0, 2.5, math.nan, math.inf, [256], {}],
)
def test_a_size_must_be_a_whole_number_in_range(place, value):
    text = message(changed(place, value))
    assert text.startswith(f"{place} is ")
    assert "; it must be a whole number from 1 to " in text


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("arch.kind", "cnn, lrcn"),
        ("arch.backbone", "small, efficientnet_lite0, "),
        ("arch.head", "gap, grid, fc"),
        ("arch.cell", "lstm, gru"),
        ("arch.view", "rgb, difference, rgb+difference"),
    ],
)
@pytest.mark.parametrize("value", ["nope", "", "LSTM", None, 0, True, ["lstm"], {}])
def test_an_unknown_name_is_rejected_with_the_known_ones(place, names, value):
    expected = f"{place} is {value!r}; it must be one of {names}"
    assert message(changed(place, value)).startswith(expected)


@pytest.mark.parametrize(
    ("place", "values", "allowed"),
    [
        ("arch.dropout", [-0.1, 1, 1.5], "a number from 0 to below 1"),
        ("fps", [-7.5, 0, 1e6, 10**400], "a number above 0, at most 100000"),
        ("preprocess.crop", [0, -1, 1.01], "null or a number above 0, at most 1"),
        (
            "preprocess.offset",
            [1e6, [1, 2], [1, 2, 3, 4], [1, 2, "3"], [[1], 2, 3], []],
            "a number from -100000 to 100000, or three of them",
        ),
        (
            "preprocess.scale",
            [0, -1, [1, 1, 0], [1, 1], [1, 1, math.nan]],
            "a number above 0, at most 100000, or three of them",
        ),
    ],
)
def test_a_number_must_be_in_its_range(place, values, allowed):
    for value in (*values, "7.5", True, math.nan, math.inf, -math.inf, {}):
        text = message(changed(place, value))
        assert text.startswith(f"{place} is ") and text.endswith(f"must be {allowed}")


@pytest.mark.parametrize("place", ["arch.differences", "frozen"])
@pytest.mark.parametrize("value", [0, 1, "true", None, 2, []])
def test_a_switch_must_be_true_or_false(place, value):
    expected = f"{place} is {value!r}; it must be true or false"
    assert message(changed(place, value)) == expected


@pytest.mark.parametrize(
    "value", [[], [1, 2], ["walk", 2], ["walk", None], ["walk", ""], "walk", {}, None]
)
def test_classes_must_be_names(value):
    expected = f"classes is {value!r}; it must be a list of one or more class names"
    assert message(changed("classes", value)).startswith(expected)


@pytest.mark.parametrize("place", ["arch", "preprocess", "results"])
@pytest.mark.parametrize("value", [[], "text", 3, None, True])
def test_a_group_of_fields_must_be_a_mapping(place, value):
    expected = f"{place} is {value!r}; it must be a mapping"
    assert message(changed(place, value)).startswith(expected)


@pytest.mark.parametrize("content", [[], "text", 3, None, True])
def test_the_content_must_be_a_mapping(content):
    expected = f"its content is {content!r}; it must be a mapping with the fields arch,"
    assert message(content).startswith(expected)


@pytest.mark.parametrize("place", [p for p in places() if p not in OPTIONAL])
def test_a_missing_field_is_named_with_what_it_must_be(place):
    assert message(without(place)).startswith(f"{place} is missing; it must be ")


@pytest.mark.parametrize("place", OPTIONAL)
def test_an_optional_field_may_be_missing(place):
    assert description.from_fields(without(place))


@pytest.mark.parametrize("place", CONDITIONAL)
def test_a_frame_cnn_needs_no_recurrent_fields_but_holds_them_to_the_rules(place):
    cnn = {"kind": "cnn", "differences": False}
    fields = without(place)
    fields["arch"] |= cnn
    assert description.from_fields(fields)
    fields = changed(place, -3)
    fields["arch"] |= cnn
    assert message(fields).startswith(f"{place} is -3; it must be ")


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("arch.hiden", "did you mean hidden?"),
        ("preprocess.sise", "did you mean size?"),
        ("class", "did you mean classes?"),
        ("arch.zzz", "the fields are kind, backbone, head"),
    ],
)
def test_an_unknown_field_is_named_with_its_value_and_the_nearest_one(place, advice):
    expected = f"{place} is 3, which is not a field of a model; {advice}"
    assert message(changed(place, 3)).startswith(expected)


def test_fields_must_fit_each_other():
    fields = changed("arch.kind", "cnn")
    assert "arch.differences is True; it must be False where arch.kind" in message(
        fields
    )
    fields = changed("arch.backbone", "small")
    assert "frozen is True; it must be False where arch.backbone" in message(fields)
    fields |= {"frozen": False, "preprocess": FIELDS["preprocess"] | {"size": 65}}
    assert message(fields) == (
        "preprocess.size is 65; it must be even where arch.backbone is small"
    )


def captioner(**arch):
    """Return the fields of a captioner of two words."""
    fields = {"kind": "captioner", "view": "rgb", "differences": False, **arch}
    classes = [*description.SPECIAL_WORDS, "kick", "wave"]
    return FIELDS | {"arch": FIELDS["arch"] | fields, "classes": classes}


def test_what_a_captioner_needs():
    assert description.from_fields(captioner()).arch["kind"] == "captioner"
    assert "arch.view is 'difference'; it must be rgb where arch.kind is captioner" in (
        message(captioner(view="difference"))
    )
    fields = captioner(differences=True)
    assert "differences is True; it must be False where arch.kind is captioner" in (
        message(fields)
    )
    fields = captioner()
    del fields["arch"]["hidden"]
    assert "arch.hidden is missing" in message(fields)
    assert (
        "classes begin with ('walk', 'run'); they must begin with <start>, <end>"
        in (message(captioner() | {"classes": ["walk", "run"]}))
    )


def test_a_long_value_is_abbreviated():
    assert len(message(changed("arch.kind", "x" * 100_000))) < 200


@pytest.mark.parametrize("name", zoo.bundled_names())
def test_bundled_models_have_allowed_fields(name):
    fields = json.loads((zoo.BUNDLED / name / "model.json").read_text("utf-8"))
    written = json.loads(
        json.dumps(description.to_fields(zoo.read_description(zoo.BUNDLED / name)))
    )
    assert written == fields


def test_a_file_is_named_and_rejected_before_its_weights_are_read(tmp_path):
    """The weights are damaged, too: the message speaks of the description."""
    (tmp_path / "weights.npz").write_bytes(b"")
    fields = changed("arch.hidden", -3)
    (tmp_path / "model.json").write_text(json.dumps(fields))
    with pytest.raises(InputError) as caught:
        zoo.load_model(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'model.json'} does not describe an rgcam model: arch.hidden is -3; "
        "it must be a whole number from 1 to 65536"
    )


def test_a_description_that_could_not_be_read_is_not_written(tmp_path):
    model = description.from_fields(changed("fps", 15))
    object.__setattr__(model, "fps", -1.0)
    with pytest.raises(InputError, match=r"fps is -1.0; it must be a number above 0"):
        zoo.write_description(tmp_path, model)
    assert not list(tmp_path.iterdir())


def allows(name, value):
    """Tell whether a model may have this value of a field of its architecture."""
    try:
        description.check_architecture(FIELDS["arch"] | {name: value}, "")
    except InputError:
        return False
    return True


@pytest.mark.parametrize("field", dataclasses.fields(ModelFields), ids=lambda f: f.name)
def test_a_training_config_allows_the_same_values_of_a_model(field):
    """Except kinds that lack differences, which these fields ask for."""
    rule = field.metadata["rule"]
    assert field.name in description.Architecture.__annotations__
    assert allows(field.name, field.default)
    values = rule.choices
    if rule.low is not None:
        near = 1 if field.type is int else 1e-9
        values = [b + d for b in (rule.low, rule.high) for d in (-near, 0, near)]
    for value in values:
        expected = rule.allows(value) and value not in ("cnn", "captioner")
        assert allows(field.name, value) == expected, value


@pytest.mark.parametrize("place", ["arch.hidden", "arch.width"])
def test_a_model_of_a_config_is_held_to_the_same_rules(place):
    arch = changed(place, -3)["arch"]
    expected = f"model.{place[5:]} is -3; it must be a whole number from 1 to 65536"
    with pytest.raises(InputError, match=expected):
        classifiers.build(arch, classes=2)
