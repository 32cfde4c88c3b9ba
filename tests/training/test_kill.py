"""kill -9 at random moments, also while saving: bit-identical to an unbroken run."""

import pytest

from benchmarks import kill


@pytest.mark.slow
def test_a_killed_run_equals_an_unbroken_one(tmp_path):
    kill.run_unbroken(tmp_path, epochs=8)
    kills = list(kill.run_killed(tmp_path, epochs=8, kills=2, seed=1))
    assert len(kills) == 2
    assert kill.lost(tmp_path, epochs=8) == []
