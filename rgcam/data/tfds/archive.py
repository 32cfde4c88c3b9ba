"""A .rar archive -> a folder that is whole or not there."""

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

from rgcam.errors import InputError


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
