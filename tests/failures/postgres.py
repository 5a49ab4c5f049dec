"""A PostgreSQL cluster of our own, in a temporary folder, reached over a socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a server on a socket in `folder` and give the URL of its administration database.

    initdb refuses to run as root, so root hands the folder to the user `postgres` or `nobody`.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here; install it, e.g. with: apt-get install postgresql")
    prefix: list[str] = []
    if os.geteuid() == 0:
        names = {user.pw_name for user in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None or shutil.which("runuser") is None:
            pytest.skip("running as root without an unprivileged user that PostgreSQL could run as")
        shutil.chown(folder, user)
        for parent in folder.parents:  # pytest makes its folders private to root
            if parent.owner() == "root" and parent != Path("/tmp") and parent.is_relative_to("/tmp"):
                parent.chmod(0o755)
        prefix = ["runuser", "-u", user, "--"]

    def call(*command: str) -> None:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*prefix, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    call(str(binaries / "initdb"), "-D", data, "-U", "evalkit", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c max_connections=60 "
    options += (
        "-c fsync=off -c full_page_writes=off"  # for speed: these databases need not survive the machine
    )
    # The log goes to a file: a server that inherits the pipes of `subprocess` would keep `run` waiting for ever.
    call(str(binaries / "pg_ctl"), "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield f"postgresql://evalkit@/postgres?host={folder}"
    finally:
        call(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
