"""Downloads from a server on 127.0.0.1 that fails, and RAR archives, sound or not."""

import contextlib
import http.client
import http.server
import ssl
import struct
import threading
import zlib

import pytest

from rgcam.data.tfds import download
from rgcam.errors import InputError

try:
    import rars
except ImportError:
    rars = None
needs_rars = pytest.mark.skipif(rars is None, reason="the extra [ucf11] is missing")

CONTENT = bytes(range(256)) * 4000  # about 1 MB


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve CONTENT as the server's ``plan`` says, one word a request."""

    def do_GET(self):  # noqa: N802
        server = self.server
        server.asked.append(self.headers.get("Range"))
        how = server.plan.pop(0) if server.plan else "whole"
        if how.isdigit():
            return self.send_error(int(how))
        content, tag, start = server.content, '"one"', 0
        if how == "page":
            content = b"<html>Sorry.</html>"
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == tag and how != "no ranges":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if how == "other range":
            start //= 2
        if start:
            self.send_header("Content-Range", f"bytes {start}-/{len(content)}")
        self.send_header("Content-Type", f"text/{'html' if how == 'page' else 'plain'}")
        longer = 99 if how == "too long" else 0
        self.send_header("Content-Length", str(len(content) - start + longer))
        self.send_header("ETag", tag)
        self.end_headers()
        rest = content[start:]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(rest[: len(rest) // 2] if how == "half" else rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.plan, made.asked, made.content = [], [], CONTENT
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def get(server, folder, **options):
    url = f"http://127.0.0.1:{server.server_port}/UCF11.rar"
    options = {"pause": 0.0} | options
    return download.download(url, folder / "UCF11.rar", **options)


def test_a_whole_file_once(server, tmp_path):
    assert get(server, tmp_path).read_bytes() == CONTENT
    get(server, tmp_path)
    assert server.asked == [None]
    assert [p.name for p in tmp_path.iterdir()] == ["UCF11.rar"]


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.plan = ["half", "half"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_what_arrived_is_kept_for_the_next_command(server, tmp_path):
    server.plan = ["half"]
    with pytest.raises(InputError, match="broke 1 times; 1 MB are kept"):
        get(server, tmp_path, attempts=1)
    assert not (tmp_path / "UCF11.rar").exists()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[1] == f"bytes={len(CONTENT) // 2}-"


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.plan = ["half", "no ranges"]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_asked_for_the_whole(server, tmp_path):
    server.plan = ["half", "other range"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={len(CONTENT) // 2}-", None]


def test_a_web_page_is_not_taken_for_the_file(server, tmp_path):
    server.plan = ["page"]
    with pytest.raises(
        InputError, match="^the server sent a web page in place of http"
    ):
        get(server, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [ssl.SSLError("bad record"), OSError(101, "unreachable"), TimeoutError()]
)
def test_whatever_breaks_the_connection_it_is_taken_up(
    server, tmp_path, monkeypatch, error
):
    read, left = http.client.HTTPResponse.read, [1, 0, 0]

    def broken(response, size):
        if size == 1000 and not left.pop():
            raise error
        return read(response, size)

    monkeypatch.setattr(download, "BLOCK", 1000)
    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    with pytest.raises(InputError, match="broke 2 times"):
        get(server, tmp_path, attempts=2)
    monkeypatch.undo()
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_length_is_never_taken_for_whole(server, tmp_path):
    server.plan = ["too long"] * 3
    with pytest.raises(InputError, match="broke 3 times"):
        get(server, tmp_path, attempts=3)
    assert not (tmp_path / "UCF11.rar").exists()


def test_a_file_that_changed_on_the_server_begins_again(server, tmp_path):
    server.plan = ["half"]
    with pytest.raises(InputError):
        get(server, tmp_path, attempts=1)
    (tmp_path / "UCF11.rar.etag").write_text('"of another version"')
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_refusals_are_one_sentence(server, tmp_path):
    server.plan = ["404"]
    with pytest.raises(InputError, match=r"rejects http.*\(404 Not Found\)"):
        get(server, tmp_path)
    assert len(server.asked) == 1  # it is not asked again
    server.plan = ["503", "503"]
    with pytest.raises(InputError, match="503"):
        get(server, tmp_path, attempts=2)


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    server.plan = ["503", "whole"]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_no_network_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot reach .*check the network"):
        download.download(
            "http://127.0.0.1:9/x.rar", tmp_path / "x", attempts=2, pause=0.0
        )


def test_no_address_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="^UCF11.rar is not an address"):
        download.download("UCF11.rar", tmp_path / "x")


def test_a_full_disk_and_a_folder_in_the_way(server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda _: type("Use", (), {"free": 1000})
    )
    with pytest.raises(
        InputError, match="^the download needs 1 MB and .* has 0 MB free"
    ):
        get(server, tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        get(server, tmp_path / "file")


def make_archive(path, files, **options):
    """Write a .rar archive."""
    builder = rars.RarBuilder(store=True, **options)
    for name, content in files.items():
        builder.add_bytes(content, name)
    builder.write(str(path))
    return path


@needs_rars
@pytest.mark.parametrize("format", ["rar29", "rar50"])
def test_files_come_out_in_their_folders(tmp_path, format):
    files = {"top/a/x.mpg": b"one" * 999, "top/b/y.mpg": b"two"}
    made = make_archive(tmp_path / "c.rar", files, format=format)
    folder = download.extract(made, tmp_path / "deep" / "out")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*.mpg")}
    assert found == set(files)
    assert (folder / "top/a/x.mpg").read_bytes() == b"one" * 999
    made.unlink()
    download.extract(made, folder)  # it is there already


@needs_rars
def test_damage_is_one_sentence_and_leaves_nothing(tmp_path):
    made = make_archive(tmp_path / "c.rar", {"a.mpg": b"0123456789" * 5000})
    whole = made.read_bytes()
    spoilt = whole[:20000] + b"x" * 9 + whole[20009:]
    for content in (spoilt, whole[:30000], b"no archive", b""):
        made.write_bytes(content)
        with pytest.raises(InputError, match="is damaged or not a .rar archive"):
            download.extract(made, tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["c.rar"]


@needs_rars
def test_an_encrypted_archive_is_one_sentence(tmp_path):
    made = make_archive(tmp_path / "c.rar", {"a.mpg": b"secret"}, password="x")
    with pytest.raises(InputError, match="is encrypted"):
        download.extract(made, tmp_path / "out")


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


@needs_rars
@pytest.mark.parametrize(
    "name", [b"../evil.txt", b"/tmp/eviltx", b"..\\evil.txt", b"a/../../e.t"]
)
def test_an_archive_that_reaches_outside_is_rejected(tmp_path, name):
    made = make_archive(tmp_path / "c.rar", {"xx/evil.txt": b"evil"}, format="rar50")
    made.write_bytes(rename(made.read_bytes(), b"xx/evil.txt", name))
    with pytest.raises(InputError, match="would write outside its folder"):
        download.extract(made, tmp_path / "in" / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["c.rar", "in"]


@needs_rars
def test_a_link_in_an_archive_leads_nowhere(tmp_path):
    (tmp_path / "outside").mkdir()
    builder = rars.RarBuilder(store=True, format="rar50")
    builder.add_unix_symlink("link", str(tmp_path / "outside"))
    builder.add_bytes(b"evil", "link/evil.txt")
    builder.write(str(tmp_path / "c.rar"))
    try:
        download.extract(tmp_path / "c.rar", tmp_path / "out")
    except InputError as error:
        assert "cannot unpack" in str(error)
    assert not list((tmp_path / "outside").iterdir())


def test_without_the_package_it_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rars", None)
    with pytest.raises(InputError, match="pip install rars"):
        download.extract(tmp_path / "c.rar", tmp_path / "out")
