"""Clips in object stores: `s3://bucket/folder`, `gs://...`, or any other URL that fsspec has a file system for.

S3, Google and Azure stores are reached by obstore, which takes addresses and credentials from the usual variables of the
environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, ...); an installed s3fs or gcsfs is not asked.
A clip is copied to this machine's temporary folder when its pixels are needed, and deleted afterwards. Runs are made in
folders of a file system; `evalkit.runs.transfer` stores finished ones behind URLs and reads them there.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, MissingExtra, UnreadableVideo

__all__ = ["RemoteFile", "copy_from", "copy_to", "is_url", "list_remote", "local_copy"]

_MOST_BYTES = 2 << 30
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs"})


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A clip behind a URL, where a `Path` would be for one on disk; `str` gives the URL."""

    url: str

    def resolve(self) -> RemoteFile:
        """A URL is absolute already."""
        return self

    def __str__(self) -> str:
        return self.url


def is_url(path: object) -> bool:
    """Whether this names something behind a URL and not on a disk."""
    return "://" in str(path)


def list_remote(url: str) -> list[str]:
    """Names of everything below a URL, relative to it, in order.

    Raises:
        UnreadableVideo: there is no such place, or it cannot be read.
        MissingExtra: the file system's package is not installed.
    """
    with _reading(url):
        files, root = _file_system(url)
        found = files.find(root)
    prefix = root.rstrip("/") + "/"
    return sorted(name.removeprefix(prefix) for name in map(str, found) if name.startswith(prefix))


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """A path that can be opened: `path` itself, or a temporary copy of what lies behind a URL.

    Raises:
        UnreadableVideo: nothing is there, it cannot be read, or it is larger than 2 GiB.
    """
    if not is_url(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="evalkit-") as folder:
        copy = Path(folder) / Path(path).name
        with _reading(path):
            files, name = _file_system(path)
            size = files.size(name)
            if size is not None and size > _MOST_BYTES:
                raise UnreadableVideo(f"{path}: {size:,} bytes, and a clip may have {_MOST_BYTES:,}; cut it")
            files.get_file(name, str(copy))
        yield copy


def copy_to(folder: Path, names: Sequence[str], url: str) -> None:
    """Copy files of a folder below a URL, in the order of `names`.

    Raises:
        UnreadableVideo: the store refuses.
        MissingExtra: the file system's package is not installed.
    """
    with _reading(url):
        files, root = _file_system(url)
        for name in names:
            target = f"{root.rstrip('/')}/{name}"
            # Stores have no folders; file systems behind file:// have.
            files.makedirs(target.rpartition("/")[0], exist_ok=True)
            files.put_file(str((folder / name).resolve()), target)


def copy_from(url: str, names: Sequence[str], folder: Path) -> None:
    """Copy what lies below a URL into a folder.

    Raises:
        UnreadableVideo: something is not there, or leads out of the folder.
    """
    with _reading(url):
        files, root = _file_system(url)
        for name in names:
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise UnreadableVideo(f"{url}: the name {name!r} leads out of the folder it is copied to")
            target.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(f"{root.rstrip('/')}/{name}", str(target.resolve()))


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UnreadableVideo(
            f"{url} is not there: it does not exist, or was deleted since the run was planned"
        ) from None
    except EvalkitError:
        raise
    except Exception as error:  # every store has errors of its own
        raise UnreadableVideo(
            f"{url} cannot be read ({type(error).__name__}: {error}); check the address and the credentials"
        ) from error


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        if (scheme := url.partition("://")[0]) in _STORES:
            from obstore.fsspec import register

            register(scheme)
    except ImportError as error:
        raise MissingExtra(str(error.name).partition(".")[0], "remote", url) from error
    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UnreadableVideo(f"{url}: {error}; use s3://, gs:// or another scheme of fsspec") from error
    # A listing that was kept from earlier would hide what changed since.
    files.invalidate_cache()
    return files, str(root)
