"""RAR archives: whole, damaged, encrypted, and ones that would write elsewhere."""

import pytest

from rgcam import archive
from rgcam.errors import InputError

rars = pytest.importorskip("rars", reason="the extra [ucf11] is not installed")


def make(path, files, **options):
    """Write a .rar archive."""
    builder = rars.RarBuilder(store=True, **options)
    for name, content in files.items():
        builder.add_bytes(content, name)
    builder.write(str(path))
    return path


@pytest.mark.parametrize("format", ["rar29", "rar50"])
def test_files_come_out_in_their_folders(tmp_path, format):
    files = {"top/a/x.mpg": b"one" * 999, "top/b/y.mpg": b"two"}
    made = make(tmp_path / "c.rar", files, format=format)
    folder = archive.extract(made, tmp_path / "deep" / "out")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*.mpg")}
    assert found == set(files)
    assert (folder / "top/a/x.mpg").read_bytes() == b"one" * 999
    made.unlink()
    archive.extract(made, folder)  # it is there already


def test_damage_is_one_sentence_and_leaves_nothing(tmp_path):
    made = make(tmp_path / "c.rar", {"a.mpg": b"0123456789" * 5000})
    whole = made.read_bytes()
    spoilt = whole[:20000] + b"x" * 9 + whole[20009:]
    for content in (spoilt, whole[:30000], b"no archive", b""):
        made.write_bytes(content)
        with pytest.raises(InputError, match="is damaged or no .rar archive"):
            archive.extract(made, tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["c.rar"]


def test_an_encrypted_archive_is_one_sentence(tmp_path):
    made = make(tmp_path / "c.rar", {"a.mpg": b"secret"}, password="x")
    with pytest.raises(InputError, match="is encrypted"):
        archive.extract(made, tmp_path / "out")


def test_an_archive_that_reaches_outside_is_refused(tmp_path, monkeypatch):
    """Rars does not write one, so that its own refusal is played."""

    class Reaching:
        def __init__(self, path):
            pass

        def extractall(self, path):
            raise rars.UnsafeArchivePath("../evil.txt")

    monkeypatch.setattr(rars, "RarFile", Reaching)
    with pytest.raises(InputError, match="would write outside its folder"):
        archive.extract(tmp_path / "c.rar", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rars", None)
    with pytest.raises(InputError, match="pip install rars"):
        archive.extract(tmp_path / "c.rar", tmp_path / "out")
