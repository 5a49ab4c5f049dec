"""Released weights: where they are and what they must be. Imports neither torch nor diffusers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

WEIGHTS = Path(__file__).resolve().parent / "weights"
VERSIONS = ("v1", "v2")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a version's folder except its manifest, by path inside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def manifest(version: str) -> dict[str, str]:
    """Digests that a released version is committed with.

    Raises:
        ValueError: there is no such version.
    """
    path = WEIGHTS / version / "manifest.json"
    if version not in VERSIONS or not path.exists():
        raise ValueError(f"the reference model has no version {version!r}; released: {', '.join(VERSIONS)}")
    return json.loads(path.read_text(encoding="utf-8"))["sha256"]  # type: ignore[no-any-return]


def check(folder: Path) -> None:
    """Compares a folder's files with its manifest.

    Raises:
        ValueError: a file is missing, altered or not listed.
    """
    expected = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    found = digests(folder)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{folder / name}: sha256 {found.get(name, 'missing')} is not {expected.get(name, 'absent')} of "
                "manifest.json; install the package again"
            )
