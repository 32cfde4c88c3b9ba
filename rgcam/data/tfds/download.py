"""Download a large file, resuming broken connections, and extract its archive.

tensorflow-datasets' own download manager does not resume, so it is not used here.
"""

import contextlib
import http.client
import importlib
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from http.client import HTTPResponse
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tqdm import tqdm

from rgcam.errors import InputError

BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


class _Progress(NamedTuple):
    """How much of a file has arrived, and of which version of it.

    Attributes:
        size: bytes that have arrived.
        version: the server's identifier of the version (``_version``); "" if it has
            none, in which case the download cannot be resumed.
    """

    size: int
    version: str


def download(url: str, file: Path, *, attempts: int = 5, pause: float = 2.0) -> Path:
    """Download ``url`` to ``file``, unless the file exists.

    An incomplete file is named FILE.part, and FILE.etag identifies the version on the
    server that it belongs to; a later call resumes where an earlier one stopped.

    Args:
        url: an http or https address.
        file: path to write.
        attempts: number of connections to try.
        pause: seconds before the second attempt, doubled before each further one.

    Returns:
        ``file``.

    Raises:
        InputError: there is no network, the address has no file or a web page, the
            disk is full, or the connection broke too often; the part that has
            arrived is kept.
    """
    if file.exists():
        return file
    part = file.with_name(file.name + ".part")
    with _writing(part):
        file.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(attempts):
        time.sleep(pause * 2 ** (attempt - 1) if attempt else 0)
        if _attempt(url, part, last=attempt == attempts - 1):
            with _writing(file):
                os.replace(part, file)
                _etag(part).unlink(missing_ok=True)
            return file
    raise InputError(
        f"the connection to {url} broke {attempts} times; {_megabytes(part)} MB are "
        f"kept in {part}: run the same command again to resume"
    )


def extract(archive: Path, folder: Path) -> Path:
    """Extract a RAR archive (versions 2.9 to 7, also solid) and verify its checksums.

    The files are extracted into a temporary folder beside ``folder`` and renamed at the
    end, so that an interrupted extraction never looks complete. This takes about twice
    the archive's size in memory.

    Args:
        archive: the file.
        folder: folder to create; if it exists, nothing is done.

    Returns:
        ``folder``.

    Raises:
        InputError: the package rars is missing; the archive is damaged, encrypted, or
            would write outside the folder; or the disk is full.
    """
    if folder.is_dir():
        return folder
    try:
        rars: ModuleType = importlib.import_module("rars")
    except ImportError as error:
        raise InputError(
            f"unpacking {archive} needs the package rars: pip install rars (the extra "
            "[ucf11]), or unpack it yourself and pass the folder"
        ) from error
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        rars.RarFile(str(archive)).extractall(str(part))
        os.replace(part, folder)
    except (rars.PasswordRequired, rars.BadPassword) as error:
        raise InputError(f"{archive} is encrypted: unpack it yourself") from error
    except rars.UnsafeArchivePath as error:
        raise InputError(
            f"{archive} would write outside its folder and was not extracted: check "
            "where it comes from"
        ) from error
    except rars.Error as error:
        raise InputError(
            f"{archive} is damaged or not a .rar archive ({error}): delete it and "
            "download it again"
        ) from error
    except OSError as error:
        raise InputError(f"cannot unpack {archive}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _attempt(url: str, part: Path, last: bool) -> bool:
    """Download the missing part once; return whether the file is complete.

    Raises:
        InputError: another attempt would fail as well.
    """
    try:
        with _response(url, part) as (response, start):
            return _receive(url, response, part, start)
    except urllib.error.HTTPError as error:
        if error.code < 500 or last:
            raise InputError(
                f"the server rejects {url} ({error.code} {error.reason}): check the "
                "address, or download the file by hand and pass its path"
            ) from error
    except (OSError, http.client.HTTPException) as error:  # any fault of the network
        if last and not part.exists():
            reason = getattr(error, "reason", error)
            raise InputError(
                f"cannot reach {url} ({reason}): check the network, or download the "
                "file elsewhere and pass its path"
            ) from error
    return False


@contextlib.contextmanager
def _response(url: str, part: Path) -> Generator[tuple[HTTPResponse, int]]:
    """Request the missing bytes; yield the response and the byte it starts at."""
    progress = _read_progress(part)
    try:
        response = _request(url, _range_headers(progress))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the file is complete, or shorter than it was
            raise
        response = _request(url, {})
    start = _start(response)
    if start not in (0, progress.size):  # another range than the requested one
        response.close()
        response, start = _request(url, {}), 0
    with response:
        yield response, start


def _read_progress(part: Path) -> _Progress:
    """Read what an earlier attempt left behind."""
    with _writing(part):
        size = part.stat().st_size if part.exists() else 0
        version = _etag(part).read_text() if _etag(part).exists() else ""
    return _Progress(size, version)


def _range_headers(progress: _Progress) -> dict[str, str]:
    """Return the headers that request the missing bytes; none to request all."""
    if not (progress.size and progress.version):
        return {}
    return {"Range": f"bytes={progress.size}-", "If-Range": progress.version}


def _request(url: str, range_headers: dict[str, str]) -> HTTPResponse:
    """Send a request; raise ``HTTPError`` for a status of 400 and above."""
    headers = {"User-Agent": "rgcam", "Accept-Encoding": "identity"} | range_headers
    try:
        request = urllib.request.Request(url, headers=headers)
    except ValueError as error:
        raise InputError(
            f"{url} is not an address: {error}; give one that starts with http"
        ) from error
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _start(response: HTTPResponse) -> int:
    """Return the byte at which a response starts; -1 if the server does not say."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _receive(url: str, response: HTTPResponse, part: Path, start: int) -> bool:
    """Write a response to ``part`` from byte ``start``; return whether it is complete."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    _check_kind(url, response)
    _check_space(part, total, start)
    with _writing(part):
        _etag(part).write_text(_version(response))
        file = part.open("ab" if start else "wb")
    progress_bar = tqdm(
        desc=url.rsplit("/", 1)[-1],
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        disable=None,  # shown on a terminal only
    )
    with file, progress_bar:
        while block := response.read(BLOCK):
            with _writing(part):
                file.write(block)
                file.flush()
            progress_bar.update(len(block))
    return total is None or part.stat().st_size == total


@contextlib.contextmanager
def _writing(file: Path) -> Generator[None]:
    """Turn errors of the file system into an InputError that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {file} ({error.strerror or error}): choose another folder"
        ) from error


def _version(response: HTTPResponse) -> str:
    """Return the identifier of the file's version on the server; "" if it has none.

    A weak ETag ("W/...") does not guarantee equal bytes; the time of the last change
    takes its place.
    """
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _check_kind(url: str, response: HTTPResponse) -> None:
    """Raise InputError if the server sent a web page, such as a notice of consent."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(
            f"the server sent a web page in place of {url}: check the address, or "
            "download the file by hand and pass its path"
        )


def _check_space(part: Path, total: int | None, start: int) -> None:
    """Raise InputError if the missing bytes do not fit on the disk."""
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise InputError(
            f"the download needs {(total - start) / 1e6:.0f} MB and {part.parent} has "
            f"{free / 1e6:.0f} MB free: make room or choose another folder"
        )


def _etag(part: Path) -> Path:
    """Return the file that holds the version of ``part``."""
    return part.with_suffix(".etag")


def _megabytes(part: Path) -> int:
    """Return the size of a file in megabytes; 0 if there is none."""
    return round(part.stat().st_size / 1e6) if part.exists() else 0
