"""Runs in object stores: stored whole, read as tables, fetched whole. None is ever written there while it is made.

A run in the making needs what a store has not: a lock, appended lines, renames that happen at once or not at all. So it
is made in a folder and then stored. The manifest goes last: where there is one, everything else is there.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from evalkit.errors import RunError, UnreadableVideo
from evalkit.remote import copy_from, copy_to, is_url, list_remote
from evalkit.runs.manifest import MANIFEST
from evalkit.runs.store import Run, open_run

__all__ = ["fetch_run", "opened", "store_run"]

# What comparing reads: tables, the plan, the prompts, and feature rows for resampling.
_TABLES = re.compile(r"[^/]+\.(json|parquet)|features/sets/[^/]+\.safetensors|features/reference\.parquet")


def store_run(run: Run, url: str) -> int:
    """Copy a finished run to a URL; the number of files.

    Clips that existed before the run (`evalkit score`) are not part of it and stay where they are.

    Raises:
        RunError: the run is not finished, the place holds a run already, or the store refuses.
    """
    if run.manifest.status == "running":
        raise RunError(f"{run.folder} is not finished; run the command that made it again, and then store it")
    with _as_run_error():
        if MANIFEST in list_remote(url):
            raise RunError(f"{url} holds a run already; give another URL, or delete what is there")
    names = [
        path.relative_to(run.folder).as_posix()
        for path in sorted(run.folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".part"
    ]
    names.remove(MANIFEST)
    with _as_run_error():
        copy_to(run.folder, [*names, MANIFEST], url)
    return len(names) + 1


def fetch_run(url: str, folder: Path, *, tables_only: bool = False) -> Run:
    """Copy a run from a URL into a new or empty folder.

    Raises:
        RunError: there is no finished run, the folder is not empty, or the store refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty; give a new folder")
    with _as_run_error():
        names = list_remote(url)
        if MANIFEST not in names:
            raise RunError(
                f"{url} is not a run: there is no {MANIFEST}; store one with `evalkit export RUN --layout run --out {url}`"
            )
        copy_from(url, _without_manifest(names, tables_only), folder)
        copy_from(url, [MANIFEST], folder)
    return open_run(folder)


def _without_manifest(names: Iterable[str], tables_only: bool) -> list[str]:
    return [name for name in names if name != MANIFEST and not (tables_only and not _TABLES.fullmatch(name))]


@contextlib.contextmanager
def opened(*places: str) -> Iterator[list[Run]]:
    """Runs of folders and URLs; of the latter, tables alone are copied, and deleted afterwards."""
    with contextlib.ExitStack() as stack:
        runs = []
        for place in places:
            if is_url(place):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="evalkit-run-"))
                # Named as in the store, since tables name runs by their folder.
                runs.append(fetch_run(place, Path(folder) / _name(place), tables_only=True))
            else:
                runs.append(open_run(place))
        yield runs


def _name(url: str) -> str:
    return re.sub(r"[^\w.-]", "-", url.rstrip("/").rpartition("/")[2]) or "run"


@contextlib.contextmanager
def _as_run_error() -> Iterator[None]:
    try:
        yield
    except UnreadableVideo as error:
        raise RunError(str(error)) from error
