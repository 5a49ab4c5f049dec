"""The journal: every finished row, on disk before the next one starts.

One JSON object a line, appended and synced by the one process that drives the run. A kill can tear at most the
last line, which reading ignores and the next append cuts off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

__all__ = ["JOURNAL", "Journal", "read_journal"]

JOURNAL = "journal.jsonl"


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every complete entry; a torn last line is no entry."""
    for entry, _ in _entries(path):
        yield entry


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    if not path.exists():
        return
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line), end
            except ValueError:
                return  # a hole left by a power cut: whatever follows it was not synced either


class Journal:
    """Append-only writer. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        complete = max((end for _, end in _entries(self.path)), default=0)
        self._file = self.path.open("ab")
        self._file.truncate(complete)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry durably."""
        if self._file is None:
            raise ValueError("the journal is not open; use it in a with statement")
        self._file.write(_line(entry))
        self._file.flush()
        os.fsync(self._file.fileno())


def _line(entry: Mapping[str, Any]) -> bytes:
    """One journal line; NaN is refused, floats keep every bit."""
    return (json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n").encode()
