"""What every script does before its own work."""

import jax
import pytest

from rgcam.commands import app


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """Play a machine on which nothing is set; put the tests' own settings back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = [
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
    ]
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_cache_folder(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", None)
    app.cache_compiled_programs()
    place = jax.config.jax_compilation_cache_dir
    assert place.startswith(str(tmp_path / "rgcam" / "programs"))
    app.cache_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == place


def test_another_place_for_programs_is_left_alone(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    app.cache_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
