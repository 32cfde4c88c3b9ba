"""Shared by every test: two CPU devices, and the clips that may not be there."""

import os
from pathlib import Path

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import pytest

HERE = Path(__file__).parent
REAL_CLIPS = HERE.parents[1] / "shared" / "data"


@pytest.fixture
def real_clips() -> Path:
    """Return the folder of real clips, or skip where it is absent."""
    if not REAL_CLIPS.is_dir():
        pytest.skip("the real clips (shared/data) are not beside this checkout")
    return REAL_CLIPS
