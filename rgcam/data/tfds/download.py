"""A large file from the web: resumed where it broke off, whole or not there.

tensorflow-datasets' own download manager does not resume, so it is not used.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rgcam.errors import InputError

BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


def download(url: str, file: Path, *, attempts: int = 5, pause: float = 2.0) -> Path:
    """Download ``url`` to ``file``; what is there already is not loaded again.

    Until it is whole the file is FILE.part, beside it FILE.etag tells which version of
    the file on the server it is of; a later call goes on where an earlier one ended.

    Args:
        url: http(s).
        file: where to.
        attempts: how often a broken connection is taken up again.
        pause: seconds before the second attempt; it doubles with each.

    Raises:
        InputError: no network, no such file, a web page in its place, a full disk, or
            a connection that broke too often; what has arrived is kept.
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
        f"kept in {part}: give the same command again to go on"
    )


def extract(archive: Path, folder: Path) -> Path:
    """Extract a RAR archive (versions 2.9 to 7, solid too); checksums are verified.

    It is unpacked beside ``folder``, which then takes its name: an extraction cut
    short leaves nothing that looks whole. Memory: about twice the archive's size.

    Args:
        archive: the file.
        folder: where to; if it is there, nothing is done.

    Raises:
        InputError: the package rars is missing; the archive is damaged, encrypted, or
            would write outside the folder; the disk is full.
    """
    if folder.is_dir():
        return folder
    try:
        rars: Any = importlib.import_module("rars")
    except ImportError as error:
        raise InputError(
            f"unpacking {archive} needs the package rars: pip install rars (the extra "
            "[ucf11]), or unpack it yourself and give the folder"
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
            f"{archive} would write outside its folder: refused"
        ) from error
    except rars.Error as error:
        raise InputError(
            f"{archive} is damaged or no .rar archive ({error}): delete it and "
            "download it again"
        ) from error
    except OSError as error:
        raise InputError(f"cannot unpack {archive}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _attempt(url: str, part: Path, last: bool) -> bool:
    """Load what is missing; tell whether the file is whole."""
    try:
        with _response(url, part) as (response, start):
            return _receive(url, response, part, start)
    except urllib.error.HTTPError as error:
        if error.code < 500 or last:
            raise InputError(
                f"the server refuses {url} ({error.code} {error.reason}): check the "
                "address, or download the file by hand and give its path"
            ) from error
    except (OSError, http.client.HTTPException) as error:  # all of them the network's
        if last and not part.exists():
            reason = getattr(error, "reason", error)
            raise InputError(
                f"cannot reach {url} ({reason}): is there a network? Otherwise "
                "download the file elsewhere and give its path"
            ) from error
    return False


@contextlib.contextmanager
def _response(url: str, part: Path) -> Iterator[tuple[Any, int]]:
    """Ask for the rest of the file; yield the answer and where it begins."""
    have, wish = _rest(part)
    try:
        response = _ask(url, wish)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is missing, or the file has become shorter
            raise
        response = _ask(url, {})
    start = _start(response)
    if start not in (0, have):  # no answer to the question: ask for the whole
        response.close()
        response, start = _ask(url, {}), 0
    with response:
        yield response, start


def _rest(part: Path) -> tuple[int, dict[str, str]]:
    """Return how much is there, and the headers that ask for the rest."""
    with _writing(part):
        have = part.stat().st_size if part.exists() else 0
        etag = _etag(part).read_text() if _etag(part).exists() else ""
    wish = {"Range": f"bytes={have}-", "If-Range": etag}
    return have, wish if have and etag else {}


def _ask(url: str, wish: dict[str, str]) -> Any:
    headers = {"User-Agent": "rgcam", "Accept-Encoding": "identity"} | wish
    try:
        request = urllib.request.Request(url, headers=headers)
    except ValueError as error:
        raise InputError(f"{url} is no address: {error}") from error
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _start(response: Any) -> int:
    """Return the byte at which an answer begins; -1: it does not say."""
    if response.status != 206:
        return 0
    said = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(said[1]) if said else -1


def _receive(url: str, response: Any, part: Path, start: int) -> bool:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    _check_kind(url, response)
    _check_space(part, total, start)
    with _writing(part):
        _etag(part).write_text(_version(response))
        file = part.open("ab" if start else "wb")
    bar = {"total": total, "initial": start, "unit": "B", "unit_scale": True}
    with (
        file,
        tqdm(desc=url.rsplit("/", 1)[-1], disable=None, **bar) as progress,
    ):
        while block := response.read(BLOCK):
            with _writing(part):
                file.write(block)
                file.flush()
            progress.update(len(block))
    return total is None or part.stat().st_size == total


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error


def _version(response: Any) -> str:
    """Return what tells this version of the file from others; "": nothing does."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _check_kind(url: str, response: Any) -> None:
    if response.headers.get_content_type() == "text/html":
        raise InputError(
            f"the server sent a web page in place of {url}: check the address, or "
            "download the file by hand and give its path"
        )


def _check_space(part: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise InputError(
            f"the download needs {(total - start) / 1e6:.0f} MB and {part.parent} has "
            f"{free / 1e6:.0f} MB free: make room or choose another folder"
        )


def _etag(part: Path) -> Path:
    return part.with_suffix(".etag")


def _megabytes(part: Path) -> int:
    return round(part.stat().st_size / 1e6) if part.exists() else 0
