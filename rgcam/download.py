"""A large file from the web: resumed where it broke off, whole or not there."""

import contextlib
import http.client
import os
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
        InputError: no network, no such file, a full disk, or a connection that broke
            too often; what has arrived is kept.
    """
    if file.exists():
        return file
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(attempts):
            time.sleep(pause * 2**attempt if attempt else 0)
            if _attempt(url, part, last=attempt == attempts - 1):
                os.replace(part, file)
                _etag(part).unlink(missing_ok=True)
                return file
    except OSError as error:
        raise InputError(f"cannot write {part}: {error.strerror or error}") from error
    raise InputError(
        f"the connection to {url} broke {attempts} times; {_megabytes(part)} MB are "
        f"kept in {part}: give the same command again to go on"
    )


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
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        if last and not part.exists():
            reason = getattr(error, "reason", error)
            raise InputError(
                f"cannot reach {url} ({reason}): is there a network? Otherwise "
                "download the file elsewhere and give its path"
            ) from error
    except (ConnectionError, ValueError) as error:
        if isinstance(error, ValueError):
            raise InputError(f"{url} is no address: {error}") from error
    return False


@contextlib.contextmanager
def _response(url: str, part: Path) -> Iterator[tuple[Any, int]]:
    """Ask for the rest of the file; yield the answer and where it begins."""
    have = part.stat().st_size if part.exists() else 0
    etag = _etag(part).read_text() if _etag(part).exists() else ""
    headers = {"User-Agent": "rgcam", "Accept-Encoding": "identity"}
    if have and etag:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is missing, or the file has become shorter
            raise
        part.unlink()
        request = urllib.request.Request(url, headers={"User-Agent": "rgcam"})
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    with response:
        yield response, have if response.status == 206 else 0


def _receive(url: str, response: Any, part: Path, start: int) -> bool:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    _check_space(part, total, start)
    _etag(part).write_text("" if tag.startswith("W/") else tag)
    bar = {"total": total, "initial": start, "unit": "B", "unit_scale": True}
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(desc=url.rsplit("/", 1)[-1], disable=None, **bar) as progress,
    ):
        while block := response.read(BLOCK):
            file.write(block)
            progress.update(len(block))
    return total is None or part.stat().st_size == total


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
