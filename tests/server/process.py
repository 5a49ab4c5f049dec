"""A server as people start it: a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Process:
    """A running server."""

    popen: subprocess.Popen[str]
    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a power cut would: no handler runs."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(timeout=30)


def environment(*extra_paths: Path) -> dict[str, str]:
    """Environment in which a child process finds the package and the plugins in `extra_paths`."""
    paths = [str(ROOT), *map(str, extra_paths)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, *options: str, plugins: tuple[Path, ...] = (), port: int = 0) -> Iterator[Process]:
    """Start `evalkit serve` in `folder` and wait until it answers."""
    port = port or free_port()
    command = [sys.executable, "-m", "evalkit", "serve", "--port", str(port), *options]
    popen = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(*plugins),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert popen.stderr is not None
        told = popen.stderr.readline()
        found = re.search(r"open (http\S+?)(?:/login\?token=(\S+))?$", told.strip())
        assert found, told + popen.stderr.read()
        _wait(port, popen)
        yield Process(popen, port, found[2] or "")
    finally:
        if popen.poll() is None:
            popen.terminate()
            try:
                popen.wait(timeout=15)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait(timeout=15)
        if popen.stderr is not None:
            popen.stderr.close()


def _wait(port: int, popen: subprocess.Popen[str]) -> None:
    """The address is told before the socket listens; connect until it does."""
    import time

    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            assert popen.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
