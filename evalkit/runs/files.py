"""Files that are either complete or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import RunError

__all__ = ["atomic_path", "fsync_folder", "refuse_url", "write_json", "write_text", "writing"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def refuse_url(folder: Path) -> None:
    """Tell someone who gave a URL for a folder what is possible, before a folder named `s3:` is made.

    Raises:
        RunError: the path was a URL.
    """
    # A path has lost one of the slashes.
    if re.match(r"[a-z][a-z0-9+.-]+:/", folder.as_posix()):
        scheme, _, rest = folder.as_posix().partition(":/")
        url = f"{scheme}://{rest.lstrip('/')}"
        raise RunError(
            f"{url} is a URL, and a run is made and changed in a folder only: a store has no locks and no renames. "
            f"Make it in a folder and store it with `evalkit export RUN --layout run --out {url}`; `evalkit compare` "
            f"reads it there, and for all else `evalkit export {url} --layout run --out FOLDER` fetches it"
        )


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell a folder that cannot be written from everything else that may go wrong inside.

    Raises:
        RunError: the disk is full, read-only or broken. No clip is to blame, so the run stops rather than fail
            every clip that is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL | _REFUSED:
            raise
        cure = "free some space" if error.errno in _FULL else "make it writable"
        raise RunError(
            f"{folder} cannot be written ({os.strerror(error.errno or 0)}): {cure} and run the same command again; "
            "what was finished is kept"
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success sync it and rename it to `path`.

    The rename is atomic only within one file system, hence the same folder; and only a synced file is sure to
    have its content when the new name survives a power cut. On an exception nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files; a run folder is read by others (a web server, a CI artefact store).
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        fsync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def fsync_folder(folder: Path) -> None:
    """Make renames and new files in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
