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
        self._end = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._end = max((end for _, end in _entries(self.path)), default=0)
        # Unbuffered: what could not be written must not be tried again when the file is closed.
        self._file = self.path.open("ab", buffering=0)
        self._file.truncate(self._end)
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

    def append(self, *entries: Mapping[str, Any]) -> None:
        """Write entries durably, with one sync for all of them.

        Raises:
            OSError: the disk is full or read-only; the journal is as it was before.
        """
        if self._file is None:
            raise ValueError("the journal is not open; use it in a with statement")
        lines = memoryview(b"".join(map(_line, entries)))
        written = 0
        try:
            while written < len(lines):
                written += self._file.write(lines[written:])
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._end)
            raise
        self._end += written


# One encoder for all lines: `json.dumps` with arguments makes a new one a call. NaN is refused, floats keep every bit.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _line(entry: Mapping[str, Any]) -> bytes:
    return (_ENCODER.encode(entry) + "\n").encode()
