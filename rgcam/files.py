"""Files that are either complete or absent, and records that must not change silently."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from rgcam.errors import InputError
from rgcam.types import Fields, Number, Variables

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"  # file of a locked folder that holds the number of the process

Result = TypeVar("Result")


@contextlib.contextmanager
def atomic(file: Path) -> Generator[Path]:
    """Yield a temporary path beside ``file``, which replaces ``file`` on success.

    A reader sees the old content or the new, never a part of it. If the block raises,
    ``file`` is untouched and the temporary path is removed.
    """
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; restore the usual mode.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def absolute(path: str | os.PathLike[str]) -> str:
    """Make a path absolute: PyAV takes the start of ``clip:1.mp4`` for a protocol."""
    return str(Path(path).absolute())


def check_rate(fps: Number) -> None:
    """Validate the frames per second at which a video file is read or written.

    Raises:
        InputError: fps is not above 0, or not finite.
    """
    if not 0 < fps < math.inf:
        raise InputError(f"fps is {fps:g}; it must be above 0, such as 7.5")


def write_text(file: Path, text: str) -> None:
    """Write UTF-8 text atomically, with Unix line ends on every system.

    What UTF-8 cannot hold is escaped: see ``printable``.
    """
    with atomic(file) as temporary:
        temporary.write_text(printable(text), "utf-8", newline="\n")


def printable(text: str) -> str:
    r"""Return text that can be drawn and written, whatever file names it is made of.

    Python keeps the bytes of a file name that are not UTF-8 as lone surrogates, which no
    font and no encoding has. They are escaped: b"caf\xe9" gives the text ``caf\xe9``.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        encoded = text.encode("utf-8", "surrogateescape")
        return encoded.decode("utf-8", "backslashreplace")
    return text


def write_json(file: Path, fields: Fields) -> None:
    """Write plain data as indented JSON, atomically."""
    write_text(file, json.dumps(fields, indent=2) + "\n")


def replace_files(folder: Path, make: Callable[[Path], Result]) -> Result:
    """Let ``make`` write files into a temporary folder, then move them to ``folder``.

    Files of the same names are replaced and others are left alone; if ``make`` fails,
    nothing in ``folder`` changes.

    Args:
        folder: where the files belong; created if missing.
        make: writes the files into the folder that it is given.

    Returns:
        What ``make`` returns.

    Raises:
        InputError: ``folder`` cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="rgcam-") as name:
            result = make(Path(name))
            folder.mkdir(parents=True, exist_ok=True)
            files = sorted(Path(name).iterdir())
            # Copy everything before the first rename: a full disk changes no file.
            for file in files:
                shutil.copy(file, folder / f".{file.name}.part")
            for file in files:
                os.replace(folder / f".{file.name}.part", folder / file.name)
    except OSError as error:
        for file in folder.glob(".*.part"):
            file.unlink()
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
    return result


def check_writable(folder: Path) -> None:
    """Raise before the work, not after it, if ``folder`` cannot be written.

    Raises:
        InputError: the folder, or the nearest parent that exists, is not writable.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write in {folder}: {existing} is not a writable folder"
        )


@contextlib.contextmanager
def locked(folder: Path, *, instead: str) -> Generator[None]:
    """Hold a lock on a folder, so that no other process writes in it meanwhile.

    The lock goes with the process, however that ends. It is held where the system has
    such locks: not on Windows, nor on some network file systems.

    Args:
        folder: exists.
        instead: what to give to work elsewhere, for the message.

    Raises:
        InputError: another process holds the lock, or the folder cannot be written.
    """
    try:
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
    with file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"another run (process {file.read() or 'unknown'}) writes in {folder}: "
                f"wait until it ends, or give {instead}"
            ) from None
        except OSError:  # the file system has no locks
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def default_cache_folder() -> Path:
    """Return the folder for caches: ``rgcam`` in $XDG_CACHE_HOME or in ~/.cache.

    A user without a home folder, as in some containers, has one in the folder for
    temporary files.

    Raises:
        InputError: that one belongs to another user.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "rgcam"
    try:
        return Path.home() / ".cache" / "rgcam"
    except RuntimeError:  # neither HOME nor an entry in the password file
        folder = Path(tempfile.gettempdir()) / f"rgcam-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():  # others could put programs there
        raise InputError(
            f"the folder for caches {folder} belongs to another user: choose one by "
            "XDG_CACHE_HOME=FOLDER"
        )
    return folder


def weights_digest(variables: Variables) -> str:
    """Return 16 hexadecimal digits that identify a model's weights."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:16]


def differences(before: Fields, now: Fields, ignored: Iterable[str] = ()) -> list[str]:
    """Describe the fields in which two records differ, such as ``"fps 7.5 -> 15"``.

    Args:
        before: the record that was stored; nested mappings are compared field by
            field and named with dots.
        now: the record that is asked for.
        ignored: dotted names of fields that may differ.
    """
    old, new = _flatten(before), _flatten(now)
    names = sorted((old.keys() | new.keys()) - set(ignored))
    return [
        f"{name} {old.get(name)!r} -> {new.get(name)!r}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _flatten(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
