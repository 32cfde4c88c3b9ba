"""RAR archives: whole, damaged, encrypted, and ones that would write elsewhere."""

import struct
import zlib

import pytest

from rgcam.data.tfds import archive
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


def rename(archived, old, new):
    """Write another name of the same length into the header of a RAR 5 file."""
    data = bytearray(archived)
    name = data.index(old)
    data[name : name + len(old)] = new
    for start in range(8, name):  # a header: checksum, its size in one byte, itself
        whole = slice(start + 4, start + 5 + data[start + 4])
        said = archived[start : start + 4]
        if struct.pack("<I", zlib.crc32(archived[whole])) == said:
            data[start : start + 4] = struct.pack("<I", zlib.crc32(data[whole]))
    return bytes(data)


@pytest.mark.parametrize(
    "name", [b"../evil.txt", b"/tmp/eviltx", b"..\\evil.txt", b"a/../../e.t"]
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path, name):
    made = make(tmp_path / "c.rar", {"xx/evil.txt": b"evil"}, format="rar50")
    made.write_bytes(rename(made.read_bytes(), b"xx/evil.txt", name))
    with pytest.raises(InputError, match="would write outside its folder"):
        archive.extract(made, tmp_path / "in" / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["c.rar", "in"]


def test_a_link_in_an_archive_leads_nowhere(tmp_path):
    (tmp_path / "outside").mkdir()
    builder = rars.RarBuilder(store=True, format="rar50")
    builder.add_unix_symlink("link", str(tmp_path / "outside"))
    builder.add_bytes(b"evil", "link/evil.txt")
    builder.write(str(tmp_path / "c.rar"))
    try:
        archive.extract(tmp_path / "c.rar", tmp_path / "out")
    except InputError as error:
        assert "cannot unpack" in str(error)
    assert not list((tmp_path / "outside").iterdir())


def test_without_the_package_it_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rars", None)
    with pytest.raises(InputError, match="pip install rars"):
        archive.extract(tmp_path / "c.rar", tmp_path / "out")
