"""--config and --config.FIELD=VALUE: what they set, and what is not a field or value."""

import pytest

from rgcam.commands import config as configs
from rgcam.errors import InputError
from rgcam.training import fields
from tests.conftest import ROOT


def load(*overrides):
    return configs.load("stickman_lrcn", overrides)


def test_an_experiment_is_loaded_by_name_or_file():
    assert load() == configs.load(str(ROOT / "configs" / "stickman_lrcn.py"), ())
    assert load().model.head == "fc" and load().data.source == "stickman"


@pytest.mark.parametrize(
    "overrides, field, value",
    [
        (["--config.epochs=3"], "epochs", 3),
        (["--config.epochs", "3"], "epochs", 3),
        (["-config.model.hidden=7"], "model.hidden", 7),
        (["--config.finetune", "-1"], "finetune", -1),
        (["--config.learning_rate=1e-4"], "learning_rate", 1e-4),
        (["--config.learning_rate=1"], "learning_rate", 1.0),
        (["--config.data.augment.crop=0.5"], "data.augment.crop", 0.5),
        (["--config.data.group=a=b"], "data.group", "a=b"),
        (["--config.data.root="], "data.root", ""),
        (["--config.data.random_labels"], "data.random_labels", True),
        (["--config.data.random_labels=false"], "data.random_labels", False),
        (["--config.data.random_labels", "yes"], "data.random_labels", True),
        (["--noconfig.data.augment.mirror"], "data.augment.mirror", False),
        (["--config.epochs=3", "--config.epochs=4"], "epochs", 4),
    ],
)
def test_a_field_is_set_and_the_others_are_not(overrides, field, value):
    config = load(*overrides)
    expected = config.to_dict()
    *path, name = field.split(".")
    group, before = expected, load().to_dict()
    for part in path:
        group, before = group[part], before[part]
    assert group[name] == value and type(group[name]) is type(before[name])
    group[name] = before[name]
    assert expected == load().to_dict()


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["--config.epohcs=3"], "unknown config field epohcs: did you mean epochs?"),
        (
            ["--config.data.rot=x"],
            "unknown config field data.rot: did you mean data.root?",
        ),
        (
            ["--config.zzzzzz=x"],
            "unknown config field zzzzzz: rgcam train --help lists all",
        ),
        (
            ["--config.model=3"],
            "config.model is a group of fields: set one of them, such as "
            "--config.model.kind=VALUE",
        ),
        (
            ["--config.model.hidden=abc"],
            "--config.model.hidden=abc is not a whole number",
        ),
        (
            ["--config.model.hidden=1.5"],
            "--config.model.hidden=1.5 is not a whole number",
        ),
        (["--config.warmup=x"], "--config.warmup=x is not a number"),
        (
            ["--config.data.random_labels=maybe"],
            "--config.data.random_labels=maybe is neither true nor false",
        ),
        (
            ["--noconfig.epochs=3"],
            "--noconfig.epochs=3: only a field that is true or false is negated",
        ),
        (["--config.epochs"], "--config.epochs needs a value: --config.epochs=VALUE"),
        (
            ["--config.epochs=-3"],
            "epochs is -3; it must be at least 1 and at most 1,000,000",
        ),
        (
            ["--config.learning_rate=nan"],
            "learning_rate is nan; it must be above 0 and at most 1,000",
        ),
        (["--config.model.cell=rnn"], "model.cell is 'rnn'; choose lstm or gru"),
    ],
)
def test_a_mistake_is_one_sentence(overrides, message):
    with pytest.raises(InputError) as error:
        load(*overrides)
    assert str(error.value) == message


def test_no_experiment_says_how_to_name_one():
    with pytest.raises(InputError, match="--config=configs/NAME.py, or the name of"):
        configs.load(None, ())


def test_an_unknown_experiment_lists_the_shipped_ones():
    with pytest.raises(InputError) as error:
        configs.load("folder_lrcm", ())
    message = str(error.value)
    assert "did you mean folder_lrcn?" in message
    for file in (ROOT / "configs").glob("*.py"):
        assert file.stem in message


def test_a_wrong_value_in_an_experiment_is_reported_before_the_overrides(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from rgcam.training.config import base_config\n"
        "def get_config():\n"
        "    config = base_config()\n"
        "    config.epochs = 0\n"
        "    return config\n"
    )
    with pytest.raises(InputError, match="epochs is 0; it must be at least 1"):
        configs.load(str(file), ("--config.model.cell=rnn",))


def test_the_help_states_every_field_with_its_range():
    text = " ".join(configs.fields_text().split())
    for field in fields.every_field():
        name = field.name.rpartition(".")[2]
        assert f"{name}={field.default!r}" in text
        assert field.rule.range_text() in text
    assert max(map(len, configs.fields_text().splitlines())) <= 88
