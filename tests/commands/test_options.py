"""Every spelling of an option, what is said of a wrong one, and the help."""

import dataclasses
import json

import pytest

from rgcam.commands import COMMANDS, options
from rgcam.commands.explain import COMMAND, ExplainOptions
from rgcam.commands.train import COMMAND as TRAIN
from rgcam.errors import InputError


@pytest.mark.parametrize(
    "arguments,changes",
    [
        ("", {}),
        ("--video=a.mp4", {"video": "a.mp4"}),
        ("--video a.mp4", {"video": "a.mp4"}),
        ("-video=a.mp4", {"video": "a.mp4"}),
        ("--video=a=b.mp4", {"video": "a=b.mp4"}),
        ("--max_gib=2", {"max_gib": 2.0}),
        ("--max-gib=2", {"max_gib": 2.0}),
        ("--steps=-1", {"steps": "-1"}),
        ("--steps -1", {"steps": "-1"}),
        ("--steps ::100", {"steps": "::100"}),
        ("--relu", {"relu": True}),
        ("--norelu", {"relu": False}),
        ("--no-relu", {"relu": False}),
        ("--relu=false", {"relu": False}),
        ("--relu=True", {"relu": True}),
        ("--norelu --relu", {"relu": True}),
        ("--figures", {"figures": True}),
        ("--pictures", {"figures": True}),
        ("--nopictures", {"figures": False}),
        ("--aggregate=decided", {"aggregate": "settled"}),
        ("--window=8 --window=9", {"window": 9}),
    ],
)
def test_every_spelling_of_an_option_is_understood(arguments, changes):
    parsed = options.parse(COMMAND, arguments.split())
    assert parsed == dataclasses.replace(ExplainOptions(), **changes)


@pytest.mark.parametrize(
    "arguments,says",
    [
        ("--wideo=a", "unknown option --wideo: did you mean --video?"),
        ("--xyzzy", "unknown option --xyzzy: choose another"),
        ("--nomodel", "unknown option --nomodel"),
        ("a.mp4", "unexpected argument 'a.mp4': options are written --name=value"),
        ("--video", "--video needs a value"),
        ("--fps=fast", "--fps: 'fast' is not a number"),
        ("--window=1.5", "--window: '1.5' is not a whole number"),
        ("--relu=perhaps", "--relu=perhaps is neither true nor false"),
        ("--vector=png", "--vector: 'png' is not one of pdf|svg"),
    ],
)
def test_a_wrong_option_is_named_in_a_sentence(arguments, says):
    with pytest.raises(InputError) as error:
        options.parse(COMMAND, arguments.split())
    assert says in str(error.value) and "\n" not in str(error.value)


def test_config_fields_are_kept_apart_from_the_options():
    arguments = [
        "--config=a.py",
        "--workdir=run",
        "--config.epochs=3",
        "--config.finetune",
        "-1",
        "--noconfig.data.random_labels",
        "--process=1",
    ]
    parsed = options.parse(TRAIN, arguments)
    assert (parsed.config, parsed.workdir, parsed.process) == ("a.py", "run", 1)
    assert parsed.overrides == (
        "--config.epochs=3",
        "--config.finetune",
        "-1",
        "--noconfig.data.random_labels",
    )


def test_options_are_plain_data_for_the_record():
    fields = options.to_fields(ExplainOptions(model="m", relu=False))
    assert json.loads(json.dumps(fields)) == fields
    assert fields["model"] == "m" and fields["relu"] is False


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lists_every_option_and_no_library_s(call, name):
    code, out, err = call(name, "--help")
    assert code == 0 and not err
    assert out.startswith(f"usage: rgcam {name} ") and COMMANDS[name] in out
    command = __import__(f"rgcam.commands.{name}", fromlist="x").COMMAND
    for field in dataclasses.fields(command.options):
        assert not field.metadata or f"--{field.name}" in out, field.name
    assert "examples:" in out and "jax_" not in out and "--helpfull" not in out


def test_without_a_command_the_commands_are_listed(call):
    from rgcam.commands import app

    assert app.main([]) == 0
    code, out, _ = call("--help")
    assert code == 0 and all(sentence in out for sentence in COMMANDS.values())
    code, _, err = call("explian")
    assert code == 2 and "did you mean explain?" in err
