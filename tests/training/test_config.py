"""A run's config is checked, kept, and never silently another one."""

import json

import pytest

from rgcam.errors import InputError
from rgcam.training import config as configuration
from rgcam.training import fields
from rgcam.training.config import base_config


def make(**changes):
    config = base_config()
    config.update_from_flattened_dict(changes)
    return fields.make_config(config.to_dict())


def test_the_folder_is_made(tmp_path):
    folder = configuration.make_folder(str(tmp_path / "a" / "b"))
    assert folder.is_dir()


def test_going_on_with_the_same_config(tmp_path):
    configuration.keep(tmp_path, make())
    configuration.keep(tmp_path, make())
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["model"]["hidden"] == make().model.hidden


def test_another_config_is_rejected_and_the_fields_named(tmp_path):
    configuration.keep(tmp_path, make())
    other = make(**{"model.hidden": 3, "seed": 5})
    with pytest.raises(InputError) as error:
        configuration.keep(tmp_path, other)
    assert "model.hidden 256 -> 3; seed 0 -> 5" in str(error.value)
    configuration.keep(tmp_path, make())  # the first one is still there


def test_what_changes_no_number_may_change(tmp_path):
    configuration.keep(tmp_path, make())
    changes = {"data.cache": "elsewhere", "data.workers": 2, "checkpoint_steps": 7}
    configuration.keep(tmp_path, make(**changes))
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["data"]["cache"] == "elsewhere"


def test_only_the_first_process_writes(tmp_path):
    configuration.keep(tmp_path, make(), write=False)
    assert not (tmp_path / "config.json").exists()


def test_a_damaged_config_is_one_sentence(tmp_path):
    for content in ("{", "[1]", "3"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match="config.json is not the config of a run"):
            configuration.keep(tmp_path, make())


def test_a_shipped_experiment_is_found_by_name():
    assert configuration.find_experiment("stickman_lrcn").stem == "stickman_lrcn"
    with pytest.raises(InputError, match="did you mean stickman_lrcn"):
        configuration.find_experiment("stickman_lrcm")


def test_experiments_load_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = configuration.find_experiment("base").parent.glob("*.py")
    for file in shipped:
        config = configuration.load_experiment(file.stem)
        assert fields.make_config(config.to_dict()).seed == 0


def test_a_run_that_was_begun_before_a_field_existed_goes_on(tmp_path):
    configuration.keep(tmp_path, make())
    values = json.loads((tmp_path / "config.json").read_text())
    del values["data"]["train_clips"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    configuration.keep(tmp_path, make())
    other = make(**{"data.train_clips": 5})
    with pytest.raises(InputError, match="data.train_clips 4000 -> 5"):
        configuration.keep(tmp_path, other)


@pytest.mark.parametrize(
    "body, message",
    [
        ("return {'epochs': 3}", "returns dict; it must return a ConfigDict"),
        ("raise RuntimeError", "with get_config.*RuntimeError"),
        ("return open('absent')", "with get_config"),
    ],
)
def test_an_experiment_that_fails_is_one_sentence(tmp_path, body, message):
    file = tmp_path / "mine.py"
    file.write_text(f"def get_config():\n    {body}\n")
    with pytest.raises(InputError, match=message):
        configuration.load_experiment(str(file))


def test_an_experiment_with_a_mistyped_field_gets_the_close_match(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from rgcam.training.config import base_config\n"
        "def get_config():\n"
        "    config = base_config()\n"
        "    config.epohcs = 3\n"
        "    return config\n"
    )
    config = configuration.load_experiment(str(file))
    with pytest.raises(
        InputError, match="^unknown config field epohcs: did you mean epochs.$"
    ):
        fields.make_config(config.to_dict())
