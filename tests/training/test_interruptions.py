"""What may befall a run, seen from the loop."""

import os
import signal

import pytest

from rgcam.errors import InputError
from rgcam.training import interruptions


def test_sigterm_asks_to_stop_and_no_more():
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop = interruptions.Stop()
        assert not stop(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop(2) and stop(3)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_broken_clips_are_told_once_and_counted():
    broken = interruptions.Breakage(clips=10, share=0.2)
    assert broken.add(()) == []
    assert broken.add(("a is gone", "a is gone")) == ["left out from now on: a is gone"]
    assert broken.add(("a is gone",)) == []
    assert len(broken.add(("b is gone",))) == 1
    with pytest.raises(InputError, match="3 of 10 .*max_broken=0.2: c is gone"):
        broken.add(("c is gone",))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_name_the_step(bad):
    interruptions.check_finite(3, {"loss": 1.0, "grad_norm": 0.0})
    with pytest.raises(InputError, match="diverged at step 4 .grad_norm is"):
        interruptions.check_finite(4, {"loss": 1.0, "grad_norm": bad})
