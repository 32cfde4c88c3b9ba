"""A run's metrics, none of steps that were lost, and the conditions of an early stop."""

import json
import os
import signal
import subprocess
import sys

import pytest

from rgcam.errors import InputError
from rgcam.training import progress as progresses
from rgcam.training.progress import Progress


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def test_pytorch_is_not_imported_and_can_be_afterwards():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    code = "import sys, rgcam.training.progress; print('torch' in sys.modules); import torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "False\n", done.stderr


def take(folder, first, last, total=9, every=3):
    with Progress(folder, first, total, 4, every=every) as progress:
        for step in range(first + 1, last + 1):
            with progress.waiting():
                pass
            progress.add(step, {"loss": float(step)})
        progress.flush(last)


def test_lines_hold_means_rates_and_waiting(tmp_path):
    take(tmp_path, 0, 7)
    found = lines(tmp_path)
    assert [x["step"] for x in found] == [3, 6, 7]
    assert [x["loss"] for x in found] == [2, 5, 7]
    assert all(x["clips_per_second"] > 0 and 0 <= x["waiting"] <= 1 for x in found)
    assert list((tmp_path / "tensorboard").iterdir())


def test_lines_of_steps_beyond_the_checkpoint_are_removed(tmp_path):
    take(tmp_path, 0, 7)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # what a kill leaves behind
    take(tmp_path, 3, 9)
    assert [x["step"] for x in lines(tmp_path)] == [3, 6, 9]


def test_only_the_first_process_writes(tmp_path):
    with Progress(tmp_path, 0, 3, 4, writes=False) as progress:
        progress.add(1, {"loss": 1.0})
        progress.validated(1, {"accuracy": 0.5, "loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_validation_scores_are_printed_and_written(tmp_path, capsys):
    with Progress(tmp_path, 0, 3, 4) as progress:
        progress.add(1, {"loss": 1.0})
        progress.validated(1, {"accuracy": 0.5, "loss": 1.0})
    assert lines(tmp_path)[-1]["validation_accuracy"] == 0.5
    captured = capsys.readouterr()
    assert "validation accuracy 50.0%" in captured.out + captured.err


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match="cannot write in"):
        Progress(tmp_path, 0, 3, 4)


def test_a_sentence_with_a_name_that_is_not_utf8_is_printed(tmp_path, capsys):
    with Progress(tmp_path, 0, 3, 4) as progress:
        progress.say([os.fsdecode(b"caf\xe9.mp4 is gone")])
    captured = capsys.readouterr()
    assert r"caf\xe9.mp4 is gone" in captured.out + captured.err


def test_sigterm_requests_a_stop_and_does_nothing_else():
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop = progresses.StopRequest()
        assert not stop(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop(2) and stop(3)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_unreadable_clips_are_reported_once_and_counted():
    clips = progresses.UnreadableClips(clips=10, share=0.2)
    assert clips.add(()) == []
    assert clips.add(("a is gone", "a is gone")) == ["skipped from now on: a is gone"]
    assert clips.add(("a is gone",)) == []
    assert len(clips.add(("b is gone",))) == 1
    with pytest.raises(InputError, match="3 of 10 .*max_broken=0.2: c is gone"):
        clips.add(("c is gone",))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_that_are_not_finite_name_the_step(value):
    progresses.check_finite(3, {"loss": 1.0, "grad_norm": 0.0})
    with pytest.raises(InputError, match="diverged at step 4 .grad_norm is"):
        progresses.check_finite(4, {"loss": 1.0, "grad_norm": value})
