"""rgcam evaluate as a person calls it."""

import functools
import json
import math
import shutil

import pytest

from rgcam.models import zoo
from tests.conftest import one_sentence


@pytest.fixture
def evaluate(call):
    return functools.partial(call, "evaluate")


def test_measures_clips_and_goes_on(evaluate, tmp_path):
    options = "--methods=fade,gradcam", "--length=8", f"--out={tmp_path}"
    options += ("--random_labels=stickman-lrcn",)  # its own maps: as like as can be
    code, out, err = evaluate(*options, "--clips=2")
    assert code == 0, err
    whole = json.loads((tmp_path / "table.json").read_text())
    means, leads = whole["table"], whole["margins"]
    fade = means["fade"]
    lead = leads["the frame CNN"]["fade"]["localization_max"]["energy"]
    energy = lambda name: means[name]["localization_max"]["energy"]["mean"]
    assert lead["mean"] == pytest.approx(energy("fade") - energy("frame CNN"))
    detected = whole["check"]["detection"]["fade"]
    assert (detected["genuine"], detected["corrupted"]) == (2, 5)
    assert detected["area"] > 0.5
    assert "## Margins over the best model-free explanation" in out
    assert {"fade", "gradcam", "motion", "frame CNN"} <= means.keys()
    subset = lambda name: means[name]["faithfulness"]["subset"]["mean"]
    assert subset("fade") > abs(subset("uniform:previous"))
    assert subset("uniform:zero") == 0
    assert "| *uniform* | 0.00, raw" in out and "| fade (signed) |" in out
    best = fade["faithfulness"]["best_matrix"]["mean"]
    assert subset("fade") <= best + 1e-6
    assert 0 <= fade["localization"]["energy"]["mean"] <= 1
    assert "random_model" in fade["check_passed"]
    assert fade["curves"]["deletion"]["mean"] > 0
    assert "drop" in means["motion"]["curves_blurred"]
    similarity = fade["similarity"]
    assert similarity["random_labels"]["mean"] == pytest.approx(1)
    assert -1 <= similarity["shuffled_frames"]["mean"] < 1
    assert 0 < fade["time"]["recurrent_share"]["mean"] < 1
    assert "## Reach through time" in out
    half_life = means["recency"]["time"]["half_life"]["mean"]
    assert half_life == pytest.approx(4 * math.log(2))
    # Of 8 frames: it does not fall.
    assert means["uniform"]["time"]["half_life"]["mean"] == 8
    assert 0 <= fade["localization_max"]["pointing"]["mean"] <= 1
    assert "moments" in means["motion"]["localization_max"]
    assert (
        "## Faithfulness" in out
        and "| fade (signed) |" in (tmp_path / "table.md").read_text()
    )
    lines = (tmp_path / "manifest.jsonl").read_text()
    code, _, err = evaluate(*options, "--clips=2")
    assert code == 0 and (tmp_path / "manifest.jsonl").read_text() == lines
    code, _, err = evaluate(*options, "--clips=3")
    assert code == 2 and "started with different options (clips 2 -> 3)" in err


def test_several_models(evaluate, tmp_path):
    other = shutil.copytree(zoo.BUNDLED / "stickman-lrcn", tmp_path / "other")
    cnn = "--cnn=stickman-cnn,stickman-cnn"
    options = "--methods=gradcam", "--length=8", "--clips=2", f"--out={tmp_path / 'e'}"
    code, out, err = evaluate(f"--model=stickman-lrcn,{other}", cnn, *options)
    assert code == 0, err
    assert out.startswith("# 2 models on 2 clips of stickman\n")
    whole = json.loads((tmp_path / "e" / "table.json").read_text())
    means, own = whole["table"]["gradcam"], whole["models"]
    both = means["faithfulness"]["subset"]
    assert set(own) == {"stickman-lrcn", str(other)} and both["clips"] == 4
    for found in own.values():  # the same weights: as if each clip were there once
        one = found["gradcam"]["faithfulness"]["subset"]
        assert one["clips"] == 2
        assert one["mean"] == pytest.approx(both["mean"])
        assert one["low"] is both["low"] is None  # of two clips
    lines = (tmp_path / "e" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["model"] for line in lines] == [*own][:1] * 2 + [*own][
        1:
    ] * 2
    code, _, err = evaluate(f"--model=stickman-lrcn,{other}", f"{cnn},x", *options)
    assert code == 2 and "one --cnn or one for each" in err


@pytest.mark.parametrize(
    "argument,says",
    [
        ("--methods=cam", "unknown method 'cam'"),
        ("--clips=0", "--clips must be 1"),
        ("--random_labels=stickman-cnn", "stickman-cnn is not of the same kind"),
        ("--model=stickman-captioner", "--model=stickman-captioner writes sentences"),
    ],
)
def test_bad_input_is_one_sentence(evaluate, argument, says, tmp_path):
    code, _, err = evaluate(argument, f"--out={tmp_path}")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and says in one_sentence("\n".join(lines))
