"""Reproductions and measurements for reports: the same command as in a shell, in a child process, one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Job", "Jobs"]

_KEPT_LINES = 40


@dataclass
class Job:
    """One command; `lines` are the last lines that it printed."""

    report_id: str
    command: tuple[str, ...]
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))


class Jobs:
    """A queue with one worker: a model needs the machine for itself.

    Args:
        folder: where the commands run; relative paths in them are relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._latest: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._child: subprocess.Popen[str] | None = None
        self._closing = False
        self._worker: threading.Thread | None = None

    def submit(self, report_id: str, command: tuple[str, ...]) -> Job:
        """Queue a command of `evalkit`; a report whose job has not ended gets no second one."""
        with self._changed:
            known = self._latest.get(report_id)
            if known is not None and known.state in ("waiting", "running"):
                return known
            job = Job(report_id, command)
            self._latest[report_id] = job
            self._waiting.append(job)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="evalkit-jobs", daemon=True)
                self._worker.start()
            self._changed.notify()
        return job

    def of(self, report_id: str) -> Job | None:
        """The latest job of a report since the server was started."""
        with self._changed:
            return self._latest.get(report_id)

    def close(self) -> None:
        """Stop the running command and start no other."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            if self._child is not None:
                self._child.terminate()
            self._changed.notify()
        if self._worker is not None:
            self._worker.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                job = self._waiting.popleft()
                job.state = "running"
                # An argument list, no shell: nothing that a tester typed can become a command.
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "evalkit", *job.command],
                    cwd=self.folder,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                )
            assert self._child.stdout is not None
            with self._child.stdout as output:
                for line in output:
                    job.lines.append(line.rstrip())
            code = self._child.wait()
            with self._changed:
                job.state = "done" if code == 0 else "failed"
                self._child = None
