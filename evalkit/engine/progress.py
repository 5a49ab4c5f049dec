"""Progress of long work: a bar with the time left on a terminal, plain lines in a CI log, nothing when asked."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["PlainProgress", "Progress", "RichBar", "Silent", "make_progress"]


class Progress(Protocol):
    """One stage at a time. Use as a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stage(self, title: str, total: int, done: int = 0) -> None:
        """Begin a stage of `total` items, of which `done` were finished by an earlier run."""
        ...

    def advance(self, items: int = 1, note: str = "") -> None:
        """Count finished items."""
        ...

    def say(self, message: str) -> None:
        """Print a line that stays."""
        ...


class Silent:
    """No output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def stage(self, title: str, total: int, done: int = 0) -> None:
        """Ignore."""

    def advance(self, items: int = 1, note: str = "") -> None:
        """Ignore."""

    def say(self, message: str) -> None:
        """Ignore."""


class PlainProgress(Silent):
    """A line at most every `every` seconds, and one at the end of each stage.

    Args:
        stream: where lines go.
        every: seconds between lines.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 10.0) -> None:
        self.stream, self.every = stream or sys.stderr, every
        self._title, self._total, self._done, self._before = "", 0, 0, 0
        self._start = self._last = time.monotonic()

    def stage(self, title: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._title, self._total, self._done, self._before = title, total, done, done
        self._start = self._last = time.monotonic()
        known = f", {done} already done" if done else ""
        self.say(f"{title}: {total} clips{known}")

    def advance(self, items: int = 1, note: str = "") -> None:
        """Count, and print now and then."""
        self._done += items
        now = time.monotonic()
        if self._done >= self._total or now - self._last >= self.every:
            self._last = now
            pace = (now - self._start) / max(1, self._done - self._before)
            left = pace * (self._total - self._done)
            self.say(
                f"{self._title}: {self._done}/{self._total}"
                + (
                    f", {_duration(left)} left"
                    if self._done < self._total
                    else f" in {_duration(now - self._start)}"
                )
            )

    def say(self, message: str) -> None:
        """Print one line."""
        print(message, file=self.stream, flush=True)


class RichBar(Silent):
    """Bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress: RichProgress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}", markup=True),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, title: str, total: int, done: int = 0) -> None:
        """Begin a bar."""
        self._task = self._progress.add_task(title, total=total, completed=done, note="")

    def advance(self, items: int = 1, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            from rich.markup import escape

            self._progress.update(self._task, advance=items, note=escape(note[:60]))

    def say(self, message: str) -> None:
        """Print above the bars."""
        self._progress.console.print(message, markup=False, highlight=False)


def make_progress(quiet: bool = False) -> Progress:
    """A bar when stderr is a terminal, plain lines otherwise."""
    if quiet:
        return Silent()
    return RichBar() if sys.stderr.isatty() else PlainProgress()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
