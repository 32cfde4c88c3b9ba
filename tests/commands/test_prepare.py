"""rgcam prepare: what the options become, what is asked for, and what is printed."""

import json

import pytest

from rgcam.commands import prepare
from rgcam.commands.options import parse
from rgcam.data.tfds import prepare as datasets
from tests.conftest import one_sentence
from tests.data.tfds.test_prepare import write_mpg


@pytest.fixture
def tree(tmp_path):
    """Make two classes of two recordings, and a file that is no video."""
    for label, name in enumerate(("jump", "run")):
        for group in (1, 2):
            write_mpg(tmp_path / "clips" / name / f"v_g{group}.mpg", (label, group))
    (tmp_path / "clips" / "run" / "v_g3.mpg").write_text("no video")
    return tmp_path / "clips"


def test_a_tree_is_prepared_and_what_it_holds_is_printed(call, tree, tmp_path):
    part = ["--dataset=tree", f"--source={tree}", "--group=_g([0-9]+)"]
    code, out, err = call("prepare", *part, f"--data_dir={tmp_path / 'data'}")
    assert code == 0, err
    listing = datasets.scan(tmp_path / "data")
    assert listing.classes == ("jump", "run") and len(listing.items) == 4
    assert {item.group for item in listing.items} == {"1", "2"}
    assert "4 clips" in out and "v_g3.mpg" in out
    again = call("prepare", *part, f"--data_dir={tmp_path / 'data'}")
    assert again[0] == 0 and again[1] == out
    code, _, err = call(
        "prepare", *part[:2], "--group=(_)g", f"--data_dir={tmp_path / 'data'}"
    )
    assert code == 2 and "choose another --data_dir" in one_sentence(err)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "say where the dataset is made: --data_dir=FOLDER"),
        (
            ["--data_dir=data", "--dataset=tree"],
            "say where the clips are: --source=FOLDER (or URL, .rar file)",
        ),
        (
            ["--data_dir=data", "--dataset=kinetics"],
            "'kinetics' is not one of ucf11|tree",
        ),
        (
            ["--data_dir=data", "--source=absent"],
            "absent: check the path",
        ),
        (
            ["--data_dir=data", "--dataset=tree", "--source=.", "--group=g"],
            "group pattern 'g' has no parenthesis",
        ),
        (["--data_dri=data"], "did you mean --data_dir?"),
    ],
)
def test_a_mistake_is_one_sentence_and_makes_nothing(
    call, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("prepare", *arguments)
    assert code == 2 and message in one_sentence(err) and not out
    assert not list(tmp_path.rglob("*.json"))


def test_every_option_reaches_the_dataset(monkeypatch, tmp_path, capsys):
    received = {}

    def make(dataset, source, data_dir, **options):
        received.update(options, dataset=dataset, source=source, data_dir=data_dir)
        return tmp_path

    monkeypatch.setattr(datasets, "prepare", make)
    monkeypatch.setattr(datasets, "summary", lambda folder: [f"made in {folder}"])
    arguments = {
        "dataset": "tree",
        "source": "clips.rar",
        "data_dir": "data",
        "group": "_g(.)",
        "workers": "3",
        "beam": "DirectRunner",
        "beam_options": "--region=x",
    }
    words = [f"--{name}={value}" for name, value in arguments.items()]
    prepare.run(parse(prepare.COMMAND, words))
    assert json.loads(json.dumps(received, default=str)) == arguments | {"workers": 3}
    assert capsys.readouterr().out == f"made in {tmp_path}\n"
